"""What `apply` writes: every value, every byte that is none, and what the report says of them.

The law: an output value is `float64(x * coefficient)` rounded once to the stored dtype, and the
coefficient is `clip_norm / global_norm`, or 1 where the norm is within the limit.
"""

import math
import os
import random
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import gradclip_cli
from gradclip_cli import GradclipError, RefusedError, Report
from gradclip_cli.engine import sweep
from gradclip_cli.measure import spans
from gradclip_cli.measure.rows import ROW
from gradclip_cli.results.figures import Clipped
from gradclip_cli.rewrite import edits, passes, streams
from tests.dumps import (
    LANES,
    Stored,
    exact_norm,
    floats,
    is_complex,
    lanes,
    read_npy,
    read_safetensors,
    safetensors_bytes,
    write_npy,
    write_safetensors,
)


@dataclass(frozen=True)
class Case:
    """A dtype as some file stores it, and how to write and read such a file."""

    code: str
    fortran: bool = False

    @property
    def is_npy(self) -> bool:
        """Whether an npy file stores it so."""
        return self.code[0] in "<>"

    def write(self, path: Path, shape: tuple[int, ...], codes: Iterable[int]) -> Path:
        """Write a file of one tensor with these codes, or lanes of them."""
        bare = self.code.lstrip("<>")
        stored = self.code, shape, LANES[bare].pack(codes, ">" if self.code[0] == ">" else "<")
        if self.is_npy:
            return write_npy(path, stored, self.fortran)
        return write_safetensors(path, {"layer.weight": stored}, {"format": "pt"})

    def read(self, path: Path) -> tuple[bytes, Stored]:
        """Give the file's header and its tensor."""
        if self.is_npy:
            npy = read_npy(path)
            return npy.header, npy.array
        file = read_safetensors(path)
        return file.header, file.tensors["layer.weight"]

    def codes(self, stored: Stored) -> list[int]:
        """Give the codes of a tensor."""
        order = ">" if self.code[0] == ">" else "<"
        return list(LANES[self.code.lstrip("<>")].unpack(stored[2], order))

    def __str__(self) -> str:
        return self.code + "-fortran" * self.fortran


