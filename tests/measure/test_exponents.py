"""How many values have which exponent, and what that tells of them in another dtype."""

import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import gradclip_cli
from gradclip_cli.measure import exponents, tallies
from gradclip_cli.results.ranging import FORMATS, best_scale, lost
from tests.running import Run

DTYPES: dict[str, Any] = {
    "fp16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
}


def edges() -> NDArray[np.float32]:
    """Give numbers beside which a dtype changes its mind, and their neighbours."""
    found = [np.float32(0)]
    for exponent in range(-150, 129):
        for cut in exponents.CUTS:
            with np.errstate(over="ignore"):
                found.append(np.float32(np.ldexp(cut, exponent)))
    values = np.array(found, "f4")
    with np.errstate(over="ignore", under="ignore"):
        beside = [np.nextafter(values, np.float32(side)) for side in (0, np.inf)]
    every = np.concatenate([values, *beside, -values, [np.nan, np.inf, -np.inf, 1e-45, 464, 448]])
    return every.astype("f4")


def expected(values: NDArray[Any], name: str) -> tuple[int, int, int]:
    """Count what overflows, turns subnormal and becomes 0, as the dtype's own library rounds."""
    kept = values[np.isfinite(values)].astype("f4")
    with np.errstate(over="ignore", invalid="ignore"):
        cast = kept.astype(DTYPES[name]).astype("f8")
    info: Any = ml_dtypes.finfo
    smallest = float(info(DTYPES[name]).smallest_normal)
    return (
        int(np.count_nonzero(~np.isfinite(cast))),
        int(np.count_nonzero((np.abs(cast) < smallest) & (cast != 0))),
        int(np.count_nonzero((cast == 0) & (kept != 0))),
    )


def counted(values: NDArray[Any], name: str, power: int = 0) -> tuple[int, int, int]:
    """Count the same from the exponents."""
    found = lost(exponents.measured(values, 1), values.size, FORMATS[name], power)
    return found.overflowing, found.subnormal, found.vanishing


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_each_edge_is_as_the_library_of_the_dtype_rounds(name: str, dtype: str) -> None:
    values = edges()
    assert counted(values.astype(dtype), name) == expected(values, name)
    for at in range(0, values.size, 97):  # and none for another
        assert counted(values[at : at + 1].astype(dtype), name) == expected(
            values[at : at + 1], name
        )


@pytest.mark.parametrize("name", DTYPES)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50),
    st.integers(-20, 20),
    st.integers(1, 49),
)
def test_scaled_values_are_as_if_they_were_multiplied(
    name: str, values: list[float], power: int, cut: int
) -> None:
    array = np.array(values, "f4")
    scaled = np.ldexp(array.astype("f8"), power).astype("f4")
    exact = np.ldexp(array.astype("f8"), power) == scaled
    array, scaled = array[exact], scaled[exact]
    assert counted(array, name, power) == expected(scaled, name)
    whole = exponents.measured(array, 1)
    parts = [exponents.measured(part, 1) for part in (array[:cut], array[cut:])]
    assert tallies.merged(parts) == whole
    assert exponents.divided(whole, -power) == exponents.measured(scaled.astype("f8"), 1)


def test_complex_values_count_by_their_larger_part() -> None:
    values = np.array([1e-9, 1.0, 0.0, 1e-9, 0.0, 0.0, np.nan, 1.0])
    found = lost(exponents.measured(values, 2), 4, FORMATS["fp16"])
    assert (found.overflowing, found.subnormal, found.vanishing) == (0, 0, 1)


@given(st.lists(st.floats(2.0**-66, 2.0**33, width=32), min_size=1, max_size=30))
def test_no_scale_is_better_than_the_best(values: list[float]) -> None:
    counts = exponents.measured(np.array(values, "f4"), 1)
    best = best_scale(counts, FORMATS["fp16"])
    found = lost(counts, len(values), FORMATS["fp16"], best)
    for power in range(-60, 60):
        other = lost(counts, len(values), FORMATS["fp16"], power)
        assert (found.overflowing, found.vanishing, found.subnormal) <= (
            other.overflowing,
            other.vanishing,
            other.subnormal,
        )


