"""Whatever fails and whenever it is killed: a target is the old file or the whole new one.

Faults are put before each system call in turn, signals are sent at each, and what the next run
finds is looked at too.
"""

import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from gradclip_cli.files.marks import is_ours
from tests.faulty import CHANGING, Fault
from tests.folders import names, untouched, values
from tests.running import (
    Ended,
    Faulty,
    end_of,
    feeding,
    ordinary_user,
    program,
    real,
    running,
    with_fault,
)

OLD = {"a": 3.0, "b": 4.0, "sub/c": 12.0}  # of norm 13, clipped to half
FILLING = 1_000  # zeros behind it, so that there is something to write


@dataclass(frozen=True, slots=True)
class Way:
    """A way to write: the command line, and where the results go; `named` has no unnamed files."""

    arguments: tuple[str, ...]
    targets: tuple[str, ...]
    operands: tuple[str, ...] = ("in",)
    named: bool = False

    @property
    def keeps(self) -> bool:
        """Whether it keeps the originals."""
        return any(one.startswith("--backup") for one in self.arguments)

    @property
    def command(self) -> tuple[str, ...]:
        """The whole command line."""
        return ("apply", *self.operands, "--clip-norm", "6.5", "--workers", "1", *self.arguments)


WAYS = {
    "in place, several": Way(("--in-place",), ("in/a.npy", "in/b.npy", "in/sub/c.npy")),
    "in place, one": Way(("--in-place",), ("one.npy",), ("one.npy",)),
    "in place, several, kept": Way(
        ("--in-place", "--backup=.orig"),
        tuple(f"in/{name}.npy{suffix}" for name in OLD for suffix in ("", ".orig")),
    ),
    "in place, one, kept": Way(
        ("--in-place", "--backup=.orig"), ("one.npy", "one.npy.orig"), ("one.npy",), named=True
    ),
    "in place, one, named": Way(("--in-place",), ("one.npy",), ("one.npy",), named=True),
    "over a file": Way(("-o", "out.npy", "--force"), ("out.npy",), ("one.npy",)),
    "over a file, named": Way(("-o", "out.npy", "--force"), ("out.npy",), ("one.npy",), named=True),
    "to a new file": Way(("-o", "new.npy"), ("new.npy",), ("one.npy",)),
    "to a new file, named": Way(("-o", "new.npy"), ("new.npy",), ("one.npy",), named=True),
    "into a folder": Way(("-o", "out/", "--force"), ("out/a.npy", "out/b.npy", "out/sub/c.npy")),
    "into a new folder": Way(("-o", "new/"), ("new/a.npy", "new/b.npy", "new/sub/c.npy")),
}
Contents = Mapping[str, bytes | None]


PLAIN = {"in place, several", "over a file"}  # the others take minutes in all


BEFORE_AND_AFTER = [
    pytest.param(False, id="before"),
    pytest.param(True, id="after", marks=pytest.mark.heavy),
]


def every(
    ways: Mapping[str, Way] = WAYS, plain: Collection[str] = frozenset(PLAIN)
) -> pytest.MarkDecorator:
    """Run a test for each way to write; most of them only where time is no matter."""
    return pytest.mark.parametrize(
        "way",
        [
            pytest.param(way, marks=[] if name in plain else pytest.mark.heavy, id=name)
            for name, way in ways.items()
        ],
    )


def array(path: Path, value: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array([value] + [0.0] * FILLING, "f4"))


def build(folder: Path) -> Path:
    """Make the dumps, and older files where some results go."""
    folder.mkdir()
    for name, value in OLD.items():
        array(folder / "in" / f"{name}.npy", value)
        if name != "b":
            array(folder / "out" / f"{name}.npy", 1.0)
    (folder / "in" / "b.npy").chmod(0o640)
    array(folder / "one.npy", 13.0)
    array(folder / "out.npy", 1.0)
    return folder


def contents(folder: Path, way: Way) -> Contents:
    """Give what each target holds."""
    return {
        name: (folder / name).read_bytes() if (folder / name).exists() else None
        for name in way.targets
    }


