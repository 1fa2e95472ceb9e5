"""Where the work is done: in this thread, or in a few.

NumPy and the kernel release the interpreter lock, so threads are enough for one machine. Another
engine, a cluster, is another entry here and nowhere else.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from gradclip_cli.crew import Crew

P = ParamSpec("P")
Result = TypeVar("Result")


class InLine(Executor):
    """Does each piece of work at once, in the caller's thread."""

    def submit(
        self, fn: Callable[P, Result], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[Result]:
        """Run `fn` now and give a future that is done."""
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def workers_here() -> int:
    """Give the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def crew(workers: int | None = None) -> Iterator[Crew]:
    """Give a crew of so many workers; None means one for each processor."""
    count = workers or workers_here()
    pool = InLine() if count == 1 else ThreadPoolExecutor(count, "gradclip")
    try:
        yield Crew(pool, 1 if count == 1 else 2 * count)
    finally:
        pool.shutdown(cancel_futures=True)
