"""Writing past the page cache: every byte where it belongs, whatever the file system can do."""

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradclip_cli.files import writing
from gradclip_cli.files.writing import PIECE, Site, Writer

PAGE = 4096
Pwrite = Callable[[int, memoryview, int], int]


def is_direct(descriptor: int) -> bool:
    with open(f"/proc/self/fdinfo/{descriptor}") as info:
        flags = next(line for line in info if line.startswith("flags:"))
    return bool(int(flags.split()[1], 8) & os.O_DIRECT)


def refused(descriptor: int, data: memoryview, offset: int) -> int:
    """Take whole pages only in the ordinary way, as a file system does that lacks the other."""
    if is_direct(descriptor):
        raise OSError(errno.EINVAL, "Invalid argument")
    return PWRITE(descriptor, data, offset)


def cut_short(descriptor: int, data: memoryview, offset: int) -> int:
    """Write fewer bytes than asked for, and no whole pages."""
    return PWRITE(descriptor, data[: len(data) if len(data) < 5000 else PAGE * 2], offset)


def fill(path: Path, pieces: int, problem: Exception | None = None) -> None:
    """Fill pieces one by one, then raise the problem."""
    with Writer(Site(str(path), "mine", path.stat())) as writer:
        for number in range(pieces):
            writer.room(number * PIECE, PIECE)[:] = 1
        if problem is not None:
            raise problem


PWRITE: Pwrite = os.pwrite


@pytest.mark.parametrize("pwrite", [PWRITE, refused, cut_short])
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_byte_lands_where_it_belongs_and_no_other_is_touched(
    pwrite: Pwrite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: st.DataObject,
) -> None:
    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(writing, "PIECE", 16 * PAGE)
    monkeypatch.setattr(writing, "DIRECT", 2 * PAGE)
    size = 100 * PAGE
    before = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
    wanted = before.copy()
    path = tmp_path / "file"
    path.write_bytes(before.tobytes())
    offset = 0

    with Writer(Site(str(path), "label", path.stat())) as writer:
        for number in range(data.draw(st.integers(0, 12))):
            offset += data.draw(st.sampled_from([0, 0, 0, 1, 17, PAGE, 5 * PAGE - 3]))
            length = data.draw(st.sampled_from([0, 1, 100, PAGE, 3 * PAGE + 5, 16 * PAGE]))
            length = min(length, size - offset)
            if length < 0:
                break
            writer.room(offset, length)[:] = number
            wanted[offset : offset + length] = number
            offset += length

    assert path.read_bytes() == wanted.tobytes()


def test_ranges_may_come_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * PIECE))
    starts = [2 * PIECE, 0, PIECE]

    with Writer(Site(str(path), "label", path.stat())) as writer:
        for start in starts:
            writer.room(start, PIECE)[:] = start // PIECE + 1

    assert path.read_bytes() == b"\1" * PIECE + b"\2" * PIECE + b"\3" * PIECE


def test_whole_pages_go_past_the_cache_and_the_rest_in_the_ordinary_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * PIECE))
    written: list[tuple[bool, int, int]] = []

    def noted(descriptor: int, data: memoryview, offset: int) -> int:
        written.append((is_direct(descriptor), offset, len(data)))
        return PWRITE(descriptor, data, offset)

    try:
        os.close(os.open(path, os.O_WRONLY | os.O_DIRECT))
    except OSError:
        pytest.skip("this file system knows no O_DIRECT")
    monkeypatch.setattr(os, "pwrite", noted)
    with Writer(Site(str(path), "label", path.stat())) as writer:
        writer.room(100, PIECE)[:] = 1
        writer.room(100 + PIECE, PIECE)[:] = 2

    assert sorted(written, key=lambda write: write[1]) == [
        (False, 100, PAGE - 100),
        (True, PAGE, PIECE - PAGE),
        (True, PIECE, PIECE),
        (False, 2 * PIECE, 100),
    ]


@pytest.mark.parametrize("where", ["in the thread", "at the end"])
def test_an_error_names_the_file_as_its_reader_knows_it(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(bytes(4 * PIECE))
    monkeypatch.setattr(os, "pwrite", full)
    pieces = 4 if where == "in the thread" else 1

    with pytest.raises(OSError, match="No space left") as error:
        fill(path, pieces)

    assert error.value.filename == "mine"


def test_what_was_not_finished_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(PIECE))

    with pytest.raises(KeyError):
        fill(path, 1, KeyError())

    assert path.read_bytes() == bytes(PIECE)


def test_no_descriptor_and_no_thread_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(2 * PIECE))
    before = os.listdir("/proc/self/fd"), threading.active_count()

    for _ in range(3):
        with Writer(Site(str(path), "label", path.stat())) as writer:
            writer.room(0, PIECE)[:] = 1
            writer.room(PIECE, PIECE)[:] = 2

    assert (os.listdir("/proc/self/fd"), threading.active_count()) == before


def test_a_path_that_leads_to_another_file_is_not_written_to(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.write_bytes(b"mine")
    other.write_bytes(b"other")

    with pytest.raises(OSError, match="Stale file handle") as error:
        Writer(Site(str(other), "label", mine.stat()))

    assert error.value.filename == "label"
    assert other.read_bytes() == b"other"


def test_where_no_thread_can_be_started_it_writes_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(5 * PIECE))

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    fill(path, 5)

    assert path.read_bytes() == b"\1" * (5 * PIECE)


def test_an_interrupt_at_the_end_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(2 * PIECE))
    before = os.listdir("/proc/self/fd")
    shutdown = ThreadPoolExecutor.shutdown

    def interrupted(pool: ThreadPoolExecutor) -> None:
        shutdown(pool)
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(path, 2)

    assert os.listdir("/proc/self/fd") == before


def test_a_file_that_cannot_be_opened_is_named_as_its_reader_knows_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as error:
        Writer(Site(str(tmp_path / ".hidden"), "mine", tmp_path.stat()))

    assert error.value.filename == "mine"