def left_over(folder: Path) -> set[str]:
    """Give the names of what gradclip left beside the targets."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if is_ours(path.name)}


@dataclass(frozen=True, slots=True)
class Course:
    """What a way comes to without a fault: the targets before and after, and the calls."""

    old: Contents
    new: Contents
    calls: tuple[str, ...]

    @property
    def critical(self) -> range:
        """The numbers of the calls from the first write to the last rename or link."""
        changing = [kind for kind in self.calls if kind in CHANGING]
        last = max(at for at, kind in enumerate(changing) if kind in ("rename", "link"))
        return range(changing.index("write") + 1, last + 2)

    @property
    def changing(self) -> range:
        """The numbers of all calls that change something."""
        return range(1, sum(kind in CHANGING for kind in self.calls) + 1)


@pytest.fixture(scope="module")
def courses(tmp_path_factory: pytest.TempPathFactory) -> dict[Way, Course]:
    """Give the course of each way."""
    found = {}
    for number, way in enumerate(WAYS.values()):
        folder = build(tmp_path_factory.mktemp("courses") / str(number))
        old = contents(folder, way)
        ended = with_fault(folder, *way.command, fault=Fault(named=way.named))
        assert (ended.status, ended.err) == (0, "")
        assert left_over(folder) == set()
        found[way] = Course(old, contents(folder, way), ended.calls)
        assert all(found[way].new[name] not in (None, old[name]) for name in way.targets)
    return found


def check_whole(found: Contents, course: Course) -> None:
    """Check that each target is the old one or the new one."""
    for name, data in found.items():
        assert data in (course.old[name], course.new[name]), f"{name} is neither"


def check_next(folder: Path, way: Way, course: Course) -> None:
    """Check what the next runs find: one state of all, and at the end nothing but the results."""
    seen = with_fault(folder, "inspect", *way.operands, "--json")
    assert seen.status == 0, seen.err
    assert json.loads(seen.out)["global_norm"] in (13.0, 6.5)
    found = contents(folder, way)
    if "--in-place" in way.arguments:
        assert found in (course.old, course.new), "some are old and some new"
    force = [] if "--in-place" in way.arguments else ["--force"]
    ended = with_fault(folder, *way.command, *force)
    if way.keeps and found == course.new:
        assert ended.status == 2
        assert ".orig: already exists" in ended.err
        ended = with_fault(folder, "apply", *way.operands, "--clip-norm=100", "--in-place")
        assert ended.status == 0, ended.err
    else:
        assert ended.status == 0, ended.err
    assert contents(folder, way) == course.new
    assert left_over(folder) == set()
    assert stat.S_IMODE((folder / "in" / "b.npy").stat().st_mode) == 0o640


@pytest.mark.alike(2)
@every()
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        *((kind, "EIO") for kind in ("write", "rename", "fsync", "read")),
        ("write", "ENOSPC"),
        *(
            pytest.param(kind, "EIO", marks=pytest.mark.heavy)
            for kind in CHANGING
            if kind not in ("write", "rename", "fsync")
        ),
        *(
            pytest.param(kind, "ENOSPC", marks=pytest.mark.heavy)
            for kind in ("fallocate", "link", "make")
        ),
    ],
)
def test_a_call_that_fails_changes_nothing_or_is_made_good(
    kind: str,
    error: str,
    way: Way,
    courses: Mapping[Way, Course],
    tmp_path: Path,
) -> None:
    course = courses[way]
    for number in range(1, 1000):
        folder = build(tmp_path / f"{number}")
        fault = Fault(number, (kind,), error, named=way.named)
        ended = with_fault(folder, *way.command, fault=fault)
        if ended.calls.count(kind) < number:
            assert ended.status == 0
            assert number > course.calls.count(kind), "every call had its fault"
            return
        found = contents(folder, way)
        check_whole(found, course)
        if ended.status == 0:
            assert found == course.new
        else:
            assert ended.status == 2
            check_words(ended, folder)
            seen_by_others = course.calls[: len(ended.calls)].count("rename") or kind == "fsync"
            if found != course.old:
                assert seen_by_others or kind == "unlink", "nothing was renamed, yet it changed"
        if kind != "unlink" and "have been replaced" not in ended.err:
            assert left_over(folder) == set()
        check_next(folder, way, course)
    pytest.fail("no run passed")


def check_words(ended: Ended, folder: Path) -> None:
    """Check that an error is a line that names a file of the user's, not a hidden one."""
    problem, *_ = ended.err.splitlines()
    assert problem.startswith("gradclip: ")
    assert "Traceback" not in ended.err
    assert ".gradclip" not in problem, problem
    subject = problem.removeprefix("gradclip: ").split(": ")[0]
    assert re.match(rf"{re.escape(str(folder))}|in|one|out|new", subject), problem


