"""Measurements: norms against exact arithmetic, counts and indices against plain loops."""

import dataclasses
import itertools
import math
import random
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import gradclip_cli
from gradclip_cli.measure import gauge
from gradclip_cli.measure.gauge import measure, measure_each
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.measure.places import Places, places_of
from gradclip_cli.measure.rows import ROW
from tests.dumps import exact_norm, floats, lanes, write_npy, write_safetensors

MAX = 1.7976931348623157e308
TINY = 5e-324

Floats = NDArray[np.float64]


def measured(values: Sequence[float] | Floats, lanes: int = 1) -> Moments:
    with np.errstate(all="ignore"):
        return measure(np.array(values, np.float64), lanes)


def measured_together(values: Sequence[float] | Floats, counts: Sequence[int]) -> list[Moments]:
    with np.errstate(all="ignore"):
        return measure_each(np.array(values, np.float64), counts)


def close(found: float, exact: float, tolerance: float) -> bool:
    """Say whether a norm is right; where float64 ends, to one unit or to infinity."""
    if math.isinf(exact) or math.isinf(found):
        return min(found, exact) >= MAX * (1 - tolerance)
    return math.isclose(found, exact, rel_tol=tolerance, abs_tol=TINY)


def fsum_norm(values: Floats) -> float:
    """Give the norm of ordinary values: their squares neither overflow nor underflow."""
    return math.sqrt(math.fsum(np.square(values).tolist()))


def cut_at(values: Floats, places: Iterable[int], fortran: tuple[int, ...] | None) -> list[Moments]:
    """Measure pieces that begin at the places, which are multiples of ROW."""
    edges = [0, *sorted({place for place in places if 0 < place < values.size}), values.size]
    with np.errstate(all="ignore"):
        return [
            measure(values[begin:end], places=places_of(fortran, begin))
            for begin, end in itertools.pairwise(edges)
        ]


any_finite = st.binary(min_size=8, max_size=8).map(
    lambda data: struct.unpack("<d", struct.pack("<Q", _finite(int.from_bytes(data, "little"))))[0]
)
"""Float64 of any finite bit pattern."""


def _finite(pattern: int) -> int:
    return pattern & ~(1 << 62) if pattern >> 52 & 0x7FF == 0x7FF else pattern


of_any_size = st.builds(
    lambda digits, exponent: math.ldexp(digits, exponent),
    st.floats(-1, 1, exclude_min=True, exclude_max=True, allow_subnormal=False),
    st.sampled_from([-1074, -1022, -540, -451, -450, -449, -30, 0, 30, 479, 480, 481, 512, 1024]),
)
"""Float64 whose squares underflow, are ordinary or overflow; many near where the rule changes."""


# The norm


@given(values=st.lists(any_finite, max_size=12))
def test_the_norm_of_any_finite_values_is_exact_to_a_part_in_1e13(values: list[float]) -> None:
    assert close(measured(values).norm, exact_norm(values), 1e-13)


@settings(max_examples=200)
@given(values=st.lists(of_any_size, max_size=12))
def test_the_norm_is_exact_wherever_squares_begin_to_overflow_or_underflow(
    values: list[float],
) -> None:
    assert close(measured(values).norm, exact_norm(values), 1e-14)


def test_3_4_and_12_have_norm_13_at_every_power_of_two_of_float64() -> None:
    numbers = np.array([3.0, 4.0, -12.0])
    for exponent in range(-1074, 1020):
        values = np.ldexp(numbers, exponent)
        exact = math.ldexp(13.0, exponent)
        (small,) = measured_together(values, [3])

        assert measured(values).norm == small.norm == exact
        assert merge([measured(values[:2]), measured(values[2:])]).norm == exact


def test_a_row_of_alike_values_has_64_times_their_norm_at_every_power_of_two() -> None:
    for exponent in range(-1074, 1018, 3):
        values = np.full(ROW, math.ldexp(-1.0, exponent))
        (small,) = measured_together(values, [ROW])

        assert measured(values).norm == small.norm == math.ldexp(64.0, exponent)