# In a report


@pytest.fixture
def dump(here: Path) -> Path:
    numbers = np.random.default_rng(2)
    small = (numbers.standard_normal(20_000) * 2.0**-20).astype("f4")
    save_file({"small": small, "usual": numbers.standard_normal((30, 5))}, "g.safetensors")
    return here / "g.safetensors"


@pytest.mark.parametrize("name", [*DTYPES, "fp8", "float16", "float8_e5m2"])
def test_a_report_has_the_share_of_each_tensor(dump: Path, name: Any) -> None:
    report = gradclip_cli.inspect(dump, range_of=name)
    assert report.ranging is not None
    scale = math.ldexp(1.0, report.ranging.power)
    for row in report.tensors:
        values = load_file(dump)[row.name or ""].astype("f4")
        real = {"fp8": "e4m3", "float16": "fp16", "float8_e5m2": "e5m2"}.get(name, name)
        assert row.ranged is not None
        shares = [of / values.size for of in expected(values, real)]
        shares += [of / values.size for of in expected(values * np.float32(scale), real)]
        assert [*row.ranged.now.shares, *row.ranged.scaled.shares] == pytest.approx(shares)
    assert report.notes[-1].startswith(f"in {FORMATS[name].name}: ")


def test_json_tsv_and_groups_have_it(dump: Path, run: Run) -> None:
    said = json.loads(run("inspect", str(dump), "--range", "fp16", "--json").out)
    assert said["range"]["dtype"] == "float16"
    assert said["range"]["loss_scale"] > 1
    (small,) = [row for row in said["tensors"] if row["name"] == "small"]
    assert small["would_be_subnormal"] > 0.9
    assert small["scaled_be_subnormal"] < 0.01
    assert sum(small["exponents"][1::2]) == 20_000
    rows = run("inspect", str(dump), "--range", "fp16", "--group-by", "1").out.splitlines()
    columns = dict(zip(rows[0].split("\t"), rows[-1].split("\t"), strict=True))
    assert float(columns["would_be_subnormal"]) > 0.9
    assert "exponents" not in run("inspect", str(dump)).out


def test_of_unscaled_values_it_is_asked_with_the_loss_scale(dump: Path, run: Run) -> None:
    stored = gradclip_cli.inspect(dump, range_of="fp16")
    found = gradclip_cli.inspect(dump, range_of="fp16", loss_scale=2.0**-4)
    assert stored.ranging is not None
    assert found.ranging is not None
    assert found.ranging.power == stored.ranging.power - 4
    said = run("inspect", str(dump), "--range", "fp16", "--loss-scale", "3")
    assert (said.status, said.out) == (2, "")
    assert "--range: 3.0 is no power of two" in said.err


def test_a_cache_keeps_them_and_measures_those_that_lack_them_anew(here: Path) -> None:
    for step in (1, 2):
        save_file({"w": np.full(20, 2.0**-step, "f4")}, f"step-{step}.safetensors")
    steps = ["step-1.safetensors", "step-2.safetensors"]
    plain = gradclip_cli.trend(steps, cache="run.jsonl")
    assert "exponents" not in plain.steps[0].measured.further
    assert '"exponents"' not in Path("run.jsonl").read_text()
    asked = gradclip_cli.trend(steps, cache="run.jsonl", exponents=True)
    assert "2 steps measured anew: more is asked of them than was kept" in asked.notes
    key = -1 * exponents.ZONES
    assert asked.steps[0].measured.further["exponents"] == [(key, 20)]
    again = gradclip_cli.trend(steps, cache="run.jsonl", exponents=True)
    assert not any("anew" in note for note in again.notes)
    assert [*again.steps[0].measured.further["exponents"][0]] == [key, 20]
    assert gradclip_cli.trend(steps, cache="run.jsonl").notes == plain.notes
