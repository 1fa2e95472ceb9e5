"""Work handed to an executor, its results taken in order.

The passes know only this and `concurrent.futures.Executor`, so any engine that has one will do.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

Item = TypeVar("Item")
Result = TypeVar("Result")


class Crew:
    """An executor with so many workers, each of which has a piece of work waiting for it.

    Without an executor each piece is done when its result is asked for, in the caller's thread.
    """

    def __init__(self, pool: "Executor | None" = None, workers: int = 1) -> None:
        self._pool = pool
        self.workers = workers

    def in_order(
        self, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Give each item with its result, in order.

        `Executor.map` begins everything at once: the results of a slow reader's pipe would pile up
        in memory, and an interrupt would wait for all of it.
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