@pytest.mark.parametrize("seed", range(4))
def test_the_norm_of_rows_of_very_different_sizes_is_exact(seed: int) -> None:
    numbers = np.random.default_rng(seed)
    values = numbers.standard_normal(6 * ROW + 17)
    for row in range(7):
        exponent = int(numbers.choice([-1070, -600, -455, 0, 470, 600, 1000][: 3 + seed]))
        values[row * ROW : (row + 1) * ROW] = np.ldexp(
            values[row * ROW : (row + 1) * ROW], exponent
        )

    assert close(measured(values).norm, exact_norm(values.tolist()), 1e-13)


@pytest.mark.parametrize("count", [1, 2, ROW - 1, ROW, ROW + 1, 100_000])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e100, 1e-100])
def test_the_norm_of_ordinary_values_is_exact_to_a_part_in_1e14(count: int, size: float) -> None:
    values = np.random.default_rng(count).standard_normal(count) * size

    assert close(measured(values).norm, fsum_norm(values), 1e-14)


def test_the_norm_of_many_float32_values_loses_nothing_to_their_number() -> None:
    # Summed one by one in float32, as torch does in eight lanes, it would be far too small.
    values = np.random.default_rng(1).standard_normal(2_000_000).astype(np.float32)
    wide = values.astype(np.float64)

    assert close(measure(values).norm, fsum_norm(wide), 1e-14)


@pytest.mark.parametrize(
    ("values", "norm"),
    [
        ([3e200, 4e200], 5e200),
        ([3e-200, 4e-200], 5e-200),
        ([3 * TINY, 4 * TINY], 5 * TINY),
        ([TINY], TINY),
        ([3 * 2.0**-1040, -4 * 2.0**-1040, 12 * 2.0**-1040], 13 * 2.0**-1040),
        ([MAX], MAX),
        ([-MAX, 1.0, TINY], MAX),
        ([2.0**1023, 2.0**1022, 2.0**1022], math.sqrt(1.5) * 2.0**1023),
        ([3e20, 4e20], 5e20),
        ([3e-30, 4e-30], 5e-30),
        ([1e200, 1e-200], 1e200),
        ([0.0, -0.0], 0.0),
        ([], 0.0),
    ],
)
def test_huge_and_tiny_values_have_a_norm(values: list[float], norm: float) -> None:
    assert close(measured(values).norm, norm, 2e-16)


@pytest.mark.parametrize(
    ("code", "size"),
    [
        ("F32", 1e20),
        ("F32", 1e-30),
        ("F32", 2.0**-149),
        ("F16", 1e4),
        ("F16", 2.0**-24),
        ("BF16", 5e37),
        ("F8_E5M2", 4096.0),
        ("F8_E4M3", 64.0),
        ("F64", 1e200),
        ("F64", 1e-200),
        ("F64", 2.0**-1074),
    ],
)
def test_no_dtype_overflows_or_underflows_on_the_way_to_its_norm(
    tmp_path: Path, code: str, size: float
) -> None:
    tensor = floats(code, (2, 2), [3 * size, -4 * size, 0.0, -0.0])
    path = write_safetensors(tmp_path / "a.safetensors", {"a": tensor})

    assert close(gradclip_cli.inspect(path).global_norm, exact_norm(lanes(tensor)), 2e-16)


def test_a_norm_beyond_float64_is_reported_as_such(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "a.safetensors", {"a": floats("F64", (2,), [MAX, MAX])})

    report = gradclip_cli.inspect(path)

    assert report.global_norm == report.finite_norm == math.inf
    assert report.overflows
    assert report.moments.nonfinite == 0
    assert report.moments.max_abs == MAX


