"""Work handed to an executor, its results taken in order: in this thread, or by a few.

The passes know only this and `concurrent.futures.Executor`. NumPy and the kernel release the
interpreter lock, so threads are enough for one machine. For more there is `engine.hiring`.
"""

import contextlib
import functools
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

INTERRUPTED: list[Callable[[], object]] = []
"""What ends that which a worker may wait for, where the whole run is interrupted."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Progress:
    """Told how far a pass is: once what it does and how many bytes, then each step.

    This one, which others extend, is watched by nobody.
    """

    def begin(self, doing: str, size: int) -> None:
        """Start a pass over so many bytes."""

    def advance(self, size: int, label: str) -> None:
        """Take note of so many bytes more, of the file called `label`."""


class CrewProgress(Progress):
    """Progress that is told as well how many workers of a cluster there are."""

    def staffed(self, workers: int) -> None:
        """Take note of how many there are now."""


class Crew:
    """So many workers, each of which has a piece of work waiting for it.

    `hire` gives their executor, once there is work for it. Without one each piece is done when its
    result is asked for, in the caller's thread. `progress` is told how far the crew is; `notes` say
    what a reader of the results is to know of who worked on them.
    """

    is_apart = False
    """Whether the work is done in other processes, for which a file is its path."""

    notes: Sequence[str] = ()

    def __init__(
        self,
        hire: "Callable[[], Executor] | None" = None,
        workers: int = 1,
        progress: Progress | None = None,
    ) -> None:
        self._hire = hire
        self.workers = workers
        self.progress = progress or Progress()

    @property
    def alone(self) -> "Crew":
        """The caller's thread, for what has to be done in order, or is too little for more."""
        return Crew(progress=self.progress)

    @property
    def here(self) -> "Crew":
        """Those of them that work in this process, which alone has its streams."""
        return self

    def load(self, size: int, enough: int, items: int) -> tuple[int, int]:
        """Give how many bytes of `size`, or how many pieces, are handed out at once.

        To a worker of this process `enough` bytes and `items` are.
        """
        return enough, items

    def in_order(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        of: Callable[[Item], str] = str,
    ) -> Iterator[tuple[Item, Result]]:
        """Give each item with its result, in order; `of` says of which file an item is.

        `Executor.map` begins everything at once: the results of a slow reader's pipe would pile up
        in memory, and an interrupt would wait for all of it. (From Python 3.14 on it has a
        `buffersize`, which will do instead.)
        """
        if self._hire is None:
            for item in items:
                yield item, work(item)
            return
        pool = self._hire()
        begun: deque[tuple[Item, Future[Result]]] = deque()
        try:
            for item in items:
                if len(begun) == 2 * self.workers:
                    first, future = begun.popleft()
                    yield first, future.result()
                begun.append((item, pool.submit(work, item)))
            while begun:
                first, future = begun.popleft()
                yield first, future.result()
        finally:
            for _, future in begun:
                future.cancel()


def workers_here(root: str = "/") -> int:
    """Give the number of processors that this process may use, by affinity and by quota.

    `root` is where `proc` and `sys` lie.
    """
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    # A container with half a processor still sees all of them: threads beyond its quota would run
    # for a moment and then all be stopped together.
    return max(1, math.ceil(min(allowed, _quota(root))))


def _quota(root: str) -> float:
    """Give the processors that control groups grant, the least of this group and those above."""
    grants = [math.inf]
    for line in _read(root, "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = "sys/fs/cgroup" + ("/cpu" if controllers else "")
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            place = "/".join((top, *parts[:depth]))
            if controllers:  # version 1
                words = [_read(root, f"{place}/cpu.cfs_{what}_us") for what in ("quota", "period")]
            else:
                words = _read(root, f"{place}/cpu.max").split()
            if len(words) == 2 and words[0].strip().isdecimal() and int(words[1] or 0):
                grants.append(int(words[0]) / int(words[1]))
    return min(grants)


def _read(root: str, path: str) -> str:
    try:
        with open(os.path.join(root, path), encoding="ascii", errors="replace") as stream:
            return stream.read()
    except OSError:  # another system, or a group whose files are hidden
        return ""


def threads(workers: int, progress: Progress | None, stack: contextlib.ExitStack) -> Crew:
    """Give a crew of so many threads, which end with the stack."""
    if workers == 1:
        return Crew(progress=progress)

    @functools.cache
    def hired() -> "Executor":
        # It brings logging and queues with it, which takes as long as some measurements.
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(workers, "gradclip")
        stack.callback(pool.shutdown, cancel_futures=True)
        stack.push(_interrupted)  # before anybody waits for the pool
        return pool

    return Crew(hired, workers, progress)


def _interrupted(kind: type[BaseException] | None, *_: object) -> None:
    """End what a worker may wait for, where a signal came: nobody is to wait for what is long."""
    if kind is not None and not issubclass(kind, Exception):
        for end in INTERRUPTED:
            end()
