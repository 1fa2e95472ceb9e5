"""One bad file does not take the answer away; what is surely no dump is ignored, and named."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest

import gradclip_cli
from gradclip_cli.errors import GradclipError
from gradclip_cli.formats.opening import is_no_dump
from tests.folders import array
from tests.readers import PARSED, strict
from tests.running import Run, one_error
from tests.steps import of_norms, write_steps

CUT = "truncated: 1 of "
STRANGE = {
    "train.log": b"step 1 loss \x1b[31m2.0\x1b[0m\r\n",
    "README.md": "# Größe 模型\n".encode(),
    "loss.png": b"\x89PNG\r\n\x1a\n\x00\x00",
    "nothing": b"",
}
DUMPS = {
    "empty.npy": b"",
    "empty.pt": b"",
    "page.safetensors": b"<!DOCTYPE html>",
    "zip": b"PK\x03\x04rest",
    "pickle": b"\x80\x04rest",
    "hdf5": b"\x89HDF\r\n\x1a\n",
    "gguf": b"GGUF\x03\x00\x00\x00",
    "npy": b"\x93NUMPY",
    "safetensors": b"\x40\x00\x00\x00\x00\x00\x00\x00{",
    "unknown": b"\x01\x02\x03",
}


@pytest.fixture
def cut(tmp_path: Path) -> list[str]:
    """Give three steps in order, of which the last is still being written."""
    paths = write_steps(tmp_path, {"w": [3.0]}, {"w": [4.0]}, {"w": [5.0]})
    _cut(paths[2])
    return paths


def _cut(path: str | Path) -> None:
    os.truncate(path, os.stat(path).st_size - 1)


# check


@pytest.mark.parametrize("form", ["table", "json"])
def test_check_ignores_what_is_surely_no_dump_and_names_it(
    run: Run, cut: list[str], tmp_path: Path, form: str
) -> None:
    for name, content in STRANGE.items():
        (tmp_path / name).write_bytes(content)
    said = run("check", *cut, *STRANGE, *(["--json"] if form == "json" else []), cwd=tmp_path)
    assert said.status == 2
    note = "4 paths ignored: train.log, README.md, loss.png and 1 more"
    if form == "json":
        document = strict(said.out)
        assert [row["sound"] for row in document["files"]] == [True, True, False]
        assert (document["ignored"], document["notes"]) == ([*STRANGE], [note])
    else:
        *lines, last = said.out.splitlines()
        assert len(lines) == 3
        assert last == note
    assert run("check", *cut[:2], *STRANGE, cwd=tmp_path).status == 0
    assert run("check", *STRANGE, cwd=tmp_path).status == 2, "there is nothing else"


def test_python_checks_a_sequence_of_files(cut: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("text")
    found = gradclip_cli.check(*cut, tmp_path / "a.log")
    assert [one.sound for one in found] == [True, True, False]
    assert (len(found), found[0].label, found[1:]) == (3, cut[0], found.files[1:])
    assert found.ignored == (f"{tmp_path}/a.log",)


# diff


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Give a folder with two alike, a and b, of three arrays and two shards each."""
    for side in "ab":
        for name in ("u", "v", "layers/0"):
            array(tmp_path / side / f"{name}.npy", 3.0, 4.0)
        for shard in "xy":
            (path,) = write_steps(tmp_path / "new", {f"{shard}.w": [5.0]})
            shutil.move(path, tmp_path / side / f"{shard}.safetensors")
    return tmp_path


@pytest.mark.parametrize("side", "ab")
@pytest.mark.parametrize("form", ["tsv", "csv", "md"])
def test_diff_compares_what_can_be_read(run: Run, folders: Path, side: str, form: str) -> None:
    _cut(folders / side / "layers/0.npy")
    said = run("diff", "a", "b", "--format", form, cwd=folders)
    assert said.status == 2
    assert one_error(said.err).startswith(f"gradclip: {side}/layers/0.npy: {CUT}")
    *rows, whole = PARSED[form](said.out)
    assert [(row["name"], row["state"]) for row in rows] == [
        ("layers.0", "unreadable"),
        *((name, "identical") for name in ("u", "v", "x.w", "y.w")),
    ]
    assert rows[0]["problem"].startswith(CUT)
    assert whole["state"] == "unreadable"


