"""Tensors that are partial sums of one: added value by value, before anything is measured."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.files.derived import MergedSource
from gradclip_cli.files.source import Reader, Source
from gradclip_cli.formats.pieces import in_c_order
from gradclip_cli.frozen import frozen
from gradclip_cli.tensors.codecs import decode
from gradclip_cli.tensors.dtypes import numeric
from gradclip_cli.tensors.dump import Tensor

_BLOCK = 1 << 17  # values that are added at once


def summed(tensors: Sequence[Tensor], is_mean: bool) -> Tensor:
    """Give the sum or mean of tensors of one shape, in float64 or complex128.

    Each value is the exact sum but for two roundings: of what compensation leaves, and of all.
    """
    first = tensors[0]
    lanes = 2 if first.dtype.kind == "complex" else 1
    dtype = numeric("f" if lanes == 1 else "c", 64 * lanes)
    parts = tuple([in_c_order(tensor) for tensor in tensors])
    size = first.count * dtype.size_of(1)
    source = SummedSource(first.source.label, parts, lanes, size, is_mean)
    return Tensor(first.name, dtype, first.shape, source, 0, size)


@frozen
class SummedSource(MergedSource):
    """The sums of values that lie at the same places of several tensors, in float64."""

    label: str
    parts: tuple[Tensor, ...]
    lanes: int
    size: int
    is_mean: bool

    apart: ClassVar[bool] = True

    @property
    def bases(self) -> Sequence[Source]:
        """The sources of all parts."""
        return [part.source for part in self.parts]

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        """Give a reader; raises `GradclipError` if a part is no longer the same."""
        with contextlib.ExitStack() as stack:
            readers = [stack.enter_context(part.source.opened()) for part in self.parts]
            yield _SummedReader(self, readers)


class _SummedReader(Reader):
    def __init__(self, source: SummedSource, readers: Sequence[Reader]) -> None:
        super().__init__(source.label)
        self._source = source
        self._readers = readers
        self._begin = self._end = 0
        self._held: NDArray[Any] = np.empty(0)

    def expect(self, offset: int, size: int) -> None:
        item = 8 * self._source.lanes
        first, last = offset // item // _BLOCK * _BLOCK, -(-(offset + size) // item)
        for part, reader in zip(self._source.parts, self._readers, strict=True):
            begin, end = (part.dtype.size_of(min(one, part.count)) for one in (first, last))
            reader.expect(part.offset + begin, end - begin)

    def read_into(self, view: memoryview, offset: int) -> int:
        if not 0 <= offset < self._source.size:
            return 0
        if not self._begin <= offset < self._end:
            self._add(offset)
        found = self._held.view(np.uint8).data[offset - self._begin :][: len(view)]
        view[: len(found)] = found
        return len(found)

    def _add(self, offset: int) -> None:
        """Add a block in which a byte lies."""
        source = self._source
        item = 8 * source.lanes
        first = offset // item // _BLOCK * _BLOCK
        count = min(_BLOCK, source.size // item - first)
        total = np.zeros(count * source.lanes)
        rest = np.zeros_like(total)
        for part, reader in zip(source.parts, self._readers, strict=True):
            stored = np.empty(part.dtype.size_of(count), np.uint8)
            reader.read_exactly(stored.data, part.offset + part.dtype.size_of(first))
            values = decode(stored, part.dtype).astype(np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                new = total + values
                known = new - total  # Knuth's exact sum of two
                rest += (total - (new - known)) + (values - known)
            total = new
        with np.errstate(invalid="ignore"):
            held = np.where(np.isfinite(total), total + rest, total)
        self._held = held / len(source.parts) if source.is_mean else held
        self._begin, self._end = first * item, (first + count) * item


def fits(tensors: Sequence[Tensor]) -> str:
    """Say why tensors cannot be added; nothing if they can."""
    shapes = {tensor.shape for tensor in tensors}
    if len(shapes) > 1:
        return f"have shapes {' and '.join(str(list(shape)) for shape in sorted(shapes))}"
    kinds = {tensor.dtype.kind for tensor in tensors}
    if not kinds <= {"float"} and kinds != {"complex"}:
        return f"are {' and '.join(sorted({tensor.dtype.name for tensor in tensors}))}"
    return "" if math.prod(next(iter(shapes))) < 1 << 59 else "are too large"
