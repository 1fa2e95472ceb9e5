"""Known layouts: a step's norm is right by the plain command, or a line says what to add."""

import glob
from pathlib import Path

import pytest

import gradclip_cli
from gradclip_cli import GradclipError
from gradclip_cli.formats.registry import NotWrittenError
from gradclip_cli.formats.relating import RepeatedNameError
from tests.floors import HOME
from tests.layouts import LAYOUTS, STEPS, Layout, fairchem, olmo, orbax

by_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def test_each_stands_by_name_in_the_documentation() -> None:
    text = (HOME.parent / "docs" / "formats.md").read_text("utf-8")
    section = text.partition("## Known layouts")[2].partition("\n## ")[0]
    names = [*LAYOUTS, "fairchem", "Orbax"]
    assert [name for name in names if name not in section] == []
    assert section.count("\n| ") == len(names) + 1, "and no line is made up"


@by_layout
def test_a_step_has_the_norm_of_its_gradient(layout: Layout, here: Path) -> None:
    layout.make(Path("run"))
    step = sorted(glob.glob(f"run/{layout.one}"))
    if layout.combine:
        with pytest.raises(RepeatedNameError, match="also stands in") as caught:
            gradclip_cli.inspect(step)
        assert f"combine {layout.combine}" in caught.value.hint
    ways = [layout.combine] if layout.combine else []
    report = gradclip_cli.inspect(step, combine=ways)
    assert report.global_norm == pytest.approx(layout.norm(STEPS[0]), rel=1e-7)
    if layout.counts:
        assert any(layout.counts in note for note in report.notes)


@by_layout
def test_a_run_is_refused_as_one_gradient_and_followed_as_steps(layout: Layout, here: Path) -> None:
    layout.make(Path("run"))
    with pytest.raises(GradclipError, match=r"2 steps, .* not one gradient") as caught:
        gradclip_cli.inspect("run", combine="pieces")
    assert "gradclip_cli.trend('run')" in caught.value.hint
    ways = [layout.combine] if layout.combine else []
    if ways:
        with pytest.raises(RepeatedNameError) as asked:
            gradclip_cli.trend("run")
        assert "combine" in asked.value.hint
    for paths in (["run"], sorted(glob.glob("run/*"))):
        steps = gradclip_cli.trend(paths, combine=ways).steps
        assert [step.step for step in steps] == [*STEPS]
        found = [step.global_norm for step in steps]
        assert found == pytest.approx([layout.norm(step) for step in STEPS], rel=1e-7)


@by_layout
def test_a_step_is_clipped_in_its_own_files(layout: Layout, here: Path) -> None:
    layout.make(Path("run"))
    step = sorted(glob.glob(f"run/{layout.one}"))
    ways = [layout.combine] if layout.combine else []
    others = [path for path in Path("run").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in others}
    if layout.make is olmo:
        with pytest.raises(NotWrittenError, match=r"output clipped\.safetensors"):
            gradclip_cli.apply(step, clip_norm=1.0, in_place=True)
        return
    done = gradclip_cli.apply(step, clip_norm=1.0, combine=ways, in_place=True)
    assert done.global_norm == pytest.approx(layout.norm(STEPS[0]), rel=1e-7)
    assert gradclip_cli.inspect(step, combine=ways).global_norm == pytest.approx(1, rel=1e-6)
    layout.make(Path("twice"))
    copies = sorted(glob.glob(f"twice/{layout.one}"))
    other = gradclip_cli.apply(copies, clip_norm=1.0, combine=ways, output="out/")
    assert gradclip_cli.inspect("out", combine=ways).global_norm == pytest.approx(1, rel=1e-6)
    assert done.written is not None
    assert other.written is not None
    for mine, its in zip(done.written.paths or (), other.written.paths or (), strict=False):
        assert Path(mine).read_bytes() == Path(its).read_bytes()
    changed = {str(path) for path, data in before.items() if path.read_bytes() != data}
    assert changed == set(done.written.paths or ())


def test_steps_of_orbax_are_followed(here: Path) -> None:
    pytest.importorskip("tensorstore")
    orbax(Path("run"))
    norm = gradclip_cli.inspect("run/9").global_norm
    with pytest.raises(GradclipError, match="2 steps, 9 to 10, not one gradient"):
        gradclip_cli.inspect("run")
    steps = gradclip_cli.trend("run").steps
    assert [(step.step, step.global_norm) for step in steps] == [(9, norm), (10, norm)]


def test_a_log_of_fairchem_is_named_as_what_it_is(here: Path) -> None:
    fairchem(Path("run"))
    for path in ("run", "run/ddp2.0_gp1.0_step9.txt"):
        with pytest.raises(GradclipError, match=r"a log of fairchem with the mean of \|g\|"):
            gradclip_cli.inspect(path)
        with pytest.raises(GradclipError):
            gradclip_cli.trend(path)
