"""Values that lie in pieces, each a box of the whole: given one after the other in C order."""

import contextlib
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import ClassVar

from gradclip_cli.files.derived import MergedSource
from gradclip_cli.files.source import Reader, Source
from gradclip_cli.frozen import frozen

Shape = tuple[int, ...]

_OPEN = 32  # files that one reader keeps open


@frozen
class Piece:
    """A box of values from the index `low` on, in C order from byte `offset` of a source on."""

    source: Source
    offset: int
    low: Shape
    sides: Shape

    def holds(self, index: Shape) -> bool:
        """Say whether a value of the whole is in it."""
        bounds = zip(index, self.low, self.sides, strict=True)
        return all(low <= at < low + side for at, low, side in bounds)


@frozen
class JoinedSource(MergedSource):
    """An array of a shape, each value of `item` bytes, that pieces cover without overlap.

    They are in the order of where they begin.
    """

    label: str
    shape: Shape
    item: int
    pieces: tuple[Piece, ...]

    apart: ClassVar[bool] = True

    @property
    def bases(self) -> Sequence[Source]:
        """The sources of all pieces."""
        return [piece.source for piece in self.pieces]

    @property
    def size(self) -> int:  # type: ignore[override]
        """Number of bytes of all values."""
        return math.prod(self.shape) * self.item

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        """Give a reader; raises `GradclipError` if a piece is no longer the same."""
        with contextlib.ExitStack() as stack:
            yield _JoinedReader(self, stack)


class _JoinedReader(Reader):
    def __init__(self, source: JoinedSource, stack: contextlib.ExitStack) -> None:
        super().__init__(source.label)
        self._source = source
        self._stack = stack
        self._open: dict[Source, Reader] = {}
        self._piece: Piece | None = None
        self._until = 0

    def expect(self, offset: int, size: int) -> None:
        self._until, self._piece = max(self._until, offset + size), None

    def read_into(self, view: memoryview, offset: int) -> int:
        source = self._source
        if not 0 <= offset < source.size:
            return 0
        number, within = divmod(offset, source.item)
        index = _index(number, source.shape)
        piece = self._piece
        if piece is None or not piece.holds(index):
            at = bisect_right(source.pieces, index, key=lambda one: one.low)
            piece = next(one for one in source.pieces[at - 1 :: -1] if one.holds(index))
        at, run = _run(index, piece, source.shape)
        left = run * source.item - within
        size = min(len(view), left)
        begin = piece.offset + at * source.item + within
        reader = self._reader(piece.source)
        if piece is not self._piece:
            reader.expect(begin, max(min(left, self._until - offset), size))
            self._piece = piece
        return reader.read_into(view[:size], begin)

    def _reader(self, source: Source) -> Reader:
        if source not in self._open:
            if len(self._open) == _OPEN:
                self._open.clear()
                self._stack.close()
            self._open[source] = self._stack.enter_context(source.opened())
        return self._open[source]


def _index(number: int, shape: Shape) -> Shape:
    index = []
    for side in reversed(shape):
        number, at = divmod(number, side)
        index.append(at)
    return (*reversed(index),)


def _run(index: Shape, piece: Piece, shape: Shape) -> tuple[int, int]:
    """Give a value's number in its piece, and how many follow there as they do in the whole."""
    number, run, inner = 0, 1, 1
    is_full = True
    for axis in reversed(range(len(shape))):
        local, side = index[axis] - piece.low[axis], piece.sides[axis]
        if is_full:
            run = (side - local) * inner - number
            is_full = side == shape[axis]
        number += local * inner
        inner *= side
    return number, run
