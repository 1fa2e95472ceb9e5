"""Stored bytes to numbers and back: exact decoding, and rounding once to nearest even.

The oracle is the arithmetic of `tests.dumps`, in integers and fractions; ml_dtypes is a second one.
"""

import math
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gradclip_cli.formats.folders import find
from gradclip_cli.tensors.codecs import decode, encode
from gradclip_cli.tensors.dtypes import DType
from tests.dumps import (
    FLOAT8_E4M3FN,
    FLOAT8_E5M2,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    LANES,
    Binary,
    is_complex,
    write_npy,
    write_safetensors,
)

NARROW = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2", "F4")
SAFETENSORS = ("F16", "BF16", "F32", "F64", "C64", *NARROW)
NPY = tuple(order + code for order in "<>" for code in ("f2", "f4", "f8", "c8", "c16"))
SHORT = ("F16", "BF16", "<f2", ">f2", *NARROW)
LIKE_OTHERS = ("F8_E5M2FNUZ", "F6_E3M2")  # but for how many bits are those of the fraction
ROUNDED = ("F16", "BF16", "F32", *NARROW)

every_dtype = pytest.mark.parametrize("code", SAFETENSORS + NPY)
every_short_dtype = pytest.mark.parametrize("code", SHORT)
every_rounded_dtype = pytest.mark.parametrize("code", ROUNDED)


@cache
def dtype_of(code: str) -> DType:
    """Give what gradclip reads from a file that says `code`."""
    with TemporaryDirectory() as folder:
        if code in SAFETENSORS:
            path = write_safetensors(Path(folder) / "a.safetensors", {"a": (code, (0,), b"")})
        else:
            path = write_npy(Path(folder) / "a.npy", (code, (0,), b""))
        return find([str(path)]).open().tensors[0].dtype


def binary(code: str) -> Binary:
    return LANES[code.lstrip("<>")]


def order(code: str) -> str:
    return ">" if code.startswith(">") else "<"


def decoded(code: str, data: bytes) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):
        return decode(np.frombuffer(data, np.uint8), dtype_of(code)).astype(np.float64)


