"""Holes of sparse files: ranges that are read as zeros and take no space, nor do they in a copy."""

import contextlib
import errno
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from operator import itemgetter

from gradclip_cli.files.system import SEEK_DATA, SEEK_HOLE, allocate

Holes = Sequence[tuple[int, int]]
"""The ranges, in order."""

_LEAST = 1 << 16  # bytes; smaller ones are filled


def holes_of(descriptor: int) -> Holes:
    """Give the holes of an open file that are worth keeping."""
    status = os.fstat(descriptor)
    size = status.st_size
    if SEEK_HOLE < 0 or getattr(status, "st_blocks", size) * 512 > size - _LEAST:
        return ()
    found, end = [], 0
    with contextlib.suppress(OSError):  # a file system that does not say
        while end < size:
            start = os.lseek(descriptor, end, SEEK_HOLE)
            end = _data_from(descriptor, start, size)
            if end - start >= _LEAST:
                found.append((start, end))
    return (*found,)


def _data_from(descriptor: int, offset: int, size: int) -> int:
    """Give where the next data of a file begin; its end, where there are none."""
    try:
        return os.lseek(descriptor, offset, SEEK_DATA) if offset < size else size
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size


def between(holes: Holes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Give what is no hole of a range.

    >>> [*between([(2, 4), (6, 9)], 3, 20)]
    [(4, 6), (9, 20)]
    """
    for first, last in holes[bisect_left(holes, start, key=itemgetter(1)) :]:
        if first >= end:
            break
        if start < first:
            yield start, first
        start = max(start, last)
    if start < end:
        yield start, end


def reserve(descriptor: int, size: int, holes: Holes = ()) -> None:
    """Give a file its size and its space on the disk; a full disk is known at once.

    Its holes take none. Where space cannot be reserved, that is known when it is written.
    """
    if holes:
        os.ftruncate(descriptor, size)
    ranges = between(holes, 0, size)
    if not size or not all(allocate(descriptor, start, end - start) for start, end in ranges):
        os.ftruncate(descriptor, size)
