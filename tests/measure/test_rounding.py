"""The bound that rounding explains: against exact arithmetic, and against what is written."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradclip_cli
from gradclip_cli.measure.moments import Moments
from gradclip_cli.measure.rounding import explained
from gradclip_cli.tensors.dtypes import binary_of
from tests.dumps import floats, write_safetensors
from tests.running import Run

CODES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


def moments(norm: float, count: int = 1) -> Moments:
    """Give moments of so many values with a norm."""
    return Moments(count, ((0, (norm * norm,)),))


def test_it_is_the_formula_of_the_docs() -> None:
    parts = [("float16", moments(3.0, 100)), ("float32", moments(4.0, 7))]
    u16, u32 = 2.0**-11, 2.0**-24
    small = 100 * (2.0**-24 / 2) ** 2 + 7 * (2.0**-149 / 2) ** 2
    assert explained(parts, 5.0) == pytest.approx(
        math.sqrt((u16 * 3) ** 2 + (u32 * 4) ** 2 + small), rel=1e-14
    )


def test_subnormal_numbers_explain_a_hundredth_of_the_limit_at_most() -> None:
    parts = [("float16", moments(1e-9, 10**12))]
    assert explained(parts, 1e-5) == pytest.approx(1e-7)


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0, math.inf])
@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=30), st.sampled_from([1e-7, 1.0]))
def test_rounding_stays_within_it(p: float, values: list[float], scale: float) -> None:
    meant = np.array(values) * scale
    stored = meant.astype(np.float16).astype(np.float64)

    def norm(array: np.ndarray) -> float:
        return float(
            np.abs(array).max() if p == math.inf else (np.abs(array) ** p).sum() ** (1 / p)
        )

    limit = norm(meant)
    sizes = float(norm(stored))
    part = Moments(len(values), norm_type=p)
    bound = explained([("float16", _with(part, sizes, p))], 1e9 * (limit + 1), p)
    assert sizes - limit <= bound * (1 + 1e-9) + 1e-300


def _with(part: Moments, norm: float, p: float) -> Moments:
    if p == 2:
        return Moments(part.count, ((0, (norm**2,)),) if norm else ())
    if p == math.inf:
        return Moments(part.count, largest=(norm, 0), norm_type=p)
    return Moments(part.count, norm_type=p, powers=((0, (norm**p,)),) if norm else ())


def test_counting_values_that_are_not_zero_has_no_slack() -> None:
    assert explained([("float32", Moments(9, norm_type=0))], 3.0, 0) == 0


@pytest.mark.parametrize("code", CODES)
def test_what_was_clipped_to_a_limit_passes_its_gate_and_not_one_a_little_lower(
    run: Run, tmp_path: Path, code: str
) -> None:
    for seed in range(12):
        numbers = np.random.default_rng(seed)
        values = [float(value) for value in numbers.normal(size=int(numbers.integers(1, 500)))]
        limit = float(numbers.uniform(0.1, 3))
        source, target = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
        write_safetensors(source, {"w": floats(code, (len(values),), values)})
        found = gradclip_cli.apply(source, clip_norm=limit, output=target, force=True).clipped
        assert found is not None
        if not found.clipped:
            continue
        assert run("inspect", str(target), "--fail-above", repr(limit), "-q").status == 0
        room = 4 * binary_of(CODES[code]).unit_roundoff * limit
        lower = limit - max(room, 2e-12 * limit)
        assert run("inspect", str(target), "--fail-above", repr(lower), "-q").status == 1


@pytest.mark.parametrize("lead", [1.0, 1e8])
def test_many_equal_float64_are_clipped_and_pass_their_gate_though_sums_drift(lead: float) -> None:
    for tenth in range(1, 100):
        size, limit = tenth / 10 + 0.001, tenth / 100
        values = np.full(8191, size)
        values[0] *= lead
        clipped, _ = gradclip_cli.clip_by_global_norm([values], limit)
        norm = gradclip_cli.global_norm(clipped)
        part = Moments(values.size, ((0, (norm**2,)),))
        assert norm <= limit + explained([("float64", part)], limit)


def test_the_sample_passes_the_gate_that_it_was_clipped_to_and_is_told_why(
    run: Run, tmp_path: Path
) -> None:
    clipped = str(tmp_path / "c.safetensors")
    run("apply", "sample_grads/step-20.safetensors", "--clip-norm", "100", "-o", clipped)
    said = run("inspect", clipped, "--fail-above", "100", "--format", "table")
    assert (said.status, said.err) == (0, "")
    assert "the global norm is above 100 by 1.9e-07, which rounding explains\n" in said.out


def test_float64_is_rounded_by_half_a_last_digit() -> None:
    binary = binary_of("float64")
    assert Fraction(binary.unit_roundoff) == Fraction(1, 2**53)
