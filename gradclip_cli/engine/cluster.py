"""A crew of other processes: work handed to the workers of a Dask scheduler.

It is the one file that knows Dask. Workers open files by their paths and give what they found; who
asked keeps what is written from taking its place until all of it is sound, so that a batch whose
worker is lost is done again by another. Nothing here says what a batch is.
"""

import contextlib
import heapq
import itertools
import logging
import socket
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gradclip_cli.engine import mishaps
from gradclip_cli.engine.crew import (
    Crew,
    CrewProgress,
    Item,
    Progress,
    Result,
    threads,
    workers_here,
)
from gradclip_cli.engine.learnt import Fact, learnt, listening
from gradclip_cli.engine.versions import PACKAGE, Versions, check, differences, versions
from gradclip_cli.errors import GradclipError

_PATIENCE = "distributed.comm.timeouts.connect"  # of Dask's configuration
_DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"  # it is for who asks
_SILENT = logging.CRITICAL + 1
_EACH, _MANY, _MOST = 4, 16, 2048  # batches under way for a thread; more, as few cost more each
_SHARES = 16  # batches for each thread, where there is enough work
_LARGEST, _ITEMS = 4 << 30, 256  # bytes and pieces: what is done again if a worker is lost
_TOGETHER = 256  # batches whose results are held at once
_READERS = 16  # workers that are known to have read a file
_LOOK = 2.0  # seconds between two looks at who is there


@contextlib.contextmanager
def cluster(scheduler: str, workers: int | None, progress: Progress | None) -> Iterator[Crew]:
    """Give a crew of the workers of a scheduler: of an address, of `env`, or of `local` processes.

    Raises `GradclipError` where none answers, where it has no workers, and where one of these has
    another version of gradclip or of NumPy.
    """
    try:
        import distributed
    except ImportError as error:
        raise GradclipError(
            "--scheduler",
            f"needs {error.name or 'distributed'}, which is not installed",
            "install it, here and for the workers: pip install 'gradclip-cli[dask]'",
        ) from error
    with _silenced(), contextlib.ExitStack() as stack:
        with warnings.catch_warnings():  # versions that count are compared, and told as errors are
            warnings.simplefilter("ignore")
            if scheduler == "local":
                processes = distributed.LocalCluster(
                    n_workers=workers or workers_here(),
                    threads_per_worker=1,
                    dashboard_address="127.0.0.1:0",
                    silence_logs=_SILENT,
                    preload=[_DEAF],
                )
                scheduler = stack.enter_context(processes).scheduler_address
            client = _client(_configured() if scheduler == "env" else scheduler)
        stack.callback(_leave, client)
        yield _Cluster(client, threads(workers_here(), progress, stack), progress)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep the library from saying what is told in one line; of a lost scheduler for good."""
    names = {"distributed", "tornado", "asyncio"}
    known = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in names]
    before = {name: logging.getLogger(name).level for name in known}
    for name in before:  # some have levels of their own
        logging.getLogger(name).setLevel(_SILENT)
    restored = True
    try:
        yield
    except mishaps.LostError:  # its connection says so again and again
        restored = False
        raise
    finally:
        for name, level in before.items() if restored else ():
            logging.getLogger(name).setLevel(level)


def _client(address: str) -> Any:
    """Give a connection to a scheduler; raises `GradclipError` where there is none."""
    from distributed import Client

    try:
        _knock(address)
        return Client(address, timeout=_seconds(), set_as_default=False)
    except Exception as error:  # also of what is asked for without its certificates
        raise mishaps.silent(address) from error


def _knock(address: str) -> None:
    """Raise `OSError` where nobody listens: the library would try again and again."""
    from distributed.comm import parse_host_port

    scheme, _, place = address.rpartition("://")
    with socket.create_connection(parse_host_port(place), _seconds()) as connection:
        if scheme in ("", "tcp") and not connection.recv(1):  # a scheduler speaks first
            raise OSError


def _seconds() -> float:
    """Give how long a scheduler may take to answer, and none of its workers may be there."""
    import dask
    from dask.utils import parse_timedelta

    return float(parse_timedelta(dask.config.get(_PATIENCE, "30s")))


def _leave(client: Any) -> None:
    with contextlib.suppress(Exception):  # it may be gone, which has been told
        client.close(timeout=2)


def _configured() -> str:
    """Give the address that Dask's own configuration names."""
    import dask

    found = dask.config.get("scheduler-address", None)
    if not found:
        raise mishaps.unnamed()
    return str(found)


