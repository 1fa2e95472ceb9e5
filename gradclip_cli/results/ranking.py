"""In which order rows stand: the worst first, or as a user wishes."""

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from gradclip_cli.measure.culprits import rank
from gradclip_cli.measure.moments import Moments
from gradclip_cli.results.sorts import Sort
from gradclip_cli.tensors.names import natural

Kind = TypeVar("Kind")
Keys = Mapping[Sort, Callable[[Kind], Any]]
"""What a kind of rows is sorted by, for each wish but the name: that decides among equals."""


class Ranked(Protocol):
    """A row that has a name and, if it was measured, moments and their norm."""

    @property
    def name(self) -> str | None:
        """Its name."""

    @property
    def norm(self) -> float | None:
        """Its norm."""

    @property
    def moments(self) -> Moments | None:
        """Its moments."""


Row = TypeVar("Row", bound=Ranked)


def arranged(
    rows: Sequence[Kind],
    keys: Keys[Kind],
    sort: Sort | None = None,
    reverse: bool = False,
    top: int | None = None,
) -> tuple[Kind, ...]:
    """Give rows sorted and chosen as wished; by default they stay as they are."""
    found = list(rows)
    if sort is not None:
        found.sort(key=by_name)
        if sort != "name":
            found.sort(key=keys[sort])
    if reverse:
        found.reverse()
    return tuple(found[:top])


def by_name(row: Any) -> Any:
    """Give the key of a row's name in natural order."""
    return natural(row.name or "")


def worst_first(rows: Iterable[Row]) -> list[Row]:
    """Sort rows: what is not finite, the likely first of it in front; by norm; unmeasured last.

    Equals come in the natural order of their names, which is too slow a key for all rows.
    """
    rows = list(rows)
    finite = [row for row in rows if row.norm is not None and row.norm < math.inf]
    finite.sort(key=operator.attrgetter("norm"), reverse=True)
    norms = [row.norm for row in finite]
    if any(map(operator.eq, norms, norms[1:])):  # 100,000 groups of one take longer than the sort
        groups = itertools.groupby(finite, key=operator.attrgetter("norm"))
        finite = [row for _, equals in groups for row in _named([*equals])]
    if len(finite) == len(rows):
        return finite
    others = [row for row in rows if row.norm is None or not row.norm < math.inf]
    measured = [row for row in others if row.norm is not None]
    unmeasured = [row for row in others if row.norm is None]
    return [*_ranked(measured), *finite, *_ranked(unmeasured)]


def _ranked(rows: Iterable[Row]) -> list[Row]:
    keyed = sorted(((_badness(row), row) for row in rows), key=operator.itemgetter(0))
    groups = itertools.groupby(keyed, key=operator.itemgetter(0))
    found = [(key, [row for _, row in equals]) for key, equals in groups]
    # What is not finite stays in the order of its file, the likely first of all in front.
    return [row for key, equals in found for row in (equals if key[0] == 0 else _named(equals))]


def _badness(row: Ranked) -> tuple[int, bool, float]:
    if row.norm is None or row.moments is None:
        return 2, True, 0.0
    if row.moments.nonfinite:
        return 0, *rank(row.name, row.moments.nan)
    return 1, False, -row.moments.finite_norm


def _named(rows: list[Row]) -> list[Row]:
    return rows if len(rows) == 1 else sorted(rows, key=by_name)
