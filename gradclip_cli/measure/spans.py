"""How tensors are cut into work, and how a worker reads it.

A large tensor becomes spans of some 32 MiB, small tensors that lie next to each other share one,
and spans are handed out in batches, so that neither one huge tensor nor a hundred thousand tiny
ones or ten thousand files leave a worker idle. A span is read in blocks that fit the cache.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gradclip_cli.engine.scratch import scratch
from gradclip_cli.measure.gauge import ROW
from gradclip_cli.tensors.dtypes import Stored
from gradclip_cli.tensors.dump import Span, Tensor

BLOCK = 128 * ROW  # real numbers a block: shorter ones fight for the interpreter lock
SPAN_BYTES = 32 << 20
BATCH_ITEMS = 64


class Sized(Protocol):
    """Work that knows how many bytes it moves."""

    @property
    def size(self) -> int:
        """Number of bytes."""


Item = TypeVar("Item", bound=Sized)


@dataclass(frozen=True, slots=True)
class Work:
    """A span, and the indices of the tensors whose values it holds."""

    indices: tuple[int, ...]
    span: Span

    @property
    def size(self) -> int:
        """Number of bytes to read."""
        return self.span.size


def cut(
    tensors: Sequence[Tensor], chosen: Iterable[int], span_bytes: int = SPAN_BYTES
) -> Iterator[Work]:
    """Cut the chosen tensors into spans, in the order in which they lie in their files.

    Empty tensors need no work and get none. Small ones are kept whole, and neighbours share a span.
    """

    def place(index: int) -> tuple[str, int]:
        return tensors[index].source.path, tensors[index].offset

    group: list[int] = []
    counts: list[int] = []
    values = end = 0
    for index in sorted(chosen, key=place):
        tensor = tensors[index]
        count = tensor.count
        if not count:
            continue
        small = count <= ROW and tensor.dtype.lanes == 1 and tensor.fortran_shape is None
        if group and not (
            small
            and values + count <= BLOCK
            and tensor.offset == end
            and _are_alike(tensors[group[-1]], tensor)
        ):
            yield _shared(tensors[group[0]], group, counts)
            group, counts, values = [], [], 0
        if small:
            group.append(index)
            counts.append(count)
            values += count
            end = tensor.offset + count * tensor.dtype.itemsize
        else:
            for span in _pieces(tensor, count, span_bytes):
                yield Work((index,), span)
    if group:
        yield _shared(tensors[group[0]], group, counts)


def _are_alike(before: Tensor, tensor: Tensor) -> bool:
    return tensor.source is before.source and (
        tensor.dtype is before.dtype or tensor.dtype == before.dtype
    )


def _shared(first: Tensor, group: Sequence[int], counts: Sequence[int]) -> Work:
    span = Span(first.source, first.dtype, first.offset, tuple(counts), small=True)
    return Work(tuple(group), span)


def _pieces(tensor: Tensor, count: int, span_bytes: int) -> Iterator[Span]:
    itemsize = tensor.dtype.itemsize
    step = max(span_bytes // itemsize // ROW, 1) * ROW
    for start in range(0, count, step):
        yield Span(
            tensor.source,
            tensor.dtype,
            tensor.offset + start * itemsize,
            (min(step, count - start),),
            start,
            tensor.fortran_shape,
        )


def batches(items: Iterable[Item], enough: int = SPAN_BYTES) -> Iterator[tuple[Item, ...]]:
    """Gather work until it is worth a worker's while: `enough` bytes or enough items."""
    batch: list[Item] = []
    size = 0
    for item in items:
        if batch and (size + item.size > enough or len(batch) == BATCH_ITEMS):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield tuple(batch)


def blocks(descriptor: int, span: Span, parts: int = 1) -> Iterator[tuple[int, Stored]]:
    """Read a span: give each block's first value's number in the span, and the bytes.

    With `parts` the blocks are so many times shorter, still of whole rows; small tensors that share
    a span are always in one block.

    The bytes are a scratch array, overwritten by the next block.
    """
    itemsize = span.dtype.itemsize
    rows = BLOCK // ROW if span.small else max(BLOCK // ROW // parts, 1)
    step = rows * ROW // span.dtype.lanes
    for first in range(0, span.count, step):
        stored: Stored = scratch("stored", "u1", min(step, span.count - first) * itemsize)
        span.source.read_exactly(descriptor, stored.data, span.offset + first * itemsize)
        yield first, stored
