"""Pass 2 into memory: the buffers of new arrays, one behind the other, as room for results."""

import contextlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np

from gradclip_cli.files.memory import MemorySource
from gradclip_cli.frozen import constant
from gradclip_cli.rewrite.outputs import Given
from gradclip_cli.tensors.codecs import Stored


@constant
class MemoryDesk:
    """A source in memory, and buffers of its sizes for what becomes of it."""

    source: MemorySource
    buffers: Sequence[Stored]

    @contextlib.contextmanager
    def opened(self) -> Iterator[Given]:
        """Give a reader and room for results; all are in their buffers at the end."""
        room = _Room(self.source.ends, self.buffers)
        with self.source.opened() as reader:
            yield reader, room.at
        room.settle()


class _Room:
    """Gives a buffer itself; for small tensors side by side, which lie in several, one for all."""

    def __init__(self, ends: Sequence[int], buffers: Sequence[Stored]) -> None:
        self._ends, self._buffers = ends, buffers
        self._number = 0
        self._gathered: Stored | None = None

    def at(self, offset: int, size: int) -> Stored:
        self.settle()
        number = bisect_right(self._ends, offset)
        buffer = self._buffers[number]
        begin = offset - (self._ends[number] - buffer.size)
        if begin + size <= buffer.size:
            return buffer[begin : begin + size]
        assert begin == 0, "only whole tensors share a span"
        self._number, self._gathered = number, np.empty(size, np.uint8)
        return self._gathered

    def settle(self) -> None:
        """Spread over their buffers what was last asked for."""
        if self._gathered is None:
            return
        rest, self._gathered = self._gathered, None
        while rest.size:
            buffer = self._buffers[self._number]
            buffer[:] = rest[: buffer.size]
            rest = rest[buffer.size :]
            self._number += 1