class _Cluster(Crew):
    """The workers of a scheduler, as many as there are at the moment.

    A worker gets what lies in the files that it has read before, unless it has enough to do.
    """

    is_apart = True

    def __init__(self, client: Any, here: Crew, progress: Progress | None) -> None:
        super().__init__(progress=progress)
        self._client, self._here = client, here
        self._address = str(client.scheduler.address)
        self._threads: dict[str, int] = {}
        self._looked = 0.0
        self._readers: dict[str, list[str]] = {}
        self._staff()
        self.notes = self._compare()

    @property
    def here(self) -> Crew:
        """Threads of this process."""
        return self._here

    def load(self, size: int, enough: int, items: int) -> tuple[int, int]:
        """Give how much to hand out at once: more than to a thread of this process."""
        share = size // (_SHARES * self.workers)
        return max(enough, min(share, _LARGEST)), max(items, _ITEMS)

    def in_order(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        of: Callable[[Item], str] = str,
    ) -> Iterator[tuple[Item, Result]]:
        """Give each item with its result, in order; no more are under way than workers soon need.

        Raises `GradclipError` where the scheduler is lost, and where no worker is left.
        """
        asked = partial(_on_worker, versions(), work)
        rest = iter(items)
        begun: deque[tuple[Item, str, Any]] = deque()
        busy: Counter[str] = Counter()
        try:
            while True:
                self._staff()
                if self._are_stranded(begun):  # a scheduler that had no worker waits for these
                    self._client.cancel([future for *_, future in begun])
                    busy.clear()
                    begun = deque([*self._begun(asked, [item for item, *_ in begun], of, busy)])
                most = max(_EACH * self.workers, min(_MANY * self.workers, _MOST))
                if 2 * len(begun) <= most:
                    begun += self._begun(asked, itertools.islice(rest, most - len(begun)), of, busy)
                if not begun:
                    return
                for item, worker, (result, facts) in self._ended(begun, of):
                    busy[worker] -= 1
                    learnt(facts)
                    yield item, result
        finally:
            with contextlib.suppress(Exception):  # nobody waits for them any more
                self._client.cancel([future for *_, future in begun])

    def _begun(
        self,
        work: Callable[[Item], Any],
        items: Iterable[Item],
        of: Callable[[Item], str],
        busy: Counter[str],
    ) -> Iterator[tuple[Item, str, Any]]:
        """Hand out items, those for one worker together: the scheduler has less to do so."""
        idle = [(self._queued(worker, busy), at, worker) for at, worker in enumerate(self._threads)]
        heapq.heapify(idle)
        placed = [(item, self._worker_for(of(item), busy, idle)) for item in items]
        some: dict[str, list[Item]] = {}
        for item, worker in placed:
            some.setdefault(worker, []).append(item)
        futures: dict[str, Iterator[Any]] = {}
        for worker, own in some.items():
            futures[worker] = iter(
                self._client.map(
                    work,
                    own,
                    workers=[worker] if worker else None,
                    allow_other_workers=bool(worker),
                    pure=False,
                )
            )
        return ((item, worker, next(futures[worker])) for item, worker in placed)

    def _worker_for(self, file: str, busy: Counter[str], idle: list[tuple[float, int, str]]) -> str:
        """Choose who is to work on a file: of those that have read it, or that have less to do.

        `idle` is a heap of all by what they had to do, which since may have become more: to look
        through thousands for each batch would take longer than all else that is done for it. Where
        nobody is there the first that comes will do: "".
        """
        if not idle:
            return ""
        readers = self._readers.setdefault(file, [])
        readers[:] = [worker for worker in readers if worker in self._threads]
        while (load := self._queued(idle[0][2], busy)) > idle[0][0]:
            heapq.heapreplace(idle, (load, *idle[0][1:]))
        least = idle[0][2]
        chosen = min(readers, key=lambda worker: self._queued(worker, busy), default=least)
        if self._queued(chosen, busy) >= load + 1:
            chosen = least
        if chosen not in readers:
            readers.append(chosen)
            del readers[:-_READERS]
        busy[chosen] += 1
        return chosen

    def _queued(self, worker: str, busy: Counter[str]) -> float:
        return busy[worker] / self._threads[worker]

    def _ended(
        self, begun: deque[tuple[Item, str, Any]], of: Callable[[Item], str]
    ) -> list[tuple[Item, str, tuple[Any, list[Fact]]]]:
        """Wait for the first, and give those in front that are done, of many some."""
        try:
            self._wait_for(begun)
            some = itertools.islice(begun, _TOGETHER)
            done = [*itertools.takewhile(lambda one: one[2].done(), some)]
            results = self._client.gather([future for *_, future in done])
        except Exception as error:
            raise mishaps.worded(error, of(begun[0][0]), self._address) from error
        for _ in done:
            begun.popleft()
        return [(item, worker, one) for (item, worker, _), one in zip(done, results, strict=True)]

    def _are_stranded(self, begun: Iterable[tuple[Item, str, Any]]) -> bool:
        """Say whether all who were given what is under way are gone, and others are there."""
        return bool(self._threads) and all(worker not in self._threads for _, worker, _ in begun)

    def _wait_for(self, begun: Sequence[tuple[Item, str, Any]]) -> None:
        """Wait for the first, unless it is to be given to others."""
        from distributed import TimeoutError as LateError
        from distributed import wait

        absent = time.monotonic()
        while True:
            with contextlib.suppress(LateError, TimeoutError), self._client.as_current():
                wait([begun[0][2]], timeout=_LOOK)
                return
            self._staff()
            if self._are_stranded(begun):
                return
            if self._threads:
                absent = time.monotonic()
            elif time.monotonic() - absent > _seconds():
                raise mishaps.deserted(self._address, "has no workers left")

    def _staff(self) -> None:
        """Look at who is there, now and then; raises `GradclipError` where the scheduler is not."""
        if self._threads and time.monotonic() - self._looked < _LOOK:
            return
        try:
            threads = self._client.nthreads()
            if not threads and not self._looked:
                with contextlib.suppress(TimeoutError):
                    self._client.wait_for_workers(1, timeout=_seconds())
                threads = self._client.nthreads()
        except Exception as error:
            raise mishaps.lost(self._address) from error
        if not threads and not self._looked:
            raise mishaps.deserted(self._address, "has no workers")
        self._looked = time.monotonic()
        if threads != self._threads:
            self._threads = threads
            self.workers = max(sum(threads.values()), 1)
            if isinstance(self.progress, CrewProgress):
                self.progress.staffed(len(threads))

    def _compare(self) -> list[str]:
        """Refuse other versions; say what else is another than here."""
        own = versions()
        try:  # what is not there cannot be asked for anything else
            found = self._client.run(version, PACKAGE, on_error="return")
            for worker, one in found.items():
                if isinstance(one, str | PackageNotFoundError):  # else it is gone
                    check(worker, (one,) if isinstance(one, str) else (), own)
            found = self._client.run(versions, on_error="return")
        except GradclipError:
            raise
        except Exception as error:
            raise mishaps.lost(self._address) from error
        there = {worker: one for worker, one in found.items() if isinstance(one, tuple)}
        for worker, one in there.items():
            check(worker, one, own)
        return differences(there.values(), own)


# On the worker


def _on_worker(
    asked: Versions, work: Callable[[Item], Result], item: Item
) -> tuple[Result, Sequence[Fact]]:
    """Do a piece of work; gives also what was learnt by the way of what is known elsewhere."""
    from distributed import get_worker

    worker = get_worker().address
    check(worker, versions(), asked)  # it may have come later
    try:
        with listening() as facts:
            return work(item), facts
    except GradclipError:
        raise
    except FileNotFoundError as error:
        raise mishaps.unseen(error, worker) from error