def test_a_norm_of_nearly_the_largest_float64_is_none_beyond_it(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "a.safetensors", {"a": floats("F64", (1,), [MAX])})

    report = gradclip_cli.inspect(path)

    assert report.global_norm == MAX
    assert not report.overflows


def test_the_norm_with_nan_is_nan_with_infinities_infinite_and_without_them_finite() -> None:
    for values, norm in (
        ([3.0, math.nan, 4.0], math.nan),
        ([3.0, math.inf, 4.0], math.inf),
        ([3.0, -math.inf, 4.0], math.inf),
        ([3.0, -math.inf, math.nan, 4.0], math.nan),
    ):
        found = measured(values)
        assert (math.isnan(found.norm) and math.isnan(norm)) or found.norm == norm
        assert found.finite_norm == 5.0


@settings(max_examples=200)
@given(
    values=st.lists(any_finite | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=12),
)
def test_the_finite_norm_leaves_out_what_is_not_finite_and_nothing_else(
    values: list[float],
) -> None:
    finite = [value for value in values if math.isfinite(value)]

    assert close(measured(values).finite_norm, exact_norm(finite), 1e-13)
    assert measured(values).count == len(values)


# Counts and indices


special = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, TINY, math.nan, math.inf, -math.inf])


@settings(max_examples=300)
@given(values=st.lists(special, min_size=1, max_size=10), start=st.sampled_from([0, ROW, 7 * ROW]))
def test_what_is_counted_is_what_a_loop_counts(values: list[float], start: int) -> None:
    with np.errstate(all="ignore"):
        found = measure(np.array(values), places=Places(start))
    finite = [(at, abs(value)) for at, value in enumerate(values) if math.isfinite(value)]
    largest = max((size for _, size in finite), default=None)

    assert found.count == len(values)
    assert found.zeros == sum(value == 0 for value in values)
    assert found.nan == sum(map(math.isnan, values))
    assert found.posinf == values.count(math.inf)
    assert found.neginf == values.count(-math.inf)
    assert found.nonfinite == len(values) - len(finite)
    assert found.max_abs == largest
    assert found.max_abs_at == next((start + at for at, size in finite if size == largest), None)
    assert found.first_nonfinite == next(
        (start + at for at, value in enumerate(values) if not math.isfinite(value)), None
    )


@settings(max_examples=300)
@given(pairs=st.lists(st.tuples(special, special), min_size=1, max_size=6))
def test_a_complex_value_is_nan_where_a_part_is_else_infinite_where_one_is(
    pairs: list[tuple[float, float]],
) -> None:
    found = measured([part for pair in pairs for part in pair], lanes=2)
    nan = [any(map(math.isnan, pair)) for pair in pairs]
    finite = [all(map(math.isfinite, pair)) for pair in pairs]
    sizes = [math.hypot(*pair) if good else None for pair, good in zip(pairs, finite, strict=True)]
    largest = max((size for size in sizes if size is not None), default=None)

    assert found.count == len(pairs)
    assert found.zeros == sum(pair == (0, 0) for pair in pairs)
    assert found.nan == sum(nan)
    assert found.posinf + found.neginf == len(pairs) - sum(nan) - sum(finite)
    for pair, is_nan in zip(pairs, nan, strict=True):
        alone = measured(pair, lanes=2)
        assert alone.posinf == (math.inf in pair and not is_nan)
        assert alone.neginf == (-math.inf in pair and math.inf not in pair and not is_nan)
    assert found.max_abs == largest
    assert found.max_abs_at == (None if largest is None else sizes.index(largest))
    assert found.first_nonfinite == (None if all(finite) else finite.index(False))
    assert found.finite_norm == pytest.approx(
        exact_norm(
            [part for pair, good in zip(pairs, finite, strict=True) if good for part in pair]
        )
    )


def test_the_size_of_a_complex_value_may_overflow_but_its_parts_are_finite() -> None:
    found = measured([1e308, 1.7e308, 3.0, 4.0], lanes=2)

    assert found.nonfinite == 0
    assert found.max_abs_at == 0
    assert found.count == 2