def test_a_tensor_that_may_be_in_an_unreadable_file_is_not_said_to_be_missing(
    run: Run, folders: Path
) -> None:
    _cut(folders / "b" / "x.safetensors")
    (folders / "b" / "u.npy").unlink()
    said = run("diff", "a", "b", "--json", cwd=folders)
    assert said.status == 2
    document = strict(said.out)
    assert document["states"] == {"unreadable": 3, "identical": 3}
    assert (document["verdict"], document["same"]) == ("unreadable", False)
    rows = {row["name"]: row for row in document["tensors"]}
    assert rows["x.safetensors"]["problem"].startswith(CUT)
    assert rows["x.w"]["state"] == rows["u"]["state"] == "unreadable"
    (bad,) = document["unreadable"]
    assert bad["file"] == "b/x.safetensors"
    array(folders / "b" / "v.npy", 3.0, 5.0)
    assert strict(run("diff", "a", "b", "--json", cwd=folders).out)["verdict"] == "differ"


def test_what_no_unreadable_file_can_hold_is_missing(folders: Path) -> None:
    _cut(folders / "b" / "v.npy")
    (folders / "b" / "u.npy").unlink()
    found = gradclip_cli.diff(folders / "a", folders / "b")
    states = {row.name: row.state for row in found.rows}
    assert (states["u"], states["v"], found.verdict) == ("only_a", "unreadable", "differ")
    assert [error.subject for error in found.unreadable] == [f"{folders}/b/v.npy"]


def test_the_page_of_a_diff_says_what_is_not_known(run: Run, folders: Path) -> None:
    _cut(folders / "b" / "v.npy")
    said = run("diff", "a", "b", "--format", "table", cwd=folders)
    assert said.out.startswith(
        f"not known: 1 file cannot be read, all else is equal\ncannot be read: b/v.npy: {CUT}"
    )
    array(folders / "b" / "u.npy", 3.0, 5.0)
    said = run("diff", "a", "b", "--format", "table", cwd=folders)
    assert said.out.startswith("differ: 2 of 5 tensors, 1 unreadable, 1 in value\n")


def test_a_side_of_which_nothing_can_be_read_is_refused(run: Run, folders: Path) -> None:
    for path in ("b/v.npy", "a/v.npy"):
        _cut(folders / path)
    said = run("diff", "a/v.npy", "b/v.npy", cwd=folders)
    assert (said.status, said.out) == (2, "")
    for command in (["inspect", "a"], ["apply", "a", "--clip-norm", "1", "--dry-run"]):
        said = run(*command, cwd=folders)
        assert (said.status, said.out) == (2, ""), "their norm would be of a part"


# trend


@pytest.mark.parametrize("form", ["tsv", "csv", "md"])
def test_a_truncated_last_step_is_a_row_and_the_status(run: Run, cut: list[str], form: str) -> None:
    said = run("trend", *cut, "--format", form)
    assert said.status == 2
    assert one_error(said.err).startswith(f"gradclip: {cut[2]}: {CUT}")
    rows = PARSED[form](said.out)
    assert [row["mark"] for row in rows] == ["", "", "unreadable"]
    assert [row["global_norm"] for row in rows] == ["3.0", "4.0", ""]
    assert rows[2]["problem"].startswith(CUT)
    assert rows[2]["step"] == "2"


