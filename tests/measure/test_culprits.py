"""The likely first tensor that is not finite: one rule, whichever command is asked."""

from pathlib import Path

import pytest

import gradclip_cli
from gradclip_cli.measure.culprits import likely_first
from tests.running import Run
from tests.steps import INF, NAN, write_steps

CASES: dict[str, tuple[dict[str, list[float]], str]] = {
    "infinities before NaN": ({"layers.9.w": [NAN], "layers.1.w": [INF]}, "layers.1.w"),
    "the highest layer": ({"layers.2.w": [NAN], "layers.10.w": [NAN, INF]}, "layers.10.w"),
    "the head": ({"layers.30.w": [INF], "lm_head.weight": [-INF]}, "lm_head.weight"),
    "the order of the file": ({"b": [NAN], "a": [NAN]}, "b"),
    "the head by itself": ({"head.bias": [INF], "blocks.7.mlp": [INF]}, "head.bias"),
    "no layer": ({"overhead.1": [1.0], "norm": [NAN], "layers.0.w": [NAN]}, "layers.0.w"),
}


@pytest.mark.parametrize(("tensors", "first"), CASES.values(), ids=CASES.keys())
def test_inspect_trend_and_diff_name_the_same_tensor(
    run: Run, tmp_path: Path, tensors: dict[str, list[float]], first: str
) -> None:
    sound = {name: [1.0] * len(values) for name, values in tensors.items()}
    before, after = write_steps(tmp_path, sound, tensors)
    report = gradclip_cli.inspect(after)
    assert report.worst is not None
    assert report.worst.name == report.rows[0].name == first
    trend = gradclip_cli.trend(before, after)
    assert trend.first_nonfinite is not None
    assert trend.first_nonfinite.tensor == trend.steps[1].worst == first
    assert f"likely first in {first} at [" in run("inspect", after, "--format", "table").out
    said = run("trend", before, after, "--format", "table", COLUMNS="160").out
    assert f"not finite, first at step 1, likely in {first} at [" in said
    said = run("diff", before, after, "--format", "table", COLUMNS="160").out
    assert f"newly not finite in B, likely first in {first} at [" in said


def test_a_head_is_a_part_of_a_name_and_not_of_a_word() -> None:
    names = ["multihead.5.w", "layers.6.w", "ahead"]
    assert likely_first((name, name, 0) for name in names) == "layers.6.w"
