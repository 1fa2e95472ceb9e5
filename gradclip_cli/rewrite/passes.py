"""Pass 2: rewrite a dump by the edits of a rule, and measure what was written while it is in cache.

As in pass 1, batches of spans go to an executor and no tensor is ever held.
"""

import contextlib
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradclip_cli.engine.crew import Crew
from gradclip_cli.engine.scratch import scratch
from gradclip_cli.engine.sweep import swept
from gradclip_cli.files.source import FileSource, Reader, Source
from gradclip_cli.files.writing import Room, Site, Writer, cloned
from gradclip_cli.frozen import frozen
from gradclip_cli.measure.laws import by, gathered
from gradclip_cli.measure.meter import Meter
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.measure.prints import Prints
from gradclip_cli.measure.spans import SPAN_BYTES, blocks, pieces
from gradclip_cli.measure.statistics import PRINTS
from gradclip_cli.rewrite.edits import Keep, tabulated
from gradclip_cli.rewrite.outputs import Copy, Desk, Given, Output, Patch, Places, Plan, Task
from gradclip_cli.tensors.codecs import Stored, decode, encode, sparse

COPY_BYTES = 1 << 20

# An edit needs twice the arrays that measuring alone does, and the cache is no larger for it.
_PARTS = 2

_WORTH_A_TABLE = 1 << 18  # values; as many as it takes longer to edit than to make the table

# At the end of a batch a worker waits for what it has written last, so batches are as long as they
# can be while there is a share of them for each worker.
_LONGEST_BATCH = 128 << 20
_SHARES = 4


def _if_measured(parts: list[Moments | None]) -> Moments | None:
    known = [part for part in parts if part is not None]
    return merge(known) if known else None


def _if_read(parts: list[int | None]) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


@frozen
class Outcome:
    """What rewriting a tensor came to; `before` only where it was asked for.

    `after` is None where the bytes were copied. `changed` says whether any byte is another than
    before, `subnormal` how many values became so, 0 where that was not asked for, and `read` is the
    fingerprint of what was read, to which those of spans add up, None where that was not.
    """

    after: Moments | None = by(_if_measured)
    before: Moments | None = by(_if_measured, None)
    saturated: int = by(sum, 0)
    changed: bool = by(any, False)
    subnormal: int = by(sum, 0)
    read: int | None = by(_if_read, None)


Results = Iterable[tuple[int, Outcome]]
"""What edits came to, tensor by tensor, a part at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class _FileDesk:
    """A source, and the file that an output is written to."""

    site: Site
    source: Source

    @contextlib.contextmanager
    def opened(self) -> Iterator[Given]:
        with self.source.opened() as reader, Writer(self.site) as writer:
            yield reader, writer.room


@dataclass(frozen=True, slots=True, eq=False)
class _CopyDesk:
    """A file that has all bytes of an output's own already, as it is read through a source."""

    site: Site
    source: Source

    @contextlib.contextmanager
    def opened(self) -> Iterator[Given]:
        with open(self.site.path, "rb", buffering=0) as stream:
            file = FileSource.of(stream.fileno(), self.site.path, self.site.label)
        with file.opened() as reader:
            yield self.source.over(reader), None


def _desks(kind: Callable[[Site, Source], Desk], site: Site) -> Places:
    """Give where each source of an output is worked on, for each the same."""
    known: dict[int, Desk] = {}

    def place(source: Source) -> Desk:
        return known.setdefault(id(source), kind(site, source))

    return place


def rewrite(outputs: Sequence[Output], plan: Plan, crew: Crew) -> dict[int, Outcome]:
    """Write each output to its path, which exists and has its size (pass 2); none is packed.

    Gives the outcome of each tensor that was edited, by the dump's index.
    """
    whole = [_is_whole(output, plan) for output in outputs]
    pairs = [*zip(outputs, whole, strict=True)]
    size = sum(plan.size(output, copies=not is_whole) for output, is_whole in pairs)
    share = size // (_SHARES * crew.workers)
    enough = min(max(share, SPAN_BYTES), _LONGEST_BATCH)
    tasks = (task for pair in pairs for task in _tasks(*pair, plan, crew.is_apart))
    return together(swept(crew, done, tasks, "writing", size, enough))


def _is_whole(output: Output, plan: Plan) -> bool:
    """Let a file have all bytes of its source at once, where that may be; says whether it has."""
    if output.layout.verbatim:
        return _cloned(output) or _copied_whole(output)
    return not output.changes(plan.edits) and not output.layout.is_new and _cloned(output)


def _tasks(output: Output, is_whole: bool, plan: Plan, is_apart: bool) -> Iterable[Task]:
    """Give what is to be done for an output, in this process or `is_apart`."""
    site = output.site(is_apart)
    if is_whole:
        return plan.patches(output, _desks(_CopyDesk, site), SPAN_BYTES)
    tasks = plan.tasks(output, _desks(_FileDesk, site), SPAN_BYTES)
    if output.layout.is_new:
        return tasks
    return (task for task in tasks if isinstance(task, Copy) or not task.work.place.apart)


def rewrite_at(place: Desk, output: Output, plan: Plan, crew: Crew) -> dict[int, Outcome]:
    """Do all that an output takes at a place that gives room for it, as `rewrite` does in files."""
    tasks = plan.tasks(output, lambda _: place, SPAN_BYTES)
    return together(swept(crew, done, tasks, "writing", plan.size(output)))