def test_json_has_the_row_and_the_reason(run: Run, cut: list[str]) -> None:
    said = run("trend", *cut, "--json")
    assert said.status == 2
    document = strict(said.out)
    assert [row["mark"] for row in document["steps"]] == [None, None, "unreadable"]
    (bad,) = document["unreadable"]
    assert (bad["step"], bad["source"]) == (2, cut[2])
    assert bad["problem"].startswith(CUT)
    assert document["count"] == 2
    *rows, last = map(strict, run("trend", *cut, "--format", "jsonl").out.splitlines())
    assert [row["mark"] for row in rows] == [None, None, "unreadable"]
    assert last["unreadable"] == document["unreadable"]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_table_has_the_row_in_its_place_and_the_answers(
    run: Run, tmp_path: Path, at: int
) -> None:
    paths = write_steps(tmp_path, {"w": [3.0]}, {"w": [4.0]}, {"w": [5.0]})
    _cut(paths[at])
    said = run("trend", *paths, "--format", "table")
    assert said.status == 2
    lines = said.out.splitlines()
    assert lines[2 + at].split()[:3] == [str(at), "unreadable:", "truncated:"]
    assert lines[2 + at].endswith(": see below")
    assert "all values are finite" in lines
    assert any(line.startswith(f"step {at} cannot be read: {CUT}") for line in lines)
    rows = strict(run("trend", *paths, "--json").out)["steps"]
    assert [row["step"] for row in rows] == [0, 1, 2]


def test_python_has_the_unreadable_steps_apart(cut: list[str]) -> None:
    trend = gradclip_cli.trend(*cut)
    assert [step.step for step in trend.steps] == [0, 1]
    (bad,) = trend.unreadable
    assert (bad.step, bad.source, bad.mark) == (2, cut[2], "unreadable")
    assert bad.problem.startswith(CUT)


def test_an_unreadable_step_counts_in_nothing(tmp_path: Path) -> None:
    norms = [1.0, 1.1, 1.0, 1.1, 1.0, 1.1, 90.0]
    sound = of_norms(tmp_path / "sound", *norms)
    of_norms(tmp_path / "run", *norms[:3], 7.0, *norms[3:])
    _cut(tmp_path / "run" / "step-3.safetensors")
    found = gradclip_cli.trend(tmp_path / "run")
    assert [step.threshold for step in found.steps] == [step.threshold for step in sound.steps]
    assert [spike.step.global_norm for spike in found.spikes] == [90.0]
    assert found.always_zero == sound.always_zero


