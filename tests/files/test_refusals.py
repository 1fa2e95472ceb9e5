"""Files that the system does not let be replaced: known before, or all taken back."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from gradclip_cli.files.marks import is_ours
from tests.faulty import Fault
from tests.running import in_shell, one_error, ordinary_user, real, with_fault

NORMS = {"a": 3.0, "b": 4.0, "c": 12.0}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Make three files that are one gradient."""
    here = tmp_path / "set"
    here.mkdir()
    for name, norm in NORMS.items():
        np.save(here / f"{name}.npy", np.array([norm] + [0] * 10, "f4"))
    yield here
    if shutil.which("chattr"):
        subprocess.run(["chattr", "-ia", here, *here.iterdir()], check=False, capture_output=True)
    subprocess.run(["umount", here / "b.npy"], check=False, capture_output=True)


def norms(folder: Path) -> dict[str, float]:
    return {path.stem: float(np.load(path)[0]) for path in sorted(folder.glob("*.npy"))}


def check_refused(folder: Path, problem: str, before: list[str] | None = None) -> None:
    done = real("apply", ".", "--clip-norm=6.5", "--in-place", cwd=folder, before=before or [])
    assert done.status == 2
    assert problem in one_error(done.err)
    check_as_before(folder)


def check_as_before(folder: Path) -> None:
    assert norms(folder) == NORMS
    assert [path for path in folder.iterdir() if is_ours(path.name)] == []
    done = real("inspect", ".", "-q", cwd=folder)
    assert (done.status, done.err) == (0, "")


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make such files")


def test_someone_elses_file_in_a_sticky_folder(folder: Path) -> None:
    needs_root()
    drop = ordinary_user()
    for name in NORMS:
        os.chmod(folder / f"{name}.npy", 0o666)
    os.chmod(folder, 0o1777)
    os.chown(folder, 12345, 12345)
    os.chown(folder / "b.npy", 12345, 12345)
    check_refused(folder, "cannot be replaced: operation not permitted; no file was changed", drop)


def test_a_sticky_folder_is_known_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_root()
    from gradclip_cli.errors import GradclipError
    from gradclip_cli.files.refusals import check_replaceable

    os.chmod(folder, 0o1777)
    os.chown(folder / "b.npy", 12345, 12345)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    for name in ("a", "b"):
        with pytest.raises(GradclipError, match="belongs to another user; in this folder only"):
            check_replaceable(str(folder / f"{name}.npy"), name)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    check_replaceable(str(folder / "b.npy"), "b")


@pytest.mark.alike(2)
@pytest.mark.parametrize("letter", ["a", "i"])
@pytest.mark.parametrize("name", ["b.npy", "."])
def test_what_may_only_be_added_to_or_not_be_changed(folder: Path, letter: str, name: str) -> None:
    needs_root()
    done = subprocess.run(["chattr", f"+{letter}", folder / name], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("no such attributes here")
    check_refused(folder, f"(chattr +{letter})" if name != "." or letter == "a" else ": ")


def test_a_file_that_is_a_mount(folder: Path, tmp_path: Path) -> None:
    needs_root()
    shutil.copy(folder / "b.npy", tmp_path / "other.npy")
    mount = ["mount", "--bind", str(tmp_path / "other.npy"), str(folder / "b.npy")]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    check_refused(folder, "b.npy: is a mount of its own, which no other file can take the place of")


@pytest.mark.parametrize("error", ["EPERM", "EACCES", "EBUSY", "EROFS"])
@pytest.mark.parametrize("at", [2, pytest.param(3, marks=pytest.mark.heavy)])
def test_what_is_refused_in_the_midst_is_taken_back(folder: Path, error: str, at: int) -> None:
    command = ("apply", ".", "--clip-norm=6.5", "--in-place")
    done = with_fault(folder, *command, fault=Fault(at, ("rename",), error))
    assert done.status == 2
    assert f"{'abc'[at - 1]}.npy: cannot be replaced: " in done.err
    assert "; no file was changed\nhint: " in done.err
    check_as_before(folder)


def test_new_files_are_taken_back_too(folder: Path) -> None:
    (folder / "out").mkdir()
    command = ("apply", "a.npy", "b.npy", "--clip-norm=1", "-o", "out/")
    fault = Fault(2, ("link",), "EPERM"), Fault(1, ("rename",), "EPERM")
    done = with_fault(folder, *command, fault=fault)
    assert done.status == 2
    assert list((folder / "out").iterdir()) == []


def test_a_crash_before_a_refusal_is_taken_back_by_the_next_run(folder: Path) -> None:
    command = ("apply", ".", "--clip-norm=6.5", "--in-place")
    done = with_fault(folder, *command, fault=Fault(2, ("rename",), "SIGKILL"))
    assert norms(folder) != NORMS
    done = with_fault(folder, "inspect", ".", fault=Fault(1, ("rename",), "EPERM"))
    assert (done.status, done.err) == (0, "")
    check_as_before(folder)


def test_what_was_written_after_a_crash_is_not_taken_back(folder: Path) -> None:
    command = ("apply", ".", "--clip-norm=6.5", "--in-place")
    with_fault(folder, *command, fault=Fault(3, ("rename",), "SIGKILL"))
    np.save(folder / "a.npy", np.array([99.0], "f4"))
    done = with_fault(folder, "inspect", ".", fault=Fault(1, ("rename",), "EPERM"))
    assert done.status == 2
    assert norms(folder)["a"] == 99.0


def test_a_file_system_that_is_mounted_read_only(folder: Path) -> None:
    needs_root()
    mount = ["mount", "--bind", str(folder), str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        check_refused(folder, "a.npy: is on a file system that is mounted read-only")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_umask_that_lets_nobody_in_leaves_no_folder(folder: Path) -> None:
    drop = ordinary_user()
    folder.chmod(0o777)
    shell = [*drop, "sh", "-c", 'umask 777; exec "$@"', "sh"]
    done = real("apply", ".", "--clip-norm=1", "-o", "new/", before=shell, cwd=folder)
    assert done.status == 2
    assert sorted(path.name for path in folder.iterdir()) == ["a.npy", "b.npy", "c.npy"]


def test_a_stream_that_finds_no_room_names_its_folder(folder: Path) -> None:
    save_file({"x": np.zeros(4096, "f4")}, folder / "x.safetensors")
    line = "cat x.safetensors | (ulimit -f 1; TMPDIR=. gradclip apply --clip-norm 1 -o b)"
    done = in_shell(line, folder)
    assert done.returncode == 2
    assert done.stderr.startswith(b"gradclip: .: file too large")
