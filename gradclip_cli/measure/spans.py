"""How tensors are cut into work, and how a worker reads it.

A large tensor becomes spans of some 32 MiB, small tensors that lie next to each other share one,
and spans are handed out in batches, so that neither one huge tensor nor a hundred thousand tiny
ones or ten thousand files leave a worker idle. A span is read in blocks that fit the cache.
"""

from collections.abc import Iterable, Iterator, Sequence

from gradclip_cli.engine.scratch import scratch
from gradclip_cli.engine.sweep import BATCH_BYTES
from gradclip_cli.files.source import Reader, Source
from gradclip_cli.frozen import frozen
from gradclip_cli.measure.places import Places, places_of
from gradclip_cli.measure.rows import ROW, UNIT
from gradclip_cli.tensors.codecs import Stored
from gradclip_cli.tensors.dtypes import DType
from gradclip_cli.tensors.dump import Shape, Tensor

BLOCK = 128 * ROW  # real numbers a block: shorter ones fight for the interpreter lock
SPAN_BYTES = BATCH_BYTES


@frozen
class Span:
    """Adjacent values of one dtype in one file.

    Either a piece of one tensor, whose value number `start` (in memory order) comes first, or, if
    `small`, whole small tensors that lie next to each other; `counts` says how long each is.
    `fortran_shape` is set where the tensor's memory order is not C order.
    """

    source: Source
    dtype: DType
    offset: int
    counts: tuple[int, ...]
    start: int = 0
    fortran_shape: Shape | None = None
    small: bool = False

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self.counts)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.dtype.size_of(self.count)

    def places_from(self, first: int = 0) -> Places:
        """Give where in their tensor the values of a piece lie, from its value `first` on."""
        return places_of(self.fortran_shape, self.start + first)


@frozen
class Work:
    """A span, and the indices of the tensors whose values it holds."""

    indices: tuple[int, ...]
    span: Span

    @property
    def size(self) -> int:
        """Number of bytes to read."""
        return self.span.size

    @property
    def place(self) -> Source:
        """The file that it reads."""
        return self.span.source

    def expect(self, reader: Reader) -> None:
        """Tell a reader which bytes will be read."""
        reader.expect(self.span.offset, self.span.size)

    @property
    def label(self) -> str:
        """What that file is called."""
        return self.span.source.label


def cut(
    tensors: Sequence[Tensor],
    chosen: Iterable[int],
    span_bytes: int = SPAN_BYTES,
    in_order: bool = False,
    targets: Sequence[Tensor] = (),
) -> Iterator[Work]:
    """Cut the chosen tensors into spans, in the order in which they lie in their files.

    Empty tensors need no work and get none. Small ones are kept whole, and neighbours share a span;
    so are those whose source is best read in order, unless all work is done `in_order`. Where there
    are `targets`, in which results will lie, these have to be neighbours, too.
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
            and (not targets or _are_neighbours(targets[group[-1]], targets[index]))
        ):
            yield _shared(tensors[group[0]], group, counts)
            group, counts, values = [], [], 0
        if small:
            group.append(index)
            counts.append(count)
            values += count
            end = tensor.offset + tensor.size
        else:
            step = span_bytes if in_order or tensor.source.seeks else tensor.size
            for span in _pieces(tensor, count, step):
                yield Work((index,), span)
    if group:
        yield _shared(tensors[group[0]], group, counts)


def _are_alike(before: Tensor, tensor: Tensor) -> bool:
    return tensor.source is before.source and (
        tensor.dtype is before.dtype or tensor.dtype == before.dtype
    )


def _are_neighbours(before: Tensor, tensor: Tensor) -> bool:
    return before.offset + before.size == tensor.offset


def _shared(first: Tensor, group: Sequence[int], counts: Sequence[int]) -> Work:
    span = Span(first.source, first.dtype, first.offset, tuple(counts), small=True)
    return Work(tuple(group), span)


def _pieces(tensor: Tensor, count: int, span_bytes: int) -> Iterator[Span]:
    dtype = tensor.dtype
    step = max(dtype.count_in(span_bytes) // UNIT, 1) * UNIT
    for start in range(0, count, step):
        yield Span(
            tensor.source,
            dtype,
            tensor.offset + dtype.size_of(start),
            (min(step, count - start),),
            start,
            tensor.fortran_shape,
        )


def blocks(reader: Reader, span: Span, parts: int = 1) -> Iterator[tuple[int, Stored]]:
    """Read a span: give each block's first value's number in the span, and the bytes.

    With `parts` the blocks are so many times shorter, still of whole rows; small tensors that share
    a span are always in one block.

    The bytes are a scratch array, overwritten by the next block.
    """
    for first, size in pieces(span, parts):
        stored: Stored = scratch("stored", "u1", size)
        reader.read_exactly(stored.data, span.offset + span.dtype.size_of(first))
        yield first, stored


def pieces(span: Span, parts: int = 1) -> Iterator[tuple[int, int]]:
    """Cut a span into blocks: give each one's first value's number in the span, and its size."""
    rows = BLOCK // ROW if span.small else max(BLOCK // ROW // parts, 1)
    step = rows * ROW // span.dtype.lanes
    for first in range(0, span.count, step):
        yield first, span.dtype.size_of(min(step, span.count - first))