def test_there_are_as_many_kills_as_promised(courses: Mapping[Way, Course]) -> None:
    critical = sum(len(course.critical) for course in courses.values())
    assert 2 * critical >= 100, "SIGKILL, before and after each call"
    assert 3 * critical >= 40, "SIGINT, SIGTERM and SIGHUP"


@every()
@pytest.mark.parametrize("after", BEFORE_AND_AFTER)
def test_a_kill_at_any_call_leaves_each_target_old_or_new(
    after: bool, way: Way, courses: Mapping[Way, Course], tmp_path: Path
) -> None:
    course = courses[way]
    for number in course.critical:
        folder = build(tmp_path / f"{number}")
        fault = Fault(number, CHANGING, "SIGKILL", named=way.named, after=after)
        ended = with_fault(folder, *way.command, fault=fault)
        assert ended.status == -signal.SIGKILL
        made = [kind for kind in ended.calls if kind in CHANGING]
        assert len(made) == number, "it was killed at this call, and not later"
        assert "write" in made
        check_whole(contents(folder, way), course)
        left = left_over(folder)
        if len(way.targets) == 1 and not way.named:
            assert len(left) <= 1
            if left:  # only between link and rename
                assert made[-1] == "link" if after else made[-2:] == ["link", "rename"]
        check_next(folder, way, course)


@every()
@pytest.mark.parametrize("after", BEFORE_AND_AFTER)
@pytest.mark.parametrize(
    ("deed", "status"),
    [
        ("SIGINT", 130),
        pytest.param("SIGTERM", 143, marks=pytest.mark.heavy),
        pytest.param("SIGHUP", 129, marks=pytest.mark.heavy),
    ],
)
def test_a_signal_at_any_call_leaves_all_old_or_all_new_and_nothing_else(
    deed: str,
    status: int,
    after: bool,
    way: Way,
    courses: Mapping[Way, Course],
    tmp_path: Path,
) -> None:
    course = courses[way]
    for number in course.changing:
        folder = build(tmp_path / f"{number}")
        fault = Fault(number, CHANGING, deed, named=way.named, after=after)
        ended = with_fault(folder, *way.command, fault=fault)
        assert (ended.status, ended.out, ended.err) == (status, "", "")
        assert contents(folder, way) in (course.old, course.new)
        assert left_over(folder) == set()


# Several files in place


IN_PLACE = WAYS["in place, several"]


@pytest.mark.parametrize("stopped_at", [2, 3])
@pytest.mark.parametrize(
    "next_one",
    ["inspect", "apply", "inspect one file", "inspect through a link", "trend", "into a folder"],
)
def test_a_crash_between_renames_is_finished_before_anything_is_measured(
    next_one: str, stopped_at: int, tmp_path: Path
) -> None:
    folder = build(tmp_path / "here")
    fault = Fault(stopped_at, ("rename",), "SIGKILL")
    assert with_fault(folder, *IN_PLACE.command, fault=fault).status == -signal.SIGKILL
    halves = {"in/a.npy": 1.5, "in/b.npy": 2.0, "in/sub/c.npy": 6.0}
    found = {name: values(folder / name)[0] for name in halves}
    assert found != halves
    assert found["in/a.npy"] == 1.5, "one was replaced, another not"
    command = {
        "inspect": ("inspect", "in"),
        "apply": ("apply", "in", "--clip-norm", "100", "--in-place"),
        "inspect one file": ("inspect", "in/sub/c.npy"),
        "trend": ("trend", "in"),
        "inspect through a link": ("inspect", "elsewhere/link/c.npy"),
        "into a folder": ("apply", "one.npy", "--clip-norm", "1", "-o", "in/sub/"),
    }[next_one]
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "link").symlink_to(folder / "in" / "sub")
    ended = with_fault(folder, *command, "--json")
    assert (ended.status, ended.err) == (0, "")
    assert {name: values(folder / name)[0] for name in halves} == halves
    if "in" in command:
        found = json.loads(ended.out)
        assert found.get("steps", [found])[0]["global_norm"] == 6.5
    assert left_over(folder) == set()


