"""Pass 2: rewrite a dump by the edits of a rule, and measure what was written while it is in cache.

As in pass 1, batches of spans go to an executor and no tensor is ever held.
"""

import dataclasses
import itertools
import operator
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradclip_cli.engine.crew import Crew
from gradclip_cli.files.source import Source
from gradclip_cli.files.writing import Room, Writer, cloned
from gradclip_cli.measure.meter import Meter, Progress
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.measure.spans import SPAN_BYTES, Work, batches, blocks, cut
from gradclip_cli.rewrite.edits import Clamp, Edit, Scale, ScaleEach, SpanEdit, tabulated, together
from gradclip_cli.tensors.dtypes import DType, Stored, decode, encode
from gradclip_cli.tensors.dump import DumpFile, Span, Tensor

STREAM_BYTES = 1 << 20  # what goes to a pipe waits in memory, so its pieces are small
COPY_BYTES = 1 << 20

# An edit needs twice the arrays that measuring alone does, and the cache is no larger for it.
_PARTS = 2

_WORTH_A_TABLE = 1 << 18  # values; as many as it takes longer to edit than to make the table

# At the end of a batch a worker waits for what it has written last, so batches are as long as they
# can be while there is a share of them for each worker.
_LONGEST_BATCH = 128 << 20
_SHARES = 4


@dataclass(frozen=True, slots=True)
class Output:
    """A file as it is to be written, called `label`, its tensors where they will lie.

    It is written to `path`, if that leads to the file of `status`. `first` is the dump's index of
    the file's first tensor. `header` replaces the file's own where integers become float64;
    everything that is not edited is copied.
    """

    file: DumpFile
    first: int
    tensors: tuple[Tensor, ...]
    header: bytes | None = None
    path: str = ""
    status: os.stat_result | None = None
    label: str = ""

    @property
    def size(self) -> int:
        """Number of bytes of the result."""
        if self.header is None:
            return self.file.source.size
        return max((tensor.offset + tensor.size for tensor in self.tensors), default=0)

    def at(self, path: str) -> "Output":
        """Give the same, to be written to the file at `path`."""
        label = self.file.source.label
        return dataclasses.replace(self, path=path, status=os.stat(path), label=label)

    @property
    def indices(self) -> range:
        """The dump's indices of the file's tensors."""
        return range(self.first, self.first + len(self.tensors))

    def changes(self, edits: Sequence[Edit | None]) -> bool:
        """Say whether any byte is computed anew, given an edit for each tensor of the dump."""
        return any(edits[self.first : self.first + len(self.tensors)])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What rewriting a tensor came to; `before` only where it was asked for.

    `changed` says whether any byte is another than before.
    """

    after: Moments
    before: Moments | None
    saturated: int
    changed: bool


@dataclass(frozen=True, slots=True)
class _Copy:
    """Bytes that stay as they are; those of `literal`, or of the source from `start` on."""

    source: Source
    start: int
    size: int
    output: Output
    offset: int
    literal: bytes | None = None

    @property
    def written(self) -> int:
        """Number of bytes of the result."""
        return self.size


@dataclass(frozen=True, slots=True)
class _Patch:
    """A span that is edited and written at `offset` as `dtype`."""

    work: Work
    edit: SpanEdit
    output: Output
    offset: int
    dtype: DType
    measure_before: bool
    norm_type: float

    @property
    def size(self) -> int:
        return self.work.size

    @property
    def written(self) -> int:
        """Number of bytes of the result."""
        return self.size // self.work.span.dtype.itemsize * self.dtype.itemsize

    @property
    def source(self) -> Source:
        return self.work.span.source


_Task = _Copy | _Patch
_Results = list[tuple[int, Outcome]]


def rewrite(
    outputs: Sequence[Output],
    edits: Sequence[Edit | None],
    crew: Crew,
    progress: Progress,
    measure_before: bool,
    norm_type: float = 2.0,
) -> dict[int, Outcome]:
    """Write each output to its path, which exists and has its size (pass 2).

    `edits` has one entry for each tensor of the dump; gives the outcome of each that was edited.
    """
    tasks = [
        task
        for output in outputs
        if output.changes(edits) or not _cloned(output)
        for task in _tasks(output, edits, measure_before, SPAN_BYTES, norm_type)
    ]
    size = sum(task.size for task in tasks)
    progress.begin("writing", size)
    found: _Results = []
    share = size // (_SHARES * crew.workers)
    enough = min(max(share, SPAN_BYTES), _LONGEST_BATCH)
    for batch, results in crew.in_order(_rewrite_batch, batches(tasks, enough)):
        found += results
        progress.advance(sum(task.size for task in batch), batch[-1].source.label)
    return _merged(found)


def rewrite_to_stream(
    output: Output,
    edits: Sequence[Edit | None],
    crew: Crew,
    progress: Progress,
    write: Callable[[bytes], object],
    norm_type: float = 2.0,
) -> dict[int, Outcome]:
    """Give an output's bytes to `write`, in order (pass 2)."""
    tasks = _tasks(output, edits, False, STREAM_BYTES, norm_type)
    progress.begin("writing", sum(task.size for task in tasks))
    found: _Results = []
    for task, (data, results) in crew.in_order(_bytes_of, tasks):
        write(data.tobytes())
        found += results
        progress.advance(task.size, task.source.label)
    return _merged(found)


