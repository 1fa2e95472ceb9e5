"""Holes of a sparse dump stay holes: it takes no more of the disk when it is clipped."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from gradclip_cli.files import holes as known
from gradclip_cli.files.writing import Site, Writer

HEAD = 128
SIZE = 16 << 20
VALUES = {0: 3.0, 3 << 20: 4.0, (SIZE >> 2) - 1: 12.0}  # of norm 13


@pytest.fixture
def dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an array of 16 MiB with three values that are not zero."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.npy"
    with path.open("wb") as stream:
        head = {"descr": "<f4", "fortran_order": False, "shape": (SIZE >> 2,)}
        np.lib.format.write_array_header_1_0(stream, head)
        assert stream.tell() == HEAD
        stream.truncate(HEAD + SIZE)
        for index, value in VALUES.items():
            stream.seek(HEAD + 4 * index)
            stream.write(np.float32(value).tobytes())
    if not hasattr(os, "SEEK_HOLE") or taken(path) > 1 << 20:
        pytest.skip("no holes here")
    return path


def taken(path: Path) -> int:
    return path.stat().st_blocks * 512


def check(path: Path, factor: float) -> None:
    found = np.load(path, mmap_mode="r")
    assert found.shape == (SIZE >> 2,)
    assert {int(at): float(found[at]) for at in np.flatnonzero(found)} == {
        index: pytest.approx(value * factor) for index, value in VALUES.items()
    }
    assert taken(path) < 1 << 20


@pytest.mark.parametrize("workers", [1, 2])
def test_a_clipped_file_keeps_its_holes(workers: int, dump: Path) -> None:
    gradclip_cli.apply("x.npy", clip_norm=6.5, output="new.npy", workers=workers)
    check(dump.with_name("new.npy"), 0.5)
    gradclip_cli.apply("x.npy", clip_norm=99.0, output="same.npy", workers=workers)
    check(dump.with_name("same.npy"), 1)
    gradclip_cli.apply("x.npy", clip_norm=6.5, output="folder/", workers=workers)
    check(dump.parent / "folder" / "x.npy", 0.5)
    gradclip_cli.apply("x.npy", clip_norm=6.5, in_place=True, workers=workers)
    check(dump, 0.5)


def test_a_hole_is_filled_where_its_zeros_become_something_else(dump: Path) -> None:
    gradclip_cli.apply("x.npy", clip_value=(0.5, 5.0), output="new.npy")
    found = np.load("new.npy", mmap_mode="r")
    assert np.count_nonzero(found == 0.5) == found.size - len(VALUES)


def test_a_backup_that_is_a_copy_keeps_its_holes(
    dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def linkless(old: str, new: str) -> None:
        if new.endswith(".orig") and old.endswith("/x.npy"):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        real(old, new)

    monkeypatch.setattr(os, "link", linkless)
    monkeypatch.setattr("gradclip_cli.files.backups.cloned", lambda *_: False)
    gradclip_cli.apply("x.npy", clip_norm=6.5, in_place=True, backup=".orig")
    check(dump.with_name("x.npy.orig"), 1)


def test_a_dry_run_asks_for_the_room_that_is_taken(
    dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradclip_cli.files.places.room", lambda _: (8 << 20, 4096))
    gradclip_cli.apply("x.npy", clip_norm=6.5, output="new.npy", dry_run=True)


def test_space_is_reserved_for_all_but_holes(dump: Path) -> None:
    descriptor = os.open("x.npy", os.O_RDONLY)
    holes = known.holes_of(descriptor)
    os.close(descriptor)
    assert sum(end - start for start, end in holes) > SIZE - (1 << 20)
    with open("new", "wb") as stream:
        known.reserve(stream.fileno(), SIZE, [(1 << 20, SIZE - (1 << 20))])
    assert os.path.getsize("new") == SIZE
    assert 2 << 20 <= taken(Path("new")) < 3 << 20


@pytest.mark.parametrize(
    ("holes", "start", "end", "rest"),
    [
        ([], 3, 9, [(3, 9)]),
        ([(0, 3), (9, 12)], 3, 9, [(3, 9)]),
        ([(0, 5), (7, 8)], 3, 9, [(5, 7), (8, 9)]),
        ([(0, 2), (4, 5), (7, 20), (22, 30)], 3, 9, [(3, 4), (5, 7)]),
        ([(3, 9)], 3, 9, []),
    ],
)
def test_what_is_between_holes(
    holes: Sequence[tuple[int, int]], start: int, end: int, rest: list[tuple[int, int]]
) -> None:
    assert [*known.between(holes, start, end)] == rest


def test_every_byte_lands_where_it_belongs_beside_holes(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    size = 24 << 20
    for turn in range(6):
        cuts = np.sort(random.integers(0, size, 40)).tolist()
        holes = [*zip(cuts[::2], cuts[1::2], strict=True)]
        data = random.integers(1, 256, size, np.uint8)
        for start, end in holes[::2]:
            data[start:end] = 0
        path = tmp_path / f"{turn}"
        path.touch()
        os.truncate(path, size)
        with Writer(Site(str(path), "mine", path.stat(), holes)) as writer:
            at = 0
            while at < size:
                count = min(int(random.integers(1, 4 << 20)), size - at)
                writer.room(at, count)[:] = data[at : at + count]
                at += count
        assert path.read_bytes() == data.tobytes()