@pytest.mark.parametrize("count", [1, 3, ROW + 1])
def test_the_largest_magnitude_of_zeros_is_zero_and_has_no_sign(count: int) -> None:
    for zeros in ([-0.0] * count, [0.0] + [-0.0] * (count - 1), [-0.0] * (count - 1) + [0.0]):
        for found in (measured(zeros), *measured_together(zeros, [count])):
            assert str(found.max_abs) == "0.0"
            assert found.max_abs_at == 0
            assert found.zeros == count


small_values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 3.0, -3.0, math.nan, math.inf, -math.inf])


@settings(max_examples=40)
@given(
    sides=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    data=st.data(),
    fortran=st.booleans(),
)
def test_indices_are_the_first_in_c_order_whatever_the_memory_order(
    tmp_path_factory: pytest.TempPathFactory, sides: list[int], data: st.DataObject, fortran: bool
) -> None:
    shape = tuple(sides)
    count = math.prod(shape)
    values = data.draw(st.lists(small_values, min_size=count, max_size=count))
    array = np.array(values).reshape(shape, order="F" if fortran else "C")
    path = tmp_path_factory.getbasetemp() / "order.npy"
    write_npy(path, floats("<f4", shape, values), fortran)

    row = gradclip_cli.inspect(path, workers=1).tensors[0]

    finite = np.isfinite(array)
    assert row.first_nonfinite == (
        None if finite.all() else np.unravel_index(int(np.argmin(finite)), shape)
    )
    sizes = np.where(finite, np.abs(array), -1)
    assert row.max_abs_index == (
        np.unravel_index(int(np.argmax(sizes)), shape) if finite.any() else None
    )
    assert row.moments is not None
    assert row.moments.max_abs == (sizes.max() if finite.any() else None)