def _cloned(output: Output) -> bool:
    with output.file.source.opened() as descriptor:
        return cloned(descriptor, output.path, output.label)


def _tasks(
    output: Output,
    edits: Sequence[Edit | None],
    measure_before: bool,
    size: int,
    norm_type: float,
) -> list[_Task]:
    """Cut an output into what is copied and what is edited, in the order of its bytes."""
    tasks: list[_Task] = [
        *_patches(output, edits, measure_before, size, norm_type),
        *_copies(output, edits, size),
    ]
    return sorted(tasks, key=lambda task: task.offset)


def _patches(
    output: Output,
    edits: Sequence[Edit | None],
    measure_before: bool,
    size: int,
    norm_type: float,
) -> Iterator[_Patch]:
    own = edits[output.first : output.first + len(output.tensors)]
    alike: dict[Hashable, list[int]] = {}
    kinds = {id(edit): edit.kind for edit in own if edit is not None}
    for index, edit in enumerate(own):
        if edit is not None:
            alike.setdefault(kinds[id(edit)], []).append(index)
    for indices in alike.values():
        for work in cut(output.file.tensors, indices, size):
            some = [edit for index in work.indices if (edit := own[index]) is not None]
            target = output.tensors[work.indices[0]]
            offset = target.offset + work.span.start * target.dtype.itemsize
            numbered = Work((*(output.first + index for index in work.indices),), work.span)
            joint = together(some, work.span.counts)
            yield _Patch(numbered, joint, output, offset, target.dtype, measure_before, norm_type)


def _copies(output: Output, edits: Sequence[Edit | None], size: int) -> Iterator[_Copy]:
    source = output.file.source
    own = edits[output.first : output.first + len(output.tensors)]
    for start, end, offset in _kept(output, own):
        for begin in range(start, end, size):
            length = min(size, end - begin)
            yield _Copy(source, begin, length, output, offset + begin - start)
    if output.header is not None:
        yield _Copy(source, 0, len(output.header), output, 0, output.header)


def _kept(output: Output, edits: Sequence[Edit | None]) -> Iterator[tuple[int, int, int]]:
    """Give what is not edited: begin and end in the source, offset in the result."""
    pairs = zip(output.file.tensors, output.tensors, edits, strict=True)
    if output.header is not None:
        for tensor, target, edit in pairs:
            if edit is None:
                yield tensor.offset, tensor.offset + tensor.size, target.offset
        return
    end = 0
    for tensor in sorted((tensor for tensor, _, edit in pairs if edit), key=lambda t: t.offset):
        if tensor.size:
            yield end, tensor.offset, end
            end = tensor.offset + tensor.size
    yield end, output.size, end


def _rewrite_batch(batch: tuple[_Task, ...]) -> _Results:
    found: _Results = []
    for output, tasks in itertools.groupby(batch, key=lambda task: task.output):
        with (
            output.file.source.opened() as descriptor,
            Writer(output.path, output.status, output.label) as writer,
            np.errstate(all="ignore"),
        ):
            for task in tasks:
                found += _done(descriptor, task, writer.room)
    return found


