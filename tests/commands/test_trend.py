"""A run over its steps: which step is which, how it compares, and what is read from all of them."""

import csv
import itertools
import json
import math
import os
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import gradclip_cli
from gradclip_cli.errors import GradclipError
from gradclip_cli.series.layers import heat
from gradclip_cli.series.order import ordered
from gradclip_cli.series.spikes import LEAST, Recent, SpikeRule, mean_and_deviation
from gradclip_cli.tensors.names import unescape
from tests.dumps import GRADS, floats, write_npy
from tests.readers import PARSED, strict
from tests.running import Run, end_of, gradclip, in_shell, one_error, running
from tests.steps import INF, NAN, of_norms, write_steps
from tests.strangers import FOREIGN, STRANGERS, write_foreign

COLUMNS = [
    *("row", "step", "source", "global_norm", "ratio", "tensor", "share", "nonfinite", "mark"),
    *("finite_norm", "threshold", "first_nonfinite", "few_steps", "problem"),
]


# Which operand is which step


def test_steps_are_in_the_order_of_the_number_in_their_names(tmp_path: Path) -> None:
    paths = write_steps(tmp_path, *({"w": [float(n)]} for n in range(12)))
    trend = gradclip_cli.trend(*sorted(paths, reverse=True))
    assert [step.step for step in trend.steps] == list(range(12))
    assert [step.global_norm for step in trend.steps] == list(range(12))


@pytest.mark.parametrize(
    ("paths", "steps"),
    [
        (["run3/g-10.npy", "run3/g-9.npy"], [9, 10]),
        (["run3/step-10/g.npy", "run3/step-9/g.npy"], [9, 10]),
        (["step-20-bfloat16.safetensors", "step-19.safetensors"], [19, 20]),
        (["v2/ckpt-STEP=7", "x/step_0008/"], [7, 8]),
        (["e2-s10.npy", "e10-s3.npy", "e2-s9.npy"], ["e2-s9", "e2-s10", "e10-s3"]),
        (["warm.npy", "7.npy"], [7, "warm"]),
        (["b.npy", "a.npy"], ["a", "b"]),
        (["step-9.npy"], [9]),
        ([f"{'9' * 5000}.npy", f"{'8' * 5000}.npy"], ["8" * 5000, "9" * 5000]),
    ],
    ids=lambda value: str(value[0])[:30],
)
def test_the_step_is_the_number_that_tells_the_paths_apart(
    paths: list[str], steps: list[int | str]
) -> None:
    assert [operand.step for operand in ordered(paths)] == steps


def test_step_from_says_which_number_is_the_step(run: Run, tmp_path: Path) -> None:
    for name, norm in (("7-of-10", 1.0), ("7-of-9", 2.0)):
        write_npy(tmp_path / f"{name}.npy", floats("<f8", (1,), [norm]))
    said = run("trend", "7-of-9.npy", "7-of-10.npy", "--step-from", r"of-(\d+)", cwd=tmp_path)
    assert [row["step"] for row in PARSED["tsv"](said.out)] == ["9", "10"]
    said = run("trend", "7-of-9.npy", "7-of-10.npy", "--step-from", r"^\d", cwd=tmp_path)
    assert said.status == 2, "no step is there twice"
    assert one_error(said.err) == "gradclip: 7-of-10.npy: is step 7, as 7-of-9.npy is"


