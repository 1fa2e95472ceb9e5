"""Workers that are not there: the driver is real and its time is taken, theirs is computed.

The crew is that of a cluster with all its code, and what it is given in Dask's place has the few
methods that it calls. A batch is pickled when it is handed out and its results are unpickled when
they are taken, as with Dask. One clock runs: by the processor time of the driver while it works, by
leaps while it waits. What a worker would have sent is made while the clock stands.
"""

import contextlib
import heapq
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from gradclip_cli.engine.cluster import _Cluster
from gradclip_cli.engine.crew import Crew

Batch = tuple[Any, ...]
Answer = Callable[[Callable[[Batch], Any], Batch], tuple[bytes, Callable[[bytes], Any]]]
"""What a worker sends for a batch, by the work that it is to do, and what makes results of that."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a batch costs, in seconds.

    A worker takes `byte` and `tensor` for each of either, `written` for each byte of a result, and
    `batch` besides. Dask takes `asking` of the driver's process and `scheduling` of the
    scheduler's. A worker moves `link` bytes a second and all of them together `storage`.
    """

    byte: float
    tensor: float
    written: float = 0.0
    batch: float = 0.0
    asking: float = 0.0
    scheduling: float = 0.0
    link: float = float("inf")
    storage: float = float("inf")

    def of_worker(self, read: int, tensors: int, written: int) -> float:
        """Give how long a worker is at a batch.

        >>> Costs(1.0, 0.5, 2.0, 0.25, link=0.5).of_worker(3, 4, 0)
        11.25
        """
        moved = (read + written) / self.link
        return (
            self.batch + self.byte * read + self.tensor * tensors + self.written * written + moved
        )


class Clock:
    """Seconds of the driver: of its processor while it works, leapt over while it waits."""

    def __init__(self) -> None:
        self._begun = time.process_time()
        self._apart = 0.0
        self._added = 0.0
        self.waited = 0.0

    @property
    def now(self) -> float:
        """The seconds since the start."""
        return self.worked + self.waited

    @property
    def worked(self) -> float:
        """Those in which the driver was at work."""
        return time.process_time() - self._begun - self._apart + self._added

    @contextlib.contextmanager
    def standing(self) -> Iterator[float]:
        """Stand still: what is done meanwhile is none of the driver's work. Gives what it shows."""
        begun = time.process_time()
        yield begun - self._begun - self._apart + self._added + self.waited
        self._apart += time.process_time() - begun

    def work(self, seconds: float) -> None:
        """Count work of the driver that is not really done here."""
        self._added += seconds

    def leap_to(self, moment: float) -> None:
        """Wait until a moment, if it has not come."""
        self.waited += max(moment - self.now, 0.0)


@dataclass(slots=True, eq=False)
class _Promise:
    """A batch that a worker will have done at `end`, None until that is known."""

    workers: "_Workers"
    work: Callable[[Batch], Any]
    batch: Batch
    given: float
    end: float | None = None

    def done(self) -> bool:
        return self.workers.has_done(self)


class _Workers:
    """Stands where a client of Dask stands: hands batches to workers that are but computed.

    A worker does its batches one after the other. One is done when its worker is, and when the
    storage has moved its bytes after those of all batches that were begun before.
    """

    def __init__(self, workers: int, costs: Costs, answer: Answer, clock: Clock) -> None:
        self._threads = {f"tcp://worker-{number:04}:8786": 1 for number in range(workers)}
        self._waiting: dict[str, deque[_Promise]] = {worker: deque() for worker in self._threads}
        self._free = dict.fromkeys(self._threads, 0.0)
        self._next: list[tuple[float, str]] = []  # when workers begin what is first of theirs
        self._costs = costs
        self._answer = answer
        self._clock = clock
        self.scheduler = SimpleNamespace(address="tcp://nowhere:8786")
        self._scheduler = self._storage = 0.0
        self.batches = 0
        self.sent = self.got = 0
        self.busy = 0.0

    def run(self, *_: object, **__: object) -> Mapping[str, object]:
        """Ask nobody."""
        return {}

    def nthreads(self) -> Mapping[str, int]:
        """Give how many threads each worker has."""
        return self._threads

    def cancel(self, _: Iterable[_Promise]) -> None:
        """Leave undone what is not done."""

    def map(
        self, work: Any, batches: Sequence[Batch], workers: Sequence[str], **_: object
    ) -> list[_Promise]:
        """Hand out batches to a worker, as one message."""
        self.sent += len(pickle.dumps((work, batches), pickle.HIGHEST_PROTOCOL))
        self._clock.work(self._costs.asking * len(batches))
        with self._clock.standing() as now:
            (worker,) = workers
            self._go_on(now)
            given = []
            for batch in batches:
                self._scheduler = max(self._scheduler, now) + self._costs.scheduling
                given.append(_Promise(self, work.args[-1], batch, self._scheduler))
            waiting = self._waiting[worker]
            if not waiting:
                self._await(worker, given[0])
            waiting += given
            self.batches += len(batches)
        return given

    def _await(self, worker: str, promise: _Promise) -> None:
        heapq.heappush(self._next, (max(self._free[worker], promise.given), worker))

    def _go_on(self, now: float, until: _Promise | None = None) -> None:
        """Let workers begin what they begin up to now, or until it is known when one is done."""
        while self._next and (self._next[0][0] <= now if until is None else until.end is None):
            start, worker = heapq.heappop(self._next)
            waiting = self._waiting[worker]
            promise = waiting.popleft()
            read = sum([task.size for task in promise.batch])
            written = sum([getattr(task, "written", 0) for task in promise.batch])
            tensors = sum([len(_indices(task)) for task in promise.batch])
            took = self._costs.of_worker(read, tensors, written)
            self._storage = max(self._storage, start) + (read + written) / self._costs.storage
            promise.end = self._free[worker] = max(start + took, self._storage)
            self.busy += took
            if waiting:
                self._await(worker, waiting[0])

    def has_done(self, promise: _Promise) -> bool:
        """Say whether a batch is done by now."""
        with self._clock.standing() as now:
            self._go_on(now)
        return promise.end is not None and promise.end <= now

    def wait_for(self, promise: _Promise) -> None:
        """Let the clock leap to the end of a batch."""
        with self._clock.standing() as now:
            self._go_on(now, promise)
        assert promise.end is not None, "it has been handed out"
        self._clock.leap_to(promise.end)

    def gather(self, promises: Sequence[_Promise]) -> list[Any]:
        """Give what workers have sent."""
        found = []
        for one in promises:
            with self._clock.standing():
                sent, received = self._answer(one.work, one.batch)
                self.got += len(sent)
            found.append((received(sent), ()))
        return found


def _indices(task: Any) -> Sequence[int]:
    """Give the tensors of a task; a copy has none."""
    indices: Sequence[int] = getattr(getattr(task, "work", task), "indices", ())
    return indices


class SimulatedCluster(_Cluster):
    """The crew of a cluster, with so many simulated workers."""

    def __init__(self, workers: int, costs: Costs, answer: Answer) -> None:
        self.clock = Clock()
        self.simulated = _Workers(workers, costs, answer, self.clock)
        super().__init__(self.simulated, Crew(), None)

    def _wait_for(self, begun: Sequence[tuple[Any, str, Any]]) -> None:
        self.simulated.wait_for(begun[0][2])


def done_here(work: Callable[[Batch], Any], batch: Batch) -> tuple[bytes, Callable[[bytes], Any]]:
    """Do a batch really, in this process: the results are those of a run without workers."""
    return pickle.dumps(work(batch), pickle.HIGHEST_PROTOCOL), pickle.loads