def _bytes_of(task: _Task) -> tuple[Stored, _Results]:
    """Give a task's bytes and outcomes, for a target that can only be written in order."""
    whole = np.empty(task.written, np.uint8)

    def room(offset: int, size: int) -> Stored:
        start = offset - task.offset
        return whole[start : start + size]

    with task.source.opened() as descriptor, np.errstate(all="ignore"):
        return whole, _done(descriptor, task, room)


def _done(descriptor: int, task: _Task, room: Room) -> _Results:
    """Do a task; its bytes go to `room`, in order."""
    if isinstance(task, _Patch):
        return _patched(descriptor, task, room)
    for start in range(0, task.size, COPY_BYTES):
        data = room(task.offset + start, min(COPY_BYTES, task.size - start))
        if task.literal is None:
            task.source.read_exactly(descriptor, data.data, task.start + start)
        else:
            data[:] = np.frombuffer(task.literal, np.uint8, data.size, start)
    return []


def _patched(descriptor: int, patch: _Patch, room: Room) -> _Results:
    """Edit a span block by block."""
    span, indices = patch.work.span, patch.work.indices
    before = Meter(span, span.dtype, patch.norm_type) if patch.measure_before else None
    after = Meter(span, patch.dtype, patch.norm_type)
    saturated = 0
    changed = [False] * len(indices)
    edited = _editor(patch)
    for first, stored in blocks(descriptor, span, _PARTS):
        if before is not None:
            before.add(stored)
        count = stored.size // span.dtype.itemsize
        itemsize = patch.dtype.itemsize
        data = room(patch.offset + first * itemsize, count * itemsize)
        saturated += edited(stored, first, data)
        if not all(changed):
            changed = list(map(operator.or_, changed, _changed(stored, data, span, patch)))
        after.add(data)
    saturations = (saturated, *[0] * (len(indices) - 1))
    befores = before.moments() if before is not None else [None] * len(indices)
    outcomes = map(Outcome, after.moments(), befores, saturations, changed)
    return list(zip(indices, outcomes, strict=True))


def _editor(patch: _Patch) -> Callable[[Stored, int, Stored], int]:
    """Give what edits a block from the value `first` on, and says how many were saturated."""
    span, edit = patch.work.span, patch.edit
    is_short = span.dtype.kind == "float" and span.dtype.bits == 16
    if is_short and isinstance(edit, Scale | Clamp) and span.count >= _WORTH_A_TABLE:
        table = tabulated(edit, span.dtype)

        def look_up(stored: Stored, _first: int, data: Stored) -> int:
            codes = stored.view(f"{span.dtype.words[0]}u2")
            # Codes are never beyond the table; "wrap" is the fastest way to say what to do then.
            np.take(table, codes, out=data.view(np.uint16), mode="wrap")
            return 0

        return look_up

    def compute(stored: Stored, first: int, data: Stored) -> int:
        values = decode(stored, span.dtype)
        results = edit.apply(values, span.start + first, span.dtype.lanes)
        return encode(results, patch.dtype, data)

    return compute


def _changed(stored: Stored, data: Stored, span: Span, patch: _Patch) -> Iterable[bool]:
    """Say for each tensor of a block whether its bytes are others than before.

    Of tensors that are scaled it is enough to know it of all together.
    """
    # The first few bytes nearly always tell, and cost nothing.
    alike = np.array_equal(data[:64], stored[:64]) and np.array_equal(data, stored)
    if alike or len(span.counts) == 1 or isinstance(patch.edit, Scale | ScaleEach):
        return itertools.repeat(not alike)
    if data.size != stored.size:
        return itertools.repeat(True)
    sizes = np.multiply(span.counts, span.dtype.itemsize)
    found: list[bool] = np.logical_or.reduceat(data != stored, np.cumsum(sizes) - sizes).tolist()
    return found


def _merged(found: _Results) -> dict[int, Outcome]:
    parts: dict[int, list[Outcome]] = {}
    for index, outcome in found:
        parts.setdefault(index, []).append(outcome)
    return {index: _whole(some) for index, some in parts.items()}


def _whole(parts: Sequence[Outcome]) -> Outcome:
    before = [part.before for part in parts if part.before is not None]
    return Outcome(
        merge(part.after for part in parts),
        merge(before) if before else None,
        sum(part.saturated for part in parts),
        any(part.changed for part in parts),
    )
