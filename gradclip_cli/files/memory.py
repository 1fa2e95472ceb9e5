"""Bytes that are in memory already: buffers of arrays, one behind the other as in a file."""

import contextlib
import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from gradclip_cli.files.source import Reader, Source
from gradclip_cli.frozen import constant


class _MemoryReader(Reader):
    def __init__(self, source: "MemorySource") -> None:
        super().__init__(source.label)
        self._source = source

    def read_into(self, view: memoryview, offset: int) -> int:
        ends = self._source.ends
        at = bisect_right(ends, offset)
        if at == len(ends):
            return 0
        piece = memoryview(self._source.pieces[at])
        begin = offset - (ends[at] - len(piece))
        got = min(len(view), len(piece) - begin)
        view[:got] = piece[begin : begin + got]
        return got


@constant
class MemorySource(Source):
    """Buffers of single bytes, which pickle; `ends` are the offsets at which they end.

    Nothing shows that one has changed: what is read twice is known by its fingerprint.
    """

    label: str
    pieces: tuple[Any, ...]
    ends: tuple[int, ...]
    path: str = ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MemorySource):
            return NotImplemented
        return self.label == other.label and self._views == other._views

    @property
    def _views(self) -> list[memoryview]:
        return [memoryview(piece) for piece in self.pieces]

    def __hash__(self) -> int:
        return hash((self.label, self.ends))

    @classmethod
    def of(cls, label: str, pieces: Sequence[Any]) -> "MemorySource":
        """Give the source of some buffers, in order."""
        ends = itertools.accumulate(len(memoryview(piece)) for piece in pieces)
        return cls(label, tuple(pieces), tuple(ends))

    @property
    def size(self) -> int:  # type: ignore[override] # is never set
        """Number of bytes."""
        return self.ends[-1] if self.ends else 0

    @property
    def is_here(self) -> bool:
        """Say that it is: to send it would take longer than what is done with it."""
        return True

    @property
    def stamp(self) -> tuple[int, ...]:
        """The sizes alone."""
        return self.ends

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        """Give a reader."""
        yield _MemoryReader(self)