def test_a_path_that_no_step_is_found_in_is_named_in_a_line() -> None:
    with pytest.raises(GradclipError) as caught:
        ordered(["a\n\udcff.npy"], "x")
    assert caught.value.problem == r"'x' does not match a\x0a\udcff.npy"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--step-from", "("], "--step-from: '(' is not a regular expression"),
        (["--step-from", "x"], "--step-from: 'x' does not match step-0.safetensors"),
        (["--spike", "6"], "--spike: '6' is not a rule for spikes"),
        (["--spike", "nan,128"], "--spike: 'nan,128' is not a rule"),
        (["--spike", "0,128"], "--spike: '0,128' is not a rule"),
        (["--spike", "6,4"], "--spike: '6,4' is not a rule"),
        (["missing"], "missing: no such file"),
        (["--include", "x"], "--include: none of the 1 tensors is selected"),
        (["--json", "--format", "md"], "--json: cannot go with"),
        (["--plot", "a.jpg"], "a.jpg: a picture is a .png or an .svg file"),
        (["--plot", "step-0.png/a.png"], "its folder does not exist"),
        (["-", "-"], "-: standard input can be read only once"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_told_in_one_line_and_status_2(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    write_steps(tmp_path, {"w": [3.0]})
    done = gradclip("trend", "step-0.safetensors", *arguments, cwd=tmp_path, stdin=GRADS)
    assert done.returncode == 2
    assert said in one_error(done.stderr)


# What is a step


def test_a_folder_is_one_step_and_its_files_one_gradient(tmp_path: Path) -> None:
    for number, norms in enumerate(((3.0, 4.0), (6.0, 8.0))):
        folder = tmp_path / f"step-{number}"
        folder.mkdir()
        for name, norm in zip("ab", norms, strict=True):
            write_npy(folder / f"{name}.npy", floats("<f8", (1,), [norm]))
    trend = gradclip_cli.trend(tmp_path / "step-0", tmp_path / "step-1")
    assert [step.global_norm for step in trend.steps] == [5, 10]
    assert [step.worst for step in trend.steps] == ["b", "b"]
    assert trend.notes == ("one gradient from 2 files",)


def test_a_folder_whose_files_repeat_names_gets_the_hint_to_give_its_files(tmp_path: Path) -> None:
    paths = write_steps(tmp_path / "run", {"w": [3.0]}, {"w": [4.0]})
    for path, name in zip(paths, "ab", strict=True):
        Path(path).rename(tmp_path / "run" / f"{name}.safetensors")
    done = gradclip("trend", "run/", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "tensor 'w' also stands in" in one_error(done.stderr)
    assert "run/*\n" in done.stderr.decode()
    done = in_shell("gradclip trend run/* | cut -f 2,4", tmp_path)
    assert done.stdout == b"step\tglobal_norm\na\t3.0\nb\t4.0\n"


def test_the_tensors_of_npy_files_have_no_name_and_so_are_the_same(tmp_path: Path) -> None:
    for number in range(3):
        write_npy(tmp_path / f"g{number}.npy", floats("<f8", (1,), [float(number)]))
    trend = gradclip_cli.trend(*tmp_path.glob("*.npy"))
    assert {step.measured.layout.names for step in trend.steps} == {(None,)}
    assert trend.notes == ()


def test_a_step_can_come_through_a_pipe(tmp_path: Path) -> None:
    (path,) = write_steps(tmp_path, {"a": [1.0], "b": [1.0]})
    done = gradclip("trend", path, "-", "--cache", "c.jsonl", stdin=GRADS, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [row["global_norm"] for row in PARSED["tsv"](done.stdout.decode())][-1] == "13.0"
    assert len((tmp_path / "c.jsonl").read_text().splitlines()) == 1, "a pipe is not kept"


@pytest.mark.parametrize("selection", [[], ["--include", "a*"], ["--exclude", "b"]])
def test_a_report_in_json_lines_stands_for_its_dump(tmp_path: Path, selection: list[str]) -> None:
    steps = (
        {"a": [3.0, 4.0], "b": [12.0]},
        {"a": [0.0, NAN], "b": [-INF]},
        {"a": [1e200], "a2": [1e308, 1e308, 1e308, 1e308], "b": []},
        {"a\n": [1.0], "b": [1e-300]},
    )
    paths = write_steps(tmp_path, *steps)
    reports = []
    for path in paths:
        reports.append(f"{path}.jsonl")
        done = gradclip("inspect", path, "--format", "jsonl")
        Path(reports[-1]).write_bytes(done.stdout)
    dumps = gradclip("trend", *paths, "--format", "jsonl", *selection)
    read = gradclip("trend", *reports, "--format", "jsonl", *selection)
    assert (dumps.returncode, read.returncode, read.stderr) == (0, 0, b"")
    assert read.stdout.replace(b".safetensors.jsonl", b".safetensors") == dumps.stdout


def test_a_report_of_names_that_are_not_utf_8_gives_them_exactly(tmp_path: Path) -> None:
    folder = tmp_path / "step-1"
    write_foreign(folder)
    report = tmp_path / "report.jsonl"
    report.write_bytes(gradclip("inspect", str(folder), "--format", "jsonl").stdout)
    done = gradclip("trend", str(folder), "--json")
    (row,) = strict(done.stdout.decode())["steps"]
    assert bytes.fromhex(row["tensor_bytes"]) in FOREIGN
    dump, read = (gradclip_cli.trend(path).steps[0] for path in (folder, report))
    assert sorted(read.measured.layout.names, key=repr) == sorted(
        dump.measured.layout.names, key=repr
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[: text.rindex('{"row": "global"')], "its last row, global, is missing"),
        (lambda text: text[-200:], "an unknown kind of file"),
        (lambda text: text.replace('"tensor"', '"group"'), "its rows are groups"),
        (lambda text: text.split("\n", 1)[1], "it has 1 of 2 measured tensors"),
        (lambda text: text.replace('"count": 1', '"count": NaN'), "NaN is not JSON"),
        (lambda text: text.replace('"posinf"', '"posin"'), "posinf' is missing"),
        (lambda text: text[:40], "not a whole report"),
        (lambda text: text.replace('"count": 1', '"count": -1'), "-1 is not a number of values"),
        (lambda text: text.replace("null", "[" * 100_000), "not a whole report"),
        (lambda text: text.replace("null", "[]").replace("true", "{}"), "not a whole report"),
        (lambda text: text.replace('"finite_norm": 3.0', '"finite_norm": -3.0'), "is not a norm"),
        (lambda text: text.replace('"max_abs": 3.0', '"max_abs": 1' + "0" * 400), "not a whole"),
        (lambda _: '{"row": "\n[]\n', "not a whole report"),
        (lambda text: text + "[]\n", "a line that is no object"),
        (lambda text: text.replace("null", "[" * 100_000), "lists in lists without end"),
        (lambda text: text.replace('"norm": 3.0', '"norm": 3.0, "norm": 3.0'), "key stands twice"),
        (lambda text: text.replace('"norm_type": 2', '"norm_type": 1'), "its norms are of p = 1"),
        (lambda text: text.replace('"count": 1', '"count": true'), "True is not a number of"),
        (lambda text: text.replace('"nan": 0', '"nan": 2'), "2 of 1 values are not finite"),
        (lambda text: text.replace('"nan": 0', '"nan": 1.5'), "1.5 is not a number of values"),
        (lambda text: text.replace('"max_abs": 3', '"max_abs": -3'), "largest magnitude that is"),
        (
            lambda text: text.replace('"max_abs": 3', '"max_abs": 4'),
            "'a' has numbers that disagree",
        ),
        (
            lambda text: text.replace('"max_abs": 3', '"max_abs": 2'),
            "'a' has numbers that disagree",
        ),
        (lambda text: text.replace('"rms": 3', '"rms": 4'), "'a' has numbers that disagree"),
        (lambda text: text.replace('"norm": 3', '"norm": 7', 1), "'a' has numbers that disagree"),
        (
            lambda text: text.replace('"finite_norm": 3', '"finite_norm": 7'),
            "are not together",
        ),
        (lambda text: text.replace('"global_norm": 5', '"global_norm": 6'), "has two norms"),
        (
            lambda text: text.replace('"nonfinite": 0', '"nonfinite": 9'),
            "its last row counts other",
        ),
        (lambda text: text.replace('"count": 2', '"count": 3'), "as many values as its last row"),
        (lambda text: text.replace('"measured": true', '"measured": 1'), "neither true nor false"),
        (lambda text: text.replace('"float64"', "64"), "a dtype of the wrong kind"),
        (lambda text: text.replace('"notes": []', '"notes": "x"'), "a column that is no list"),
    ],
)
def test_half_a_report_is_refused(run: Run, tmp_path: Path, change: Any, said: str) -> None:
    (path,) = write_steps(tmp_path, {"a": [3.0], "b": [4.0]})
    text = run("inspect", path, "--format", "jsonl").out
    (tmp_path / "r1.jsonl").write_text(change(text))
    done = run("trend", "r1.jsonl", cwd=tmp_path)
    assert done.status == 2
    assert said in one_error(done.err)


# Rows


norms_in_order = st.lists(
    st.floats(0, 1e300) | st.sampled_from([0.0, 1.0, 1.0, 5e-324, NAN, INF]), max_size=40
)


@given(norms_in_order, st.integers(LEAST, 12), st.floats(0.5, 8))
@example([0.1] * 12 + [0.1 + 2**-50], 12, 6.0)
def test_median_and_threshold_are_numpys_over_the_finite_norms_before(
    norms: list[float], window: int, deviations: float
) -> None:
    recent = Recent(SpikeRule(deviations, window))
    before: list[float] = []
    for norm in norms:
        usual, last = recent.usual(len(before)), before[-window:]
        if last:
            assert usual.median == pytest.approx(float(np.percentile(last, 50)), rel=1e-15)
        else:
            assert usual.median is None
        if len(last) >= LEAST:
            mean = statistics.fmean(value / 2**64 for value in last) * 2.0**64
            spread = float(np.std(np.array(last, np.longdouble), ddof=1))
            assert usual.threshold == pytest.approx(mean + deviations * spread, rel=1e-9)
        else:
            assert usual.threshold is None
        if math.isfinite(norm):
            recent.add(len(before), norm)
            before.append(norm)


@given(st.floats(0, 1e308), st.integers(2, 30))
def test_equal_norms_have_no_deviation(norm: float, count: int) -> None:
    assert mean_and_deviation([norm] * count) == (norm, 0)


def test_with_a_spike_rule_it_is_above_mean_and_deviations_of_what_came_before(
    tmp_path: Path,
) -> None:
    before = [1.0, 2.0, 1.0, 2.0, 1.0]
    edge = statistics.fmean(before) + 6 * statistics.stdev(before)
    trend = of_norms(tmp_path, *before, edge * 0.999, 1.0, spike=SpikeRule())
    assert [step.mark for step in trend.steps] == [""] * 7
    trend = of_norms(tmp_path, *before, edge * 1.001, 1.0, spike=SpikeRule())
    assert [step.mark for step in trend.steps] == ["", "", "", "", "", "spike", ""]
    assert trend.steps[5].threshold == pytest.approx(edge)
    assert trend.steps[5].ratio == edge * 1.001


def test_spike_takes_deviations_and_window(run: Run, tmp_path: Path) -> None:
    norms = [9.0, 1.0, 1.1, 1.0, 1.1, 1.0, 1.5]
    paths = write_steps(tmp_path, *({"w": [norm]} for norm in norms))
    for rule, spikes in (("6,128", []), ("6,5", ["6"]), ("12,5", [])):
        said = run("trend", *paths, "--spike", rule)
        rows = PARSED["tsv"](said.out)
        assert [row["step"] for row in rows if row["mark"] == "spike"] == spikes


def test_a_norm_that_is_not_finite_counts_in_no_median_and_no_mean(tmp_path: Path) -> None:
    steps = [{"w": [1.0]}, {"w": [NAN]}, {"w": [INF]}, {"w": [1e308] * 4}, {"w": [3.0]}]
    rows = gradclip_cli.trend(*write_steps(tmp_path, *steps)).steps
    assert [row.mark for row in rows] == ["", "nonfinite", "nonfinite", "overflow", ""]
    assert [row.ratio for row in rows] == [None, None, None, None, 3.0]
    assert [row.nonfinite for row in rows] == [0, 1, 1, 0, 0]


def test_the_worst_tensor_and_its_share_are_those_of_inspect(tmp_path: Path) -> None:
    steps = [{"a": [3.0], "b": [4.0]}, {"a": [3.0], "b": [0.0, INF]}, {"a": [0.0], "b": [0.0]}]
    steps.append({"a": [1.0], "b": [INF], "c": [INF, NAN]})
    paths = write_steps(tmp_path, *steps)
    rows = gradclip_cli.trend(*paths).steps
    assert [(row.worst, row.share) for row in rows[:3]] == [
        ("b", (4 / 5) ** 2),
        ("b", None),
        (None, None),
    ]
    assert (rows[3].worst, rows[3].first_nonfinite) == ("b", (0,))
    assert rows[1].first_nonfinite == (1,)
    for path, row in zip(paths, rows, strict=True):
        report = gradclip_cli.inspect(path)
        assert repr(report.global_norm) == repr(row.global_norm)
        assert report.finite_norm == row.finite_norm
        assert report.worst is not None
        assert report.worst.share == row.share


# Answers


def test_the_first_step_that_is_not_finite_is_named_with_the_one_before(tmp_path: Path) -> None:
    steps = [
        {"a": [1.0, 2.0], "b": [3.0]},
        {"a": [4.0, 100.0], "b": [5.0]},
        {"a": [1.0, INF], "b": [NAN]},
        {"a": [NAN, NAN], "b": [NAN]},
    ]
    first = gradclip_cli.trend(*write_steps(tmp_path, *steps)).first_nonfinite
    assert first is not None
    assert (first.step.step, first.tensor, first.found.first) == (2, "a", (1,))
    assert (first.found.posinf, first.tensors, first.infinite) == (1, 2, ("a",))
    assert first.before is not None
    assert first.before.step == 1
    done = in_shell("gradclip trend *.safetensors --format table", tmp_path, COLUMNS="160")
    text = done.stdout.decode()
    assert "not finite, first at step 2, likely in a at [1] (1 +inf); in 2 of 2 tensors\n" in text
    assert "infinities without NaN in a: the first to overflow\n" in text
    assert "  NaN in b as well\n" in text
    assert "the step before, 1: norm 100.2, 26.78 × the median before" in text
    assert "largest |x| 100.0 in a, 99.8 % of the squared norm in a\n" in text


def test_a_spike_names_the_tensors_whose_share_grew(tmp_path: Path) -> None:
    usual = {"a": [1.0], "b": [1.0], "c": [1.0], "d": [1.0]}
    spike = {"a": [1.0], "b": [10.0], "c": [20.0], "d": [0.0]}
    trend = gradclip_cli.trend(*write_steps(tmp_path, *[usual] * 6, spike))
    (found,) = trend.spikes
    assert found.step.step == 6
    assert [growth.tensor for growth in found.grown] == ["c"]
    assert found.grown[0].before == 0.25
    assert found.grown[0].after == pytest.approx(400 / 501)


def test_tensors_that_are_zero_in_every_step_are_named(tmp_path: Path) -> None:
    steps = [
        {"dead": [0.0, -0.0], "late": [0.0], "nan": [NAN, 0.0], "none": [], "w": [1.0]},
        {"dead": [0.0, 0.0], "late": [1.0], "nan": [0.0, 0.0], "none": [], "w": [0.0]},
    ]
    assert gradclip_cli.trend(*write_steps(tmp_path, *steps)).always_zero == ("dead",)


@pytest.mark.parametrize("turned", [False, True])
def test_a_norm_that_falls_geometrically_along_the_layers_is_told_with_its_rate(
    tmp_path: Path, turned: bool
) -> None:
    def step(scale: float) -> dict[str, list[float]]:
        names = [f"net.{7 - n if turned else n}.w" for n in range(8)]
        return {name: [scale * 0.25**n, 0.0] for n, name in enumerate(names)} | {"head": [9.0]}

    (found,) = gradclip_cli.trend(*write_steps(tmp_path, step(1), step(3), step(1))).fading
    assert (found.high, found.low) == (("net.7", "net.0") if turned else ("net.0", "net.7"))
    assert found.layers == 8
    assert found.rate == pytest.approx(0.25)
    assert found.whole == pytest.approx(0.25**7)


@pytest.mark.parametrize(
    "norms",
    [[1.0, 1.0, 1.0, 1.0], [1.0, 0.1, 0.01], [1.0, 1e-8, 1.0, 1e-8, 1e-3, 1e-9], [0.0] * 6],
    ids=["level", "three layers", "no line", "zero"],
)
def test_layers_that_do_not_fade_are_not_said_to(tmp_path: Path, norms: list[float]) -> None:
    step = {f"net.{layer}.w": [norm] for layer, norm in enumerate(norms)}
    assert gradclip_cli.trend(*write_steps(tmp_path, step, step)).fading == ()


def test_a_heat_map_has_tensors_then_layers_then_neighbouring_layers(tmp_path: Path) -> None:
    step = {f"n.{layer}.{part}": [3.0, 4.0] for layer in range(10) for part in "ab"}
    steps = gradclip_cli.trend(*write_steps(tmp_path, step, {"n.3.a": [0.0]})).steps
    tensors, layers, some = (heat(steps, most) for most in (20, 10, 4))
    assert [row[0] for row in tensors.rows[:3]] == ["n.0.a", "n.0.b", "n.1.a"]
    assert layers.rows == tuple((f"n.{layer}", f"n.{layer}") for layer in range(10))
    assert some.rows == (("n.0", "n.1"), ("n.2", "n.4"), ("n.5", "n.6"), ("n.7", "n.9"))
    rms = math.log10(math.sqrt(12.5))
    for drawn in (tensors, layers, some):
        assert [row[0] for row in drawn.cells] == pytest.approx([rms] * len(drawn.rows))
    assert [row[1] for row in some.cells] == [None, -INF, None, None]


def test_notes_say_in_how_many_steps_they_hold(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    write_npy(tmp_path / "0" / "a.npy", floats("<f8", (1,), [3.0]))
    write_npy(tmp_path / "0" / "b.npy", floats("<f8", (1,), [3.0]))
    (tmp_path / "1").mkdir()
    write_npy(tmp_path / "1" / "a.npy", floats("<f8", (1,), [3.0]))
    assert gradclip_cli.trend(tmp_path / "0", tmp_path / "1").notes == (
        "one gradient from 2 files (in 1 of 2 steps)",
        "not all steps have the same tensors",
    )


# Formats and names


@pytest.mark.parametrize("form", ["tsv", "csv", "md"])
def test_the_columns_are_those_documented(run: Run, tmp_path: Path, form: str) -> None:
    paths = write_steps(tmp_path, {"a": [3.0]}, {"a": [NAN]})
    said = run("trend", *paths, "--format", form)
    rows = PARSED[form](said.out)
    assert [list(row) for row in rows] == [COLUMNS] * 2
    assert [row["row"] for row in rows] == ["step"] * 2
    assert [row["global_norm"] for row in rows] == ["3.0", "nan"]
    assert [row["ratio"] for row in rows] == ["", ""]
    assert rows[1]["first_nonfinite"] == "[0]"


def test_json_has_rows_and_answers_and_is_strict(run: Run, tmp_path: Path) -> None:
    steps = [{"a": [1.0], "z": [0.0]}] * 6 + [{"a": [9.0], "z": [0.0]}, {"a": [INF], "z": [0.0]}]
    paths = write_steps(tmp_path, *steps)
    whole = strict(run("trend", *paths, "--json").out)
    *rows, last = map(strict, run("trend", *paths, "--format", "jsonl").out.splitlines())
    assert [row.pop("row") for row in rows] == ["step"] * 8
    assert whole.pop("steps") == rows
    assert last.pop("row") == "trend"
    assert last == whole
    assert [list(row) for row in rows] == [COLUMNS[1:]] * 8
    assert whole["first_nonfinite"]["step"] == 7
    assert whole["first_nonfinite"]["before"] == rows[6]
    assert [spike["step"] for spike in whole["spikes"]] == [6]
    assert whole["always_zero"] == ["z"]
    assert rows[7]["global_norm"] is None


@pytest.mark.parametrize("form", ["table", "tsv", "csv", "md", "json", "jsonl"])
@pytest.mark.parametrize("bad", [False, True], ids=["largest", "not finite"])
def test_strangers_are_safe_in_every_format(run: Run, tmp_path: Path, form: str, bad: bool) -> None:
    # Each name is the worst of one step, and all of them are zero in one more.
    paths = write_steps(
        tmp_path, *({name: [NAN if bad else 1.0], "z\x1b[31m": [0.0]} for name in STRANGERS)
    )
    said = run("trend", *paths, "--format", form, COLUMNS="1000")
    assert (said.status, said.err) == (0, "")
    text = said.out
    for line in text.split("\r\n" if form == "csv" else "\n"):
        assert line.replace("\t", "").isprintable() or form == "csv"
    if form in PARSED:
        names = [row["tensor"] for row in PARSED[form](text)]
        assert [unescape(name) for name in names] == STRANGERS
    if form == "jsonl":
        assert [json.loads(line)["tensor"] for line in text.splitlines()[:-1]] == STRANGERS


def test_a_step_that_is_a_stranger_is_written_safely(run: Run, tmp_path: Path) -> None:
    name = "a\x1b[31mb\n\u202e\udcff"
    write_npy(tmp_path / f"{name}.npy", floats("<f8", (1,), [3.0]))
    for form in ("table", "tsv", "md", "json"):
        said = run("trend", f"{name}.npy", "--format", form, cwd=tmp_path)
        assert (said.status, said.err) == (0, "")
        text = said.out
        assert all(line.replace("\t", "").isprintable() for line in text.splitlines())
    assert next(csv.reader([text]))


def test_a_report_cannot_drive_the_terminal(run: Run, tmp_path: Path) -> None:
    (path,) = write_steps(tmp_path, {"a": [INF]})
    text = run("inspect", path, "--format", "jsonl").out
    text = text.replace('"notes": []', r'"notes": ["\u001b[2J"]').replace("float64", r"\u001b[2J")
    (tmp_path / "step-1").write_text(text)
    for form in ("table", "tsv", "csv", "md", "json", "jsonl"):
        said = run("trend", "step-1", "--format", form, cwd=tmp_path)
        assert (said.status, said.err) == (0, "")
        assert "\x1b" not in said.out


# In pipes


def test_rows_appear_as_they_are_known(tmp_path: Path) -> None:
    (path,) = write_steps(tmp_path, {"w": [3.0]})
    fifo = tmp_path / "step-9"
    os.mkfifo(fifo)
    with running("trend", path, str(fifo)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"row\tstep\t")
        assert process.stdout.readline().startswith(b"step\t0\t"), "the other is still to come"
        assert process.poll() is None
        fifo.write_bytes(GRADS)
        assert process.stdout.readline().split(b"\t")[3] == b"13.0"
        assert end_of(process) == (0, b"")


def test_a_reader_that_goes_away_ends_it_silently(tmp_path: Path) -> None:
    write_steps(tmp_path, *[{"w": [3.0]}] * 50)
    done = in_shell("gradclip trend *.safetensors | head -n 1; echo ${PIPESTATUS[0]}", tmp_path)
    assert done.stderr == b""
    assert done.stdout.splitlines()[-1] in (b"141", b"0")


def test_quiet_prints_nothing(run: Run, tmp_path: Path) -> None:
    paths = write_steps(tmp_path, {"w": [3.0]})
    said = run("trend", *paths, "-q", "--suggest")
    assert (said.status, said.out, said.err) == (0, "", "")


def test_no_step_is_a_usage_error_in_python_too() -> None:
    with pytest.raises(GradclipError, match="no step is named"):
        gradclip_cli.trend()


def test_workers_do_not_change_a_digit(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    steps = [{name: list(rng.normal(size=999)) for name in "abc"} for _ in range(3)]
    paths = write_steps(tmp_path, *steps)
    one, many = (run("trend", *paths, "--workers", count).out for count in "14")
    assert one == many


def test_two_thousand_small_steps_take_two_milliseconds_each_at_most(tmp_path: Path) -> None:
    (path,) = write_steps(tmp_path, {f"layers.{n}.w": [float(n)] * 8 for n in range(8)})
    for number in range(1, 300):
        shutil.copy(path, tmp_path / f"step-{number}.safetensors")
    took = []
    for _ in range(2):
        before = os.times()
        gradclip_cli.trend(*tmp_path.glob("*.safetensors"))
        after = os.times()
        took.append(after.user + after.system - before.user - before.system)
    assert min(took) / 300 < 0.002 * 2, "twice as much as promised, for a busy machine"


def test_pairs_of_steps_with_other_tensors_are_not_mixed_up(tmp_path: Path) -> None:
    orders = [dict(pairs) for pairs in itertools.permutations([("a", [3.0]), ("b", [4.0])])]
    trend = gradclip_cli.trend(*write_steps(tmp_path, *orders))
    assert [step.worst for step in trend.steps] == ["b", "b"]
    drawn = heat(trend.steps, 9)
    assert [row[0] for row in drawn.rows] == ["a", "b"]
    assert drawn.cells[0][0] == drawn.cells[0][1]
