"""How work is handed out to workers of a cluster: bounded, in order, near what they have read."""

import contextlib
import logging
import random
import time
from collections.abc import Iterator

import pytest

from tests import cluster as clusters

pytestmark = pytest.mark.xdist_group("cluster")
distributed = pytest.importorskip("distributed")

from gradclip_cli.engine.cluster import cluster  # noqa: E402 - without Dask there is none
from gradclip_cli.engine.crew import Crew, CrewProgress  # noqa: E402
from gradclip_cli.errors import GradclipError  # noqa: E402

Item = tuple[str, float]


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """Give a crew of three workers."""
    with clusters.running(3) as three, cluster(three.address, None, None) as found:
        until_there(found, 3)
        yield found


def until_there(crew: Crew, workers: int) -> None:
    """Wait until so many workers have come."""
    last = time.monotonic() + 30
    while crew.workers < workers:
        assert time.monotonic() < last
        list(crew.in_order(clusters.slowly, [("", 0.0)]))
        time.sleep(0.1)


def file_of(item: Item) -> str:
    return item[0]


def test_results_come_in_order_and_few_are_under_way(crew: Crew) -> None:
    chance = random.Random(0)
    taken = 0

    def items() -> Iterator[tuple[str, float]]:
        nonlocal taken
        for _ in range(300):
            taken += 1
            yield f"file {chance.randrange(7)}", chance.choice([0.0, 0.0, 0.01])

    for given, (item, result) in enumerate(crew.in_order(clusters.slowly, items(), file_of)):
        assert taken - given <= 16 * 3
        assert result == item
    assert taken == 300


def test_who_has_read_a_file_gets_it_again(crew: Crew) -> None:
    items = [(f"file {number % 30}", 0.01) for number in range(90)]
    first, second = (dict(crew.in_order(clusters.where, items, file_of)) for _ in range(2))
    assert len({*first.values()}) == 3
    alike = sum(first[item] == second[item] for item in first)
    assert alike >= 0.8 * len(first)


def test_one_large_file_goes_to_all(crew: Crew) -> None:
    found = crew.in_order(clusters.where, [("one", number / 1e4) for number in range(60)], file_of)
    assert len({worker for _, worker in found}) == 3


def test_terabytes_are_handed_out_in_few_batches(crew: Crew) -> None:
    size, _ = crew.load(64 << 40, 32 << 20, 64)
    assert size * (16 << 10) == 64 << 40
    assert crew.load(0, 32 << 20, 64)[0] == 32 << 20


def test_errors_of_the_work_are_its_own(crew: Crew) -> None:
    with pytest.raises(GradclipError, match="no such thing"):
        list(crew.in_order(clusters.refused, ["a"]))
    with pytest.raises(ZeroDivisionError):
        list(crew.in_order(clusters.divided, [0]))


def test_what_is_not_waited_for_is_not_done(crew: Crew) -> None:
    results = crew.in_order(clusters.slowly, (("", 0.05) for _ in range(10**9)), file_of)
    next(results)
    results.close()  # type: ignore[attr-defined] # it is a generator


class Watching(CrewProgress):
    """Remembers how many workers there were."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def staffed(self, workers: int) -> None:
        self.seen.append(workers)


def test_progress_is_told_of_workers_that_come_and_go() -> None:
    watching = Watching()
    with clusters.running(1) as some, cluster(some.address, None, watching) as crew:
        until_there(crew, 1)
        some.add_worker()
        until_there(crew, 2)
        some.kill(some.workers.pop())
        last = time.monotonic() + 30
        while watching.seen[-1] != 1:
            assert time.monotonic() < last
            list(crew.in_order(clusters.slowly, [("", 0.1)]))
    assert watching.seen == [1, 2, 1]


def test_the_library_speaks_again_where_something_else_went_wrong() -> None:
    logger = logging.getLogger("distributed")
    before = logger.level
    with clusters.running(1) as some:
        with contextlib.suppress(ZeroDivisionError), cluster(some.address, None, None):
            assert logger.level > logging.CRITICAL
            raise ZeroDivisionError  # the caller's own
        assert logger.level == before
