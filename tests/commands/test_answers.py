"""What trend and diff say first: all kinds of findings in one sentence, and none that misleads."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from gradclip_cli.results.suggestion import suggest
from tests.running import Run, environment, forked, on_terminal, shown_by
from tests.steps import NAN, write_steps

STEPS = 40


def series(name: str, size: float) -> list[float]:
    random = np.random.default_rng([ord(letter) for letter in name])
    return [size * math.exp(random.normal(0, 0.1)) for _ in range(STEPS)]


@pytest.fixture
def run_of_faults(tmp_path: Path) -> list[str]:
    """Write a run with four faults: a rise for good, a value, a stale tensor, a NaN."""
    norms = {name: series(name, 1.0) for name in ("layers.0", "layers.1", "layers.2")}
    norms["head"] = series("head", 8.0)  # hides the rise
    norms["layers.1"][20:] = [12 * norm for norm in norms["layers.1"][20:]]
    norms["layers.0"][30] = 1e20
    norms["layers.2"][8:16] = [norms["layers.2"][8]] * 8
    norms["head"][36] = NAN
    norms["dead"] = [0.0] * STEPS
    return write_steps(
        tmp_path, *({name: [n[at]] for name, n in norms.items()} for at in range(STEPS))
    )


def test_the_first_sentence_has_each_kind_of_finding(run: Run, run_of_faults: list[str]) -> None:
    says = json.loads(run("trend", *run_of_faults, "--json").out)["says"]
    assert says == gradclip_cli.trend(run_of_faults).says
    kinds = [
        "not finite, first at step 36, likely in head",
        "1 spike above the range of the steps before, the first at step 30",
        "layers.1 leaves its range at step 20 and does not come back",
        "1 tensor is zero in every step: dead",
        "1 tensor has the same values from step 8 to 15, in 8 steps: layers.2",
    ]
    places = [says.index(kind) for kind in kinds]
    assert places == sorted(places)


def test_the_words_say_what_came_after_and_that_it_was_one_value(
    run: Run, run_of_faults: list[str]
) -> None:
    said = run("trend", *run_of_faults, "--format", "table", COLUMNS="160").out
    assert "\n  finite again in the 3 steps after it\n" in said
    assert ", nearly all of it in one value; share of layers.0 grew" in said
    write_steps(Path(run_of_faults[0]).parent, *[{"head": [NAN]}] * 2)
    said = run("trend", *run_of_faults, "--format", "table", COLUMNS="160").out
    assert "\n  so are 2 of the 39 steps after it\n" in said


def test_a_limit_comes_from_the_steps_before_a_tensor_rises_for_good(
    run_of_faults: list[str],
) -> None:
    found = suggest(gradclip_cli.trend(run_of_faults))
    assert (found.until, found.used) == (20, 20)
    assert found.basis == "the 20 steps before step 20, the first that stays higher"
    assert "layers.1 left its range first" in found.warning
    steady = suggest(gradclip_cli.trend(run_of_faults, exclude=["layers.1"]))
    assert (steady.until, steady.warning) == (30, "")


def test_the_norm_is_drawn_by_one_scale_whatever_the_width(
    run: Run, run_of_faults: list[str]
) -> None:
    for width in ("40", "60", "100"):
        lines = run("trend", *run_of_faults, "--format", "table", COLUMNS=width).out.splitlines()
        (line,) = [line for line in lines if line.startswith("global norm  ") and "▁" in line]
        drawn = line.split()[-1]
        assert drawn.count("█") <= 2, "the one value, and nothing else"
        assert drawn[-1] in "▅▆▇"


@pytest.mark.parametrize(("form", "says"), [("tsv", True), ("json", False), ("table", False)])
def test_where_rows_go_into_a_pipe_a_terminal_still_gets_the_answer(
    run_of_faults: list[str], form: str, says: bool, tmp_path: Path
) -> None:
    command = " ".join([*forked(), "trend", *run_of_faults, "--format", form])
    shown = shown_by(["sh", "-c", f"{command} > {tmp_path}/rows"], (24, 80), None, environment({}))
    assert ("gradclip: not finite, first at step 36" in "\n".join(shown.lines)) == says
    quiet = f"{command} -q > {tmp_path}/rows"
    assert shown_by(["sh", "-c", quiet], (24, 80), None, environment({})).lines == []


def test_what_is_not_finite_is_no_multiple_and_no_error(run: Run, tmp_path: Path) -> None:
    one = {"a": [1.0, 2.0], "b": [3.0, 5.0], "bad": [NAN, NAN]}
    two = {name: [value / 4 for value in values] for name, values in one.items()}
    three = {**one, "bad": [1.0, 1.0]}
    a, b, c = write_steps(tmp_path, one, two, three)
    said = run("diff", a, b, "--format", "table", COLUMNS="160").out
    assert said.startswith("2 of 3 tensors: B = 0.2500 · A")
    assert "B/A 0.2500 of what is finite in both" in said
    said = run("diff", a, c, "--format", "table", COLUMNS="160").out
    assert "worst: bad, 2 values not finite in A, and otherwise in B\n" in said


def test_a_folder_of_one_file_is_written_to_the_file_that_is_named(
    run: Run, tmp_path: Path
) -> None:
    write_steps(tmp_path / "in", {"a": [1.0]})
    said = run("apply", tmp_path / "in", "--clip-norm", "1", "-o", tmp_path / "x.safetensors")
    assert said.status == 0
    assert gradclip_cli.inspect(tmp_path / "x.safetensors").global_norm == 1.0


def test_diff_names_what_became_another_size_altogether(run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    one = {f"w{n}": random.normal(size=9).tolist() for n in range(6)}
    two = {f"w{n}": random.normal(size=9).tolist() for n in range(6)}
    two["w2"] = [value / 1000 for value in two["w2"]]
    two["w4"] = [value * 1000 for value in two["w4"]]
    said = run("diff", *write_steps(tmp_path, one, two), "--format", "table", COLUMNS="160").out
    assert "\n1 tensor is a tenth or less of what A has, by the norm: w2\n" in said
    assert "\n1 tensor is ten times or more what A has, by the norm: w4\n" in said


def test_check_leaves_sound_files_out_where_a_terminal_has_no_room_for_all(tmp_path: Path) -> None:
    paths = write_steps(tmp_path, *[{"a": [1.0]}] * 60)
    Path(paths[33]).write_bytes(b"\x80")
    shown = on_terminal("check", *paths, columns=160)
    assert len(shown.lines) < 24
    assert ": bad: " in shown.lines[0]
    assert shown.lines[-2].startswith("… ")
    assert shown.lines[-2].endswith(" more, all sound")
    assert shown.lines[-1] == "bad: 1 of 60 files"
