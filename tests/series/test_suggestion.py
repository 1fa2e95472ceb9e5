"""What limits would have done: percentiles to the bit, candidates by the papers, and the advice."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import gradclip_cli
from gradclip_cli.results.suggestion import PERCENTILES, Suggestion, suggest
from gradclip_cli.series.limits import autoclip, by_limit, zclip
from gradclip_cli.series.spikes import percentile
from tests.readers import PARSED, strict
from tests.running import Run
from tests.steps import INF, NAN, of_norms, write_steps

norms_of_a_run = st.lists(st.floats(0, 1e300), min_size=1, max_size=60)


@given(norms_of_a_run, st.sampled_from([*PERCENTILES, 0, 10, 33.3, 100]))
@example([5e-324, 5e-324], 50)
@example([0.1, 0.1, 0.1], 90)
def test_percentiles_are_numpys_linear_ones_to_the_bit(norms: list[float], percent: float) -> None:
    assert percentile(sorted(norms), percent) == np.percentile(norms, percent, method="linear")


def test_what_is_not_finite_is_counted_and_left_out(tmp_path: Path) -> None:
    norms = [4.0, NAN, 1.0, INF, 3.0, 2.0, 0.0]
    found = suggest(of_norms(tmp_path, *norms))
    assert (found.steps, found.excluded) == (5, 2)
    finite = [norm for norm in norms if math.isfinite(norm)]
    assert [limit for _, limit in found.percentiles] == list(
        np.percentile(finite, PERCENTILES, method="linear")
    )


@given(norms_of_a_run, st.floats(1e-3, 1e6))
def test_a_fixed_limit_is_the_rule_of_apply(norms: list[float], limit: float) -> None:
    for norm, coefficient in zip(norms, by_limit(norms, limit), strict=True):
        assert coefficient == (1 if norm <= limit else limit / norm)


@given(norms_of_a_run, st.sampled_from([10.0, 50.0, 90.0]))
def test_autoclip_clips_by_the_percentile_of_all_norms_so_far(
    norms: list[float], percent: float
) -> None:
    for place, coefficient in enumerate(autoclip(norms, percent)):
        limit = np.percentile(norms[: place + 1], percent)
        assert coefficient == (1 if norms[place] <= limit else limit / norms[place])


def zclip_of_the_paper(norms: list[float]) -> list[float]:
    """Give the coefficients by the paper's equations, in float64 arrays."""
    mean, variance = np.mean(norms[:25]), np.var(norms[:25])
    coefficients = [1.0] * 25
    for norm in norms[25:]:
        z = (norm - mean) / (np.sqrt(variance) + 1e-6)
        clipped = norm if z <= 2.5 else mean + 2.5**2 / z * np.sqrt(variance)
        coefficients.append(clipped / norm)
        mean = 0.97 * mean + 0.03 * clipped
        variance = 0.97 * variance + 0.03 * (clipped - mean) ** 2
    return coefficients


@pytest.mark.parametrize("seed", range(5))
def test_zclip_is_that_of_the_paper(seed: int) -> None:
    rng = np.random.default_rng(seed)
    norms = [float(norm) for norm in np.exp(rng.normal(size=200))]
    found = zclip(norms)
    assert found == pytest.approx(zclip_of_the_paper(norms), rel=1e-12)
    assert min(found) < 0.9


def test_zclip_leaves_the_first_25_steps_alone() -> None:
    assert zclip([1.0] * 24 + [100.0]) == [1.0] * 25
    assert zclip([1.0] * 25 + [100.0])[-1] < 0.02


@given(st.lists(st.floats(0, 1.7e308), min_size=1, max_size=40))
@example([1e308] * 26 + [0.0, 1.7e308])
@example([0.0] * 27 + [5e-324])
def test_no_candidate_leaves_the_range_of_coefficients(norms: list[float]) -> None:
    for coefficients in (autoclip(norms), zclip(norms), by_limit(norms, 1.0)):
        assert all(0 <= coefficient <= 1 for coefficient in coefficients)


def test_the_table_of_candidates_adds_up(tmp_path: Path) -> None:
    norms = [1.0, 2.0] * 10 + [50.0] + [1.0, 2.0] * 4 + [10.0]
    found = suggest(of_norms(tmp_path, *norms))
    assert len(norms) == 30
    by_name = {candidate.name: candidate for candidate in found.candidates}
    one, five, skip = (by_name[name] for name in ("fixed 1.0", "fixed 5.0", "skip spikes"))
    assert one.clipped == 16 / 30
    assert five.clipped == 2 / 30
    assert five.clipped_last == 1 / 3
    assert five.worst_coefficient == 0.1
    assert five.mean_coefficient == pytest.approx((28 + 0.1 + 0.5) / 30)
    assert (five.caught, five.missed) == (0, 0) or five.caught + five.missed == skip.caught
    assert skip.clipped == skip.caught / 30
    assert skip.worst_coefficient == 0
    assert one.is_aggressive
    assert not five.is_aggressive


