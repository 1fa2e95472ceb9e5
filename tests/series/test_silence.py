"""Tensors that fall silent: zero for good, never before, and told once."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import gradclip_cli
from gradclip_cli.series.ranges import RangeRule
from gradclip_cli.series.silence import AFTER, BEFORE, silences
from gradclip_cli.series.trajectory import Layout, Measured, Nonfinite, Step, Watch
from tests.running import Run
from tests.steps import NAN, write_steps

NORMS = st.sampled_from([0.0, 1.0, None])  # None: not finite


def by_hand(norms: list[float | None]) -> int | None:
    """Say where one falls silent, as one would who looks at each place."""
    known = [(place, norm) for place, norm in enumerate(norms) if norm is not None]
    for at in range(len(known) + 1):
        before, after = known[:at], known[at:]
        parted = all(norm for _, norm in before) and not any(norm for _, norm in after)
        if parted and len(before) >= BEFORE and len(after) >= AFTER:
            return after[0][0]
    return None


@given(st.lists(st.tuples(NORMS, NORMS, NORMS), max_size=12))
def test_a_tensor_is_silent_where_it_is_zero_and_never_was_before(
    rows: list[tuple[float | None, ...]],
) -> None:
    layout = Layout(("a", "b", "c"), ("float32",) * 3, (1,) * 3)
    watch = Watch(RangeRule())
    steps: list[Step] = []
    for row in rows:
        bad = {place: Nonfinite(1, 0, 0, (0,)) for place, one in enumerate(row) if one is None}
        norms = [one or 0.0 for one in row]
        steps.append(watch.step(len(steps), "", Measured(layout, norms, norms, bad, 1.0)))
    found = {one.tensor: one.step.step for one in silences(steps)}
    wanted = {name: by_hand([row[at] for row in rows]) for at, name in enumerate(layout.names)}
    assert found == {name: place for name, place in wanted.items() if place is not None}


def test_it_is_told_with_the_step_since_when(run: Run, tmp_path: Path) -> None:
    paths = write_steps(
        tmp_path, *({"dead": [float(step < 4)], "alive": [1.0 + step % 2]} for step in range(6))
    )
    found = gradclip_cli.trend(paths)
    assert [(one.tensor, one.step.step, one.count) for one in found.silent] == [("dead", 4, 2)]
    told = json.loads(run("trend", *paths, "--json").out)
    assert told["silent"] == [{"tensor": "dead", "from": 4, "to": 5, "steps": 2}]
    assert "1 tensor is zero from step 4 on: dead" in run("trend", *paths, "--format", "table").out


def test_what_is_told_to_fall_is_not_told_again(run: Run, tmp_path: Path) -> None:
    paths = write_steps(
        tmp_path, *({"dead": [float(step < 9)], "alive": [1.0 + step % 2]} for step in range(20))
    )
    shown = run("trend", *paths, "--format", "table").out
    assert "dead leaves its range at step 9 and does not come back" in shown
    assert "zero from step" not in shown


def test_how_long_it_lasts_is_true_of_each(run: Run, tmp_path: Path) -> None:
    zero = {"a": 0.0, "b": 0.0, "c": 0.0, "d": 1.0}
    steps = [
        *[dict.fromkeys(zero, 1.0)] * 3,
        zero,
        {**zero, "a": NAN},
        {**zero, "b": 0.0},
        {**zero, "b": NAN},
    ]
    paths = write_steps(tmp_path, *({k: [v] for k, v in step.items()} for step in steps))
    shown = " ".join(run("trend", *paths, "--format", "table").out.split())
    assert "1 tensor is zero from step 3 on, where they are there and finite: a" in shown
    assert "1 tensor is zero from step 3 to step 5: b" in shown
