"""`--loss-scale S`: the limit is for values divided by S, and these are written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import gradclip_cli
from gradclip_cli.measure.gauge import measure
from gradclip_cli.measure.moments import divided
from tests.running import Run, gradclip

VALUES = np.random.default_rng(5).standard_normal((40, 30)).astype("f4")


def scaled(scale: float, dtype: str = "f4") -> Path:
    """Write gradients that were multiplied by a loss scale."""
    save_file({"w": (VALUES * scale).astype(dtype), "b": np.ones(5, dtype)}, "scaled.safetensors")
    return Path("scaled.safetensors")


def written(**options: Any) -> dict[str, Any]:
    """Clip, and give what was written."""
    gradclip_cli.apply("scaled.safetensors", output="out.safetensors", force=True, **options)
    found: dict[str, Any] = load_file("out.safetensors")
    return found


@pytest.mark.parametrize(
    "rule",
    [
        {"clip_norm": 1.5},
        {"clip_norm": 1e9},
        {"clip_norm": 0.5, "per_tensor": True},
        {"clip_norm": 0.5, "per_tensor": True, "axes": (0,)},
        {"clip_rms": 0.25},
        {"clip_value": 0.75},
        {"clip_norm": 3.0, "norm_type": 1},
        {"clip_norm": 1e-3, "average": True},
    ],
    ids=str,
)
def test_it_is_as_if_unscaled_gradients_were_clipped(rule: Any, here: Path) -> None:
    scaled(65536.0)
    unscaled = {"w": VALUES.astype("f8"), "b": np.full(5, 2.0**-16)}
    save_file(unscaled, "unscaled.safetensors")
    found = written(loss_scale=65536, **rule)
    report = gradclip_cli.apply("unscaled.safetensors", output="exact.safetensors", **rule)
    for name, values in load_file("exact.safetensors").items():
        np.testing.assert_array_equal(found[name], values.astype("f4"))
    mine = gradclip_cli.apply("scaled.safetensors", dry_run=True, loss_scale=65536, **rule)
    assert mine.clipped is not None
    assert report.clipped is not None
    assert mine.clipped.norm_before == report.clipped.norm_before
    assert mine.clipped.coefficient == report.clipped.coefficient
    assert mine.clipped.norm_after == pytest.approx(report.clipped.norm_after, rel=1e-6)
    assert "divided by the loss scale 65536" in mine.notes


def test_within_the_limit_the_values_are_unscaled_all_the_same(here: Path) -> None:
    scaled(1024.0)
    found = written(clip_norm=1e6, loss_scale=1024.0)
    np.testing.assert_array_equal(found["w"], VALUES)


@given(
    st.floats(2.0**-20, 2.0**20),
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20),
    st.sampled_from([1.0, 2.0, 3.0, float("inf"), 0.0]),
)
@settings(max_examples=60)
def test_moments_are_those_of_divided_values(scale: float, values: list[float], p: float) -> None:
    stored = np.array(values, "f8")
    found = divided(measure(stored, norm_type=p), scale)
    exact = measure(stored / scale, norm_type=p)
    assert found.norm == pytest.approx(exact.norm, rel=1e-13, abs=1e-300)
    assert found.max_abs == exact.max_abs
    assert (found.rms or 0.0) == pytest.approx(exact.rms or 0.0, rel=1e-13, abs=1e-300)
    power = 2.0 ** round(np.log2(scale))
    assert divided(measure(stored), power).norm == measure(stored / power).norm


def test_what_underflows_is_counted(here: Path) -> None:
    save_file({"w": np.array([1.0, 2.0**-10, 0.0, 3.0], "f2")}, "scaled.safetensors")
    report = gradclip_cli.apply(
        "scaled.safetensors", clip_norm=1e3, loss_scale=2.0**16, output="out.safetensors"
    )
    assert report.clipped is not None
    assert report.clipped.flushed == 1
    assert load_file("out.safetensors")["w"].tolist() == [2.0**-16, 0.0, 0.0, 3 * 2.0**-16]


def test_what_if_and_inspect_say_what_apply_does(here: Path) -> None:
    scaled(512.0)
    asked = gradclip_cli.inspect("scaled.safetensors", loss_scale=512, clip_norm=[1.0, 1e6])
    assert asked.global_norm == pytest.approx(float(np.linalg.norm(VALUES)), rel=1e-5)
    for chance, limit in zip(asked.what_if, (1.0, 1e6), strict=True):
        done = gradclip_cli.apply(
            "scaled.safetensors", clip_norm=limit, loss_scale=512, dry_run=True
        )
        assert done.clipped is not None
        assert (chance.coefficient, chance.norm_after) == (
            done.clipped.coefficient,
            done.clipped.norm_after,
        )


def test_it_goes_through_a_pipe_and_in_place(here: Path) -> None:
    path = scaled(256.0)
    options = ("--clip-norm", "2", "--loss-scale", "256")
    piped = gradclip("apply", *options, "-q", stdin=path.read_bytes())
    assert piped.returncode == 0
    gradclip_cli.apply(path, clip_norm=2.0, loss_scale=256, in_place=True)
    assert path.read_bytes() == piped.stdout


def test_tensors_that_are_not_selected_stay_as_stored_and_that_is_said(here: Path) -> None:
    scaled(256.0)
    report = gradclip_cli.apply(
        "scaled.safetensors", clip_norm=2.0, loss_scale=256, include="w", output="o.safetensors"
    )
    assert "1 other tensor left as stored, loss scale and all" in report.notes
    assert load_file("o.safetensors")["b"].tolist() == [1.0] * 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--loss-scale", "0"], "--loss-scale: 0.0 is no loss scale"),
        (["--loss-scale", "-2"], "--loss-scale: -2.0 is no loss scale"),
        (["--loss-scale", "nan"], "--loss-scale: nan is no loss scale"),
        (["--loss-scale", "1e40"], "--loss-scale: 1e+40 is no loss scale"),
        (["--loss-scale", "many"], "--loss-scale: 'many' is not a number"),
        (["--loss-scale", "2", "--like", "torch"], "--loss-scale: cannot go with --like"),
        (["--loss-scale", "2", "--use-norm", "5"], "--loss-scale: cannot go with --use-norm"),
        (["--loss-scale", "2", "--nonfinite", "skip"], "cannot go with --nonfinite skip"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused(options: list[str], said: str, here: Path, run: Run) -> None:
    scaled(2.0)
    done = run("apply", "scaled.safetensors", "--clip-norm", "1", "-o", "o.safetensors", *options)
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert not Path("o.safetensors").exists()


def test_float16_gradients_of_a_large_norm_get_a_hint(here: Path, run: Run) -> None:
    hint = "is a loss scale still in them? --loss-scale S divides by it"
    scaled(1024.0, "f2")
    assert hint in run("inspect", "scaled.safetensors", "--json").out
    assert hint not in run("inspect", "scaled.safetensors", "--loss-scale=2", "--json").out
    scaled(1.0, "f2")
    assert hint not in run("inspect", "scaled.safetensors", "--json").out
    scaled(1024.0)
    assert hint not in run("inspect", "scaled.safetensors", "--json").out


def test_the_hint_goes_by_the_l2_norm_whatever_norm_is_asked_for(here: Path) -> None:
    save_file({"w": np.tile(VALUES, (2, 1)).astype("f2")}, "scaled.safetensors")
    for norm_type in (0, 1, 2, np.inf):
        report = gradclip_cli.inspect("scaled.safetensors", norm_type=norm_type)
        assert not any("loss scale" in note for note in report.notes), norm_type
    scaled(1024.0, "f2")
    for norm_type in (0, 1, 2, np.inf):
        report = gradclip_cli.inspect("scaled.safetensors", norm_type=norm_type)
        assert any("loss scale" in note for note in report.notes), norm_type


def test_so_do_float32_gradients_that_were_computed_in_float16(here: Path, run: Run) -> None:
    hint = "float32 values with the digits of float16 of norm"
    half = (VALUES * 1024).astype("f2").astype("f4")
    for values, is_told in (
        (half, True),
        (half / 1024, False),  # unscaled
        (VALUES * 1024, False),
        ((half.view("u4") & 0xFFFF0000).view("f4"), False),  # as bfloat16
    ):
        save_file({"w": values, "norm.weight": VALUES[0]}, "mixed.safetensors")
        assert (hint in run("inspect", "mixed.safetensors", "--json").out) == is_told


def test_values_are_looked_at_while_they_are_there(here: Path) -> None:
    save_file({"w": (VALUES * 1024).astype("f2").astype("f4")}, "mixed.safetensors")
    data = (here / "mixed.safetensors").read_bytes()
    hint = b"is a loss scale still in them?"
    options = ("apply", "--clip-norm", "1", "-o", "-", "--json")
    done = gradclip(*options, stdin=data)
    assert (done.returncode, hint in done.stderr) == (0, True)
    known = gradclip(*options, "--use-norm", "30000", stdin=data)
    assert known.returncode == 0
    assert gradclip("inspect", stdin=data).returncode == 0
    place = ("apply", "mixed.safetensors", "--clip-norm", "1", "--json", "--in-place")
    placed = gradclip(*place, cwd=here)
    assert (placed.returncode, hint in placed.stdout) == (0, True)


def test_json_has_the_scale_among_the_notes(here: Path, run: Run) -> None:
    scaled(64.0)
    done = run(
        "apply", "scaled.safetensors", "--clip-norm=1", "--loss-scale=64", "--dry-run", "--json"
    )
    assert json.loads(done.out)["notes"] == ["divided by the loss scale 64"]
