"""Values that lie apart in a source, given one after the other: views, transposes, swapped bytes.

They are gathered a box of neighbours at a time, so that memory is bounded, and no byte is read much
more often than it is needed: a box is halved along its longest stride until what it spans is mostly
its own.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.files.derived import DerivedSource
from gradclip_cli.files.source import Reader
from gradclip_cli.files.system import read_at, write_at
from gradclip_cli.frozen import frozen

Bytes = NDArray[np.uint8]
Box = tuple[tuple[int, int], ...]
"""A range of indices along each axis."""

_BOX = 8 << 20  # bytes of values that are gathered at once
_SPARSE = 4  # times as many bytes as a box needs may be read for it
_LITTLE = 4 << 10  # bytes that are read in the time that a call takes


@frozen
class StridedSource(DerivedSource):
    """The values of a strided view of a source, in C order.

    The first of them lies at byte `start`, each has `item` bytes; `strides` are in bytes, none
    negative. Words of `swapped` bytes are turned round, if that is not 0.
    """

    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    item: int
    swapped: int = 0

    apart: ClassVar[bool] = True

    @property
    def size(self) -> int:  # type: ignore[override]
        """Number of bytes of all values."""
        return math.prod(self.shape) * self.item

    @property
    def end(self) -> int:
        """Where in the source the last of the values ends."""
        return self.start + (_extent(self, _whole(self)) if self.size else 0)

    def made_from(self, reader: Reader) -> Reader:
        """Give a reader, from one of the base."""
        return _StridedReader(reader, self)

    def scatter(self, descriptor: int, label: str, offset: int, data: Bytes) -> None:
        """Write bytes from an offset on into the copy of the source that is open for it.

        What lies between the values stays, as it is in the file now.
        """
        end = offset + data.size
        while offset < end:
            box, begin, stop = _box_at(self, offset)
            stop = min(stop, end)
            here = np.empty(_sizes(box), f"V{self.item}")
            flat = here.reshape(-1).view(np.uint8)
            if offset > begin or stop - begin < flat.size:
                _each(self, box, here, lambda view, at: _load(descriptor, view, at))
                _turn(self, flat)
            flat[offset - begin : stop - begin] = data[: stop - offset]
            _turn(self, flat)
            _spread(self, box, here, descriptor, label)
            data, offset = data[stop - offset :], stop


class _StridedReader(Reader):
    def __init__(self, reader: Reader, source: StridedSource) -> None:
        super().__init__(source.label)
        self._reader = reader
        self._source = source
        self._begin = self._end = 0
        self._gathered = np.empty(0, np.uint8)

    def read_into(self, view: memoryview, offset: int) -> int:
        if not self._begin <= offset < self._end:
            if not 0 <= offset < self._source.size:
                return 0
            self._gather(offset)
        begin = offset - self._begin
        got = min(len(view), self._end - offset)
        view[:got] = self._gathered[begin : begin + got].data
        return got

    def _gather(self, offset: int) -> None:
        source = self._source
        box, self._begin, self._end = _box_at(source, offset)
        here = np.empty(_sizes(box), f"V{source.item}")
        _each(source, box, here, self._reader.read_exactly)
        self._gathered = here.reshape(-1).view(np.uint8)
        _turn(source, self._gathered)


def _whole(source: StridedSource) -> Box:
    return tuple((0, side) for side in source.shape)


def _sizes(box: Box) -> tuple[int, ...]:
    return tuple(stop - start for start, stop in box)


def _extent(source: StridedSource, box: Box) -> int:
    """Give the number of bytes from the first value of a box to the end of its last."""
    sides = zip(_sizes(box), source.strides, strict=True)
    return sum((side - 1) * stride for side, stride in sides) + source.item


def _box_at(source: StridedSource, offset: int) -> tuple[Box, int, int]:
    """Give the box in which the byte at an offset lies, and where it begins and ends."""
    shape, item = source.shape, source.item
    below = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    axis = next((axis for axis, count in enumerate(below) if count * item <= _BOX), 0)
    if not shape:
        return (), 0, item
    step = max(_BOX // (below[axis] * item), 1)
    index = offset // item
    box: list[tuple[int, int]] = []
    first = 0
    for other in range(axis):
        at = index // below[other] % shape[other]
        box.append((at, at + 1))
        first += at * below[other]
    start = index // below[axis] % shape[axis] // step * step
    stop = min(start + step, shape[axis])
    box.append((start, stop))
    box += ((0, side) for side in shape[axis + 1 :])
    first += start * below[axis]
    return tuple(box), first * item, (first + (stop - start) * below[axis]) * item


def _leaves(source: StridedSource, box: Box) -> Iterator[Box]:
    """Cut a box until each part is worth reading from end to end."""
    extent = _extent(source, box)
    useful = math.prod(_sizes(box)) * source.item
    spans = [(side - 1) * stride for side, stride in zip(_sizes(box), source.strides, strict=True)]
    if extent <= max(_SPARSE * min(useful, _BOX), _LITTLE) or not any(spans):
        yield box
        return
    axis = spans.index(max(spans))
    start, stop = box[axis]
    middle = (start + stop) // 2
    for part in ((start, middle), (middle, stop)):
        yield from _leaves(source, (*box[:axis], part, *box[axis + 1 :]))


def _places(source: StridedSource, box: Box) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
    """Give of each part of a box its begin and extent in the source, and its place in the box."""
    for leaf in _leaves(source, box):
        starts = (start for start, _ in leaf)
        begin = source.start + sum(map(int.__mul__, starts, source.strides))
        pairs = zip(leaf, box, strict=True)
        where = tuple(slice(start - low, stop - low) for (start, stop), (low, _) in pairs)
        yield begin, _extent(source, leaf), (..., *where)


def _each(
    source: StridedSource,
    box: Box,
    here: NDArray[np.void],
    read: Callable[[memoryview, int], object],
) -> None:
    """Fill an array with the values of a box, as they are stored."""
    for begin, extent, where in _places(source, box):
        raw = bytearray(extent)
        read(memoryview(raw), begin)
        part = here[where]
        part[...] = np.ndarray(part.shape, here.dtype, raw, 0, source.strides)


def _spread(
    source: StridedSource, box: Box, here: NDArray[np.void], descriptor: int, label: str
) -> None:
    """Write the values of a box where they lie."""
    for begin, extent, where in _places(source, box):
        raw = bytearray(extent)
        _load(descriptor, memoryview(raw), begin)
        part = here[where]
        np.ndarray(part.shape, here.dtype, raw, 0, source.strides)[...] = part
        write_at(descriptor, memoryview(raw), begin, label)


def _load(descriptor: int, view: memoryview, offset: int) -> None:
    data = read_at(descriptor, len(view), offset)
    view[: len(data)] = data


def _turn(source: StridedSource, flat: Bytes) -> None:
    if source.swapped > 1:
        words = flat.view(f"u{source.swapped}")
        words.byteswap(inplace=True)
