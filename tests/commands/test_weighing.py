"""`inspect --params DUMP`: the norm of each gradient over that of its parameter."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import gradclip_cli
from tests.running import Run, gradclip, on_terminal

NUMBERS = np.random.default_rng(4)
GRADIENTS = {
    name: NUMBERS.standard_normal(shape).astype("f4")
    for name, shape in {"a.w": (5, 3), "a.b": (3,), "c.w": (4,), "none": (2,)}.items()
}
PARAMETERS: dict[str, Any] = {
    name: (10 * NUMBERS.standard_normal(values.shape)).astype("f2" if "c" in name else "f4")
    for name, values in GRADIENTS.items()
    if name != "none"
} | {"frozen": np.ones(7)}


@pytest.fixture(autouse=True)
def _dumps(here: Path) -> None:
    save_file(GRADIENTS, "g.safetensors")
    save_file(PARAMETERS, "p.safetensors")


def exact(values: Any, p: float = 2.0) -> float:
    """Give a norm."""
    return float(np.linalg.norm(np.asarray(values, "f8").ravel(), p))


@pytest.mark.parametrize("p", [2.0, 1.0, np.inf])
def test_each_ratio_is_that_of_the_two_norms(p: float) -> None:
    report = gradclip_cli.inspect("g.safetensors", params="p.safetensors", norm_type=p)
    for row in report.tensors:
        if row.name == "none":
            assert (row.param_norm, row.grad_to_param) == (None, None)
            continue
        own, other = exact(GRADIENTS[row.name or ""], p), exact(PARAMETERS[row.name or ""], p)
        assert row.param_norm == pytest.approx(other, rel=1e-12)
        assert row.grad_to_param == pytest.approx(own / other, rel=1e-12)
    assert "1 gradient without a parameter: none" in report.notes
    assert "1 parameter without a gradient" in report.notes
    assert any(note.startswith("gradient over parameter: at most") for note in report.notes)


def test_of_a_group_and_of_all_those_count_that_have_a_parameter(run: Run) -> None:
    said = run("inspect", "g.safetensors", "--params=p.safetensors", "--group-by=1", "--json").out
    groups = {row["name"]: row for row in json.loads(said)["groups"]}
    own = [exact(GRADIENTS[name]) for name in ("a.w", "a.b")]
    other = [exact(PARAMETERS[name]) for name in ("a.w", "a.b")]
    assert groups["a"]["grad_to_param"] == pytest.approx(exact(own) / exact(other), rel=1e-12)
    assert groups["none"]["grad_to_param"] is None
    last = run("inspect", "g.safetensors", "--params=p.safetensors").out.splitlines()
    whole = dict(zip(last[0].split("\t"), last[-1].split("\t"), strict=True))
    own = [exact(GRADIENTS[name]) for name in PARAMETERS if name != "frozen"]
    other = [exact(values) for name, values in PARAMETERS.items() if name != "frozen"]
    assert float(whole["grad_to_param"]) == pytest.approx(exact(own) / exact(other), rel=1e-12)


def test_there_is_no_ratio_to_zero_and_none_is_hidden(run: Run) -> None:
    save_file({"a.w": np.zeros((5, 3), "f4"), "a.b": np.full(3, np.nan, "f4")}, "p.safetensors")
    said = json.loads(run("inspect", "g.safetensors", "--params=p.safetensors", "--json").out)
    rows = {row["name"]: row for row in said["tensors"]}
    assert (rows["a.w"]["param_norm"], rows["a.w"]["grad_to_param"]) == (0.0, None)
    assert (rows["a.b"]["param_norm"], rows["a.b"]["grad_to_param"]) == (None, None)


def test_names_are_aligned_first() -> None:
    save_file({f"module.{name}": values for name, values in PARAMETERS.items()}, "p.safetensors")
    with pytest.raises(gradclip_cli.GradclipError, match="no gradient has a parameter") as caught:
        gradclip_cli.inspect("g.safetensors", params="p.safetensors")
    assert "strip_prefix" in caught.value.hint
    report = gradclip_cli.inspect("g.safetensors", params="p.safetensors", strip_prefix="module.")
    assert {row.name for row in report.tensors if row.grad_to_param} == {"a.w", "a.b", "c.w"}


def test_another_shape_is_another_model(run: Run) -> None:
    save_file(PARAMETERS | {"a.w": np.ones((3, 5), "f4")}, "p.safetensors")
    said = run("inspect", "g.safetensors", "--params", "p.safetensors")
    assert (said.status, said.out) == (2, "")
    assert "--params: 'a.w' has shape [5, 3], its parameter [3, 5]" in said.err


def test_what_headers_tell_is_told_before_a_value_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("values were read")

    monkeypatch.setattr("gradclip_cli.commands.inspect.measured", read)
    save_file(PARAMETERS | {"a.w": np.ones((3, 5), "f4")}, "p.safetensors")
    with pytest.raises(gradclip_cli.GradclipError, match="has shape"):
        gradclip_cli.inspect("g.safetensors", params="p.safetensors")
    save_file({"z": np.ones(3)}, "p.safetensors")
    with pytest.raises(gradclip_cli.GradclipError, match="no gradient has a parameter"):
        gradclip_cli.inspect("g.safetensors", params="p.safetensors")


def test_it_goes_beside_limits_and_the_rule_that_needs_it() -> None:
    plain = gradclip_cli.inspect("g.safetensors", params="p.safetensors", clip_norm=1.0)
    assert plain.what_if[0].coefficient == 1 / plain.global_norm
    report = gradclip_cli.inspect(
        "g.safetensors", params="p.safetensors", agc=0.01, exclude="none", agc_layout="torch"
    )
    assert report.what_if[0].changed
    assert all(row.grad_to_param for row in report.tensors if row.measured)


def test_gradients_may_come_through_a_pipe(here: Path) -> None:
    data = (here / "g.safetensors").read_bytes()
    said = gradclip("inspect", "--params", "p.safetensors", "--json", stdin=data, cwd=here)
    assert json.loads(said.stdout)["tensors"][0]["param_norm"] > 0


def test_a_terminal_shows_both(here: Path) -> None:
    shown = on_terminal("inspect", "g.safetensors", "--params", "p.safetensors", cwd=here)
    head = shown.lines[0].split()
    assert head[-1] == "grad/param"
    assert all(len(line) <= 80 for line in shown.lines)


def test_shards_of_both_are_put_together_and_what_is_left_out_has_a_parameter(here: Path) -> None:
    whole = NUMBERS.standard_normal((8, 6)).astype("f4")
    for place in ("gradients", "parameters"):
        Path(place).mkdir()
        for rank in range(4):
            rows = {"w": whole[2 * rank : 2 * rank + 2], "b": whole[rank]}
            save_file(rows, f"{place}/rank{rank}.safetensors")
    save_file({"w": whole, "b": whole[:4].ravel()}, "whole.safetensors")
    for params in ("parameters", "whole.safetensors"):
        report = gradclip_cli.inspect("gradients", params=params, combine="pieces", include="w")
        assert [row.grad_to_param for row in report.tensors if row.measured] == [
            pytest.approx(1, rel=1e-12)
        ]
        assert not any("without a" in note for note in report.notes)


def test_a_prefix_that_only_parameters_have_is_no_miss(here: Path) -> None:
    save_file({f"model.{name}": values for name, values in PARAMETERS.items()}, "p.safetensors")
    report = gradclip_cli.inspect("g.safetensors", params="p.safetensors", strip_prefix="model.")
    assert not any("strip-prefix" in note or "strip_prefix" in note for note in report.notes)
    other = gradclip_cli.inspect("g.safetensors", params="g.safetensors", strip_prefix="model.")
    assert any("model." in note for note in other.notes)
