"""The one loop of every pass: tasks in batches, each batch's files opened once, results in order.

A pass differs from another in its tasks and in what is done with each: that is its visitor, a
function from a task, and what its place gives when it is opened, to parts. No pass holds a tensor.
"""

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from gradclip_cli.engine.crew import Crew

BATCH_BYTES = 32 << 20
BATCH_ITEMS = 64


class Place(Protocol):
    """What has to be open while a task is done: a source, a pair of them, a result."""

    def opened(self) -> AbstractContextManager[Any]:
        """Give what the visitor works with."""


class Task(Protocol):
    """A piece of work that knows how many bytes it moves, and of which file they are."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    @property
    def label(self) -> str:
        """What the file at hand is called."""

    @property
    def place(self) -> Place:
        """What has to be open for it."""

    def expect(self, given: Any) -> None:
        """Tell what is given when the place is opened which bytes it will read."""


Work = TypeVar("Work", bound=Task)
Part = TypeVar("Part")
Visitor = Callable[[Work, Any], Iterable[Part]]


def swept(
    crew: Crew,
    visitor: Visitor[Work, Part],
    tasks: Iterable[Work],
    doing: str,
    size: int,
    enough: int = BATCH_BYTES,
) -> Iterator[Part]:
    """Let a visitor do all tasks, `size` bytes in all; gives the parts in the order of the tasks.

    A batch has `enough` bytes, or more where a crew takes more at once. Its tasks are done one
    after the other by one worker.
    """
    crew.progress.begin(doing, size)
    work, given = partial(_done, visitor), batches(tasks, *crew.load(size, enough, BATCH_ITEMS))
    for batch, parts in crew.in_order(work, given, _file_of):
        yield from parts
        crew.progress.advance(sum([task.size for task in batch]), batch[-1].label)


def _done(visitor: Visitor[Work, Part], batch: tuple[Work, ...]) -> list[Part]:
    parts: list[Part] = []
    with np.errstate(all="ignore"):
        for place, tasks in itertools.groupby(batch, key=operator.attrgetter("place")):
            with place.opened() as given:
                due = [*tasks]
                for task in due:
                    task.expect(given)
                for task in due:
                    parts += visitor(task, given)
    return parts


def _file_of(batch: tuple[Task, ...]) -> str:
    return batch[0].label


def batches(
    tasks: Iterable[Work], enough: int, items: int = BATCH_ITEMS
) -> Iterator[tuple[Work, ...]]:
    """Gather work until it is worth a worker's while: `enough` bytes or so many tasks."""
    batch: list[Work] = []
    size = 0
    for task in tasks:
        if batch and (size + task.size > enough or len(batch) == items):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(task)
        size += task.size
    if batch:
        yield tuple(batch)
