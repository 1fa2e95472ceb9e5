"""`--backup` keeps each original beside what replaces it, all of them or none, whatever happens.

The faults before each call, and the signals, are those of `test_faults`.
"""

import json
import os
import signal
import stat
from pathlib import Path

import pytest

import gradclip_cli
from gradclip_cli.files.marks import is_ours
from tests.dumps import floats, write_safetensors
from tests.faulty import CHANGING, Fault
from tests.folders import array, names, untouched, values
from tests.running import program, run_here, with_fault

KEEP = ("apply", "in", "--clip-norm=1", "--in-place", "--backup=.orig")

# What stands in for a file system, or a user, that can have no hard links.
LINKLESS = """
import errno, os, sys
from gradclip_cli.cli import app as cli
def link(*_, **__): raise OSError(errno.EPERM, os.strerror(errno.EPERM))
os.link = link
{more}
sys.exit(cli.run(sys.argv[1:]))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work beside two files that will change and one that will not."""
    monkeypatch.chdir(tmp_path)
    array(tmp_path / "in" / "a.npy").chmod(0o640)
    array(tmp_path / "in" / "sub" / "b.npy", 12.0)
    array(tmp_path / "in" / "zero.npy", 0.0)
    return tmp_path


def test_the_original_itself_is_kept_and_what_does_not_change_is_not(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path: (here / path).stat() for path in ("in/a.npy", "in/sub/b.npy")}
    with untouched(here):
        dry = json.loads(run_here(capfd, *KEEP, "--json", "--dry-run").out)
    said = run_here(capfd, *KEEP, "--json")
    assert (said.status, said.err) == (0, "")
    dry["says"] = dry["says"].removesuffix("; in a dry run: nothing was written")
    assert json.loads(said.out) == dry | {"dry_run": False}
    assert dry["backups"] == ["in/a.npy.orig", "in/sub/b.npy.orig"]
    assert names(here) == {*before, *dry["backups"], "in/zero.npy"}
    for path, old in before.items():
        kept = (here / f"{path}.orig").stat()
        assert (kept.st_ino, kept.st_mtime_ns) == (old.st_ino, old.st_mtime_ns)
        assert kept.st_nlink == (here / path).stat().st_nlink == 1
        assert stat.S_IMODE((here / path).stat().st_mode) == stat.S_IMODE(kept.st_mode)
    assert values(here / "in" / "a.npy.orig") == [3.0, 4.0]
    assert gradclip_cli.inspect("in").global_norm == pytest.approx(1), "they are no part of it"


def test_it_stands_beside_the_real_file(here: Path) -> None:
    (here / "link.npy").symlink_to("in/a.npy")
    report = gradclip_cli.apply("link.npy", clip_norm=1.0, in_place=True, backup="~")
    assert values(here / "in" / "a.npy~") == [3.0, 4.0]
    assert (here / "link.npy").is_symlink()
    assert report.written is not None
    assert report.written.backups == (str(here / "in" / "a.npy~"),)


@pytest.mark.parametrize(
    ("suffix", "problem"),
    [
        ("", "--backup: '' is no suffix"),
        ("/x", "--backup: '/x' is no suffix"),
        (".npy", "--backup: a.npy.npy would be read as a part of the dump"),
        (".safetensors", "--backup: a.npy.safetensors would be read as a part of the dump"),
        (".safetensors.index.json", "would be read as a part of the dump"),
        (".old", "in/sub/b.npy.old: already exists"),
        ("x" * 300, "file name too long"),
    ],
)
def test_a_name_that_would_lose_it_is_refused_before_anything(
    suffix: str, problem: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "in" / "sub" / "b.npy.old").write_text("mine")
    for more in ([], ["--dry-run"]):
        with untouched(here):
            said = run_here(capfd, *KEEP[:-1], "--backup", suffix, *more)
        assert said.status == 2
        assert problem in said.err.splitlines()[0]


def test_a_name_that_completes_an_index_is_refused(here: Path) -> None:
    source = write_safetensors(here / "x.safetensors", {"a": floats("F32", (1,), [2.0])})
    with pytest.raises(gradclip_cli.GradclipError, match="read as a part of the dump"):
        gradclip_cli.apply(source, clip_norm=1.0, in_place=True, backup=".index.json")


