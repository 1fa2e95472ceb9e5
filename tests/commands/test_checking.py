"""`gradclip check`: a line a file, whatever its state; status 0 or 2."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from tests.damaged import ACCEPTED, REJECTED, Case, by_name, is_harmless
from tests.dumps import safetensors_bytes
from tests.running import Run, on_terminal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with two sound files, a damaged one, and one of another kind."""
    np.save(tmp_path / "a.npy", np.ones(3, "f4"))
    (tmp_path / "b.safetensors").write_bytes(safetensors_bytes({}))
    (tmp_path / "c.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    (tmp_path / "notes.txt").write_text("not a dump")
    return tmp_path


def test_each_file_has_its_line_and_one_bad_file_its_status(folder: Path, run: Run) -> None:
    said = run("check", folder)
    assert (said.status, said.err) == (2, "")
    assert said.out.splitlines() == [
        f"{folder}/a.npy: sound, npy, 1 tensor, 140 bytes",
        f"{folder}/b.safetensors: sound, safetensors, 0 tensors, 16 bytes",
        f"{folder}/c.npy: bad: truncated: 1 of 140 bytes are missing; the first tensor to be cut "
        "is 'c' (was the copy or download interrupted, or is the file still being written?)",
    ]


def test_sound_files_have_status_0(folder: Path, run: Run) -> None:
    said = run("check", folder / "a.npy", folder / "b.safetensors", folder / "a.npy")
    assert (said.status, said.err) == (0, "")
    assert len(said.out.splitlines()) == 3, "each by itself, not as one gradient"


def test_what_cannot_be_opened_does_not_keep_the_others_from_being_checked(
    folder: Path, run: Run
) -> None:
    os.mkfifo(folder / "d.npy")
    said = run("check", folder / "missing", folder)
    assert said.status == 2
    lines = said.out.splitlines()
    assert lines[0].startswith(f"{folder}/missing: bad: no such file or directory (")
    assert lines[-1].startswith(f"{folder}/d.npy: bad: a FIFO, not a regular file (")
    assert len(lines) == 5


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_person_sees_the_bad_ones_first_and_the_sum_last(folder: Path, columns: int) -> None:
    shown = on_terminal("check", "a.npy", "c.npy", "b.safetensors", columns=columns, cwd=folder)
    assert shown.status == 2
    assert shown.lines[0].startswith("c.npy: bad: truncated:")
    starts = [line.split(":")[0] for line in shown.lines if not line.startswith("  ")]
    assert starts == ["c.npy", "a.npy", "b.safetensors", "bad"]
    assert shown.lines[-1] == "bad: 1 of 3 files"
    assert max(map(len, shown.lines)) <= columns
    sound = on_terminal("check", "a.npy", "b.safetensors", columns=columns, cwd=folder)
    assert sound.lines[-1] == "sound: 2 files"
    one = on_terminal("check", "a.npy", cwd=folder)
    assert one.lines == ["a.npy: sound, npy, 1 tensor, 140 bytes"]


def test_quiet_leaves_the_status(folder: Path, run: Run) -> None:
    for name, status in (("a.npy", 0), ("c.npy", 2)):
        said = run("check", folder / name, "-q")
        assert (said.status, said.out, said.err) == (status, "", "")


def test_json_has_what_the_lines_have(folder: Path, run: Run) -> None:
    said = run("check", folder, "--json")
    assert said.status == 2
    document = json.loads(said.out)
    assert (document["schema"], document["sound"]) == (1, False)
    assert [file["sound"] for file in document["files"]] == [True, True, False]
    assert document["files"][0] == {
        "file": f"{folder}/a.npy",
        "sound": True,
        "format": "npy",
        "tensors": 1,
        "bytes": 140,
        "problem": None,
        "hint": None,
        "strays": [],
    }
    assert document["files"][2]["problem"].startswith("truncated: 1 of 140")


def test_python_gets_the_same(folder: Path) -> None:
    a, b, c = gradclip_cli.check(folder)
    assert (a.sound, a.tensors, b.tensors, c.sound) == (True, 1, 0, False)


def test_a_folder_without_dumps_has_its_line_and_the_others_theirs(folder: Path, run: Run) -> None:
    (folder / "empty").mkdir()
    said = run("check", folder / "empty", folder / "a.npy")
    assert (said.status, said.err) == (2, "")
    bad, good = said.out.splitlines()
    assert bad.startswith(f"{folder}/empty: bad: a folder without dumps (0 other files) (")
    assert good == f"{folder}/a.npy: sound, npy, 1 tensor, 140 bytes"


@by_name([*REJECTED, *ACCEPTED])
def test_it_says_of_each_odd_file_what_inspect_says(case: Case, run: Run) -> None:
    checked, inspected = run("check", case.path), run("inspect", case.path, "-q")
    assert checked.status == inspected.status
    assert is_harmless(checked.out)
    (line,) = checked.out.splitlines()
    if inspected.status:
        problem = inspected.err.splitlines()[0].removeprefix(f"gradclip: {case.path}: ")
        assert line.startswith(f"{case.path}: bad: {problem} (")
