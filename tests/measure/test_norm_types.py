"""Norms of every type: right at any scale, however values are cut, and as torch has them."""

import itertools
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from numpy.typing import NDArray

import gradclip_cli
from gradclip_cli import GradclipError
from gradclip_cli.measure.gauge import measure, measure_each
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.measure.places import Places
from gradclip_cli.measure.rows import ROW
from gradclip_cli.measure.spans import BLOCK
from tests.dumps import floats, lanes, read_safetensors, write_npy, write_safetensors
from tests.laws import OF_OTHER_NORMS
from tests.recorded import CODES, acceptance, contents, recorded_vector

TYPES = [0.5, 1.0, 1.5, 3.0, 4.0, 10.0, 512.0]
SCALES = [1.0, 1e-300, 1e-200, 1e-30, 1e30, 1e150, 1e300]


def exact(values: NDArray[np.float64], p: float) -> float:
    """Give the norm in arithmetic that is wider than float64; values of one scale."""
    sizes = np.abs(values)
    largest = float(sizes.max(initial=0.0))
    if not largest:
        return 0.0
    total = math.fsum(float(Fraction(size) / Fraction(largest)) ** p for size in sizes.tolist())
    return float(largest * total ** (1 / p))


@pytest.mark.parametrize("p", TYPES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("count", [1, 5, ROW + 3])
def test_a_norm_of_any_type_is_right_at_any_scale(p: float, scale: float, count: int) -> None:
    values = np.random.default_rng(3).standard_normal(count) * scale
    found = measure(values, norm_type=p)
    assert found.norm == pytest.approx(exact(values, p), rel=1e-13)
    with np.errstate(all="ignore"):
        (each,) = measure_each(values, [count], p)
    assert each.norm == pytest.approx(found.norm, rel=1e-13)
    assert found.finite_l2_norm == measure(values).norm


@pytest.mark.parametrize("p", [0.1, 1.5, 2.5, 3.0, 7.0])
@pytest.mark.parametrize("exponent", [-44, -30, 0, 30, 44])
def test_the_root_of_a_large_or_small_sum_is_as_exact_as_any(p: float, exponent: int) -> None:
    one = measure(np.ldexp([3.0], exponent), norm_type=p)
    assert one.norm == pytest.approx(math.ldexp(3, exponent), rel=4e-16 * max(1, 1 / p))


@pytest.mark.parametrize("p", TYPES)
def test_parts_of_all_scales_merge(p: float) -> None:
    scales = [1e-250, 1e-3, 1.0, 1e3, 1e250]
    norms = [exact(np.array([3.0, -4.0]) * scale, p) for scale in scales]
    parts = [measure(np.array([3.0, -4.0]) * scale, norm_type=p) for scale in scales]
    assert [part.norm for part in parts] == pytest.approx(norms, rel=1e-13)
    assert merge(parts).norm == pytest.approx(norms[-1], rel=1e-13)
    assert merge(parts[1:3]).norm == pytest.approx(
        exact(np.array([3e-3, -4e-3, 3.0, -4.0]), p), rel=1e-13
    )
    assert merge([Moments(), *parts]) == merge(reversed([Moments(), *parts]))


def test_the_two_ends_of_the_types() -> None:
    values = np.array([0.0, -3.0, math.inf, 2.0, 0.0])
    counted, largest = measure(values, norm_type=0.0), measure(values, norm_type=math.inf)
    assert (counted.finite_norm, counted.norm) == (2.0, math.inf)
    assert (largest.finite_norm, largest.norm) == (3.0, math.inf)
    assert math.isnan(measure(np.array([math.nan, 1.0]), norm_type=0.0).norm)
    assert measure(np.zeros(0), norm_type=math.inf).norm == 0


@pytest.mark.parametrize("p", [*TYPES, 0.0, math.inf])
def test_of_complex_values_the_sizes_count(p: float) -> None:
    values = np.array([3.0, 4.0, -5.0, 12.0, 1.2e308, -1.3e308]) * 2.0**-10
    found = measure(values, lanes=2, norm_type=p)
    sizes = np.hypot(values[0::2], values[1::2])
    assert found.norm == pytest.approx({0: 3, math.inf: sizes[2]}.get(p) or exact(sizes, p), 1e-13)


@given(
    cuts=some.lists(some.integers(1, 40), max_size=3),
    p=some.sampled_from([*TYPES, 0.0, math.inf]),
)
@settings(max_examples=40)
def test_how_values_are_cut_into_blocks_changes_no_digit(cuts: list[int], p: float) -> None:
    values = np.random.default_rng(9).standard_normal(40 * ROW + 7).astype(np.float32)
    places = [0, *sorted({cut * ROW for cut in cuts}), len(values)]
    parts = [
        measure(values[begin:end], places=Places(begin), norm_type=p)
        for begin, end in itertools.pairwise(places)
    ]
    assert merge(parts) == measure(values, norm_type=p)


@pytest.mark.parametrize("p", [1.0, 3.0, math.inf, 0.0])
def test_a_report_has_norms_and_shares_of_the_type_that_was_asked_for(
    p: float, tmp_path: Path
) -> None:
    numbers = np.random.default_rng(4)
    arrays = {"a": numbers.standard_normal(5), "b": numbers.standard_normal(BLOCK + 9)}
    source = write_safetensors(
        tmp_path / "in",
        {key: ("F64", array.shape, array.tobytes()) for key, array in arrays.items()},
    )
    expected = {key: np.linalg.norm(array, p) for key, array in arrays.items()}
    whole = np.linalg.norm(np.concatenate([*arrays.values()]), p)

    for workers in (1, 3):
        report = gradclip_cli.inspect(source, norm_type=p, workers=workers)
        assert {row.name: row.norm for row in report.rows} == pytest.approx(expected, rel=1e-12)
        assert report.global_norm == pytest.approx(whole, rel=1e-12)
        shares = [row.share for row in report.rows]
        assert (
            shares == [None] * 2
            if p == math.inf
            else sum(s or 0 for s in shares) == (pytest.approx(1))
        )
        assert f"norms of type {p:g}" in report.notes


def test_a_share_by_roots_is_told_however_small_the_norm_beside_another() -> None:
    report = gradclip_cli.inspect({"a": np.array([1e300]), "b": np.array([1e-300])}, norm_type=0.5)
    assert [row.share for row in report.rows] == [1.0, pytest.approx(1e-300, rel=1e-9, abs=0)]


@pytest.mark.parametrize("name", ["torch-arange-p0.5", "torch-arange-pinf"])
def test_a_file_is_clipped_by_another_norm_as_torchs_own_test_expects(
    name: str, tmp_path: Path
) -> None:
    case = acceptance()[name]
    dump = {
        f"g{at}": floats(CODES[given["dtype"]], given["shape"], np.ravel(given["data"]).tolist())
        for at, given in enumerate(case["inputs"])
    }
    gradclip_cli.apply(
        write_safetensors(tmp_path / "in", dump),
        clip_norm=case["params"]["max_norm"],
        norm_type=float(case["params"]["norm_type"]),
        eps=1e-6,
        output=tmp_path / "out",
    )
    found = read_safetensors(tmp_path / "out").tensors
    for mine, expected in zip(found.values(), case["expect"]["outputs"], strict=True):
        np.testing.assert_allclose(lanes(mine), np.ravel(expected), case["rtol"], case["atol"])


@pytest.mark.parametrize("name", [name for name in OF_OTHER_NORMS if "nan" not in name])
def test_a_file_is_clipped_by_another_norm_as_torch_was_recorded_to_do(
    name: str, tmp_path: Path
) -> None:
    case = recorded_vector(name)
    answer = case.answers["torch"]
    assert answer.outputs is not None
    dump = {
        f"g{at}": floats(CODES[given.dtype], given.shape, given.values)
        for at, given in enumerate(case.inputs)
    }
    for like in ("torch", None):
        gradclip_cli.apply(
            write_safetensors(tmp_path / "in", dump),
            clip_norm=case.limit,
            norm_type=float(contents()["recorded"][name]["p"]),
            like=like,
            eps=None if like else 1e-6,
            output=tmp_path / "out",
            force=True,
        )
        found = read_safetensors(tmp_path / "out").tensors
        for mine, expected in zip(found.values(), answer.outputs, strict=True):
            np.testing.assert_allclose(lanes(mine), expected.values, rtol=1e-6)


@pytest.mark.parametrize("p", [1.0, 3.0, math.inf])
def test_the_limit_is_kept_by_the_norm_of_that_type(p: float, tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal(50)
    source = write_npy(tmp_path / "a.npy", ("<f8", (50,), values.tobytes()))
    for options in ({}, {"per_tensor": True}, {"per_group": "1"}):
        report = gradclip_cli.apply(
            source,
            clip_norm=0.5,
            norm_type=p,
            output=tmp_path / "out.npy",
            force=True,
            **options,
        )
        assert report.clipped is not None
        assert report.clipped.norm_after == pytest.approx(0.5, rel=1e-14)
        assert np.linalg.norm(np.load(tmp_path / "out.npy"), p) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("p", "said"), [(513.0, "say inf"), (-1.0, "give 1"), (math.nan, "give 1"), (-math.inf, "give")]
)
def test_what_is_no_type_of_norm_is_refused(p: float, said: str, tmp_path: Path) -> None:
    source = write_npy(tmp_path / "a.npy", floats("<f8", (1,), [1.0]))
    with pytest.raises(GradclipError) as caught:
        gradclip_cli.inspect(source, norm_type=p)
    assert said in (caught.value.hint or "")
