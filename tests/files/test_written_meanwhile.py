"""What others write into files while these are replaced, up to the last moment, is not lost."""

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from gradclip_cli.files.marks import is_ours
from tests.faulty import Fault
from tests.running import with_fault

NAMES = ("a.npy", "b.npy", "c.npy")
CLIP = ("apply", ".", "--clip-norm=6.5", "--in-place")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make three files that are one gradient."""
    for name, norm in zip(NAMES, (3, 4, 12), strict=True):
        np.save(tmp_path / name, np.array([norm] + [0] * 100, "f4"))
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def check_only_written(folder: Path, before: dict[str, bytes]) -> None:
    """Check that nothing has changed but what another program wrote into one file."""
    now = contents(folder)
    assert now.pop("b.npy") == b"changed!" * 8 + before.pop("b.npy")[64:]
    assert now == before


@pytest.mark.parametrize("suffix", [[], ["--backup=.orig"]], ids=["", "kept"])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_while_originals_get_second_names(folder: Path, suffix: list[str], at: int) -> None:
    before = contents(folder)
    ended = with_fault(folder, *CLIP, *suffix, fault=Fault(at, ("link",), "overwrite", "b.npy"))
    assert ended.status == 2
    assert "b.npy: " in ended.err
    assert "\nhint: wait until the program that writes it has finished" in ended.err
    check_only_written(folder, before)


def test_while_a_single_result_gets_its_name(folder: Path) -> None:
    before = contents(folder)
    fault = Fault(1, ("link",), "overwrite", "b.npy")
    ended = with_fault(folder, "apply", "b.npy", "--clip-norm=1", "--in-place", fault=fault)
    assert ended.status == 2
    assert "b.npy: changed while gradclip was reading it: it was written to" in ended.err
    check_only_written(folder, before)


@pytest.mark.parametrize("suffix", [[], ["--backup=.orig"]], ids=["", "kept"])
def test_after_the_first_rename(folder: Path, suffix: list[str]) -> None:
    before = contents(folder)
    fault = Fault(1, ("rename",), "overwrite", "b.npy", after=True)
    ended = with_fault(folder, *CLIP, *suffix, fault=fault)
    assert ended.status == 2
    assert "b.npy: cannot be replaced: it was written to while gradclip was at work" in ended.err
    assert "; no file was changed\nhint: " in ended.err
    check_only_written(folder, before)


def test_after_the_first_rename_where_it_cannot_be_taken_back(folder: Path) -> None:
    before = contents(folder)
    faults = [Fault(at, ("link",), "EPERM") for at in (2, 3, 4)]
    written = Fault(1, ("rename",), "overwrite", "b.npy", after=True)
    ended = with_fault(folder, *CLIP, fault=[*faults, written])
    assert ended.status == 2
    assert "b.npy: was written to while a gradclip was replacing it; it stays so" in ended.err
    assert "2 of 3 files are as that gradclip wrote them\nhint: " in ended.err
    assert contents(folder)["b.npy"] == b"changed!" * 8 + before["b.npy"][64:]
    assert not [path for path in folder.iterdir() if is_ours(path.name)]


def test_before_a_kill_at_the_journal(folder: Path) -> None:
    before = contents(folder)
    fault = (
        Fault(1, ("link",), "overwrite", "b.npy"),
        Fault(4, ("fsync",), "SIGKILL", after=True),  # behind those of the results
    )
    with_fault(folder, *CLIP, fault=fault)
    with_fault(folder, "apply", ".", "--clip-norm=100", "-o", "new/")
    assert contents(folder)["b.npy"] == b"changed!" * 8 + before["b.npy"][64:]


def test_the_kill_is_at_the_journal(folder: Path) -> None:
    fault = Fault(4, ("fsync",), "SIGKILL", after=True)
    assert with_fault(folder, *CLIP, fault=fault).status == -signal.SIGKILL
    (run,) = folder.glob(".gradclip-*.run")
    assert run.stat().st_size


@pytest.mark.parametrize("way", [(".", "--in-place"), ("a.npy", "--in-place"), (".", "-o", "new/")])
def test_what_may_not_be_on_the_disk_is_said_to_be_in_its_place(
    way: tuple[str, ...], folder: Path
) -> None:
    calls = with_fault(folder, "apply", *way, "--clip-norm=2").calls
    shutil.rmtree(folder / "new", ignore_errors=True)
    renamed = len(calls) - 1 - calls[::-1].index("rename")
    fault = Fault(calls[:renamed].count("fsync") + 1, ("fsync",), "EIO")
    ended = with_fault(folder, "apply", *way, "--clip-norm=1", fault=fault)
    assert ended.status == 2
    assert "the results are in their places here, but may not be on the disk: " in ended.err