def test_an_unreadable_step_is_not_cached_and_is_read_when_it_is_whole(
    run: Run, cut: list[str], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    assert run("trend", *cut, "--cache", cache).status == 2
    assert len(cache.read_text().splitlines()) == 2
    write_steps(tmp_path, {"w": [3.0]}, {"w": [4.0]}, {"w": [5.0]})
    said = run("trend", *cut, "--cache", cache)
    assert (said.status, said.err) == (0, "")
    assert [row["global_norm"] for row in PARSED["tsv"](said.out)] == ["3.0", "4.0", "5.0"]


@pytest.mark.parametrize("option", ["--suggest", "-q"])
def test_an_unreadable_step_is_said_whatever_is_asked(
    run: Run, cut: list[str], option: str
) -> None:
    said = run("trend", *cut, option)
    assert said.status == 2
    assert cut[2] in one_error(said.err)


def test_several_unreadable_steps_are_one_error_and_a_line_each(run: Run, cut: list[str]) -> None:
    _cut(cut[1])
    said = run("trend", *cut)
    assert said.status == 2
    first, second, hint = said.err.splitlines()
    assert first.startswith(f"gradclip: {cut[1]}: {CUT}")
    assert second.startswith(f"  {cut[2]}: {CUT}")
    assert hint.startswith("hint: ")


def test_where_no_step_can_be_read_there_is_only_the_error(run: Run, cut: list[str]) -> None:
    said = run("trend", cut[2])
    assert (said.status, said.out) == (2, "")
    assert cut[2] in one_error(said.err)
    with pytest.raises(GradclipError, match="truncated"):
        gradclip_cli.trend(cut[2])


def test_a_step_is_unreadable_where_a_file_of_it_is(run: Run, tmp_path: Path) -> None:
    for number in range(2):
        write_steps(tmp_path / f"step-{number}", {"a": [3.0]})
        write_steps(tmp_path / "other", {"b": [4.0]})
        shutil.move(
            tmp_path / "other" / "step-0.safetensors", tmp_path / f"step-{number}" / "b.safetensors"
        )
    _cut(tmp_path / "step-1" / "b.safetensors")
    (tmp_path / "step-2").mkdir()
    said = run("trend", "step-0", "step-1", "step-2", "--json", cwd=tmp_path)
    assert said.status == 2
    document = strict(said.out)
    assert [row["global_norm"] for row in document["steps"]] == [5.0, None, None]
    assert said.err.startswith(f"gradclip: step-1/b.safetensors: {CUT}"), "the file is named once"
    one, two = document["unreadable"]
    assert one["problem"].startswith(f"step-1/b.safetensors: {CUT}")
    assert two["problem"].startswith("a folder without dumps")


def test_what_is_surely_no_dump_is_ignored_and_named(run: Run, tmp_path: Path) -> None:
    paths = write_steps(tmp_path, {"w": [3.0]}, {"w": [4.0]})
    for name, content in STRANGE.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "logs").mkdir()
    said = run("trend", *sorted(map(str, tmp_path.iterdir())), "--json")
    assert (said.status, said.err) == (0, "")
    document = strict(said.out)
    assert [row["source"] for row in document["steps"]] == paths
    (note,) = document["notes"]
    assert note.startswith("5 paths ignored: ")
    assert note.endswith(" and 2 more")
    assert f"{tmp_path}/README.md" in note


@pytest.mark.parametrize("name", STRANGE)
def test_ignoring_all_is_status_2(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(STRANGE[name])
    said = run("trend", name, cwd=tmp_path)
    assert (said.status, said.out) == (2, "")
    assert one_error(said.err).startswith(f"gradclip: {name}: ")


@pytest.mark.parametrize("name", [*STRANGE, *DUMPS])
def test_only_what_is_surely_no_dump_is_taken_for_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes({**STRANGE, **DUMPS}[name])
    assert is_no_dump(str(path)) == (name in STRANGE)


@pytest.mark.parametrize("name", DUMPS)
def test_what_begins_as_a_dump_or_is_named_as_one_is_unreadable(
    run: Run, tmp_path: Path, name: str
) -> None:
    paths = write_steps(tmp_path, {"w": [3.0]})
    (tmp_path / name).write_bytes(DUMPS[name])
    said = run("trend", *paths, tmp_path / name)
    assert said.status == 2
    assert [row["mark"] for row in PARSED["tsv"](said.out)] == ["", "unreadable"]


def test_folders_in_folders_without_end_are_refused_in_a_line(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "run"
    (path,) = write_steps(place, {"a": [3.0]})
    for _ in range(2):
        place /= os.sep.join("d" * 150)
        place.mkdir(parents=True)
    with contextlib.chdir(tmp_path):
        for command in ("inspect run", "trend run", "diff run run", "apply run --clip-norm 1 -o o"):
            said = run(*command.split())
            assert (said.status, said.out) == (2, "")
            told = "gradclip: run: it holds folders in folders, more than 250 deep"
            assert one_error(said.err) == told
        assert "more than 250 deep" in run("check", "run").out
        assert run("trend", "run", path).status == 2, "nor are they ignored"
        assert not Path("o").exists()
        shutil.move(path, place)
        assert run("inspect", str(place)).status == 0, "the hint is right"


def test_what_to_do_about_a_name_that_is_too_long_is_said(run: Run) -> None:
    said = run("inspect", "a" * 256)
    assert said.status == 2
    assert "a name has at most 255 bytes" in said.err