def test_it_needs_in_place(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with untouched(here):
        said = run_here(capfd, "apply", "in", "--clip-norm=1", "-o", "out", "--backup=.orig")
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("gradclip: --backup: needs --in-place\nhint: ")


def test_what_appears_under_its_name_meanwhile_is_not_replaced(here: Path) -> None:
    text = (
        "import os, sys; from gradclip_cli.cli import app as cli; real = os.link\n"
        "def link(old, new, **more):\n"
        "    if new.endswith('b.npy.orig'): open(new, 'w').write('mine')\n"
        "    real(old, new, **more)\n"
        "os.link = link; sys.exit(cli.run(sys.argv[1:]))"
    )
    before = {path: (here / path).read_bytes() for path in names(here)}
    said = program(text, *KEEP, cwd=here)
    assert said.status == 2
    assert "b.npy.orig: appeared while gradclip was at work\nhint: a backup is never" in said.err
    assert (here / "in" / "sub" / "b.npy.orig").read_text() == "mine"
    assert names(here) == {*before, "in/sub/b.npy.orig"}, "all or none"
    assert {path: (here / path).read_bytes() for path in before} == before


# Where there are no links


def test_without_links_a_copy_is_kept_with_all_that_it_has(here: Path) -> None:
    old = (here / "in" / "a.npy").stat()
    said = program(LINKLESS.format(more=""), *KEEP, cwd=here)
    assert (said.status, said.err) == (0, "")
    kept = (here / "in" / "a.npy.orig").stat()
    assert kept.st_ino != old.st_ino
    assert (kept.st_mode, kept.st_mtime_ns) == (old.st_mode, old.st_mtime_ns)
    assert values(here / "in" / "a.npy.orig") == [3.0, 4.0]
    assert values(here / "in" / "sub" / "b.npy.orig") == [12.0]
    assert not [path for path in here.rglob("*") if is_ours(path.name)]


@pytest.mark.parametrize(
    "call",
    [
        "rename",
        *(pytest.param(call, marks=pytest.mark.heavy) for call in ("replace", "fsync", "unlink")),
    ],
)
def test_without_links_a_kill_leaves_what_the_next_run_finishes(call: str, tmp_path: Path) -> None:
    more = (
        f"real, count = os.{call}, int(os.environ['KILL'])\n"
        f"def killed(*given, **more):\n"
        f"    global count; count -= 1\n"
        f"    if not count: os.kill(os.getpid(), 9)\n"
        f"    real(*given, **more)\n"
        f"os.{call} = killed"
    )
    for number in range(1, 40):
        folder = tmp_path / str(number)
        array(folder / "in" / "a.npy")
        array(folder / "in" / "sub" / "b.npy", 12.0)
        text = LINKLESS.format(more=f"os.environ['KILL'] = '{number}'\n{more}")
        ended = program(text, *KEEP, cwd=folder)
        norm = gradclip_cli.inspect(folder / "in").global_norm
        kept = {path for path in names(folder) if path.endswith(".orig")}
        if norm == 13.0:
            assert kept == set()
        else:
            assert norm == pytest.approx(1)
            assert kept == {"in/a.npy.orig", "in/sub/b.npy.orig"}
            assert values(folder / "in" / "a.npy.orig") == [3.0, 4.0]
        if ended.status == 0:
            assert number > 1
            return
        assert ended.status == -signal.SIGKILL
    pytest.fail("no run passed")


# After a crash


def test_the_next_run_knows_its_own_second_link(here: Path) -> None:
    given = ("apply", "in/a.npy", "--clip-norm=1", "--in-place", "--backup=.orig")
    fault = Fault(1, ("rename",), "SIGKILL")
    assert with_fault(here, *given, fault=fault).status == -signal.SIGKILL
    assert (here / "in" / "a.npy").stat().st_nlink == 2
    ended = with_fault(here, "apply", "in/a.npy", "--clip-norm=0.5", "--in-place")
    assert (ended.status, ended.err) == (0, "")
    assert gradclip_cli.inspect("in/a.npy").global_norm == pytest.approx(0.5)
    assert values(here / "in" / "a.npy.orig") == [3.0, 4.0]
    assert not [path for path in here.rglob("*") if is_ours(path.name)]


def test_what_was_written_since_is_not_kept_as_the_original(here: Path) -> None:
    fault = Fault(2, ("rename",), "SIGKILL")
    assert with_fault(here, *KEEP, fault=fault).status == -signal.SIGKILL
    with (here / "in" / "sub" / "b.npy").open("r+b") as stream:
        stream.seek(-4, os.SEEK_END)
        stream.write(b"\0\0\0\0")
    ended = with_fault(here, "inspect", "in")
    assert ended.status == 2
    assert "in/sub/b.npy: was written to after a gradclip" in ended.err
    assert not (here / "in" / "sub" / "b.npy.orig").exists()
    assert values(here / "in" / "a.npy.orig") == [3.0, 4.0]
    assert (here / "in" / "sub" / "b.npy").stat().st_nlink == 1


def test_every_original_is_kept_before_the_first_rename(here: Path) -> None:
    calls = [kind for kind in with_fault(here, *KEEP).calls if kind in CHANGING]
    last_link = max(at for at, kind in enumerate(calls) if kind == "link")
    assert last_link < calls.index("rename")
    assert "fsync" in calls[last_link : calls.index("rename")], "they are on the disk by then"
