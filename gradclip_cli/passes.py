"""The two passes: measure a dump, rewrite a dump.

Pass 1 measures; a rule decides; pass 2 rewrites and measures what it wrote, while that is in cache.
Both hand batches of spans to an executor and never hold a tensor: memory depends on workers and
block size, not on files.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.clipping import Edit
from gradclip_cli.crew import Crew
from gradclip_cli.dtypes import DType, Stored, Values, decode, encode, magnitudes
from gradclip_cli.dump import DumpFile, Span, Tensor
from gradclip_cli.errors import GradclipError
from gradclip_cli.moments import Moments, measure, measure_each, merge
from gradclip_cli.scratch import scratch
from gradclip_cli.source import Source, write_at, write_back
from gradclip_cli.spans import SPAN_BYTES, Work, batches, blocks, cut

STREAM_BYTES = 1 << 20  # what goes to a pipe waits in memory, so its pieces are small


class Progress(Protocol):
    """Told how far a pass is: once what it does and how many bytes, then each step."""

    def begin(self, doing: str, size: int) -> None:
        """Start a pass over so many bytes."""

    def advance(self, size: int, label: str) -> None:
        """Take note of so many bytes more, of the file called `label`."""


@dataclass(frozen=True, slots=True)
class Output:
    """A file as it is to be written: to `path`, called `label`, its tensors where they will lie.

    `first` is the dump's index of the file's first tensor. `header` replaces the file's own where
    integers become float64; everything that is not edited is copied.
    """

    file: DumpFile
    first: int
    tensors: tuple[Tensor, ...]
    header: bytes | None = None
    path: str = ""
    label: str = ""

    @property
    def size(self) -> int:
        """Number of bytes of the result."""
        if self.header is None:
            return self.file.source.size
        return max((tensor.offset + tensor.size for tensor in self.tensors), default=0)

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


@dataclass(frozen=True, slots=True)
class _Patch:
    """A span that is edited and written at `offset` as `dtype`."""

    work: Work
    edit: Edit
    output: Output
    offset: int
    dtype: DType
    measure_before: bool

    @property
    def size(self) -> int:
        return self.work.size

    @property
    def source(self) -> Source:
        return self.work.span.source


_Task = _Copy | _Patch
_Results = list[tuple[int, Outcome]]


def measure_tensors(
    tensors: Sequence[Tensor], chosen: Sequence[int], crew: Crew, progress: Progress
) -> dict[int, Moments]:
    """Measure the chosen tensors (pass 1); gives the moments of each by its index."""
    parts: dict[int, list[Moments]] = {index: [] for index in chosen}
    progress.begin("measuring", sum(tensors[index].size for index in chosen))
    for batch, results in crew.in_order(_measure_batch, batches(cut(tensors, chosen))):
        for index, part in results:
            parts[index].append(part)
        progress.advance(sum(work.size for work in batch), batch[-1].span.source.label)
    return {index: some[0] if len(some) == 1 else merge(some) for index, some in parts.items()}


def _measure_batch(batch: tuple[Work, ...]) -> list[tuple[int, Moments]]:
    results: list[tuple[int, Moments]] = []
    with np.errstate(all="ignore"):
        for source, group in itertools.groupby(batch, key=lambda work: work.span.source):
            with source.opened() as descriptor:
                for work in group:
                    found = [
                        _measure(stored, work.span.dtype, work.span, first)
                        for first, stored in blocks(descriptor, work.span)
                    ]
                    whole = found[0] if len(found) == 1 else map(merge, zip(*found, strict=True))
                    results += zip(work.indices, whole, strict=True)
    return results


def _measure(stored: Stored, dtype: DType, span: Span, first: int) -> list[Moments]:
    """Measure a block of a span, stored as a dtype: one `Moments` for each of its tensors."""
    values = decode(stored, dtype)
    if span.small:
        return measure_each(values, span.counts)
    sizes = magnitudes(stored.view(dtype.words)) if dtype.is_narrow else None
    return [measure(values, span.dtype.lanes, span.start + first, span.fortran_shape, sizes)]


def rewrite(
    outputs: Sequence[Output],
    edits: Sequence[Edit | None],
    crew: Crew,
    progress: Progress,
    measure_before: bool,
) -> dict[int, Outcome]:
    """Write each output to its path, which exists and has its size (pass 2).

    `edits` has one entry for each tensor of the dump; gives the outcome of each that was edited.
    """
    tasks = [
        task for output in outputs for task in _tasks(output, edits, measure_before, SPAN_BYTES)
    ]
    progress.begin("writing", sum(task.size for task in tasks))
    found: _Results = []
    for batch, results in crew.in_order(_rewrite_batch, batches(tasks)):
        found += results
        progress.advance(sum(task.size for task in batch), batch[-1].source.label)
    return _merged(found)


def rewrite_to_stream(
    output: Output,
    edits: Sequence[Edit | None],
    crew: Crew,
    progress: Progress,
    write: Callable[[bytes], object],
) -> dict[int, Outcome]:
    """Give an output's bytes to `write`, in order (pass 2)."""
    tasks = sorted(_tasks(output, edits, False, STREAM_BYTES), key=lambda task: task.offset)
    progress.begin("writing", sum(task.size for task in tasks))
    found: _Results = []
    for task, (data, results) in crew.in_order(_bytes_of, tasks):
        write(data)
        found += results
        progress.advance(task.size, task.source.label)
    return _merged(found)