def test_what_was_written_since_a_crash_is_not_replaced_by_its_results(tmp_path: Path) -> None:
    folder = build(tmp_path / "here")
    fault = Fault(2, ("rename",), "SIGKILL")
    assert with_fault(folder, *IN_PLACE.command, fault=fault).status == -signal.SIGKILL
    array(folder / "in" / "b.npy", 8.0)
    ended = with_fault(folder, "inspect", "in")
    assert (ended.status, ended.out) == (2, "")
    assert "in/b.npy: was written to after a gradclip that was replacing it was stopped" in (
        ended.err
    )
    assert "2 of 3 files are as that gradclip wrote them" in ended.err
    assert left_over(folder) == set()
    ended = with_fault(folder, "inspect", "in", "--json")
    assert json.loads(ended.out)["global_norm"] == (1.5**2 + 8**2 + 6**2) ** 0.5, "said once"


def test_a_crash_while_the_files_are_opened_is_noticed(tmp_path: Path) -> None:
    folder = build(tmp_path / "here")
    os.mkfifo(folder / "pipe")
    with running("inspect", "pipe", "in", cwd=folder) as reader:
        with feeding(folder / "pipe", lambda: reader.poll() is not None) as pipe:
            fault = Fault(2, ("rename",), "SIGKILL")
            assert with_fault(folder, *IN_PLACE.command, fault=fault).status == -signal.SIGKILL
            pipe.write((folder / "one.npy").read_bytes())
        status, err = end_of(reader)
    assert status == 2
    assert b": another gradclip replaced the files here while this one opened them" in err
    assert left_over(folder) == set()