def encoded(
    code: str, values: Sequence[float] | NDArray[np.float64]
) -> tuple[tuple[int, ...], int]:
    """Give the codes of the values, and how many were saturated."""
    numbers = np.array(values, np.float64)
    count = numbers.size
    numbers = np.append(numbers, np.zeros(-count % 4))  # as many as fill whole bytes
    stored = np.full(numbers.size * binary(code).bits // 8, 0xAA, np.uint8)
    before = numbers.tobytes()
    with np.errstate(all="ignore"):
        saturated = encode(numbers, dtype_of(code), stored)
    assert numbers.tobytes() == before, "the values are not changed"
    return binary(code).unpack(stored.tobytes(), order(code))[:count], saturated


def same(found: float, exact: float) -> bool:
    """Say whether two floats are the same one, of NaN there being one and of zeros two."""
    if math.isnan(exact):
        return math.isnan(found)
    return found == exact and math.copysign(1.0, found) == math.copysign(1.0, exact)


def nan_as_one(code: str, found: Sequence[int]) -> list[int]:
    """Give the codes with all NaN made one, so that lists of them can be compared."""
    form = binary(code)
    return [form.nan if math.isnan(form.value(some)) else some for some in found]


def finite_codes(form: Binary) -> st.SearchStrategy[int]:
    """Codes without sign: anything finite, the ends of the ladder more often than others."""
    ends = (0, 1, 2, form.top - 1, form.top, 1 << form.fraction_bits, (1 << form.fraction_bits) - 1)
    return st.one_of(st.sampled_from(ends), st.integers(0, form.top))


def near_rungs(form: Binary) -> st.SearchStrategy[float]:
    """Float64 values at, between and a hair beside what a format holds."""

    def value(code: int, quarters: int, nudges: int, negative: bool) -> float:
        low, high = form.rung(code), form.rung(code + 1)
        exact = float(low + (high - low) * Fraction(quarters, 4))
        for _ in range(abs(nudges)):
            exact = math.nextafter(exact, math.copysign(math.inf, nudges))
        return -exact if negative else exact

    return st.builds(
        value, finite_codes(form), st.integers(0, 3), st.integers(-2, 2), st.booleans()
    )


def any_float() -> st.SearchStrategy[float]:
    """Float64 values of any bit pattern."""
    return st.integers(0, 2**64 - 1).map(FLOAT64.value)


# Decoding


@every_short_dtype
def test_each_code_is_decoded_to_exactly_the_value_that_it_stands_for(code: str) -> None:
    form = binary(code)
    codes = range(1 << form.bits)

    found = decoded(code, form.pack(codes, order(code)))

    wrong = [hex(some) for some in codes if not same(float(found[some]), form.value(some))]
    assert not wrong


@every_short_dtype
def test_a_block_of_finite_codes_alone_is_decoded_exactly(code: str) -> None:
    # float16 takes another way where a block holds infinities or NaN, so the test above, which
    # has them in every block, does not see the common one.
    form = binary(code)
    sizes = range(form.top + 1)
    codes = [*sizes, *(form.negative(size) for size in sizes if form.negative(size) != size)]
    codes = codes[: len(codes) // 4 * 4]

    found = decoded(code, form.pack(codes, order(code)))

    pairs = zip(codes, found.tolist(), strict=True)
    assert not [hex(some) for some, value in pairs if not same(value, form.value(some))]


@every_dtype
@settings(max_examples=50)
@given(data=st.binary(min_size=96, max_size=96))
def test_any_bit_patterns_are_decoded_exactly(code: str, data: bytes) -> None:
    form = binary(code)

    found = decoded(code, data)

    codes = form.unpack(data, order(code))
    assert all(map(same, found.tolist(), map(form.value, codes)))


@pytest.mark.parametrize("code", ["F16", "F32", "F64", "C64", *NPY])
def test_the_words_of_struct_are_decoded_to_the_values_of_struct(code: str) -> None:
    letters = {FLOAT16: "e", FLOAT32: "f", FLOAT64: "d"}
    values = (1.5, -0.0, 65504.0, -(2.0**-24), math.inf, -math.inf)
    data = struct.pack(f"{order(code)}6{letters[binary(code)]}", *values)

    assert all(map(same, decoded(code, data).tolist(), values))


@pytest.mark.parametrize("code", ["BF16", *NARROW])
def test_decoding_agrees_with_ml_dtypes(code: str) -> None:
    form = binary(code)
    data = form.pack(range(1 << form.bits))
    with np.errstate(all="ignore"):
        theirs = codes_of_peer(code).astype(np.float64)

    np.testing.assert_array_equal(decoded(code, data), theirs)


def test_a_dtype_knows_how_many_real_numbers_a_value_is() -> None:
    for code in SAFETENSORS + NPY:
        assert dtype_of(code).lanes == (2 if is_complex(code) else 1)
        assert dtype_of(code).kind == ("complex" if is_complex(code) else "float")


def peer_dtype(code: str) -> Any:
    name = binary(code).name
    return np.float16 if name == "float16" else getattr(ml_dtypes, name)


def codes_of_peer(code: str) -> Any:
    """Give all codes in a row as the array of ml_dtypes, which has a byte for each at least."""
    form = binary(code)
    return np.arange(1 << form.bits, dtype=f"u{-(-form.bits // 8)}").view(peer_dtype(code))


# Encoding


@every_dtype
@settings(max_examples=50)
@given(data=st.binary(min_size=96, max_size=96))
def test_encoding_what_was_decoded_gives_the_same_bytes(code: str, data: bytes) -> None:
    found, saturated = encoded(code, decoded(code, data))

    codes = binary(code).unpack(data, order(code))
    assert nan_as_one(code, found) == nan_as_one(code, codes)
    assert not saturated


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, marks=pytest.mark.heavy if code in LIKE_OTHERS else [])
        for code in (*ROUNDED, ">f4", "C64")
    ],
)
@settings(max_examples=60)
@given(data=st.data())
def test_a_value_is_rounded_once_to_nearest_even(code: str, data: st.DataObject) -> None:
    form = binary(code)
    values = data.draw(
        st.lists(st.one_of(near_rungs(form), any_float()), min_size=4, max_size=16), label="values"
    )
    values = values[: len(values) // 2 * 2]
    if form.kind == "finite":
        values = [value for value in values if not math.isnan(value)]

    found, saturated = encoded(code, values)

    assert nan_as_one(code, found) == nan_as_one(code, [form.rounded(value) for value in values])
    assert saturated == sum(map(form.saturates, values))


@pytest.mark.parametrize("code", [">f8", "<f8", "F64", "<c16", ">c16"])
@settings(max_examples=50)
@given(values=st.lists(any_float(), min_size=2, max_size=2))
def test_float64_is_written_as_it_is(code: str, values: list[float]) -> None:
    found, saturated = encoded(code, values)

    assert all(map(same, map(FLOAT64.value, found), values))
    assert not saturated


@every_rounded_dtype
def test_halfway_between_neighbours_a_hair_decides_and_a_tie_is_even(code: str) -> None:
    # By way of float32 the hair is lost: 25 to 53 bits lie between the tie and its neighbours.
    form = binary(code)
    if form.bits == 32:
        codes = {0, 1, 2, 0x7FFFFF, 0x800000, form.top - 1, form.top}
        codes |= set(np.random.default_rng(3).integers(0, form.top, 20_000).tolist())
    else:
        codes = set(range(form.top + 1))
    cases: list[tuple[float, int]] = []
    for low in codes:
        value = form.value(low)
        beyond = form.value(low + 1) if low < form.top else float(form.rung(low + 1))
        tie = (value + beyond) / 2  # exact: it has one bit more than the format
        cases += (
            (value, low),
            (math.nextafter(tie, 0), low),
            (tie, low + low % 2),
            (math.nextafter(tie, math.inf), low + 1),
        )
    values = np.array([value for value, _ in cases])
    sizes = [size if form.infinite else min(size, form.top) for _, size in cases]

    assert encoded(code, values)[0] == tuple(sizes)
    assert encoded(code, -values)[0] == tuple(map(form.negative, sizes))


@pytest.mark.parametrize(
    ("code", "largest", "halfway"),
    [
        ("F16", 65504.0, 65520.0),
        ("BF16", 2.0**128 - 2.0**120, 2.0**128 - 2.0**119),
        ("F32", 2.0**128 - 2.0**104, 2.0**128 - 2.0**103),
        ("F8_E5M2", 57344.0, 61440.0),
    ],
)
def test_a_value_overflows_to_infinity_from_halfway_past_the_largest(
    code: str, largest: float, halfway: float
) -> None:
    within = math.nextafter(halfway, 0)
    values = [largest, within, halfway, 1e300, math.inf, -within, -halfway, -math.inf]

    found, saturated = encoded(code, values)

    assert [binary(code).value(some) for some in found] == [
        *(largest, largest, math.inf, math.inf, math.inf),
        *(-largest, -math.inf, -math.inf),
    ]
    assert saturated == 0


def test_float8_e4m3fn_saturates_and_counts_what_does_not_fit() -> None:
    beyond = math.nextafter(464.0, math.inf)
    values = [448.0, 464.0, beyond, -beyond, 1e300, math.inf, -math.inf, math.nan, -464.0, 0.0]

    found, saturated = encoded("F8_E4M3", values)

    sizes = [FLOAT8_E4M3FN.value(some) for some in found]
    assert sizes[:7] == [448.0, 448.0, 448.0, -448.0, 448.0, 448.0, -448.0]
    assert math.isnan(sizes[7])
    assert sizes[8:] == [-448.0, 0.0]
    assert saturated == 5  # 464 is a tie, whose even neighbour is 448


@every_rounded_dtype
def test_what_is_less_than_half_the_smallest_value_becomes_zero_of_its_sign(code: str) -> None:
    form = binary(code)
    half = form.smallest / 2

    found, _ = encoded(code, [half, -half, -math.nextafter(half, 1), 5e-324, -5e-324, -0.0])

    zero = form.negative(0)
    assert found == (0, zero, form.sign | 1, 0, zero, zero)


@pytest.mark.parametrize("code", [code for code in ROUNDED if binary(code).kind != "finite"])
@pytest.mark.parametrize("payload", [1, 1 << 28, 1 << 29, 1 << 44, 1 << 51, (1 << 52) - 1])
def test_a_nan_stays_one_whatever_its_payload(code: str, payload: int) -> None:
    patterns = [sign << 63 | 0x7FF << 52 | payload for sign in (0, 1)]

    found, saturated = encoded(code, np.array(patterns, np.uint64).view(np.float64))

    assert all(math.isnan(binary(code).value(some)) for some in found)
    assert not saturated


@pytest.mark.parametrize("code", ["F16", "BF16", *NARROW])
def test_encoding_float32_values_agrees_with_ml_dtypes_and_numpy(code: str) -> None:
    form = binary(code)
    limit = float(form.rung(form.top) + form.rung(form.top + 1)) / 2
    patterns = np.random.default_rng(5).integers(0, 2**32, 400_000, np.uint32)
    values = patterns.view(np.float32)
    with np.errstate(all="ignore"):
        scaled = np.exp2(np.random.default_rng(6).uniform(-26, 16, 400_000)).astype(np.float32)
        values = np.concatenate([values, scaled, -scaled])
        values = values[np.abs(values) < limit]
        theirs = values.astype(peer_dtype(code))

    found, saturated = encoded(code, values.astype(np.float64))

    assert found == tuple(theirs.view(f"u{theirs.itemsize}").tolist())
    assert not saturated


@pytest.mark.parametrize("code", ["F16", ">f2"])
def test_float16_is_rounded_once_beside_every_one_and_every_tie(code: str) -> None:
    sizes = np.arange(0x7C01, dtype=np.uint16).view(np.float16).astype(np.float64)
    sizes[-1] = 65536.0  # where the next would be, if there were one
    ties = (sizes[:-1] + sizes[1:]) / 2
    nudges = [0.0, *(sign * 2.0**-bits for bits in (23, 24, 25, 30, 52) for sign in (1, -1))]
    values = np.concatenate([some * (1 + nudge) for some in (sizes, ties) for nudge in nudges])

    for sign in (1.0, -1.0):
        with np.errstate(all="ignore"):
            expected = (sign * values).astype(np.float16).view(np.uint16)  # NumPy rounds once
        assert encoded(code, sign * values)[0] == tuple(expected.tolist())


@pytest.mark.parametrize("code", [">f2", ">f4", ">f8", ">c8", ">c16"])
@settings(max_examples=50)
@given(values=st.lists(any_float(), min_size=2, max_size=2))
def test_byte_order_is_the_only_difference_between_big_and_little_endian(
    code: str, values: list[float]
) -> None:
    assert encoded(code, values) == encoded(code.replace(">", "<"), values)


# The oracle


@given(value=st.one_of(near_rungs(FLOAT16), near_rungs(FLOAT32), any_float()))
@example(value=65519.99999999999)
@example(value=-0.0)
@example(value=2.0**-25)
def test_the_oracle_rounds_as_struct_does(value: float) -> None:
    for form, letter in ((FLOAT16, "e"), (FLOAT32, "f"), (FLOAT64, "d")):
        found = form.value(form.rounded(value))
        try:
            theirs = struct.unpack(letter, struct.pack(letter, value))[0]
        except OverflowError:
            theirs = math.copysign(math.inf, value)
        assert same(found, theirs)


@pytest.mark.parametrize("form", [FLOAT8_E4M3FN, FLOAT8_E5M2], ids=lambda form: form.name)
def test_the_oracle_of_float8_has_the_values_of_the_paper(form: Binary) -> None:
    # Micikevicius et al., "FP8 Formats for Deep Learning" (2022), table 1.
    largest, smallest_normal, smallest = {
        FLOAT8_E4M3FN: (448.0, 2.0**-6, 2.0**-9),
        FLOAT8_E5M2: (57344.0, 2.0**-14, 2.0**-16),
    }[form]
    nearest: Callable[[float], float] = lambda value: form.value(form.rounded(value))  # noqa: E731

    assert (form.largest, form.smallest) == (largest, smallest)
    assert form.value(1 << form.fraction_bits) == smallest_normal
    assert [nearest(value) for value in (1.0, -0.5, largest)] == [1.0, -0.5, largest]
    assert [form.value(form.sign - 1), form.value(form.top + 1)] == [
        pytest.approx(math.nan, nan_ok=True),
        pytest.approx(math.inf if form.infinite else math.nan, nan_ok=True),
    ]
