"""Which norms leave the range of those before: blindness, false alarms, new levels, few steps."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradclip_cli
from benchmarks.spikes import LEVELS, SIGMAS, scored, watched
from gradclip_cli.series.ranges import RangeRule
from gradclip_cli.series.shifts import shifts
from gradclip_cli.series.trajectory import Layout, Measured, Watch
from tests.readers import PARSED, strict
from tests.running import Run
from tests.steps import NAN, of_norms, write_steps

NOT_FINITE = "not all values are finite, first at step 30, likely in w"
SAMPLE = "sample_grads/step-{}.safetensors"


def noise(count: int, sigma: float = 0.25, seed: int = 1) -> list[float]:
    """Give healthy norms."""
    return [float(norm) for norm in np.exp(sigma * np.random.default_rng(seed).normal(size=count))]


def marks(norms: list[float]) -> list[int]:
    """Give the places that are marked as spikes."""
    found = watched(np.log(norms))
    return [place for place, step in enumerate(found) if step.mark == "spike"]


# No false all-clear


def test_two_steps_are_too_few_to_call_a_spike_and_the_jump_is_told(run: Run) -> None:
    paths = [SAMPLE.format(19), SAMPLE.format(20)]
    said = run("trend", *paths, "--format", "table", COLUMNS="160")
    assert (
        "too few steps to call a spike; largest jump: step 20, 1,767 times the step before, "
        "rnn.weight_hh_l0 98.2 %\n"
    ) in said.out
    assert "no spike" not in said.out
    whole = strict(run("trend", *paths, "--json").out)
    assert (whole["judged"], whole["spikes"]) == (0, [])
    jump = whole["largest_jump"]
    assert (jump["step"], jump["tensor"]) == (20, "rnn.weight_hh_l0")
    assert jump["times"] == pytest.approx(433422.3932561914 / 245.29418285297248)
    found = gradclip_cli.trend(*paths)
    assert found.judged == 0
    assert found.largest_jump is not None
    assert found.largest_jump.step.step == 20


def test_below_five_earlier_steps_nothing_is_marked_and_below_twenty_marks_say_few(
    run: Run, tmp_path: Path
) -> None:
    for count in (4, 5, 19, 20):
        before = noise(count)
        trend = of_norms(tmp_path, *before, 1e4)
        step = trend.steps[-1]
        assert step.mark == ("spike" if count >= 5 else "")
        assert step.few_steps == (count < 20 if count >= 5 else None)
        paths = write_steps(tmp_path, *({"w": [norm]} for norm in (*before, 1e4)))
        last = PARSED["tsv"](run("trend", *paths).out)[-1]
        assert last["few_steps"] == {4: "", 5: "true", 19: "true", 20: "false"}[count]
        table = run("trend", *paths, "--format", "table", COLUMNS="160").out
        assert ("spike?" in table) == (5 <= count < 20)
        assert ("few steps" in table) == (count < 20)
        assert ("too few steps" in table) == (count < 5)


def test_a_jump_among_the_steps_that_are_not_judged_is_told(run: Run, tmp_path: Path) -> None:
    norms = [1.0, 1.1, 900.0, 1.0, 1.1, 0.9, *noise(30)]
    paths = write_steps(tmp_path, *({"w": [norm]} for norm in norms))
    said = run("trend", *paths, "--format", "table", COLUMNS="160").out
    assert "the first 5 steps are not judged; largest jump: step 2, 818.2 times" in said


# No blindness


def test_one_explosion_does_not_hide_the_next(tmp_path: Path) -> None:
    norms = noise(60)
    for place, times in ((20, 1e4), (30, 500), (40, 500), (50, 500)):
        norms[place] *= times
    assert [spike.step.step for spike in of_norms(tmp_path, *norms).spikes] == [20, 30, 40, 50]


def test_the_steps_of_the_sample_after_its_explosion_are_marked_too() -> None:
    run = gradclip_cli.trend(*(SAMPLE.format(number) for number in range(10, 23)))
    assert [step.step for step in run.steps if step.mark] == [16, 17, 18, 19, 20, 21, 22]


@given(st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=60), st.integers(1, 59))
def test_marks_are_causal(norms: list[float], cut: int) -> None:
    whole = watched(np.log(norms))
    part = watched(np.log(norms[:cut]))
    assert [(s.mark, s.usual, s.anew) for s in whole[:cut]] == [
        (s.mark, s.usual, s.anew) for s in part
    ]


@given(st.integers(-30, 30))
def test_units_do_not_matter(exponent: int) -> None:
    norms = noise(80)
    norms[30] *= 60
    norms[60:] = [norm * 100 for norm in norms[60:]]
    assert marks([norm * 2.0**exponent for norm in norms]) == marks(norms)


def test_zero_and_what_is_not_finite_are_passed_over(tmp_path: Path) -> None:
    norms = noise(30)
    odd = [*norms[:10], 0.0, NAN, *norms[10:], 0.0, 50.0]
    trend = of_norms(tmp_path, *odd)
    assert [(step.step, step.mark) for step in trend.steps if step.mark] == [
        (10, "zero"),
        (11, "nonfinite"),
        (32, "zero"),
        (33, "spike"),
    ]


@pytest.mark.parametrize("norm", [1e-320, 1.0, 1.7e308])
def test_equal_norms_have_a_range_too(norm: float) -> None:
    layout = Layout(("w",), ("float64",), (1,))
    watch = Watch(RangeRule())
    steps = [watch.step(n, "", Measured(layout, [norm], [norm], {}, norm)) for n in range(60)]
    assert not any(step.mark for step in steps)
    assert steps[-1].threshold == pytest.approx(2 * norm, rel=0.01)


# New levels


def test_a_level_that_does_not_come_back_is_told_with_what_went_first(
    run: Run, tmp_path: Path
) -> None:
    usual = noise(100)
    other = noise(100, seed=2)
    steps = [
        {
            "calm": [norm],
            "first": [own * (200 if place >= 58 else 1)],
            "large": [own * 10 * (100 if place >= 60 else 1)],
        }
        for place, (norm, own) in enumerate(zip(usual, other, strict=True))
    ]
    paths = write_steps(tmp_path, *steps)
    (shift,) = gradclip_cli.trend(*paths).shifts
    assert shift.began.step == 58
    assert shift.first == ("first",)
    assert shift.step.step in (58, 60)
    assert shift.anew is not None
    whole = strict(run("trend", *paths, "--json").out)
    (told,) = whole["shifts"]
    assert (told["step"], told["began"]) == (shift.step.step, 58)
    assert told["first"] == [{"tensor": "first"}]
    assert told["anew"] == shift.anew.step
    said = run("trend", *paths, "--format", "table", "--all", COLUMNS="200").out
    assert "first leaves its range at step 58 and does not come back: from step " in said
    assert f"; after step {shift.anew.step} that is the level to compare with\n" in said


def test_after_twenty_steps_at_a_new_level_the_window_begins_anew(tmp_path: Path) -> None:
    norms = noise(100)
    norms[50:] = [norm * 1000 for norm in norms[50:]]
    norms[90] *= 500
    trend = of_norms(tmp_path, *norms)
    assert [step.step for step in trend.steps if step.mark] == [*range(50, 70), 90]
    (shift,) = trend.shifts
    assert (shift.step.step, shift.count, shift.rises) == (50, 20, True)
    assert shift.anew is trend.steps[69]
    assert [spike.step.step for spike in trend.spikes] == [90], "those of the new level are none"


def test_a_level_may_fall_and_a_climb_is_no_level(tmp_path: Path) -> None:
    norms = noise(100)
    (shift,) = of_norms(tmp_path, *norms[:50], *(norm / 1000 for norm in norms[50:])).shifts
    assert (shift.step.step, shift.rises) == (50, False)
    climbing = [*norms[:50], *(norm * 1.5 ** (n + 4) for n, norm in enumerate(norms[:40]))]
    (open_end,) = of_norms(tmp_path, *climbing).shifts
    assert open_end.anew is None
    assert open_end.count >= 35


def test_two_spikes_at_the_end_are_no_level_yet(tmp_path: Path) -> None:
    assert of_norms(tmp_path, *noise(40), 1e4, 1e4).shifts == ()
    (shift,) = of_norms(tmp_path, *noise(40), 1e4, 1e4, 1e4).shifts
    assert (shift.count, shift.anew) == (3, None)


def test_a_spike_now_and_then_is_no_level(tmp_path: Path) -> None:
    norms = [norm * (1e3 if n > 20 and n % 2 else 1) for n, norm in enumerate(noise(120))]
    trend = of_norms(tmp_path, *norms)
    assert trend.shifts == ()
    assert len(trend.spikes) == 50


# The first is always shown


def test_of_many_spikes_the_first_and_the_largest_are_told(run: Run, tmp_path: Path) -> None:
    norms = noise(200)
    for number, place in enumerate(range(30, 200, 15)):
        norms[place] *= 50 * (number + 1)
    paths = write_steps(tmp_path, *({"w": [norm]} for norm in norms))
    said = run("trend", *paths, "--format", "table", COLUMNS="160").out
    assert "12 spikes above the range of the steps before:\n  step 30: norm " in said
    assert "… and 8 smaller ones" in said
    assert "; w has 100 % of the squared norm\n" in said


# What marks and words say together


def test_marks_of_a_new_level_are_told_apart_from_spikes(run: Run, tmp_path: Path) -> None:
    norms = noise(60)
    norms[30] *= 5000
    norms[50:] = [norm * 60 for norm in norms[50:]]
    paths = write_steps(tmp_path, *({"w": [norm]} for norm in norms))
    said = run("trend", *paths, "--format", "table", COLUMNS="160").out
    assert "1 spike above the range of the steps before, beside 10 marks of the new level:" in said
    assert (
        "w leaves its range at step 50 and does not come back: from step 50 on the global" in said
    )
    alone = run("trend", *paths[:45], "--format", "table", COLUMNS="160").out
    assert "1 spike above the range of the steps before:\n" in alone


def test_with_a_spike_rule_it_is_said_that_no_levels_are_looked_for(
    run: Run, tmp_path: Path
) -> None:
    paths = write_steps(tmp_path, *({"w": [norm]} for norm in noise(40)))
    said = "with --spike no levels are looked for that do not come back"
    assert said in run("trend", *paths, "--spike", "6,20", "--format", "table", COLUMNS="160").out
    assert said not in run("trend", *paths, "--format", "table", COLUMNS="160").out


# Gates


@pytest.mark.parametrize(
    ("norms", "status", "why"),
    [
        ([1.0] * 4 + [900.0], 2, "gradclip: too few steps to call a spike"),
        ([1.0] * 30, 0, ""),
        (
            [1.0] * 4 + [10.0] + [1.0] * 6,
            2,
            "gradclip: step 4 is 10.00 times the step before, and not judged: too few steps come "
            "before it",
        ),
        ([1.0] * 30 + [900.0], 1, "gradclip: step 30 is above the range before it"),
        ([1.0] * 6 + [900.0], 1, "gradclip: step 6 is above the range before it, by few steps"),
        ([1.0] * 30 + [900.0] * 40, 1, "gradclip: step 30 is above the range before it"),
        ([900.0] * 30 + [1.0] * 40, 0, ""),
        (
            [1.0] * 30 + [NAN],
            1,
            f"gradclip: {NOT_FINITE}",
        ),
    ],
)
def test_a_gate_judges_a_run_says_why_and_does_not_pass_what_it_cannot_judge(
    run: Run, tmp_path: Path, norms: list[float], status: int, why: str
) -> None:
    paths = write_steps(tmp_path, *({"w": [norm]} for norm in norms))
    gates = ("--fail-spike", "--fail-nonfinite")
    said = run("trend", *paths, *gates, "--json")
    assert (said.status, said.err) == (status, f"{why}\n" if why else "")
    whole = strict(said.out)
    assert list(whole)[:3] == ["finite", "says", "status"]
    assert whole["status"] == status
    assert why.removeprefix("gradclip: ") in whole["says"]
    assert whole["finite"] == all(map(math.isfinite, norms))
    quiet = run("trend", *paths, *gates, "-q")
    assert (quiet.status, quiet.out, quiet.err) == (status, "", "")


# How often it is wrong


def test_it_is_seldom_wrong() -> None:
    for kind in ("steady", "warm-up, rising twentyfold"):
        found = scored(kind, 0.25, 20)
        assert found.early.wrong + found.late.wrong <= 1
        assert found.faults.wrong <= 3
        assert found.shifts.wrong <= 1


@pytest.mark.heavy
@pytest.mark.parametrize("kind", list(LEVELS))
@pytest.mark.parametrize("sigma", SIGMAS)
def test_it_is_wrong_no_more_often_than_promised(kind: str, sigma: float) -> None:
    found = scored(kind, sigma, 250)
    assert found.early.wrong * 2_000 <= found.early.of
    assert found.late.wrong * 10_000 <= found.late.of
    assert found.faults.wrong * 100 <= found.faults.of
    assert found.shifts.wrong * 20 <= found.shifts.of


def test_a_new_level_is_dated_by_what_left_it() -> None:
    logarithms = np.log(noise(100))
    logarithms[70:] += 3
    (shift,) = shifts(watched(logarithms))
    assert (shift.step.step, shift.began.step, shift.leaving) == (70, 70, 1)
