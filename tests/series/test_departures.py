"""Tensors that left their own range for good: none of noise, all that a person would ask about."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradclip_cli
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.departures import FEWEST, _left
from tests.running import Run
from tests.steps import NAN, write_steps

STEPS = 24


def noise(name: str, size: float = 1.0) -> list[float]:
    """Give norms around a size, which spread by a tenth."""
    random = np.random.default_rng([ord(letter) for letter in name])
    return [size * math.exp(random.normal(0, 0.1)) for _ in range(STEPS)]


def followed(folder: Path, series: dict[str, list[float]]) -> Trend:
    steps = [{name: [norms[n]] for name, norms in series.items()} for n in range(STEPS)]
    return gradclip_cli.trend(write_steps(folder, *steps))


def told(trend: Trend) -> list[tuple[str | None, int | str, bool]]:
    return [(one.tensor, one.step.step, one.rises) for one in trend.departures]


def moved(at: int, times: float, name: str = "moved") -> list[float]:
    return [norm * (times if n >= at else 1.0) for n, norm in enumerate(noise(name))]


def test_a_tensor_that_grows_or_dies_is_told_though_the_norm_of_all_hides_it(
    run: Run, tmp_path: Path
) -> None:
    series = {
        "layers.0.w": noise("large", 100.0),
        "layers.1.w": moved(9, 12.0),
        "layers.2.w": moved(15, 1 / 12),
        "layers.3.w": moved(12, 0.0),
        "layers.4.w": [0.0] * 11 + [1.0] * (STEPS - 11),
        "layers.5.w": noise("steady"),
    }
    found = followed(tmp_path, series)
    assert told(found) == [
        ("layers.1.w", 9, True),
        ("layers.4.w", 11, True),
        ("layers.3.w", 12, False),
        ("layers.2.w", 15, False),
    ]
    assert not found.shifts
    assert not found.spikes
    first = found.departures[0]
    assert first.before == pytest.approx(np.median(series["layers.1.w"][:9]))
    assert first.after == pytest.approx(np.median(series["layers.1.w"][9:]))
    paths = sorted(map(str, tmp_path.iterdir()))
    said = run("trend", *paths, "--format", "table", COLUMNS="160").out
    assert "layers.1.w leaves its range at step 9 and does not come back: its norm rises" in said
    assert "layers.3.w leaves its range at step 12 and does not come back: its norm falls" in said
    whole = json.loads(run("trend", *paths, "--json").out)
    assert "no spikes" in whole["says"]
    assert "layers.1.w leaves its range" in whole["says"]
    assert [(one["tensor"], one["step"]) for one in whole["departures"]] == [
        ("layers.1.w", 9),
        ("layers.4.w", 11),
        ("layers.3.w", 12),
        ("layers.2.w", 15),
    ]


def test_many_that_leave_together_are_told_by_their_layers(run: Run, tmp_path: Path) -> None:
    series = {
        f"layers.{layer}.{part}": moved(10, 1e-3 if layer < 2 else 1.0, f"{layer}{part}")
        for layer in range(8)
        for part in ("q", "k", "v", "o")
    }
    followed(tmp_path, series)
    said = run("trend", *sorted(map(str, tmp_path.iterdir())), "--format", "table", COLUMNS="160")
    assert "8 tensors leave their ranges at step 10 and do not come back, norms fall " in said.out
    assert ": layers.0 (4), layers.1 (4)\n" in said.out.replace("\n  layers", " layers")


def test_what_comes_back_is_not_gone(tmp_path: Path) -> None:
    back = [norm * (50 if 8 <= n < STEPS - 2 else 1) for n, norm in enumerate(noise("back"))]
    late = moved(STEPS - 1, 50.0)
    early = moved(1, 50.0)
    drift = [1.25**n for n in range(STEPS)]
    wide = [(1.0, 10.0)[n % 2] if n < 12 else 40.0 for n in range(STEPS)]  # no farther than before
    of_all = noise("of all", 1e4)  # hides each of them
    series = {"a": of_all, "back": back, "late": late, "early": early, "drift": drift, "wide": wide}
    assert told(followed(tmp_path, series)) == []


def test_few_steps_on_a_side_are_enough_where_it_is_far(run: Run, tmp_path: Path) -> None:
    rises = [(2, 50.0), (STEPS - 2, 50.0), (2, 5.0), (STEPS - 2, 5.0)]
    series = {f"{at} {fold}": moved(at, fold, f"{at}{fold}") for at, fold in rises}
    found = followed(tmp_path, {"of all": noise("of all", 1e4), **series})
    assert told(found) == [("2 50.0", 2, True), ("22 50.0", 22, True)]
    assert all(one.few for one in found.departures)
    whole = json.loads(run("trend", *sorted(map(str, tmp_path.iterdir())), "--json").out)
    assert [one["few_steps"] for one in whole["departures"]] == [True, True]
    assert "(by few steps)" in whole["says"]


def test_spikes_and_values_that_are_not_finite_do_not_hide_it(tmp_path: Path) -> None:
    series = {name: moved(15, times, name) for name, times in (("down", 0.05), ("up", 20.0))}
    series["still"] = noise("still", 30.0)
    for name in series:
        series[name][13] *= 1e4  # before, for what rises
        series[name][20] *= 1e4  # behind, for what falls
    series["up"][17] = NAN
    found = followed(tmp_path, series)
    assert {spike.step.step for spike in found.spikes} == {13, 20}
    assert told(found) == [("down", 15, False), ("up", 15, True)]


def test_what_a_shift_tells_is_not_told_twice(run: Run, tmp_path: Path) -> None:
    followed(tmp_path, {"w": moved(14, 1e3)})
    paths = sorted(map(str, tmp_path.iterdir()))
    said = run("trend", *paths, "--format", "table", COLUMNS="160").out
    assert said.count("leaves its range at step 14") == 1
    assert len(json.loads(run("trend", *paths, "--json").out)["departures"]) == 1


def test_tensors_that_only_some_steps_have(tmp_path: Path) -> None:
    norms = moved(12, 40.0)
    steps = [{"w": [norms[n]]} if n % 2 else {"v": [1.0], "w": [norms[n]]} for n in range(STEPS)]
    paths = write_steps(tmp_path, *steps)
    assert told(gradclip_cli.trend(paths)) == [("w", 12, True)]


@given(
    st.lists(st.floats(0, 1e100), min_size=10, max_size=30),
    st.integers(0, 2**32 - 1),
)
def test_ranges_on_both_sides_do_not_meet(values: list[float], seed: int) -> None:
    random = np.random.default_rng(seed)
    norms = np.array(values) * np.where(random.random(len(values)) < 0.1, math.nan, 1.0)
    split = random.integers(1, len(values))
    norms[split:] *= random.choice([1.0, 1e-200, 1e-3, 1e3])
    for _, place in _left(norms[:, None].copy()):
        before, after = norms[:place], norms[place:]
        apart = (
            np.nanmin(after) >= 3 * np.nanmax(before) or np.nanmax(after) <= np.nanmin(before) / 3
        )
        assert apart
        assert min(np.sum(~np.isnan(before)), np.sum(~np.isnan(after))) >= FEWEST
        assert not math.isnan(norms[place])


def test_noise_alone_is_no_departure() -> None:
    random = np.random.default_rng(5)
    for steps in (10, 12, 20, 60):
        for deviation in (0.1, 0.25, 0.5):
            norms = np.exp(random.normal(0, deviation, (steps, 20_000)))
            assert list(_left(norms)) == []