def test_another_users_crash_is_said_in_words(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    folder = build(tmp_path / "here")
    fault = Fault(2, ("rename",), "SIGKILL")
    assert with_fault(folder, *IN_PLACE.command, fault=fault).status == -signal.SIGKILL
    (run,) = (folder / "in").glob(".gradclip-*.run")
    os.chown(run, 65534, 65534)
    with untouched(folder):
        ended = with_fault(folder, "inspect", "in")
        done = real("inspect", "in", before=ordinary_user(), cwd=folder)
    assert (ended.status, done.status) == (2, 2)
    assert "another user's gradclip was stopped while it replaced the files here" in ended.err
    assert "another user's gradclip is replacing the files here, or was" in done.err


def test_a_mark_that_cannot_be_removed_is_no_reason_to_hang(tmp_path: Path) -> None:
    folder = build(tmp_path / "here")
    fault = Fault(3, ("rename",), "SIGKILL", after=True)
    assert with_fault(folder, *IN_PLACE.command, fault=fault).status == -signal.SIGKILL
    for place in (folder / "in", folder / "in" / "sub"):
        place.chmod(0o555)
    with untouched(folder):
        done = real("inspect", "in", "--json", before=ordinary_user(), cwd=folder)
    assert (done.status, done.err) == (0, "")
    assert json.loads(done.out)["global_norm"] == 6.5
    for place in (folder / "in", folder / "in" / "sub"):
        place.chmod(0o755)


def test_a_signal_before_a_rename_that_fails_loses_no_result(tmp_path: Path) -> None:
    folder = build(tmp_path / "here")
    faults = Fault(2, ("rename",), "SIGINT"), Fault(3, ("rename",), "EIO")
    assert with_fault(folder, *IN_PLACE.command, fault=faults).status == 2
    assert values(folder / "in" / "sub" / "c.npy")[0] == 12.0
    ended = with_fault(folder, "inspect", "in", "--json")
    assert json.loads(ended.out)["global_norm"] == 6.5
    assert left_over(folder) == set()


def test_a_rename_that_keeps_failing_is_left_to_the_next_run(tmp_path: Path) -> None:
    folder = build(tmp_path / "here")
    # A folder that takes the target's place cannot be replaced by a file, now or later.
    fault = Fault(3, ("rename",), "folder", "in/sub/c.npy")
    ended = with_fault(folder, *IN_PLACE.command, fault=fault)
    assert ended.status == 2
    assert "in/sub/c.npy" in ended.err
    assert "2 of 3 files have been replaced\nhint: gradclip replaces the rest" in ended.err
    ended = with_fault(folder, "inspect", "in")
    assert ended.status == 2
    assert "a gradclip that was stopped left some files replaced and others not" in ended.err
    (folder / "in" / "sub" / "c.npy").rmdir()
    ended = with_fault(folder, "inspect", "in", "--json")
    assert json.loads(ended.out)["global_norm"] == 6.5
    assert left_over(folder) == set()


def test_a_run_waits_for_one_that_is_at_its_renames(tmp_path: Path) -> None:
    folder = build(tmp_path / "here")
    with Faulty(folder, IN_PLACE.command, Fault(2, ("rename",), "SIGSTOP")) as first:
        first.until_stopped()
        assert values(folder / "in" / "a.npy")[0] == 1.5
        assert values(folder / "in" / "b.npy")[0] == 4.0
        with running("inspect", str(folder / "in"), "--json") as second:
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(timeout=1.5)
            first.end()
            out, _ = second.communicate(timeout=60)
        assert json.loads(out)["global_norm"] == 6.5
    assert left_over(folder) == set()


@pytest.mark.parametrize(
    "lockless",
    [
        pytest.param(False, id="with locks", marks=pytest.mark.heavy),
        pytest.param(True, id="without"),
    ],
)
def test_what_a_living_run_is_writing_is_not_swept_away(lockless: bool, tmp_path: Path) -> None:
    for way in WAYS.values():
        folder = build(tmp_path / str(len(list(tmp_path.iterdir()))))
        stopped = Fault(1, ("fsync",), "SIGSTOP", named=way.named)
        with Faulty(folder, way.command, stopped) as first:
            first.until_stopped()
            before = left_over(folder)
            for place in {str(Path(name).parent) for name in way.targets}:
                if (folder / place).is_dir():
                    output = str(Path(place, "other.npy"))
                    command = ("apply", "one.npy", "--clip-norm", "1", "-o", output)
                    fault = Fault(lockless=lockless)
                    assert with_fault(folder, *command, fault=fault).status == 0
            assert left_over(folder) == before
            assert first.end().status == 0
        assert left_over(folder) == set()


@pytest.mark.parametrize(
    "way", [IN_PLACE, WAYS["in place, one, named"], WAYS["into a new folder"]], ids=str
)
def test_what_is_swept_away_before_it_is_locked_is_made_again(way: Way, tmp_path: Path) -> None:
    folder = build(tmp_path / "here")
    script = (
        "import fcntl, os, sys; real = fcntl.flock\n"
        "from gradclip_cli.cli import app as cli; from gradclip_cli.files import marks\n"
        "if hasattr(os, 'O_TMPFILE'): del os.O_TMPFILE\n"
        "def flock(*arguments):\n"
        "    fcntl.flock = real; marks.sweep(['.', 'in']); real(*arguments)\n"
        "fsync = os.fsync; os.fsync = lambda *a: (marks.sweep(['.', 'in']), fsync(*a))\n"
        "fcntl.flock = flock; sys.exit(cli.run(sys.argv[1:]))"
    )
    done = program(script, *way.command, "-q", cwd=folder)
    assert (done.status, done.err) == (0, "")
    assert left_over(folder) == set()


@pytest.mark.alike(3)
@pytest.mark.parametrize(
    "journal",
    [
        b"",
        b"[[",
        b"[[]]",
        b'{"a": 1}',
        b'[["..", "HIDDEN", "victim", true, VICTIM]]',
        b'[[".", "HIDDEN", "../victim", true, VICTIM]]',
        b'[[".", "../stolen", "b.npy", true, B]]',
        b'[[".", "a.npy", "b.npy", true, B]]',
        b'[[".", "HIDDEN", "b.npy", true, null]]',
        b'[[".", "HIDDEN", "b.npy", true]]',
        b'[[".", "HIDDEN", "..", true, null]]',
        b'[[".", "HIDDEN", "new\\u0000", true, null]]',
        b'[["no\\u0000", "HIDDEN", "new", true, null]]',
        b'[["\\ud800", "HIDDEN", "new", true, null]]',
        b'[["missing", "HIDDEN", "new", true, null]]',
        b'[["pipe", "HIDDEN", "new", true, null]]',
        b'[[".", 1, 2, 3, 4]]',
        b'[[".", "HIDDEN", "b.npy", true, B, "/../../kept"]]',
        b'[[".", "HIDDEN", "b.npy", true, B, 5]]',
        b'[[".", "HIDDEN", "b.npy", true, B, ".orig", ".orig"]]',
        b"[" * 100_000,
    ],
    ids=range(21),
)
def test_a_journal_of_a_stranger_moves_nothing_out_of_its_folder(
    journal: bytes, tmp_path: Path
) -> None:
    folder = build(tmp_path / "here")
    hidden = ".x.gradclip-0123456789abcdef.tmp"
    for path in (folder / "victim", folder / "stolen"):
        path.write_text("mine")
    (folder / "in" / hidden).write_text("theirs")
    os.mkfifo(folder / "in" / "pipe")
    journal = journal.replace(b"HIDDEN", hidden.encode())
    for name, path in ((b"VICTIM", folder / "victim"), (b"B", folder / "in" / "b.npy")):
        status = path.stat()
        old = [status.st_ino, status.st_size, status.st_mtime_ns]
        journal = journal.replace(name, json.dumps(old).encode())
    (folder / "in" / ".gradclip-0123456789abcdef.run").write_bytes(journal)
    (folder / "in" / ".gradclip.journal").symlink_to(".gradclip-0123456789abcdef.run")
    before = names(folder)
    ended = with_fault(folder, "inspect", "in", "--json")
    if "written to after" in ended.err:  # said once
        ended = with_fault(folder, "inspect", "in", "--json")
    assert json.loads(ended.out)["global_norm"] == 13.0
    assert names(folder) - before == set()
    assert (folder / "victim").read_text() == (folder / "stolen").read_text() == "mine"
    assert values(folder / "in" / "b.npy")[0] == 4.0
    assert (folder / "in" / "a.npy").exists()
    ended = with_fault(folder, *IN_PLACE.command)
    assert (ended.status, ended.err) == (0, "")
    assert left_over(folder) == set()


@pytest.mark.parametrize("kind", ["file", "folder", "link to nothing", "link elsewhere", "fifo"])
def test_what_only_looks_like_a_journal_is_no_reason_to_hang(kind: str, tmp_path: Path) -> None:
    folder = build(tmp_path / "here")
    journal = folder / "in" / ".gradclip.journal"
    if kind == "file":
        journal.write_text("mine")
    elif kind == "folder":
        journal.mkdir()
    elif kind == "fifo":
        os.mkfifo(folder / "in" / ".gradclip-0123456789abcdef.run")
        journal.symlink_to(".gradclip-0123456789abcdef.run")
    else:
        journal.symlink_to("/etc/passwd" if kind == "link elsewhere" else "nothing")
    ended = with_fault(folder, "inspect", "in", "--json")
    assert json.loads(ended.out)["global_norm"] == 13.0
    ended = with_fault(folder, *IN_PLACE.command)
    if kind == "fifo":
        assert ended.status == 0
    else:
        assert ended.status == 2
        assert ended.err == (
            f"gradclip: {journal}: is in the way, and leads nowhere\nhint: remove it: rm FILE\n"
        )
        assert values(folder / "in" / "a.npy")[0] == 3.0
        assert left_over(folder) == {"in/.gradclip.journal"}


def test_a_journal_that_leads_to_a_folder_elsewhere_is_taken_away(tmp_path: Path) -> None:
    """As where a folder was copied in the middle of a run."""
    folder = build(tmp_path / "here")
    for name in (".gradclip.journal", ".gradclip-0123456789abcdef.run"):
        (folder / "in" / name).symlink_to("../gone/.gradclip-0123456789abcdef.run")
    ended = with_fault(folder, *IN_PLACE.command)
    assert (ended.status, ended.err) == (0, "")
    assert left_over(folder) == set()


def test_many_files_in_place_need_few_descriptors(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for number in range(300):
        array(folder / f"layer{number % 100}" / f"{number}.npy", 1.0)
    limit = ["bash", "-c", 'ulimit -n 40; exec "$@"', "bash"]
    command = ("apply", "in", "--clip-norm=1", "--in-place", "-q")
    done = real(*command, before=limit, cwd=tmp_path)
    assert (done.status, done.err) == (0, "")
    assert gradclip_cli.inspect(folder).global_norm == pytest.approx(1, rel=1e-6)
    assert left_over(folder) == set()


# Input that changes


@pytest.mark.parametrize("deed", ["truncate", "append", "overwrite"])
@pytest.mark.parametrize("number", [1, 2, 3])
@every({name: WAYS[name] for name in ("in place, several", "over a file", "into a new folder")})
def test_input_that_changes_while_it_is_read_is_an_error_that_says_so(
    way: Way,
    number: int,
    deed: str,
    courses: Mapping[Way, Course],
    tmp_path: Path,
) -> None:
    folder = build(tmp_path / "here")
    victim = "in/a.npy" if number == 1 else "in/sub/c.npy"
    if way.operands == ("one.npy",):
        victim = "one.npy"
    reads = courses[way].calls.count("read")
    at = {1: 2, 2: reads - 1, 3: reads}[number]  # the header is read first
    fault = Fault(at, ("read",), deed, victim)
    for command in (("inspect", *way.operands), way.command):
        if command[0] == "inspect" and number > 1:
            continue
        before = contents(folder, way)
        ended = with_fault(folder, *command, fault=fault)
        assert ended.status == 2, ended
        assert ended.out == ""
        assert re.match(
            rf"gradclip: {victim}: (changed while gradclip was reading it: |ends after |truncated)",
            ended.err,
        ), ended.err
        after = contents(folder, way)
        assert {name for name in after if after[name] != before[name]} <= {victim}
        assert left_over(folder) == set()
        array(folder / victim, 13.0)


def test_a_fifo_that_takes_the_place_of_the_input_is_not_waited_for(tmp_path: Path) -> None:
    folder = build(tmp_path / "here")
    fault = Fault(1, ("read",), "fifo", "in/b.npy")
    ended = with_fault(folder, "inspect", "in", "--workers", "1", fault=fault)
    assert ended.status == 2
    assert ended.err.startswith("gradclip: in/b.npy: a FIFO, not a regular file\nhint: ")


@pytest.mark.parametrize("way", [IN_PLACE, WAYS["in place, one"]], ids=["several", "one"])
def test_what_another_program_wrote_meanwhile_is_not_lost_in_place(
    way: Way, tmp_path: Path
) -> None:
    folder = build(tmp_path / "here")
    victim = way.targets[0]
    fault = Fault(1, ("fsync",), "append", victim)
    ended = with_fault(folder, *way.command, fault=fault)
    assert ended.status == 2
    assert f"{victim}: changed while gradclip was reading it: its size went from" in ended.err
    assert (folder / victim).read_bytes().endswith(b"changed!")
    assert left_over(folder) == set()


# Large results, written past the page cache in a thread


@pytest.mark.parametrize(
    "deed",
    [
        *("ENOSPC", "SIGKILL"),
        *(pytest.param(one, marks=pytest.mark.heavy) for one in ("EIO", "SIGTERM")),
    ],
)
def test_a_large_result_is_whole_or_not_there_at_all(deed: str, tmp_path: Path) -> None:
    source = tmp_path / "in.npy"
    np.save(source, np.linspace(-1, 1, 9 << 18, dtype="f4"))
    before = source.read_bytes()
    command = ("apply", source, "--clip-norm=1", "-o", tmp_path / "out.npy", "--quiet")
    clean = with_fault(tmp_path, *command)
    assert (clean.status, clean.err) == (0, "")
    whole = (tmp_path / "out.npy").read_bytes()
    writes = 0
    for number in range(1, 100):
        (tmp_path / "out.npy").unlink(missing_ok=True)
        ended = with_fault(tmp_path, *command, fault=Fault(number, ("write",), deed))
        if ended.calls.count("write") < number:
            break
        writes += 1
        assert ended.status != 0
        if deed.startswith("E"):
            assert ended.status == 2
            check_words(ended, tmp_path)
        assert not (tmp_path / "out.npy").exists()
        assert left_over(tmp_path) == set()
        assert source.read_bytes() == before
    assert writes >= 4, "a head, pages, and a tail"
    assert (tmp_path / "out.npy").read_bytes() == whole


# Disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of one mebibyte, where the test may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    "output", ["out.npy", "old.npy", "new/", "there/"], ids=["new", "old", "new folder", "folder"]
)
def test_a_full_file_system_is_said_and_changes_nothing(
    output: str, small_disk: Path, tmp_path: Path
) -> None:
    (small_disk / "there").mkdir()
    (small_disk / "old.npy").write_text("mine")
    array(tmp_path / "in" / "a.npy", 3.0)
    np.save(tmp_path / "in" / "b.npy", np.ones(300_000, "f4"))
    operand = "in/b.npy" if output.endswith(".npy") else "in"
    with untouched(small_disk):
        ended = with_fault(
            tmp_path, "apply", operand, "--clip-norm=1", "-o", small_disk / output, "--force"
        )
    assert ended.status == 2
    assert "no room for its 1,200,128 bytes: no space left on device\nhint: free some" in ended.err


def test_a_result_within_the_limit_shares_the_blocks_of_its_source_where_it_can(
    tmp_path: Path,
) -> None:
    disk, image = tmp_path / "disk", tmp_path / "image"
    disk.mkdir()
    with image.open("wb") as stream:
        stream.truncate(600 << 20)
    try:
        made: list[list[str | Path]] = [
            ["mkfs.xfs", "-q", image],
            ["mount", "-o", "loop", image, disk],
        ]
        for step in made:
            if subprocess.run(step, capture_output=True, check=False).returncode:
                pytest.skip("mounting a file system is not allowed here")
    except FileNotFoundError:
        pytest.skip("there is no mkfs.xfs, or no mount command")
    try:
        np.save(disk / "in.npy", np.ones(20 << 18, "f4"))
        os.sync()
        free = os.statvfs(disk).f_bfree
        ended = with_fault(disk, "apply", "in.npy", "--clip-norm=1e9", "-o", "out.npy")
        os.sync()
        assert (ended.status, ended.err) == (0, "")
        assert (disk / "out.npy").read_bytes() == (disk / "in.npy").read_bytes()
        taken = (free - os.statvfs(disk).f_bfree) * os.statvfs(disk).f_bsize
        assert taken < 1 << 20
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_unreadable_file_is_said_and_changes_nothing(tmp_path: Path) -> None:
    folder = build(tmp_path / "here")
    (folder / "in" / "b.npy").chmod(0o000)
    with untouched(folder):
        done = real(*IN_PLACE.command, before=ordinary_user(), cwd=folder)
    assert done.status == 2
    assert done.err.startswith("gradclip: in/b.npy: permission denied\nhint: ")