def _tasks(
    output: Output, edits: Sequence[Edit | None], measure_before: bool, size: int
) -> Iterator[_Task]:
    """Cut an output into what is copied and what is edited."""
    own = edits[output.first : output.first + len(output.tensors)]
    alike: dict[Edit, list[int]] = {}
    for index, edit in enumerate(own):
        if edit is not None:
            alike.setdefault(edit, []).append(index)
    for edit, indices in alike.items():
        for work in cut(output.file.tensors, indices, size):
            target = output.tensors[work.indices[0]]
            offset = target.offset + work.span.start * target.dtype.itemsize
            numbered = Work((*(output.first + index for index in work.indices),), work.span)
            yield _Patch(numbered, edit, output, offset, target.dtype, measure_before)
    source = output.file.source
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

    for output, group in itertools.groupby(batch, key=lambda task: task.output):
        tasks = tuple(group)
        target = os.open(output.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            with output.file.source.opened() as descriptor, np.errstate(all="ignore"):
                for task in tasks:
                    if isinstance(task, _Copy):
                        _copy(descriptor, target, task)
                        continue
                    for first, data, results in _edited(descriptor, task):
                        offset = task.offset + first * task.dtype.itemsize
                        write_at(target, data.data, offset, output.label)
                        found += results
            begin = tasks[0].offset
            end = max(task.offset + task.size for task in tasks)
            write_back(target, begin, end - begin)
        finally:
            os.close(target)
    return found


def _bytes_of(task: _Task) -> tuple[bytes, _Results]:
    """Give a task's bytes and outcomes, for a target that can only be written in order."""
    with task.source.opened() as descriptor, np.errstate(all="ignore"):
        if isinstance(task, _Copy):
            if task.literal is not None:
                return task.literal, []
            return os.pread(descriptor, task.size, task.start), []
        parts = [(data.tobytes(), results) for _, data, results in _edited(descriptor, task)]
    return b"".join(data for data, _ in parts), [item for _, some in parts for item in some]


def _edited(descriptor: int, patch: _Patch) -> Iterator[tuple[int, Stored, _Results]]:
    """Edit a span block by block: the number of the block's first value, its bytes, the outcomes.

    The bytes are a scratch array, overwritten by the next block.
    """
    span = patch.work.span
    for first, stored in blocks(descriptor, span):
        before: Sequence[Moments | None] = [None] * len(patch.work.indices)
        if patch.measure_before:
            before = _measure(stored, span.dtype, span, first)
        product = _product(decode(stored, span.dtype), patch.edit, span.dtype.lanes)
        count = product.size // span.dtype.lanes
        data: Stored = scratch("encoded", np.uint8, count * patch.dtype.itemsize)
        saturated = encode(product, patch.dtype, data)
        # The first few bytes nearly always tell, and cost nothing.
        changed = not (np.array_equal(data[:64], stored[:64]) and np.array_equal(data, stored))
        after = _measure(data, patch.dtype, span, first)
        saturations = (saturated, *[0] * (len(after) - 1))
        outcomes = map(Outcome, after, before, saturations, itertools.repeat(changed))
        yield first, data, list(zip(patch.work.indices, outcomes, strict=True))


def _product(values: Values, edit: Edit, lanes: int) -> NDArray[np.float64]:
    """Give `float64(x * coefficient)`; NaN and infinities as 0 where the edit says so."""
    product: NDArray[np.float64] = scratch("product", np.float64, values.size)
    # Asked for the product of float32 as float64, NumPy widens it in small pieces first.
    np.copyto(product, values)
    product *= edit.coefficient
    if edit.zero_nonfinite:
        pairs = product.reshape(-1, lanes)
        pairs[~np.isfinite(pairs).all(axis=1)] = 0
    return product


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


def _copy(descriptor: int, target: int, copy: _Copy) -> None:
    """Copy a range without taking it through this process where the kernel can."""
    if copy.literal is not None:
        write_at(target, copy.literal, copy.offset, copy.output.label)
        return
    done = 0
    while done < copy.size:
        rest = copy.size - done
        try:
            moved = os.copy_file_range(
                descriptor, target, rest, copy.start + done, copy.offset + done
            )
        except OSError:  # another file system, or one that cannot: the slow way says what is wrong
            data = os.pread(descriptor, min(rest, STREAM_BYTES), copy.start + done)
            write_at(target, data, copy.offset + done, copy.output.label)
            moved = len(data)
        if not moved:
            raise GradclipError(copy.source.label, "became shorter while gradclip was copying it")
        done += moved
