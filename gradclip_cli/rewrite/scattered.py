"""Pass 2 for tensors whose values lie apart: into a file that has all other bytes already."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradclip_cli.engine.crew import Crew
from gradclip_cli.engine.sweep import swept
from gradclip_cli.files.source import Source
from gradclip_cli.files.strided import StridedSource
from gradclip_cli.files.system import open_raw
from gradclip_cli.measure.spans import SPAN_BYTES
from gradclip_cli.rewrite.edits import Edit, Keep
from gradclip_cli.rewrite.outputs import Desk, Given, Output, Plan
from gradclip_cli.rewrite.passes import Outcome, done, together
from gradclip_cli.tensors.codecs import Stored


@dataclass(frozen=True, slots=True, eq=False)
class _ScatterDesk:
    """A view of a source, and the copy of this in which its values are replaced."""

    output: Output
    source: StridedSource

    @contextlib.contextmanager
    def opened(self) -> Iterator[Given]:
        descriptor = open_raw(self.output.path, os.O_RDWR)
        try:
            room = _Room(self.source, descriptor, self.output.label)
            with self.source.opened() as reader:
                yield reader, room.at
            room.settle()
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True, eq=False)
class _LookDesk:
    """A view that is looked at and stays as it is."""

    source: Source

    @contextlib.contextmanager
    def opened(self) -> Iterator[Given]:
        with self.source.opened() as reader:
            yield reader, None


class _Room:
    """Gives arrays to be filled; each is written when the next is asked for, or at the end."""

    def __init__(self, source: StridedSource, descriptor: int, label: str) -> None:
        self._source, self._descriptor, self._label = source, descriptor, label
        self._offset = 0
        self._given: Stored = np.empty(0, np.uint8)

    def at(self, offset: int, size: int) -> Stored:
        """Give an array for the bytes from an offset of the view on."""
        self.settle()
        self._offset, self._given = offset, np.empty(size, np.uint8)
        return self._given

    def settle(self) -> None:
        """Write what was asked for last."""
        self._source.scatter(self._descriptor, self._label, self._offset, self._given)
        self._given = np.empty(0, np.uint8)


def scatter(outputs: Sequence[Output], plan: Plan, crew: Crew) -> dict[int, Outcome]:
    """Replace the values of views in outputs of which all else is written.

    One worker does it: the values of two views may lie between each other. They are read from the
    source, so what belongs to two views becomes the same twice.
    """
    tasks = [
        replace(task, place=_desk(output, source, task.edit))
        for output in outputs
        for task in plan.patches(output, _itself, SPAN_BYTES)
        if isinstance(source := task.work.place, StridedSource)
    ]
    size = sum(task.size for task in tasks)
    return together(swept(crew.alone, done, tasks, "writing", size))


def _itself(source: Source) -> Source:
    return source


def _desk(output: Output, source: StridedSource, edit: Edit) -> Desk:
    return _LookDesk(source) if isinstance(edit, Keep) else _ScatterDesk(output, source)