def test_an_index_is_right_in_every_part_of_a_large_fortran_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradclip_cli.measure.spans.BLOCK", ROW)
    shape = (7, 11, 3 * ROW // 77)
    values = np.zeros(shape, np.float32, order="F")
    values[6, 0, 5] = values[0, 10, 100] = -2.0
    values[5, 1, 2] = math.inf
    values[1, 9, 158] = math.nan
    path = tmp_path / "a.npy"
    np.save(path, values)

    row = gradclip_cli.inspect(path, workers=1).tensors[0]

    assert row.max_abs_index == (0, 10, 100)
    assert row.first_nonfinite == (1, 9, 158)
    assert gradclip_cli.inspect(path, workers=1).finite_norm == math.sqrt(8)


# Merging


def values_of(seed: int, kind: str) -> Floats:
    numbers = np.random.default_rng(seed)
    values = numbers.standard_normal(int(numbers.integers(4 * ROW, 9 * ROW)))
    if kind == "any bits":
        patterns = numbers.integers(0, 2**64, values.size, np.uint64)
        values = patterns.view(np.float64)
        values[~np.isfinite(values)] = 0
    elif kind == "sizes by row":
        for begin in range(0, values.size, ROW):
            exponent = int(numbers.choice([-500, -455, -440, 0, 475, 485]))
            values[begin : begin + ROW] = np.ldexp(values[begin : begin + ROW], exponent)
    elif kind == "special":
        places = numbers.integers(0, values.size, 40)
        values[places] = numbers.choice([0.0, -0.0, math.nan, math.inf, -math.inf, 9.0, -9.0], 40)
    return values


@pytest.mark.parametrize("kind", ["ordinary", "any bits", "sizes by row", "special"])
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), chance=st.randoms(use_true_random=False))
def test_moments_do_not_depend_on_where_a_tensor_is_cut_nor_on_the_order_of_its_parts(
    kind: str, seed: int, chance: random.Random
) -> None:
    values = values_of(seed, kind)
    places = [ROW * chance.randrange(1, 10) for _ in range(chance.randrange(4))]
    parts = cut_at(values, places, None)
    chance.shuffle(parts)
    nested = merge([merge(parts[:2]), merge(parts[2:])])

    whole = measured(values)

    for other in (merge(parts), nested):
        assert repr((other.norm, other.finite_norm)) == repr((whole.norm, whole.finite_norm))
        assert other.count == whole.count
        assert other.max_abs == whole.max_abs
        assert other.max_abs_at == whole.max_abs_at
        assert other.first_nonfinite == whole.first_nonfinite
        assert (other.zeros, other.nan, other.posinf, other.neginf) == (
            *(whole.zeros, whole.nan, whole.posinf, whole.neginf),
        )
        if kind in ("ordinary", "special"):
            assert other == whole


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), chance=st.randoms(use_true_random=False))
def test_where_a_fortran_array_is_cut_does_not_matter(seed: int, chance: random.Random) -> None:
    values = values_of(seed, "special")
    values = values[: values.size // 64 * 64]
    shape = (8, values.size // 64, 8)
    parts = cut_at(values, [ROW * chance.randrange(1, 10) for _ in range(3)], shape)
    chance.shuffle(parts)
    with np.errstate(all="ignore"):
        in_c_order = measure(values.reshape(shape, order="F").reshape(-1).copy())

    found = merge(parts)

    assert found.max_abs_at == in_c_order.max_abs_at
    assert found.first_nonfinite == in_c_order.first_nonfinite
    assert found.count == in_c_order.count
    assert found.finite_norm == pytest.approx(in_c_order.finite_norm, rel=1e-14)


@given(values=st.lists(any_finite, min_size=1, max_size=12), chance=st.randoms())
def test_tensors_merge_to_the_same_norm_in_any_order_and_grouping(
    values: list[float], chance: random.Random
) -> None:
    parts = [measured([value, value / 3]) for value in values]
    whole = merge(parts)
    chance.shuffle(parts)
    middle = chance.randrange(len(parts) + 1)

    regrouped = merge([merge(parts[:middle]), merge(parts[middle:])])

    assert regrouped.squares == whole.squares
    assert regrouped.norm == whole.norm
    assert close(whole.norm, exact_norm([x for v in values for x in (v, v / 3)]), 1e-13)


@pytest.mark.parametrize("norm_type", [2.0, 3.0, math.inf])
def test_moments_do_not_depend_on_how_many_blocks_are_kept(
    norm_type: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(15).standard_normal(40 * ROW + 17)
    values[::1000] = 0
    values[7 * ROW : 9 * ROW] *= 1e200
    values[[20 * ROW + 3, 30 * ROW]] = math.inf, math.nan

    def found(many: int) -> Moments:
        monkeypatch.setattr(gauge, "_MANY", many)
        whole = gauge.Gauge(norm_type=norm_type)
        for begin in range(0, values.size, ROW):
            whole.add(values[begin : begin + ROW])
            assert len(whole._dots) < many
        return whole.moments()

    assert found(2) == found(3) == found(1000)


def test_nothing_merges_to_nothing() -> None:
    nothing = Moments()

    assert merge([]) == nothing == merge([nothing, nothing])
    assert nothing.norm == nothing.finite_norm == 0.0
    assert nothing.max_abs is None
    some = measured([3.0, -4.0])
    assert merge([nothing, some, nothing]) == some


# Small tensors


@settings(max_examples=200)
@given(
    tensors=st.lists(
        st.lists(special | of_any_size | any_finite, min_size=1, max_size=6), min_size=1, max_size=8
    )
)
def test_small_tensors_measured_together_have_the_moments_of_each_alone(
    tensors: list[list[float]],
) -> None:
    together = [value for tensor in tensors for value in tensor]
    found = measured_together(together, [len(tensor) for tensor in tensors])

    assert len(found) == len(tensors)
    for moments, tensor in zip(found, tensors, strict=True):
        alone = measured(tensor)
        assert close(moments.finite_norm, alone.finite_norm, 1e-14)
        assert dataclasses.replace(moments, squares=()) == dataclasses.replace(alone, squares=())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_tensors_of_every_length_have_the_exact_norm(
    dtype: type[np.float32] | type[np.float64],
) -> None:
    counts = [*range(1, 300), ROW - 1, ROW]
    values = np.random.default_rng(2).standard_normal(sum(counts)).astype(dtype)

    found = measure_each(values, counts)

    at = 0
    for moments, count in zip(found, counts, strict=True):
        own = values[at : at + count].astype(np.float64)
        assert close(moments.norm, fsum_norm(own), 1e-14)
        assert moments.max_abs_at == int(np.argmax(np.abs(own)))
        assert moments.count == count
        at += count


def test_many_small_tensors_in_a_file_have_the_norms_that_a_loop_gives(tmp_path: Path) -> None:
    chance = random.Random(4)
    tensors = {
        f"{code}.{number}": floats(code, (count,), [chance.gauss(0, 1) for _ in range(count)])
        for code in ("F32", "F16", "F8_E5M2")
        for number, count in enumerate([1, 2, 0, 3, 100, 1, 17])
    }
    path = write_safetensors(tmp_path / "a.safetensors", tensors)

    report = gradclip_cli.inspect(path)

    assert len(report.tensors) == len(tensors)
    for row in report.tensors:
        assert row.name is not None
        assert row.moments is not None
        own = lanes(tensors[row.name])
        assert close(row.moments.norm, exact_norm(own), 1e-15)
        assert row.moments.count == len(own)
    everything = [value for tensor in tensors.values() for value in lanes(tensor)]
    assert close(report.global_norm, exact_norm(everything), 1e-15)


# Empty tensors and scalars


def test_an_empty_tensor_has_norm_0_and_no_largest_value(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "a.safetensors", {"a": ("F32", (3, 0), b"")})

    report = gradclip_cli.inspect(path)

    row = report.tensors[0]
    assert report.global_norm == 0.0
    assert row.moments == Moments() == measured([])
    assert (row.max_abs_index, row.first_nonfinite, row.share) == (None, None, None)


def test_a_scalar_has_the_empty_index(tmp_path: Path) -> None:
    tensors = {"a": floats("F32", (), [-5.0]), "b": floats("F32", (), [math.nan])}
    path = write_safetensors(tmp_path / "a.safetensors", tensors)

    nan, five = gradclip_cli.inspect(path).tensors

    assert (nan.name, nan.first_nonfinite, nan.max_abs_index) == ("b", (), None)
    assert (five.name, five.first_nonfinite, five.max_abs_index) == ("a", None, ())
    assert five.moments is not None
    assert five.moments.norm == five.moments.max_abs == 5.0


def test_a_file_without_tensors_has_norm_0(tmp_path: Path) -> None:
    report = gradclip_cli.inspect(write_safetensors(tmp_path / "a.safetensors", {}))

    assert report.global_norm == 0.0
    assert report.tensors == ()


def test_a_root_mean_square_is_a_number_where_the_norm_is_beyond_float64() -> None:
    found = gradclip_cli.inspect({"w": np.full(4, 1.5e308)}, norm_type=math.inf)
    (row,) = found.rows
    assert (row.norm, row.rms) == (1.5e308, 1.5e308)
    assert gradclip_cli.inspect({"w": np.full(4, 1.5e308)}).rows[0].rms == 1.5e308


@pytest.mark.parametrize(
    "values", [[MAX + MAX * 1j], [MAX] * 3], ids=["by its size", "by rounding"]
)
def test_a_root_mean_square_that_leaves_float64_is_the_largest_magnitude(values: list[Any]) -> None:
    (row,) = gradclip_cli.inspect({"w": np.array(values)}).rows
    assert row.rms == abs(np.array(values)).max()
