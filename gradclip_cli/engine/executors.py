"""Where the work is done: in this thread, or in a few.

NumPy and the kernel release the interpreter lock, so threads are enough for one machine. Another
engine, a cluster, is another entry here and nowhere else.
"""

import contextlib
import math
import os
from collections.abc import Iterator

from gradclip_cli.engine.crew import Crew


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
def crew(workers: int | None = None) -> Iterator[Crew]:
    """Give a crew of so many workers; None means one for each processor."""
    count = workers or workers_here()
    if count == 1:
        yield Crew()
        return
    # It brings logging and queues with it, which takes as long as some measurements.
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(count, "gradclip")
    try:
        yield Crew(pool, count)
    finally:
        pool.shutdown(cancel_futures=True)