SAFETENSORS = [Case(code) for code in ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2", "C64")]
NPY = [
    Case(order + code, fortran)
    for order in "<>"
    for code in ("f2", "f4", "f8", "c8", "c16")
    for fortran in (False, True)
]
every_case = pytest.mark.parametrize("case", SAFETENSORS + NPY, ids=str)
every_dtype = pytest.mark.parametrize("case", SAFETENSORS, ids=str)

SHAPE = (3, 4, 5)


@pytest.fixture(autouse=True, scope="module")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Leave flushing to the kernel: these tests are about values and read them from its cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


def clipped(report: Report) -> Clipped:
    assert report.clipped is not None
    return report.clipped


def finite_codes(case: Case, seed: int, count: int = math.prod(SHAPE)) -> list[int]:
    """Give random codes, all of them finite, small enough for their norm to be so, too."""
    form = LANES[case.code.lstrip("<>")]
    chance = random.Random(seed)
    top = form.top if form.bits < 64 else form.top - (8 << form.fraction_bits)
    count *= 2 if is_complex(case.code) else 1
    sizes = [0, 1, 2, 1 << form.fraction_bits, top, *(chance.randint(0, top) for _ in range(count))]
    return [size | form.sign * chance.randint(0, 1) for size in sizes[:count]]


def ordinary_codes(case: Case, seed: int, count: int = math.prod(SHAPE)) -> list[int]:
    """Give the codes of values between 1/4 and 4, of either sign."""
    form = LANES[case.code.lstrip("<>")]
    chance = random.Random(seed)
    count *= 2 if is_complex(case.code) else 1
    low, high = form.rounded(0.25), form.rounded(4.0)
    return [chance.randint(low, high) | form.sign * chance.randint(0, 1) for _ in range(count)]


def pairs(values: Sequence[float]) -> list[tuple[float, ...]]:
    return list(zip(values[::2], values[1::2], strict=True))


def count_zeros(case: Case, values: Sequence[float]) -> int:
    return (
        sum(not any(pair) for pair in pairs(values)) if is_complex(case.code) else values.count(0)
    )


# The law


@every_case
@pytest.mark.parametrize("fraction", [0.7, 1e-3])
def test_each_value_is_its_product_with_the_coefficient_rounded_once(
    tmp_path: Path, case: Case, fraction: float
) -> None:
    form = LANES[case.code.lstrip("<>")]
    for seed in (1, 2):
        source = case.write(tmp_path / "in", SHAPE, finite_codes(case, seed))
        before = lanes(case.read(source)[1])
        limit = exact_norm(before) * fraction

        report = gradclip_cli.apply(source, clip_norm=limit, output=tmp_path / "out", force=True)

        header, after = case.read(tmp_path / "out")
        found = clipped(report)
        assert found.norm_before == pytest.approx(exact_norm(before), rel=1e-14)
        assert found.coefficient == limit / found.norm_before
        assert case.codes(after) == [form.rounded(value * found.coefficient) for value in before]
        assert header == case.read(source)[0]
        assert found.clipped
        assert found.norm_after == pytest.approx(exact_norm(lanes(after)), rel=1e-14)
        zeros = count_zeros(case, lanes(after)) - count_zeros(case, before)
        assert found.flushed == zeros
        assert found.saturated == 0
        assert report.global_norm == found.norm_before


@every_dtype
@settings(max_examples=12)
@given(
    data=st.binary(min_size=64, max_size=64),
    share=st.floats(2.0**-20, 1, exclude_max=True, allow_subnormal=False),
)
def test_any_finite_bit_patterns_are_clipped_by_the_law(
    tmp_path_factory: pytest.TempPathFactory, case: Case, data: bytes, share: float
) -> None:
    form = LANES[case.code]
    folder = tmp_path_factory.getbasetemp()
    codes = [code if math.isfinite(form.value(code)) else 1 for code in form.unpack(data)]
    norm = exact_norm(map(form.value, codes))
    if not 0 < norm < math.inf or norm * share == 0:
        return
    source = case.write(
        folder / "in", (64 // (8 if case.code == "C64" else form.bits // 8),), codes
    )

    report = gradclip_cli.apply(
        source, clip_norm=norm * share, output=folder / "out", force=True, workers=1
    )

    coefficient = clipped(report).coefficient
    assert coefficient is not None
    assert case.codes(case.read(folder / "out")[1]) == [
        form.rounded(form.value(code) * coefficient) if clipped(report).clipped else code
        for code in codes
    ]


@every_case
def test_at_or_below_the_limit_the_output_is_the_input_byte_for_byte(
    tmp_path: Path, case: Case
) -> None:
    source = case.write(tmp_path / "in", SHAPE, finite_codes(case, 3))
    norm = gradclip_cli.inspect(source).global_norm

    for limit in (norm, math.nextafter(norm, math.inf), 1.7e308):
        report = gradclip_cli.apply(source, clip_norm=limit, output=tmp_path / "out", force=True)

        assert (tmp_path / "out").read_bytes() == source.read_bytes()
        found = clipped(report)
        assert (found.coefficient, found.clipped, found.flushed) == (1.0, False, 0)
        assert found.norm_after == found.norm_before == norm


@every_dtype
def test_a_unit_above_the_limit_is_clipped(tmp_path: Path, case: Case) -> None:
    source = case.write(tmp_path / "in", SHAPE, finite_codes(case, 3))
    norm = gradclip_cli.inspect(source).global_norm
    limit = math.nextafter(norm, 0)

    found = clipped(gradclip_cli.apply(source, clip_norm=limit, output=tmp_path / "out"))

    assert found.clipped
    assert found.coefficient == limit / norm < 1


@pytest.mark.parametrize("case", [*SAFETENSORS, Case(">f4", fortran=True), Case(">c16")], ids=str)
def test_a_second_run_at_the_same_limit_changes_at_most_one_rounding(
    tmp_path: Path, case: Case
) -> None:
    # The first result can lie above the limit by its own rounding: a unit of float64 at most, where
    # that is the stored dtype, which is two units of a value just below a power of two.
    units = 2 if case.code in ("F64", ">c16") else 1
    beyond = 0
    for seed in range(10):
        limit = 1 + seed / 10
        source = case.write(tmp_path / "in", SHAPE, ordinary_codes(case, seed))
        first = clipped(
            gradclip_cli.apply(source, clip_norm=limit, output=tmp_path / "one", force=True)
        )
        second = clipped(
            gradclip_cli.apply(
                tmp_path / "one", clip_norm=limit, output=tmp_path / "two", force=True
            )
        )

        assert first.clipped
        assert first.norm_after is not None
        assert second.norm_before == first.norm_after
        one, two = (case.codes(case.read(tmp_path / name)[1]) for name in ("one", "two"))
        if first.norm_after <= limit:
            assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
            assert not second.clipped
        else:
            beyond += 1
            assert all(0 <= early - late <= units for early, late in zip(one, two, strict=True))
    assert 0 < beyond < 10, "both kinds of results were seen"


def test_the_norm_of_the_result_is_the_limit_to_the_dtypes_own_rounding(tmp_path: Path) -> None:
    for code, tolerance in (("F64", 2e-16), ("F32", 1e-7), ("F16", 4e-4), ("BF16", 3e-3)):
        case = Case(code)
        source = case.write(tmp_path / "in", (500,), ordinary_codes(case, 5, 500))

        report = gradclip_cli.apply(source, clip_norm=5.0, output=tmp_path / "out", force=True)

        assert clipped(report).norm_after == pytest.approx(5.0, rel=tolerance)


# Zero to nine

NORM = 16.881943016134134
FIRST_THREE = [0.0, 0.29617444, 0.59234888]


def clipped_by_hand() -> list[float]:
    return [number * (5.0 / NORM) for number in range(10)]


def test_zero_to_nine_has_the_norm_of_the_issue_and_is_written_as_float64(tmp_path: Path) -> None:
    source, target = tmp_path / "in.npy", tmp_path / "out.npy"
    np.save(source, np.arange(10))

    assert gradclip_cli.inspect(source).global_norm == NORM
    report = gradclip_cli.apply(source, clip_norm=5.0, output=target)

    found = clipped(report)
    assert (found.norm_before, found.coefficient) == (NORM, 5.0 / NORM)
    assert found.norm_after in (math.nextafter(5.0, 0), 5.0, math.nextafter(5.0, 6))
    written = np.load(target)
    assert written.dtype == np.dtype("<f8")
    assert written.tolist() == clipped_by_hand()
    assert written[:3] == pytest.approx(FIRST_THREE, abs=5e-9)
    assert any("float64" in note for note in report.notes)


def test_zero_to_nine_as_scalars_in_one_file_has_the_same_norm(tmp_path: Path) -> None:
    tensors = {f"g{number}": floats("F32", (), [number]) for number in range(10)}
    source = write_safetensors(tmp_path / "in.safetensors", tensors)
    target = tmp_path / "out.safetensors"

    report = gradclip_cli.apply(source, clip_norm=5.0, output=target)

    assert clipped(report).norm_before == NORM
    assert read_safetensors(target).tensors == {
        f"g{number}": floats("F32", (), [value]) for number, value in enumerate(clipped_by_hand())
    }


@pytest.mark.parametrize("descr", ["<f4", ">f4", "<f8", "<i8", "|u1", ">i2"])
def test_zero_to_nine_as_ten_files_has_the_same_norm(tmp_path: Path, descr: str) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(10):
        np.save(source / f"g{number}.npy", np.array(number, descr))

    report = gradclip_cli.apply(source, clip_norm=5.0, output=target)

    assert clipped(report).norm_before == NORM == report.global_norm
    assert len(report.files) == 10
    dtype = descr if "f" in descr else "<f8"
    for number, value in enumerate(clipped_by_hand()):
        written = np.load(target / f"g{number}.npy")
        assert written.dtype == np.dtype(dtype)
        assert written == np.array(value, dtype)
        assert written.shape == ()


# Integers


def integers(code: str, shape: tuple[int, ...], values: Sequence[int]) -> Stored:
    dtype = np.dtype(code.lower().replace("i", "int").replace("u", "uint"))
    return code, shape, np.array(values, dtype.newbyteorder("<")).tobytes()


INTEGERS: dict[str, Stored] = {
    "b": integers("I64", (2,), [3, -4]),
    "mask": ("BOOL", (3,), b"\x01\x00\x01"),
    "a": integers("U8", (3,), [0, 12, 255]),
    "none": integers("I32", (0, 4), []),
    "c": integers("I16", (2, 2), [-32768, 1, 2, 3]),
    "odd mask": ("BOOL", (), b"\x01"),
    "d": integers("U64", (1,), [2**53]),
}
METADATA = {"format": "np", "step": "7", 'Ä\u2028"': "\\ é"}


@pytest.mark.parametrize("limit", [1.0, 1e300])
def test_integers_alone_become_float64_and_booleans_and_metadata_stay(
    tmp_path: Path, limit: float
) -> None:
    lie = ["odd mask", "c", "none", "mask", "d", "a", "b"]
    source = write_safetensors(tmp_path / "in.safetensors", INTEGERS, METADATA, lie)
    target = tmp_path / "out.safetensors"

    report = gradclip_cli.apply(source, clip_norm=limit, output=target)

    values = [3, -4, 12, 255, -32768, 1, 2, 3, 2**53]
    assert clipped(report).norm_before == pytest.approx(exact_norm(map(float, values)), rel=1e-15)
    coefficient = clipped(report).coefficient
    assert coefficient is not None
    assert clipped(report).clipped == (limit == 1.0)
    written = read_safetensors(target)
    assert written.metadata == METADATA
    assert list(written.tensors) == list(INTEGERS)
    library = load_file(target)
    assert library.keys() == INTEGERS.keys()
    for name, (code, shape, data) in INTEGERS.items():
        if code == "BOOL":
            assert written.tensors[name] == (code, shape, data)
            continue
        numbers = np.frombuffer(data, code.lower().replace("i", "int").replace("u", "uint"))
        expected = [float(number) * coefficient for number in numbers.tolist()]
        assert written.tensors[name] == floats("F64", shape, expected)
        assert library[name].dtype == np.float64
        assert library[name].shape == shape
        assert library[name].reshape(-1).tolist() == expected
    assert any("float64" in note for note in report.notes)


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("descr", ["|i1", "|u1", "<i2", ">u2", "<i4", ">i4", "<i8", ">u8"])
def test_integers_of_any_kind_become_float64_in_their_memory_order(
    tmp_path: Path, descr: str, fortran: bool
) -> None:
    numbers = np.arange(100, 106).astype(descr).reshape(2, 3, order="F" if fortran else "C")
    np.save(tmp_path / "in.npy", numbers)

    report = gradclip_cli.apply(tmp_path / "in.npy", clip_norm=1.0, output=tmp_path / "out.npy")

    written = np.load(tmp_path / "out.npy")
    assert written.dtype == np.dtype("<f8")
    assert written.flags.f_contiguous == fortran
    np.testing.assert_array_equal(written, numbers.astype(float) * clipped(report).coefficient)


def test_integers_beside_floats_are_a_step_counter_and_stay(tmp_path: Path) -> None:
    tensors = {
        "step": integers("I64", (1,), [1000]),
        "weight": floats("F32", (2,), [3.0, 4.0]),
        "mask": ("BOOL", (2,), b"\x00\x01"),
    }
    source = write_safetensors(tmp_path / "in.safetensors", tensors)
    target = tmp_path / "out.safetensors"

    report = gradclip_cli.apply(source, clip_norm=1.0, output=target)

    assert clipped(report).norm_before == 5.0
    written = read_safetensors(target)
    assert written.header == read_safetensors(source).header
    assert written.tensors == {
        **tensors,
        "weight": floats("F32", (2,), [3 * (1 / 5), 4 * (1 / 5)]),
    }
    assert {row.name: row.measured for row in report.tensors} == {
        "weight": True,
        "step": False,
        "mask": False,
    }


def test_an_integer_file_beside_a_float_file_is_a_step_counter_and_stays(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    np.save(source / "step.npy", np.array(1000))
    np.save(source / "weight.npy", np.array([3.0, 4.0]))

    report = gradclip_cli.apply(source, clip_norm=1.0, output=target)

    assert clipped(report).norm_before == 5.0
    assert (target / "step.npy").read_bytes() == (source / "step.npy").read_bytes()


def test_booleans_alone_are_not_gradients(tmp_path: Path) -> None:
    source = write_safetensors(tmp_path / "in.safetensors", {"a": ("BOOL", (2,), b"\x01\x01")})

    report = gradclip_cli.apply(source, clip_norm=1.0, output=tmp_path / "out")

    assert report.global_norm == 0.0
    assert report.measured == 0
    assert report.notes == ("norm of 0 of 1 tensors",)
    assert (tmp_path / "out").read_bytes() == source.read_bytes()


# Every byte that is no value


def mixed() -> dict[str, Stored]:
    """Give tensors of every kind: large, small, empty, scalar, integer, boolean."""
    chance = np.random.default_rng(7)

    def normal(code: str, *shape: int) -> Stored:
        values = chance.standard_normal(math.prod(shape) * (2 if code == "C64" else 1))
        if code == "BF16":
            return code, shape, (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        dtypes = {"F16": "<f2", "F32": "<f4", "C64": "<f4", "F64": "<f8"}
        return code, shape, values.astype(dtypes[code]).tobytes()

    return {
        "head": normal("F32", 3, 5 * ROW + 7),
        "step": integers("I64", (), [12345]),
        "scale": normal("F32"),
        "bias.0": normal("F32", 17),
        "bias.1": normal("F32", ROW),
        "none": normal("F32", 0, 3),
        "bias.2": normal("F32", ROW + 1),
        "half": normal("F16", ROW + 1),
        "brain": normal("BF16", 2 * ROW, 3),
        "wave": normal("C64", 2 * ROW + 5),
        "mask": ("BOOL", (5,), b"\x00\x01\x00\x01\x01"),
        "double": normal("F64", 4 * ROW + 1),
        "bias.3": normal("F64", 9),
        "tiny": ("F8_E5M2", (300,), bytes(chance.integers(0, 0x7C, 300, np.uint8))),
        "small": ("F8_E4M3", (254,), bytes(code for code in range(256) if code & 0x7F != 0x7F)),
    }


# Where "none" lies is where "head" begins, which the header names before it.
LIE = ["mask", "tiny", "none", "head", "half", "step", "bias.3", "bias.0", "bias.1", "scale"]


def write_mixed(path: Path) -> Path:
    tensors = mixed()
    lie = LIE + [name for name in tensors if name not in LIE]
    return write_safetensors(path, tensors, METADATA, lie)


def test_clipping_changes_values_and_nothing_else(tmp_path: Path) -> None:
    source, target = write_mixed(tmp_path / "in.safetensors"), tmp_path / "out.safetensors"

    found = clipped(gradclip_cli.apply(source, clip_norm=9.0, output=target))

    before, after = read_safetensors(source), read_safetensors(target)
    assert after.header == before.header
    letters = {"F16": "e", "F32": "f", "F64": "d", "C64": "f"}  # struct rounds once, too
    for name, stored in before.tensors.items():
        code, _, data = stored
        if code not in LANES:
            assert after.tensors[name] == stored
            continue
        assert found.coefficient is not None
        if code in letters:
            products = [value * found.coefficient for value in lanes(stored)]
            assert after.tensors[name][2] == struct.pack(
                f"<{len(products)}{letters[code]}", *products
            )
        else:
            form = LANES[code]
            codes = form.unpack(data)
            rounded = {
                each: form.rounded(form.value(each) * found.coefficient) for each in set(codes)
            }
            assert after.tensors[name][2] == form.pack(rounded[each] for each in codes)


def test_odd_but_sound_headers_are_kept_to_the_byte(tmp_path: Path) -> None:
    header = (
        b'  {"b" :{"data_offsets":[8,16],"dtype":"F32","shape":[2]},\n"__metadata__":{},'
        b'"\\u0061":{"shape":[2,1],"dtype":"F32","data_offsets":[0,8]}}   '
    )
    data = np.array([3.0, 4.0, 0.0, 12.0], "<f4").tobytes()
    source = tmp_path / "in.safetensors"
    source.write_bytes(len(header[2:]).to_bytes(8, "little") + header[2:] + data)

    found = clipped(gradclip_cli.apply(source, clip_norm=6.5, output=tmp_path / "out"))

    assert (found.norm_before, found.coefficient, found.norm_after) == (13.0, 0.5, 6.5)
    assert (tmp_path / "out").read_bytes() == (
        source.read_bytes()[: -len(data)] + np.array([1.5, 2.0, 0.0, 6.0], "<f4").tobytes()
    )


@pytest.mark.parametrize("version", [1, 2, 3])
def test_npy_headers_of_every_version_are_kept_to_the_byte(tmp_path: Path, version: int) -> None:
    source = write_npy(tmp_path / "in.npy", floats("<f4", (2,), [3, 4]), version=version)

    gradclip_cli.apply(source, clip_norm=2.5, output=tmp_path / "out.npy")

    assert read_npy(tmp_path / "out.npy").header == read_npy(source).header
    assert np.load(tmp_path / "out.npy").tolist() == [1.5, 2.0]


@pytest.mark.parametrize("code", ["F16", "BF16", "<f2", ">f2"])
@pytest.mark.parametrize(
    "wish",
    [
        {"clip_norm": 1.0, "nonfinite": "propagate", "use_norm": 3.0},
        {"clip_norm": 1e-9, "nonfinite": "zero"},
        {"clip_value": 0.3, "nonfinite": "propagate"},
        {"clip_value": (-1e-5, 2.0), "nonfinite": "zero"},
    ],
)
def test_what_is_looked_up_for_many_values_is_what_is_computed_for_few(
    code: str, wish: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = list(range(1 << 16))
    random.Random(7).shuffle(every)
    source = Case(code).write(tmp_path / "in", (1 << 18,), every * 4)
    asked: list[object] = []
    tabulated = edits.tabulated

    def noted(*given: Any) -> Any:
        asked.append(given)
        return tabulated(*given)

    monkeypatch.setattr(passes, "tabulated", noted)
    looked_up = gradclip_cli.apply(source, output=tmp_path / "looked up", **wish)
    assert len(asked) == 1
    monkeypatch.setattr(passes, "_WORTH_A_TABLE", 1 << 30)
    computed = gradclip_cli.apply(source, output=tmp_path / "computed", **wish)

    assert len(asked) == 1
    assert (tmp_path / "looked up").read_bytes() == (tmp_path / "computed").read_bytes()
    assert repr(looked_up) == repr(computed)
    assert (tmp_path / "computed").read_bytes() != source.read_bytes()


# The same digits however the work is cut


def digits(path: Path, limit: float, **options: Any) -> tuple[str, str, bytes]:
    """Give the reports of both commands and the bytes written."""
    target = path.parent / "digits.out"
    inspected = gradclip_cli.inspect(path, workers=options.get("workers"))
    report = gradclip_cli.apply(path, clip_norm=limit, output=target, force=True, **options)
    written = target.read_bytes()
    return repr(inspected), repr(report), written


def set_sizes(patch: pytest.MonkeyPatch, block: int, span_bytes: int, items: int) -> None:
    """Cut work differently: values a block, bytes a span, spans a batch."""
    patch.setattr(spans, "BLOCK", block)
    patch.setattr(spans, "SPAN_BYTES", span_bytes)
    patch.setattr(passes, "SPAN_BYTES", span_bytes)
    patch.setattr(spans.cut, "__defaults__", (span_bytes, False, ()))
    patch.setattr(sweep.swept, "__defaults__", (span_bytes,))
    patch.setattr(sweep, "BATCH_ITEMS", items)


@pytest.mark.parametrize(
    "nonfinite",
    ["zero", *(pytest.param(one, marks=pytest.mark.heavy) for one in ("refuse", "skip"))],
)
def test_digits_and_bytes_do_not_depend_on_workers_blocks_or_spans(
    tmp_path: Path, nonfinite: str
) -> None:
    source = write_mixed(tmp_path / "in.safetensors")
    if nonfinite != "refuse":
        data = bytearray(source.read_bytes())
        data[-4:] = np.array(math.nan, "<f4").tobytes()
        source.write_bytes(data)
    expected = digits(source, 9.0, workers=1, nonfinite=nonfinite)
    for workers in (2, 8):
        assert digits(source, 9.0, workers=workers, nonfinite=nonfinite) == expected
    for block, span_bytes, items in (
        (ROW, 1, 1),
        (ROW, 10_000, 64),
        (2 * ROW, 100_000, 3),
        (8 * ROW, 4 * ROW, 64),
        (128 * ROW, 60_000, 2),
    ):
        with pytest.MonkeyPatch.context() as patch:
            set_sizes(patch, block, span_bytes, items)
            for workers in (1, 2, 8):
                assert digits(source, 9.0, workers=workers, nonfinite=nonfinite) == expected


@pytest.mark.parametrize("descr", ["<f4", ">f2", "<c16", ">f8"])
@pytest.mark.parametrize("fortran", [False, True])
def test_digits_of_an_array_do_not_depend_on_how_it_is_cut(
    tmp_path: Path, descr: str, fortran: bool
) -> None:
    values = np.random.default_rng(9).standard_normal((3, 2 * ROW + 11, 2)) * 10
    numbers = (values + 1j * values[::-1] if "c" in descr else np.round(values)).astype(descr)
    np.save(tmp_path / "in.npy", np.asfortranarray(numbers) if fortran else numbers)
    expected = digits(tmp_path / "in.npy", 9.0, workers=1)

    for block, span_bytes, items in ((ROW, 1, 2), (4 * ROW, 50_000, 64)):
        with pytest.MonkeyPatch.context() as patch:
            set_sizes(patch, block, span_bytes, items)
            for workers in (1, 3):
                assert digits(tmp_path / "in.npy", 9.0, workers=workers) == expected


@settings(max_examples=15)
@given(chance=st.randoms(use_true_random=False))
def test_a_dump_may_lie_in_one_file_or_in_several(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    tensors = mixed()
    whole = write_safetensors(folder / "whole.safetensors", tensors)
    names = list(tensors)
    chance.shuffle(names)
    files = chance.randint(1, 4)
    sources = folder / "in"
    sources.mkdir()
    for number in range(files):
        part = {name: tensors[name] for name in names[number::files]}
        write_safetensors(sources / f"part{number}.safetensors", part)

    one = gradclip_cli.apply(whole, clip_norm=9.0, output=folder / "whole.out")
    many = gradclip_cli.apply(sources, clip_norm=9.0, output=folder / "out")

    assert clipped(many) == clipped(one)
    assert many.moments.norm == one.moments.norm
    written = {
        name: stored
        for path in (folder / "out").iterdir()
        for name, stored in read_safetensors(path).tensors.items()
    }
    assert written == read_safetensors(folder / "whole.out").tensors
    assert {row.name: (row.moments, row.share, row.clipped) for row in many.tensors} == {
        row.name: (row.moments, row.share, row.clipped) for row in one.tensors
    }


@pytest.mark.parametrize("limit", [9.0, 1e9])
def test_what_is_given_to_a_function_is_what_is_written_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float
) -> None:
    monkeypatch.setattr(streams, "STREAM_BYTES", 3 * ROW)
    source = write_mixed(tmp_path / "in.safetensors")
    pieces: list[bytes] = []

    one = gradclip_cli.apply(source, clip_norm=limit, output=tmp_path / "out")
    two = gradclip_cli.apply(source, clip_norm=limit, output=pieces.append)

    assert b"".join(pieces) == (tmp_path / "out").read_bytes()
    assert two == one
    assert len(pieces) > 10


# What is not finite


def bad_dump() -> dict[str, Stored]:
    return {
        "good": floats("F32", (2,), [3.0, 4.0]),
        "inf": floats("F16", (3,), [math.inf, 12.0, -math.inf]),
        "nan": floats("BF16", (2, 2), [0.0, 84.0, math.nan, -0.0]),
        "more": floats("F64", (1,), [0.0]),
    }


def write_bad(tmp_path: Path) -> Path:
    return write_safetensors(tmp_path / "bad.safetensors", bad_dump())


@pytest.mark.parametrize("options", [{}, {"use_norm": 10.0}, {"use_norm": 0.5}, {"workers": 1}])
def test_what_is_not_finite_is_refused_and_each_tensor_named(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    source, target = write_bad(tmp_path), tmp_path / "out"

    with pytest.raises(RefusedError) as refusal:
        gradclip_cli.apply(source, clip_norm=1.0, output=target, **options)

    assert [path.name for path in tmp_path.iterdir()] == ["bad.safetensors"]
    assert refusal.value.status == 1
    assert "2 of 4 tensors" in refusal.value.problem
    named = "\n".join(refusal.value.details)
    assert all(word in named for word in ("inf", "1 +inf, 1 -inf, first at [0]"))
    assert all(word in named for word in ("nan", "1 NaN, first at [1, 0]"))
    assert "good" not in named


def test_zero_writes_0_for_what_is_not_finite_and_measures_so(tmp_path: Path) -> None:
    source, target = write_bad(tmp_path), tmp_path / "out"

    report = gradclip_cli.apply(source, clip_norm=8.5, output=target, nonfinite="zero")

    found = clipped(report)
    assert (found.norm_before, found.coefficient) == (85.0, 0.1)
    assert math.isnan(report.global_norm)
    assert report.finite_norm == 85.0
    after = read_safetensors(target).tensors
    assert after == {
        "good": floats("F32", (2,), [3 * 0.1, 4 * 0.1]),
        "inf": floats("F16", (3,), [0.0, 12 * 0.1, 0.0]),
        "nan": floats("BF16", (2, 2), [0.0, 84 * 0.1, 0.0, -0.0]),
        "more": floats("F64", (1,), [0.0]),
    }
    written = [value for stored in after.values() for value in lanes(stored)]
    assert found.norm_after == exact_norm(written)
    assert found.flushed == 0


@pytest.mark.parametrize("use_norm", [None, 2.0])
def test_zero_within_the_limit_replaces_what_is_not_finite_and_nothing_else(
    tmp_path: Path, use_norm: float | None
) -> None:
    source, target = write_bad(tmp_path), tmp_path / "out"

    report = gradclip_cli.apply(
        source, clip_norm=100.0, output=target, nonfinite="zero", use_norm=use_norm
    )

    assert not clipped(report).clipped
    assert clipped(report).norm_after == 85.0
    assert clipped(report).flushed == 0
    assert read_safetensors(target).tensors == {
        **bad_dump(),
        "inf": floats("F16", (3,), [0.0, 12.0, 0.0]),
        "nan": floats("BF16", (2, 2), [0.0, 84.0, 0.0, -0.0]),
    }


def test_zero_replaces_a_complex_value_of_which_a_part_is_not_finite(tmp_path: Path) -> None:
    tensors = {"a": floats("C64", (3,), [3.0, 4.0, math.nan, 1.0, 2.0, -math.inf])}
    source = write_safetensors(tmp_path / "in", tensors)

    report = gradclip_cli.apply(source, clip_norm=2.5, output=tmp_path / "out", nonfinite="zero")

    assert clipped(report).norm_before == 5.0
    assert lanes(read_safetensors(tmp_path / "out").tensors["a"]) == [1.5, 2.0, 0.0, 0.0, 0.0, 0.0]


def test_skip_leaves_those_tensors_and_clips_the_rest_by_the_norm_of_the_rest(
    tmp_path: Path,
) -> None:
    source, target = write_bad(tmp_path), tmp_path / "out"

    report = gradclip_cli.apply(source, clip_norm=0.5, output=target, nonfinite="skip")

    found = clipped(report)
    assert (found.norm_before, found.coefficient) == (5.0, 0.1)
    assert found.norm_after == pytest.approx(0.5, rel=1e-7)
    assert read_safetensors(target).tensors == {
        **bad_dump(),
        "good": floats("F32", (2,), [3 * 0.1, 4 * 0.1]),
    }
    by_name = {row.name: row.clipped for row in report.tensors}
    for name, changed in (("good", True), ("more", True), ("inf", False), ("nan", False)):
        part = by_name[name]
        assert part is not None
        assert (part.clipped, part.coefficient) == (changed, 0.1 if changed else 1.0)


def test_skip_within_the_limit_changes_nothing(tmp_path: Path) -> None:
    source, target = write_bad(tmp_path), tmp_path / "out"

    gradclip_cli.apply(source, clip_norm=5.0, output=target, nonfinite="skip")

    assert target.read_bytes() == source.read_bytes()


def test_propagate_is_plain_arithmetic(tmp_path: Path) -> None:
    without_nan = {name: stored for name, stored in bad_dump().items() if name != "nan"}
    source = write_safetensors(tmp_path / "inf.safetensors", without_nan)

    found = clipped(
        gradclip_cli.apply(source, clip_norm=1.0, output=tmp_path / "out", nonfinite="propagate")
    )

    assert (found.norm_before, found.coefficient) == (math.inf, 0.0)
    after = read_safetensors(tmp_path / "out").tensors
    assert after["good"] == floats("F32", (2,), [0.0, 0.0])
    nan, zero, other_nan = lanes(after["inf"])
    assert math.isnan(nan)
    assert zero == 0.0
    assert math.isnan(other_nan)
    assert found.norm_after is not None
    assert math.isnan(found.norm_after)

    found = clipped(
        gradclip_cli.apply(
            write_bad(tmp_path), clip_norm=1.0, output=tmp_path / "nan", nonfinite="propagate"
        )
    )
    assert math.isnan(found.norm_before)
    for stored in read_safetensors(tmp_path / "nan").tensors.values():
        assert all(map(math.isnan, lanes(stored)))


@pytest.mark.parametrize("nonfinite", ["refuse", "zero", "skip", "propagate"])
def test_where_all_is_finite_the_policy_does_not_matter(tmp_path: Path, nonfinite: Any) -> None:
    source = write_safetensors(tmp_path / "in", {"a": floats("F32", (2,), [3, 4])})

    found = clipped(
        gradclip_cli.apply(source, clip_norm=2.5, output=tmp_path / "out", nonfinite=nonfinite)
    )

    assert (found.norm_before, found.coefficient, found.norm_after) == (5.0, 0.5, 2.5)
    assert lanes(read_safetensors(tmp_path / "out").tensors["a"]) == [1.5, 2.0]


@pytest.mark.parametrize("nonfinite", ["refuse", "zero", "skip", "propagate"])
def test_a_norm_beyond_float64_is_refused_whatever_the_policy(
    tmp_path: Path, nonfinite: Any
) -> None:
    values = [1.7e308, 1.7e308]
    source = write_safetensors(tmp_path / "in", {"a": floats("F64", (2,), values)})

    with pytest.raises(RefusedError) as refusal:
        gradclip_cli.apply(source, clip_norm=1.0, output=tmp_path / "out", nonfinite=nonfinite)

    assert refusal.value.status == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("values", "limit", "expected"),
    [
        ([3e200, -4e200], 1.0, [0.6, -0.8]),
        ([3e-200, -4e-200], 1e-201, [6e-202, -8e-202]),
        ([3e-320, -4e-320], 5e-321, [3e-321, -4e-321]),
        ([1.7e308, 1.0], 1.7e307, [1.7e307, 0.1]),
    ],
)
def test_huge_and_tiny_float64_values_are_clipped_where_peers_give_nan_or_zero(
    tmp_path: Path, values: list[float], limit: float, expected: list[float]
) -> None:
    source = write_safetensors(tmp_path / "in", {"a": floats("F64", (2,), values)})

    found = clipped(gradclip_cli.apply(source, clip_norm=limit, output=tmp_path / "out"))

    after = lanes(read_safetensors(tmp_path / "out").tensors["a"])
    assert after == pytest.approx(expected, rel=1e-3 if limit < 1e-300 else 1e-15, abs=0)
    assert found.norm_after == pytest.approx(limit, rel=1e-3 if limit < 1e-300 else 1e-15, abs=0)


def test_a_coefficient_for_which_float64_has_too_few_digits_is_refused(tmp_path: Path) -> None:
    source = write_safetensors(tmp_path / "in", {"a": floats("F64", (1,), [1e300])})

    with pytest.raises(GradclipError, match="too small"):
        gradclip_cli.apply(source, clip_norm=1e-9, output=tmp_path / "out")

    assert [path.name for path in tmp_path.iterdir()] == ["in"]


# A known norm


def test_a_known_norm_takes_the_place_of_the_measured_one(tmp_path: Path) -> None:
    source = write_safetensors(tmp_path / "in", {"a": floats("F32", (2,), [3, 4])})

    report = gradclip_cli.apply(source, clip_norm=5.0, output=tmp_path / "out", use_norm=10.0)

    found = clipped(report)
    assert (found.norm_before, found.coefficient, found.norm_after) == (10.0, 0.5, 2.5)
    assert found.clipped
    assert report.global_norm == 5.0
    assert lanes(read_safetensors(tmp_path / "out").tensors["a"]) == [1.5, 2.0]


@pytest.mark.parametrize("use_norm", [0.0, 4.9, 5.0])
def test_a_known_norm_within_the_limit_leaves_every_byte(tmp_path: Path, use_norm: float) -> None:
    source = write_safetensors(tmp_path / "in", {"a": floats("F32", (2,), [300, 400])})

    report = gradclip_cli.apply(source, clip_norm=5.0, output=tmp_path / "out", use_norm=use_norm)

    assert (tmp_path / "out").read_bytes() == source.read_bytes()
    assert (clipped(report).coefficient, clipped(report).norm_after) == (1.0, 500.0)


def test_a_known_norm_that_is_the_measured_one_changes_no_byte_and_no_digit(
    tmp_path: Path,
) -> None:
    source = write_mixed(tmp_path / "in.safetensors")
    norm = gradclip_cli.inspect(source).global_norm

    one = gradclip_cli.apply(source, clip_norm=9.0, output=tmp_path / "one")
    two = gradclip_cli.apply(source, clip_norm=9.0, output=tmp_path / "two", use_norm=norm)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert two == one


@pytest.mark.parametrize("nonfinite", ["zero", "skip", "propagate"])
def test_a_known_norm_goes_with_every_policy(tmp_path: Path, nonfinite: Any) -> None:
    report = gradclip_cli.apply(
        write_bad(tmp_path),
        clip_norm=1.0,
        output=tmp_path / "out",
        nonfinite=nonfinite,
        use_norm=2.0,
    )

    assert (clipped(report).norm_before, clipped(report).coefficient) == (2.0, 0.5)
    after = read_safetensors(tmp_path / "out").tensors
    assert lanes(after["good"]) == [1.5, 2.0]
    expected = {
        "zero": [0.0, 6.0, 0.0],
        "skip": [math.inf, 12.0, -math.inf],
        "propagate": [math.inf, 6.0, -math.inf],
    }
    assert lanes(after["inf"]) == expected[nonfinite]


@pytest.mark.parametrize("use_norm", [-1.0, math.nan, math.inf, -math.inf])
def test_a_known_norm_must_be_one(tmp_path: Path, use_norm: float) -> None:
    source = write_safetensors(tmp_path / "in", {"a": floats("F32", (1,), [3])})

    with pytest.raises(GradclipError) as error:
        gradclip_cli.apply(source, clip_norm=1.0, output=tmp_path / "out", use_norm=use_norm)

    assert error.value.subject == "use_norm"
    assert error.value.status == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("limit", [0.0, -0.0, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("value", [3.0, 0.0])
def test_a_limit_must_be_finite_and_above_0(tmp_path: Path, limit: float, value: float) -> None:
    source = write_safetensors(tmp_path / "in", {"a": floats("F32", (1,), [value])})

    with pytest.raises(GradclipError) as error:
        gradclip_cli.apply(source, clip_norm=limit, output=tmp_path / "out")

    assert error.value.subject == "clip_norm"
    assert error.value.status == 2
    assert not (tmp_path / "out").exists()


# Rounding that loses values


def test_values_that_rounding_makes_zero_are_counted(tmp_path: Path) -> None:
    smallest = 2.0**-24
    tensors = {
        "lost": floats("F16", (4,), [smallest, -smallest, 3 * smallest, 0.0]),
        "kept": floats("F32", (2,), [smallest, 0.0]),
        "wave": floats("C64", (2,), [2.0**-149, 0.0, 2.0**-149, 1.0]),
        "large": floats("F64", (1,), [100.0]),
    }
    source = write_safetensors(tmp_path / "in", tensors)

    report = gradclip_cli.apply(source, clip_norm=10.0, output=tmp_path / "out")

    assert clipped(report).flushed == 4  # a tenth and three tenths of a unit are nearer to 0
    assert lanes(read_safetensors(tmp_path / "out").tensors["lost"]) == [0.0, -0.0, 0.0, 0.0]
    by_name = {row.name: row.clipped and row.clipped.flushed for row in report.tensors}
    assert by_name == {"lost": 3, "kept": 0, "wave": 1, "large": 0}


# Nothing to clip


@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_empty_tensors_and_zeros_have_norm_0_and_stay(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    count = math.prod(shape)
    source = write_safetensors(
        tmp_path / "in", {"a": floats("F32", shape, [-0.0] * count)}, {"k": "v"}
    )

    report = gradclip_cli.apply(source, clip_norm=1.0, output=tmp_path / "out")

    assert (clipped(report).norm_before, clipped(report).coefficient) == (0.0, 1.0)
    assert clipped(report).norm_after == 0.0
    assert (tmp_path / "out").read_bytes() == source.read_bytes()


def test_a_file_without_tensors_stays(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(safetensors_bytes({}, {"step": "1"}))

    report = gradclip_cli.apply(tmp_path / "in", clip_norm=1.0, output=tmp_path / "out")

    assert (clipped(report).norm_before, clipped(report).coefficient) == (0.0, 1.0)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


def test_without_writing_it_is_known_what_would_be(tmp_path: Path) -> None:
    source = write_safetensors(tmp_path / "in", {"a": floats("F32", (2,), [3, 4])})

    found = clipped(gradclip_cli.apply(source, clip_norm=2.5, dry_run=True))

    assert (found.norm_before, found.coefficient, found.clipped) == (5.0, 0.5, True)
    assert (found.norm_after, found.flushed, found.saturated) == (2.5, 0, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_clipping_in_place_gives_the_bytes_that_clipping_to_a_file_gives(tmp_path: Path) -> None:
    source = write_mixed(tmp_path / "in.safetensors")

    one = gradclip_cli.apply(source, clip_norm=9.0, output=tmp_path / "out")
    two = gradclip_cli.apply(source, clip_norm=9.0, in_place=True)

    assert source.read_bytes() == (tmp_path / "out").read_bytes()
    assert two == one
