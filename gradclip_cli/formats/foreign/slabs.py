"""Arrays in chunks, read in C order: a box of whole chunks at a time, in bounded memory."""

import math
from collections.abc import Callable
from typing import Any

_ENOUGH = 4 << 20  # bytes of a box that are worth a call
_SMALL = 16 << 20  # bytes of a box that two workers may each read at the border of their parts
_LARGE = 512 << 20  # bytes of a box, if whole chunks lie in it
_PART = 128 << 20  # bytes of a box where they do not, and are unpacked anew for the next

Box = tuple[slice, ...]


class Slabs:
    """An array that is read a box after the other; `read` gives the values of a box."""

    def __init__(
        self, shape: tuple[int, ...], chunk: tuple[int, ...], item: int, read: Callable[[Box], Any]
    ) -> None:
        self._shape, self._item, self._read = shape, item, read
        self._below = [math.prod(shape[axis + 1 :]) * item for axis in range(len(shape))]
        self._axis, self._step = self._cut(chunk)
        self._begin = self._end = 0
        self._held = memoryview(b"")

    @property
    def size(self) -> int:
        """Number of bytes of the whole array."""
        return math.prod(self._shape) * self._item

    @property
    def is_parted(self) -> bool:
        """Whether several may read it without doing much twice."""
        return not self._shape or self._step * self._below[self._axis] <= _SMALL

    def _cut(self, chunk: tuple[int, ...]) -> tuple[int, int]:
        """Give the axis along which boxes are cut, and how many indices of it each has."""
        for axis, (side, below) in enumerate(zip(self._shape, self._below, strict=True)):
            row = min(chunk[axis], side) * below  # all chunks that one index goes through
            if row <= _LARGE:
                bands = max(_ENOUGH // max(row, 1), 1)
                return axis, max(min(chunk[axis] * bands, side), 1)
            if below <= _PART:
                return axis, max(_PART // max(below, 1), 1)
        return 0, 1

    def read(self, start: int, count: int) -> memoryview:
        """Give at most so many bytes from a place on, in C order; none only at the end."""
        if start >= self.size:
            return memoryview(b"")
        if not self._begin <= start < self._end:
            self._held = memoryview(b"")  # not two at once
            box, self._begin = self._box(start)
            values = self._read(box)
            self._held = memoryview(values.reshape(-1).view("u1"))
            self._end = self._begin + len(self._held)
        return self._held[start - self._begin : min(start + count, self._end) - self._begin]

    def _box(self, start: int) -> tuple[Box, int]:
        """Give the box in which a byte lies, and the place of its first."""
        box: list[slice] = []
        begin = 0
        for axis, (side, below) in enumerate(zip(self._shape, self._below, strict=True)):
            at = start // below % side
            step = 1 if axis < self._axis else self._step if axis == self._axis else side
            first = at // step * step
            box.append(slice(first, min(first + step, side)))
            begin += first * below
        return tuple(box), begin
