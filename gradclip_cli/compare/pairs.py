"""How two tensors are cut alike, and how a worker reads both.

One side leads: it is cut into spans as a single dump is, in the order in which it lies in its file,
and the other follows with the same values. Where one side lies in C order and the other in Fortran
order, no run of values is adjacent in both: there boxes are read, long both in the first and in the
last index, and put into C order.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.compare.difference import Mask, differing
from gradclip_cli.compare.sides import Files, Readers
from gradclip_cli.engine.scratch import scratch
from gradclip_cli.files.source import Reader
from gradclip_cli.measure.places import BoxPlaces
from gradclip_cli.measure.spans import BLOCK, Span, Work, cut
from gradclip_cli.tensors.codecs import Floats, Stored, decode
from gradclip_cli.tensors.dtypes import DType, numeric
from gradclip_cli.tensors.dump import Shape, Tensor
from gradclip_cli.tensors.narrow import unpacked

Pair = tuple[Tensor, Tensor]

BOX = BLOCK  # real numbers a box
_WHOLE = 1 << 62  # bytes a span, where a source is best read in order

_BYTE = numeric("u", 8)

Words = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, slots=True)
class Spans:
    """The same values of both sides: a piece of one tensor, or several small tensors.

    `indices` are those of the pairs. Small tensors may lie apart on either side, so each side may
    have several spans, all in one file and of one dtype.
    """

    indices: tuple[int, ...]
    a: tuple[Span, ...]
    b: tuple[Span, ...]
    b_leads: bool

    @property
    def size(self) -> int:
        """Number of bytes to read."""
        return sum(span.size for span in (*self.a, *self.b))

    @property
    def place(self) -> Files:
        """The two files."""
        return Files(self.a[0].source, self.b[0].source, self.b_leads)

    def expect(self, readers: Readers) -> None:
        """Tell both readers which bytes will be read."""
        for reader, spans in zip(readers, (self.a, self.b), strict=True):
            for span in spans:
                reader.expect(span.offset, span.size)

    @property
    def label(self) -> str:
        """What the leading one is called."""
        return self.place.label


@dataclass(frozen=True, slots=True)
class Box:
    """The values of both sides from the multi-index `low` on, `sides` along each axis."""

    index: int
    a: Tensor
    b: Tensor
    low: Shape
    sides: Shape
    b_leads: bool

    @property
    def size(self) -> int:
        """Number of bytes to read."""
        return sum(tensor.dtype.size_of(math.prod(self.sides)) for tensor in (self.a, self.b))

    @property
    def place(self) -> Files:
        """The two files."""
        return Files(self.a.source, self.b.source, self.b_leads)

    def expect(self, readers: Readers) -> None:
        """Tell nothing: its runs lie apart."""

    @property
    def label(self) -> str:
        """What the leading one is called."""
        return self.place.label

    @property
    def places(self) -> BoxPlaces:
        """Where in the tensor its values lie."""
        return BoxPlaces(0, self.low, self.sides, self.a.shape)


@dataclass(frozen=True, slots=True)
class Both:
    """The numbers of a block on both sides, in lanes, and which values are stored differently.

    Where none is, `b` and `changed` are None. All are scratch arrays.
    """

    a: Floats
    b: Floats | None
    changed: Mask | None
    lanes: int


def is_mixed(pair: Pair) -> bool:
    """Say whether one side lies in C order and the other in Fortran order."""
    return pair[0].fortran_shape != pair[1].fortran_shape


def cut_alike(pairs: Sequence[Pair], b_leads: bool = False) -> Iterator[Spans | Box]:
    """Cut pairs of tensors of one shape, in the order of A's file, or of B's if that leads.

    Empty tensors get no work. Floats that cannot be decoded are cut as the bytes that they are.
    """
    leading, following = ([_bytes(pair[side]) for pair in pairs] for side in (b_leads, not b_leads))
    straight = [index for index, pair in enumerate(pairs) if not is_mixed(pair)]
    in_order = {index for index in straight if not following[index].source.seeks}
    others = [index for index in straight if index not in in_order]
    for work in itertools.chain(cut(leading, others), cut(leading, in_order, _WHOLE)):
        for indices, lead, follow in _followed(work, leading, following):
            both = (follow, lead) if b_leads else (lead, follow)
            yield Spans(indices, *both, b_leads)
    for index, (a, b) in enumerate(pairs):
        if is_mixed((a, b)) and a.count:
            lanes = max(a.dtype.lanes, b.dtype.lanes)
            for low, sides in _boxes(a.shape, BOX // lanes):
                yield Box(index, a, b, low, sides, b_leads)


def _bytes(tensor: Tensor) -> Tensor:
    if tensor.dtype.kind != "opaque":
        return tensor
    return Tensor(tensor.name, _BYTE, (tensor.size,), tensor.source, tensor.offset, tensor.size)


def _followed(
    work: Work, leading: Sequence[Tensor], following: Sequence[Tensor]
) -> Iterator[tuple[tuple[int, ...], tuple[Span, ...], tuple[Span, ...]]]:
    """Give the indices, the leader's spans and the follower's."""
    span = work.span
    if not span.small:
        tensor = following[work.indices[0]]
        yield work.indices, (span,), (_part(tensor, span.start, span.counts[0]),)
        return
    for (_, dtype), group in itertools.groupby(
        work.indices, key=lambda index: (id(following[index].source), following[index].dtype)
    ):
        indices = tuple(group)
        if dtype.lanes == 1:
            leads, follows = (
                tuple(_runs(tensors[index] for index in indices))
                for tensors in (leading, following)
            )
            yield indices, leads, follows
            continue
        for index in indices:
            lead, follow = leading[index], following[index]
            yield (index,), (_part(lead, 0, lead.count),), (_part(follow, 0, follow.count),)


def _part(tensor: Tensor, start: int, count: int) -> Span:
    offset = tensor.offset + tensor.dtype.size_of(start)
    return Span(tensor.source, tensor.dtype, offset, (count,), start, tensor.fortran_shape)


def _runs(tensors: Iterable[Tensor]) -> Iterator[Span]:
    """Give a span for each run of small tensors that lie next to each other."""
    run: list[Tensor] = []
    for tensor in tensors:
        if run and tensor.offset != run[-1].offset + run[-1].size:
            yield _small(run)
            run = []
        run.append(tensor)
    yield _small(run)


def _small(run: Sequence[Tensor]) -> Span:
    counts = (*(tensor.count for tensor in run),)
    return Span(run[0].source, run[0].dtype, run[0].offset, counts, small=True)


def _boxes(shape: Shape, limit: int) -> Iterator[tuple[Shape, Shape]]:
    """Cut a shape into boxes of at most `limit` values: where each begins, and its sides."""
    sides = [1] * len(shape)
    room = math.isqrt(limit)
    for axis in reversed(range(len(shape))):
        sides[axis] = min(shape[axis], room)
        room //= sides[axis]
    room = limit // math.prod(sides)
    for axis, side in enumerate(shape):
        before = sides[axis]
        sides[axis] = min(side, before * room)
        room = room * before // sides[axis]
    for low in itertools.product(*map(range, itertools.repeat(0), shape, sides)):
        yield (
            low,
            (*(min(part, side - at) for part, side, at in zip(sides, shape, low, strict=True)),),
        )


def read(work: Spans | Box, readers: Readers) -> Iterator[tuple[int, Both]]:
    """Read both sides block by block: give each block's first value's number, and the numbers."""
    reader_a, reader_b = readers
    if isinstance(work, Box):
        stored_a = _read_box("stored a", reader_a, work.a, work.low, work.sides)
        stored_b = _read_box("stored b", reader_b, work.b, work.low, work.sides)
        yield 0, _both(stored_a, work.a.dtype.apart, stored_b, work.b.dtype.apart)
        return
    dtype_a, dtype_b = work.a[0].dtype, work.b[0].dtype
    count = sum(span.count for span in work.a)
    step = BLOCK // max(dtype_a.lanes, dtype_b.lanes)
    for first in range(0, count, step):
        some = min(step, count - first)
        stored_a = _read_spans("stored a", reader_a, work.a, first, some)
        stored_b = _read_spans("stored b", reader_b, work.b, first, some)
        yield first, _both(stored_a, dtype_a, stored_b, dtype_b)


def _read_spans(role: str, reader: Reader, spans: Sequence[Span], first: int, count: int) -> Stored:
    """Read so many values from number `first` on; of several spans, which are small, all."""
    dtype = spans[0].dtype
    stored: Stored = scratch(role, np.uint8, dtype.size_of(count))
    done = 0
    for span in spans:
        size = stored.size if len(spans) == 1 else span.size
        view = stored[done : done + size].data
        reader.read_exactly(view, span.offset + dtype.size_of(first))
        done += size
    return stored


def _read_box(role: str, reader: Reader, tensor: Tensor, low: Shape, sides: Shape) -> Stored:
    """Read a box of a tensor and give it in C order, packed values apart."""
    shape, itemsize = tensor.shape, tensor.dtype.apart.bits // 8
    if tensor.fortran_shape is None:
        return _read_runs(role, reader, tensor, shape, low, sides)
    stored = _read_runs("box", reader, tensor, shape[::-1], low[::-1], sides[::-1])
    words = f"u{itemsize}" if itemsize < 16 else "c16"
    turned: Stored = scratch(role, np.uint8, stored.size)
    np.copyto(turned.view(words).reshape(sides), stored.view(words).reshape(sides[::-1]).T)
    return turned


def _read_runs(
    role: str, reader: Reader, tensor: Tensor, shape: Shape, low: Shape, sides: Shape
) -> Stored:
    """Read a box whose last index runs fastest in the file, by runs of adjacent values."""
    dtype = tensor.dtype.apart
    outer = len(shape) - 1
    while outer and sides[outer] == shape[outer]:
        outer -= 1
    run = math.prod(sides[outer:])
    stored: Stored = scratch(role, np.uint8, dtype.size_of(math.prod(sides)))
    axes = (range(at, at + side) for at, side in zip(low[:outer], sides[:outer], strict=True))
    for number, place in enumerate(itertools.product(*axes)):
        position = 0
        for at, side in zip((*place, *low[outer:]), shape, strict=True):
            position = position * side + at
        view = stored[dtype.size_of(number * run) : dtype.size_of((number + 1) * run)]
        if tensor.dtype.bits < 8:
            view[:] = _read_packed(reader, tensor, position, run)
        else:
            reader.read_exactly(view.data, tensor.offset + dtype.size_of(position))
    return stored


def _read_packed(reader: Reader, tensor: Tensor, first: int, count: int) -> Stored:
    """Read the codes of so many packed values from number `first` on."""
    before = first % 8  # eight values fill whole bytes, whatever bits they have
    dtype = tensor.dtype
    until = min(-(-(first + count) // 8) * 8, tensor.count)
    stored: Stored = scratch("packed", np.uint8, dtype.size_of(until - first + before))
    reader.read_exactly(stored.data, tensor.offset + dtype.size_of(first - before))
    return unpacked(stored, dtype)[before : before + count]


def _both(stored_a: Stored, dtype_a: DType, stored_b: Stored, dtype_b: DType) -> Both:
    lanes = max(dtype_a.lanes, dtype_b.lanes)
    changed = None
    if dtype_a.name == dtype_b.name:
        changed = _changed(stored_a, dtype_a, stored_b, dtype_b)
        if changed is None:
            return Both(_numbers("a", stored_a, dtype_a, lanes), None, None, lanes)
    a = _numbers("a", stored_a, dtype_a, lanes)
    b = _numbers("b", stored_b, dtype_b, lanes)
    if changed is None:
        changed = differing(a, b, lanes)
        if not changed.any():
            return Both(a, None, None, lanes)
    return Both(a, b, changed, lanes)


def _changed(stored_a: Stored, dtype_a: DType, stored_b: Stored, dtype_b: DType) -> Mask | None:
    """Say which values have other bits, whatever the order of their bytes; None where none has."""
    if dtype_a.words == dtype_b.words and np.array_equal(stored_a, stored_b):
        return None
    changed: Mask = (
        (_codes(stored_a, dtype_a) != _codes(stored_b, dtype_b))
        .reshape(-1, dtype_a.lanes)
        .any(axis=1)
    )
    return changed if changed.any() else None


def _codes(stored: Stored, dtype: DType) -> Words:
    """Give the bits of a block's lanes, as whole numbers."""
    if dtype.bits < 8:
        return unpacked(stored, dtype).copy()
    return stored.view(f"{dtype.words[0]}u{dtype.bits // dtype.lanes // 8}")


def _numbers(role: str, stored: Stored, dtype: DType, lanes: int) -> Floats:
    """Give the values in lanes of float64; a real one beside complex ones has no imaginary part."""
    values = decode(stored, dtype)
    numbers: Floats = scratch(role, np.float64, values.size // dtype.lanes * lanes)
    if dtype.lanes == lanes:
        np.copyto(numbers, values)
    else:
        numbers[0::2], numbers[1::2] = values, 0
    return numbers
