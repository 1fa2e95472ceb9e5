"""Work handed to an executor, its results taken in order: in this thread, or by a few.

The passes know only this and `concurrent.futures.Executor`. NumPy and the kernel release the
interpreter lock, so threads are enough for one machine; another engine, a cluster, is another entry
here and nowhere else.
"""

import contextlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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


class Crew:
    """An executor with so many workers, each of which has a piece of work waiting for it.

    Without an executor each piece is done when its result is asked for, in the caller's thread.
    `progress` is told how far the crew is.
    """

    def __init__(
        self,
        pool: "Executor | None" = None,
        workers: int = 1,
        progress: Progress | None = None,
    ) -> None:
        self._pool = pool
        self.workers = workers
        self.progress = progress or Progress()

    def in_order(
        self, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Give each item with its result, in order.

        `Executor.map` begins everything at once: the results of a slow reader's pipe would pile up
        in memory, and an interrupt would wait for all of it. (From Python 3.14 on it has a
        `buffersize`, which will do instead.)
        """
        if self._pool is None:
            for item in items:
                yield item, work(item)
            return
        begun: deque[tuple[Item, Future[Result]]] = deque()
        try:
            for item in items:
                if len(begun) == 2 * self.workers:
                    first, future = begun.popleft()
                    yield first, future.result()
                begun.append((item, self._pool.submit(work, item)))
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


@contextlib.contextmanager
def crew(workers: int | None = None, progress: Progress | None = None) -> Iterator[Crew]:
    """Give a crew of so many workers; None means one for each processor."""
    count = workers or workers_here()
    if count == 1:
        yield Crew(progress=progress)
        return
    # It brings logging and queues with it, which takes as long as some measurements.
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(count, "gradclip")
    try:
        yield Crew(pool, count, progress)
    except Exception:
        raise
    except BaseException:  # a signal: nobody is to wait for what takes long
        for end in INTERRUPTED:
            end()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
