"""A file as it is to be written, cut into what is copied and what is edited."""

import dataclasses
import heapq
import os
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from gradclip_cli.files.holes import Holes, holes_of
from gradclip_cli.files.source import Reader, Source, is_own
from gradclip_cli.files.writing import Room, Site
from gradclip_cli.formats.layouts import Layout
from gradclip_cli.measure.spans import Work, cut
from gradclip_cli.rewrite.edits import Edit, Keep
from gradclip_cli.tensors.dtypes import DType
from gradclip_cli.tensors.dump import Tensor, end_of

_KEEP = Keep()

Edits = Sequence[Edit | None]
"""An edit for each tensor of a dump; None leaves it as it is."""


@dataclass(frozen=True, slots=True)
class Output:
    """A file as it is to be written, called `label`, its tensors where they will lie.

    It is written to `path`, if that leads to the file of `status`. `first` is the dump's index of
    the file's first tensor. What is not edited is copied, also what the `source` has besides
    tensors, unless the layout has another in its place. `holes` are those of the source, where
    nothing moves.
    """

    source: Source
    first: int
    layout: Layout
    path: str = ""
    status: os.stat_result | None = None
    label: str = ""
    holes: Holes = ()

    def keeping_holes(self) -> "Output":
        """Give the same, knowing the holes of its file."""
        if self.layout.is_new:
            return self
        with self.source.opened() as reader:
            known = holes_of(reader.descriptor) if reader.descriptor >= 0 else ()
        return dataclasses.replace(self, holes=known)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors, where they will lie."""
        return self.layout.tensors

    @property
    def space(self) -> int:
        """Number of bytes that it takes on the disk."""
        return self.size - sum(end - start for start, end in self.holes)

    @property
    def size(self) -> int:
        """Number of bytes of the result, at least; 0 where that is not known before."""
        if self.layout.pack is not None and not self.layout.stored:
            return 0
        literals = self.layout.literals
        if literals is None and self.source.size is not None:
            return self.source.size
        ends = (offset + len(data) for offset, data in literals or ())
        return max(end_of(self.tensors), *ends, 0)

    @property
    def growth(self) -> int:
        """Number of bytes by which tensors become larger."""
        return sum(tensor.size for tensor in self.tensors) - sum(
            tensor.size for tensor in self.layout.given
        )

    def at(self, path: str) -> "Output":
        """Give the same, to be written to the file at `path`."""
        return dataclasses.replace(self, path=path, status=os.stat(path), label=self.source.label)

    def site(self, is_shared: bool = False) -> Site:
        """Give the file that it is written to; one that others open has a name of its own."""
        assert self.status is not None, "an output that is at no path"
        assert not (is_shared and is_own(self.path)), "others would write to something else"
        status = None if is_shared else self.status
        return Site(self.path, self.label, status, self.holes, is_shared)

    @property
    def indices(self) -> range:
        """The dump's indices of the file's tensors."""
        return range(self.first, self.first + len(self.tensors))

    def own(self, edits: Edits) -> Edits:
        """Give the edits of the file's tensors among those of the dump."""
        return edits[self.first : self.first + len(self.tensors)]

    def changes(self, edits: Edits) -> bool:
        """Say whether any byte is computed anew."""
        return any(self.own(edits))


Given = tuple[Reader, Room | None]
"""What a task works with: the source's reader, and room for the result, if it is to be written."""


def reader_of(given: Reader | Given) -> Reader:
    """Give the reader of what a task works with."""
    return given[0] if isinstance(given, tuple) else given


class Desk(Protocol):
    """Where a task is done: gives what it works with while it is open."""

    def opened(self) -> AbstractContextManager[Any]:
        """Give it."""


Places = Callable[[Source], Desk]
"""Gives where that is done which reads a source."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Bytes that stay as they are; those of `literal`, or of the source from `start` on."""

    place: Desk
    source: Source
    start: int
    size: int
    offset: int
    literal: bytes | None = None

    @property
    def written(self) -> int:
        """Number of bytes of the result."""
        return self.size

    def expect(self, given: Any) -> None:
        """Tell a reader which bytes will be read."""
        if self.literal is None:
            reader_of(given).expect(self.start, self.size)

    @property
    def label(self) -> str:
        """What the file is called."""
        return self.source.label


@dataclass(frozen=True, slots=True)
class Patch:
    """A span that is edited and written at `offset` as `dtype`, and measured by norms of a type.

    With `measures_before` it is measured as it was, too; with `counts_subnormal` it is known how
    many values become so; with `prints` there are fingerprints of what was read.
    """

    place: Desk
    work: Work
    edit: Edit
    offset: int
    dtype: DType
    measures_before: bool
    norm_type: float
    counts_subnormal: bool = False
    prints: bool = False

    @property
    def size(self) -> int:
        """Number of bytes to read."""
        return self.work.size

    @property
    def written(self) -> int:
        """Number of bytes of the result."""
        return self.dtype.size_of(self.work.span.count)

    def expect(self, given: Any) -> None:
        """Tell a reader which bytes will be read."""
        self.work.expect(reader_of(given))

    @property
    def label(self) -> str:
        """What the file is called."""
        return self.work.label