def _cloned(output: Output) -> bool:
    with output.source.opened() as reader:
        return reader.descriptor >= 0 and cloned(reader.descriptor, output.path, output.label)


def _copied_whole(output: Output) -> bool:
    """Copy a file as it is, byte by byte."""
    desk = _FileDesk(output.site(), output.source)
    with desk.opened() as (reader, room):
        assert room is not None, "it is written"
        reader.expect(0, output.size)
        _copied(Copy(desk, output.source, 0, output.size, 0), reader, room)
    return True


def done(task: Task, given: Given) -> Results:
    """Do a task; its bytes go to the room, in order."""
    reader, room = given
    if isinstance(task, Patch):
        return patched(task, reader, room)
    assert room is not None, "what is not looked at is not read for nothing"
    _copied(task, reader, room)
    return ()


def _copied(copy: Copy, reader: Reader, room: Room) -> None:
    for start in range(0, copy.size, COPY_BYTES):
        data = room(copy.offset + start, min(COPY_BYTES, copy.size - start))
        if copy.literal is None:
            reader.read_exactly(data.data, copy.start + start)
        else:
            data[:] = np.frombuffer(copy.literal, np.uint8, data.size, start)


def patched(patch: Patch, reader: Reader, room: Room | None) -> Results:
    """Edit a span block by block; gives what it came to."""
    span, indices = patch.work.span, patch.work.indices
    if isinstance(patch.edit, Keep):
        return zip(indices, _kept(patch, reader, room), strict=True)
    assert room is not None, "what is edited is written"
    prints = Prints(span) if patch.prints else None
    before = None
    if patch.measures_before:
        before = Meter(span, span.dtype, patch.norm_type, asked=PRINTS)
    after = Meter(span, patch.dtype, patch.norm_type)
    saturated = subnormal = 0
    changed = [False] * len(indices)
    edited = _editor(patch)
    for first, stored in blocks(reader, span, _PARTS):
        if before is not None:
            before.add(stored)
        if prints is not None:
            prints.add(stored)
        size = patch.dtype.size_of(span.dtype.count_in(stored.size))
        data = room(patch.offset + patch.dtype.size_of(first), size)
        saturated += edited(stored, first, data)
        if not all(changed):
            changed = list(map(operator.or_, changed, _changed(stored, data, patch)))
        if patch.counts_subnormal:
            subnormal += _newly_subnormal(stored, data, patch)
        after.add(data)
    others = [0] * (len(indices) - 1)  # of tensors that share a span the first has the counts
    befores = before.moments() if before is not None else [None] * len(indices)
    outcomes = map(
        Outcome,
        after.moments(),
        befores,
        (saturated, *others),
        changed,
        (subnormal, *others),
        [None] * len(indices) if prints is None else prints.totals(),
    )
    return zip(indices, outcomes, strict=True)


def _kept(patch: Patch, reader: Reader, room: Room | None) -> Iterable[Outcome]:
    """Copy a span, if there is room for it, and look at what is copied."""
    span = patch.work.span
    prints = Prints(span)
    for first, size in pieces(span):
        begin = span.dtype.size_of(first)
        data = scratch("stored", "u1", size) if room is None else room(patch.offset + begin, size)
        reader.read_exactly(data.data, span.offset + begin)
        prints.add(data)
    return [Outcome(None, read=total) for total in prints.totals()]


def _newly_subnormal(stored: Stored, data: Stored, patch: Patch) -> int:
    """Count the values of a block of which a part has fewer digits than others, and had not."""
    dtype = patch.work.span.dtype
    was, now = (sparse(codes, form)[1] for codes, form in ((stored, dtype), (data, patch.dtype)))
    newly = now & ~was
    # To ask it of single lanes one by one would take longer than all else here.
    return int(np.count_nonzero(newly if dtype.lanes == 1 else newly.reshape(-1, 2).any(axis=1)))


def _editor(patch: Patch) -> Callable[[Stored, int, Stored], int]:
    """Give what edits a block from the value `first` on, and says how many were saturated."""
    span, edit = patch.work.span, patch.edit
    if span.dtype.is_short and edit.is_plain and span.count >= _WORTH_A_TABLE:
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


def _changed(stored: Stored, data: Stored, patch: Patch) -> Iterable[bool]:
    """Say for each tensor of a block whether its bytes are others than before.

    Of tensors whose edits are even it is enough to know it of all together.
    """
    span = patch.work.span
    # The first few bytes nearly always tell, and cost nothing.
    alike = np.array_equal(data[:64], stored[:64]) and np.array_equal(data, stored)
    if alike or len(span.counts) == 1 or patch.edit.is_even:
        return itertools.repeat(not alike)
    if data.size != stored.size:
        return itertools.repeat(True)
    ends = itertools.accumulate(map(span.dtype.size_of, span.counts), initial=0)
    found: list[bool] = np.logical_or.reduceat(data != stored, list(ends)[:-1]).tolist()
    return found


def together(found: Results) -> dict[int, Outcome]:
    """Merge what edits came to, part by part, into what they came to of each tensor."""
    return gathered(Outcome, found)