def test_a_spike_is_caught_where_it_is_brought_below_its_threshold(tmp_path: Path) -> None:
    norms = [1.0, 2.0] * 10 + [50.0] + [1.0, 2.0] * 10
    trend = of_norms(tmp_path, *norms)
    (spike,) = trend.spikes
    assert spike.step.threshold is not None
    assert 2 < spike.step.threshold < 50
    by_name = {candidate.name: candidate for candidate in suggest(trend).candidates}
    assert (by_name["fixed 1.0"].caught, by_name["fixed 1.0"].missed) == (1, 0)
    assert (by_name["ZClip"].caught, by_name["ZClip"].missed) == (0, 1)


def test_the_ninetieth_percentile_is_recommended(tmp_path: Path) -> None:
    found = suggest(of_norms(tmp_path, *(float(norm) for norm in range(1, 102))))
    assert (found.recommended, found.used, found.until) == (91.0, 101, None)
    assert found.best is not None
    assert found.best.clipped == 10 / 101


@pytest.mark.parametrize(("scale", "limit"), [(1.0, 4.97), (5573.1, 27700.0), (1e-9, 4.97e-9)])
def test_what_is_recommended_has_three_digits_and_comes_from_before_the_first_spike(
    tmp_path: Path, scale: float, limit: float
) -> None:
    before = [scale * norm for norm in np.linspace(1.2, 5.389, 60)]
    found = suggest(of_norms(tmp_path, *before, 900 * scale, *before))
    assert (found.until, found.used, found.recommended) == (60, 60, limit)
    assert found.best is not None
    assert found.best.limit == limit


def test_a_run_that_came_down_is_judged_since_then(tmp_path: Path) -> None:
    norms = [90.0, 100.0] * 15 + [1.0, 1.1] * 40 + [900.0]
    found = suggest(of_norms(tmp_path, *norms))
    assert (found.used, found.since, found.until, found.recommended) == (80, 30, 110, 1.1)
    assert found.basis == "the 80 steps from step 30 on before step 110, the first that explodes"


def test_a_new_level_is_no_guide_either(tmp_path: Path) -> None:
    norms = [1.0, 1.1] * 15 + [90.0, 100.0] * 40
    found = suggest(of_norms(tmp_path, *norms))
    assert (found.used, found.until, found.recommended) == (30, 30, 1.1)