Task = Copy | Patch


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be made of a dump: the edits, and what is measured while they are made.

    The tensors `watched`, by the dump's index, are known by their fingerprints: of what was read of
    them, edited or not, there are such as well.
    """

    edits: Edits
    norm_type: float = 2.0
    measures_before: bool = False
    counts_subnormal: bool = False
    watched: Collection[int] = ()

    def size(self, output: Output, copies: bool = True) -> int:
        """Give the number of bytes that are read for an output, literals and `copies` included."""
        own = self._own(output)
        patched = sum(
            tensor.size for tensor, edit in zip(output.layout.given, own, strict=True) if edit
        )
        if not copies:
            return patched
        kept = sum(end - start for _, start, end, _ in _kept(output, own))
        return patched + kept + sum(len(data) for _, data in output.layout.literals or ())

    def tasks(
        self, output: Output, place: Places, size: int, in_order: bool = False
    ) -> Iterator[Task]:
        """Cut an output into pieces of at most `size` bytes, in the order of its bytes.

        Unless they are done `in_order`, what is best read so is left in one piece. Where tensors
        stay where they lie no more than one piece is held.
        """
        patches = self.patches(output, place, size, in_order)
        copies = self._copies(output, place, size, in_order)
        if output.layout.is_new or any(tensor.source.apart for tensor in output.layout.given):
            return iter(sorted([*patches, *copies], key=_offset))
        return heapq.merge(patches, copies, key=_offset)

    def patches(
        self, output: Output, place: Places, size: int, in_order: bool = False
    ) -> Iterator[Patch]:
        """Cut what is edited of an output into pieces of at most `size` bytes, in their order."""
        own = self._own(output)
        alike: dict[Hashable, list[int]] = {}
        kinds = {id(edit): edit.kind for edit in own if edit is not None}
        for index, edit in enumerate(own):
            if edit is not None:
                alike.setdefault(kinds[id(edit)], []).append(index)
        targets = output.tensors if output.layout.is_new else ()
        cuts = [
            cut(output.layout.given, indices, size, in_order, targets) for indices in alike.values()
        ]
        for work in cuts[0] if len(cuts) == 1 else heapq.merge(*cuts, key=_begin):
            some = [edit for index in work.indices if (edit := own[index]) is not None]
            edit = some[0] if len(some) == 1 else some[0].beside(some, work.span.counts)
            target = output.tensors[work.indices[0]]
            offset = target.offset + target.dtype.size_of(work.span.start)
            numbered = Work((*(output.first + index for index in work.indices),), work.span)
            yield Patch(
                place(work.place),
                numbered,
                edit,
                offset,
                target.dtype,
                self.measures_before,
                self.norm_type,
                self.counts_subnormal,
                bool(self.watched),
            )

    def _own(self, output: Output) -> Edits:
        """Give what is done with the tensors of an output, looking at them included."""
        pairs = zip(output.indices, output.own(self.edits), strict=True)
        return [edit or (_KEEP if index in self.watched else None) for index, edit in pairs]

    def _copies(self, output: Output, place: Places, size: int, in_order: bool) -> Iterator[Task]:
        for source, start, end, offset in _kept(output, self._own(output)):
            step = size if in_order or source.seeks else max(end - start, 1)
            for begin in range(start, end, step):
                length = min(step, end - begin)
                yield Copy(place(source), source, begin, length, offset + begin - start)
        for offset, data in output.layout.literals or ():
            yield Copy(place(output.source), output.source, 0, len(data), offset, data)


def _offset(task: Task) -> int:
    return task.offset


def _begin(work: Work) -> tuple[str, int]:
    return work.span.source.path, work.span.offset


def _kept(output: Output, edits: Edits) -> Iterator[tuple[Source, int, int, int]]:
    """Give what is not edited: its source, begin and end in that, offset in the result."""
    pairs = zip(output.layout.given, output.tensors, edits, strict=True)
    if output.layout.is_new:
        for tensor, target, edit in pairs:
            if edit is None:
                yield tensor.source, tensor.offset, tensor.offset + tensor.size, target.offset
        return
    end = 0
    edited = (tensor for tensor, _, edit in pairs if edit and tensor.source is output.source)
    for tensor in sorted(edited, key=lambda tensor: tensor.offset):
        if tensor.size:
            yield output.source, end, max(tensor.offset, end), end
            end = max(end, tensor.offset + tensor.size)  # views may share values
    yield output.source, end, output.size, end
