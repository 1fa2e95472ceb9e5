"""A fork of the server is the command: it says, byte for byte, what a real start says."""

from pathlib import Path

import pytest

from tests.folders import array
from tests.running import (
    COMMAND,
    HEIGHT,
    environment,
    gradclip,
    in_shell,
    on_terminal,
    real,
    shown_by,
)

FORMATS = ("table", "tsv", "csv", "md", "json", "jsonl")
EACH_FORMAT = [
    pytest.param(f"{command} --format {form}", marks=[] if form == "table" else pytest.mark.heavy)
    for command in (
        "inspect a.npy b.npy",
        "apply a.npy --clip-norm 2.5 --dry-run",
        "diff a.npy b.npy",
        "trend a.npy b.npy",
    )
    for form in FORMATS
]
COMMANDS = [
    *("check a.npy cut.npy", "--help", "inspect missing.npy", "inspect"),
    *(
        pytest.param(command, marks=pytest.mark.heavy)
        for command in (
            *("check a.npy cut.npy --json", "--version", "inspect cut.npy", "apply a.npy"),
        )
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with two sound files and a damaged one."""
    for name in ("a", "b"):
        array(tmp_path / f"{name}.npy", 3, 4 if name == "a" else 12)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    return tmp_path


@pytest.mark.parametrize("command", [*EACH_FORMAT, *COMMANDS])
def test_a_fork_says_in_a_pipe_what_a_real_start_says(command: str, folder: Path) -> None:
    done = gradclip(*command.split(), cwd=folder)
    said = real(*command.split(), cwd=folder)
    assert (done.returncode, done.stdout.decode()) == (said.status, said.out)
    assert done.stderr.decode() == said.err


@pytest.mark.parametrize("command", ["inspect", "diff", "trend"])
def test_a_fork_shows_on_a_terminal_what_a_real_start_shows(command: str, folder: Path) -> None:
    arguments = (command, "a.npy", "b.npy")
    shown = shown_by([*COMMAND, *arguments], (HEIGHT, 80), folder, environment({}))
    assert on_terminal(*arguments, cwd=folder) == shown
    assert "\x1b[1m" in shown.raw


def test_a_fork_is_given_descriptors_folder_and_variables(folder: Path) -> None:
    done = in_shell("gradclip diff <(cat a.npy) - < a.npy", folder)
    assert (done.returncode, done.stderr) == (0, b"")
    script = "mkdir sub; cd sub; COLUMNS=200 gradclip inspect ../a.npy --format table"
    assert b"  max |x|  " in in_shell(script, folder).stdout