@pytest.mark.parametrize("norms", [[NAN], [INF, NAN], [0.0], [0.0] * 9, [0.0, NAN]])
def test_nothing_is_recommended_where_there_is_nothing_to_go_by(
    tmp_path: Path, norms: list[float]
) -> None:
    found = suggest(of_norms(tmp_path, *norms))
    assert found.recommended is None
    assert all(0 <= candidate.mean_coefficient <= 1 for candidate in found.candidates)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Give a run with a spike and a step that is not finite."""
    norms = [1.0, 2.0] * 6 + [50.0, NAN, 1.0, 2.0]
    return write_steps(tmp_path, *({"w": [norm]} for norm in norms))


def of_python(paths: list[str]) -> Suggestion:
    return gradclip_cli.suggest(gradclip_cli.trend(*paths))


def test_suggest_says_in_words_what_to_do_and_what_to_mind(run: Run, paths: list[str]) -> None:
    said = run("trend", *paths, "--suggest", "--format", "table", COLUMNS="160")
    text = said.out
    assert text.startswith("candidate ")
    assert "1 step left out: 1 without a finite norm; 15 remain\n" in text
    recommended = of_python(paths).recommended
    assert recommended is not None
    assert f"recommended: --clip-norm {recommended:g}\n" in text
    words = (
        "the 90th percentile of the norms of the 12 steps before step 12, the first that explodes"
    )
    assert f"{words}, few steps; it clips " in text
    assert "why the 90th: some nine of ten such steps stay as they are; there the " in text
    assert "extremely aggressive, more than 50 % of the steps clipped: " in text
    assert "these norms were recorded under the run's own clipping and learning rate" in text
    assert len(text.splitlines()) <= 24


@pytest.mark.parametrize("form", ["tsv", "csv", "md"])
def test_suggest_in_text_has_a_row_for_each_percentile_and_candidate(
    run: Run, paths: list[str], form: str
) -> None:
    said = run("trend", *paths, "--suggest", "--format", form)
    rows = PARSED[form](said.out)
    found = of_python(paths)
    assert [row["row"] for row in rows] == ["percentile"] * 5 + ["candidate"] * len(
        found.candidates
    )
    assert [(int(row["name"]), float(row["limit"])) for row in rows[:5]] == list(found.percentiles)
    assert [row["name"] for row in rows if row["recommended"] == "true"] == ["percentile 90"]


def test_suggest_in_json_is_strict_and_whole(run: Run, paths: list[str]) -> None:
    found = of_python(paths)
    whole = strict(run("trend", *paths, "--suggest", "--json").out)
    assert whole["percentiles"] == {str(percent): limit for percent, limit in found.percentiles}
    assert (whole["steps"], whole["excluded"]) == (15, 1)
    assert found.recommended is not None
    assert (whole["recommended"], whole["used"], whole["until"]) == (found.recommended, 12, 12)
    assert [entry["name"] for entry in whole["candidates"]] == [
        candidate.name for candidate in found.candidates
    ]
    lines = run("trend", *paths, "--suggest", "--format", "jsonl").out
    rows = [strict(line) for line in lines.splitlines()]
    assert rows[-1]["row"] == "suggestion"
    assert [row for row in rows if row["row"] == "candidate"] == [
        {"row": "candidate", **entry} for entry in whole["candidates"]
    ]


def test_steps_that_cannot_be_read_are_left_out_and_counted(run: Run, paths: list[str]) -> None:
    cut = Path(paths[3])
    cut.write_bytes(cut.read_bytes()[:40])
    said = run("trend", *paths, "--suggest", "--format", "table", COLUMNS="160")
    left = "2 steps left out: 1 without a finite norm, 1 that cannot be read; 14 remain"
    assert left in said.out.splitlines()
    whole = strict(run("trend", *paths, "--suggest", "--json").out)
    assert (whole["steps"], whole["excluded"], whole["unreadable"]) == (14, 2, 1)
    assert (whole["finite"], whole["status"]) == (False, said.status) == (False, 2)
    assert left in whole["says"]


def test_the_status_in_json_is_that_of_the_process(run: Run, paths: list[str]) -> None:
    said = run("trend", *paths, "--suggest", "--json", "--fail-spike")
    assert (said.status, strict(said.out)["status"]) == (1, 1)
    assert said.err.removeprefix("gradclip: ").strip() in strict(said.out)["says"]


def risen(folder: Path, *rising: str, later: float = 1.0) -> list[str]:
    """Write a run of four tensors, in which some rise for good at step 30, to fall again later."""
    steps = [
        {
            name: [(1 + 0.1 * (step % 2)) * (_level(step, later) if name in rising else 1)]
            for name in "abcd"
        }
        for step in range(90)
    ]
    return write_steps(folder, *steps)


def _level(step: int, later: float) -> float:
    return 1.0 if step < 30 else 100.0 if step < 60 else 100.0 * later


@pytest.mark.parametrize(
    ("rising", "words"),
    [
        ("b", "b left its range first: a lasting rise of one tensor is a reason to look at that "),
        ("bc", "b, c left their ranges first: a lasting rise of few tensors is a reason to look "),
    ],
)
def test_a_lasting_rise_of_few_tensors_is_a_reason_to_look_at_them(
    run: Run, tmp_path: Path, rising: str, words: str
) -> None:
    paths = risen(tmp_path, *rising)
    text = run("trend", *paths, "--suggest", "--format", "table", COLUMNS="240").out
    warning = f"from step 30 on the global norm is higher for good, and {words}"
    assert warning in text
    assert text.index(warning) < text.index("recommended: ")
    (first, _) = strict(run("trend", *paths, "--suggest", "--json").out)["notes"]
    assert first.startswith(warning)
    assert first.endswith(", not to clip all")


@pytest.mark.parametrize(("rising", "later"), [("abcd", 1.0), ("abc", 1.0), ("b", 0.01)])
def test_a_rise_of_most_tensors_or_one_that_is_over_is_no_such_reason(
    run: Run, tmp_path: Path, rising: str, later: float
) -> None:
    paths = risen(tmp_path, *rising, later=later)
    assert gradclip_cli.trend(*paths).shifts[0].rises
    assert "higher for good" not in run("trend", *paths, "--suggest", "--format", "table").out
