"""How measurements of parts become that of the whole: a law for each of their fields.

The order of the parts does not matter to any law, so neither does how work was shared out. A class
of measurements names its fields' laws beside their defaults, and `merged` does the rest.
"""

import dataclasses
import math
import operator
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache
from typing import Any, TypeVar, cast

Law = Callable[[list[Any]], Any]
Kind = TypeVar("Kind")

Sums = tuple[tuple[int, tuple[float, ...]], ...]
"""Sums of squares by shift: (s, terms) means that the values times 2**s, squared, add up to the
exact sum of the terms. Each term is what rounding the sum of it and the later ones gives. Likewise
of sizes to another power."""


def by(law: Law, default: Any = dataclasses.MISSING) -> Any:
    """Give a dataclass's field that merges by a law."""
    return dataclasses.field(default=default, metadata={"law": law})


def merged(kind: type[Kind], parts: Iterable[Kind]) -> Kind:
    """Give the measurements of the whole, each field by its law."""
    parts = tuple(parts)
    if len(parts) == 1:
        return parts[0]
    # By lists: generators take twice as long for 100,000 parts.
    return kind(*[law(list(map(get, parts))) for get, law in _laws(cast(Any, kind))])


_WAITING = 32  # parts that wait to be merged, of what has many
_HELD = 8192  # of all together: of a million spans the last few of each tensor are half of them


def gathered(kind: type[Kind], found: Iterable[tuple[int, Kind]]) -> dict[int, Kind]:
    """Merge parts by their numbers, as they come: no more than some are held."""
    whole: dict[int, Kind] = {}
    parts: dict[int, list[Kind]] = {}
    held = 0

    def merge(number: int) -> int:
        some = parts.pop(number)
        whole[number] = merged(kind, (whole[number], *some))
        return len(some)

    for number, part in found:
        if number not in whole:
            whole[number] = part
            continue
        some = parts.setdefault(number, [])
        some.append(part)
        held += 1
        if len(some) == _WAITING:
            held -= merge(number)
        elif held == _HELD:
            held -= sum(map(merge, list(parts)))
    for number in list(parts):
        merge(number)
    return whole


@cache
def _laws(kind: Any) -> tuple[tuple[Callable[[Any], Any], Law], ...]:
    fields = dataclasses.fields(kind)
    return tuple((operator.attrgetter(field.name), field.metadata["law"]) for field in fields)


def first(positions: list[int | None]) -> int | None:
    """Give the least of those that are known."""
    return min((position for position in positions if position is not None), default=None)


def exact(sums: Iterable[Sums]) -> Sums:
    """Give the exact sum of exact sums."""
    terms: dict[int, list[float]] = {}
    for part in sums:
        for shift, some in part:
            terms.setdefault(shift, []).extend(some)
    return exact_sums(terms)


def exact_sums(terms: dict[int, list[float]]) -> Sums:
    """Give sums from their terms by shift."""
    return tuple((shift, rounded) for shift in sorted(terms) if (rounded := _rounded(terms[shift])))


def _rounded(values: list[float]) -> tuple[float, ...]:
    """Give the shortest floats whose exact sum is the exact sum of the values, largest first.

    Each is `math.fsum` of what is left, so equal sums give equal floats.
    """
    rest = list(values)
    terms = []
    while term := math.fsum(rest):
        terms.append(term)
        rest.append(-term)
    return tuple(terms)


@cache
def inverse_of(p: float) -> tuple[float, float]:
    """Give 1 / p and what it was rounded by, which a root of a large or small sum would show."""
    inverse = 1 / p
    return inverse, float(1 / Fraction(p) - Fraction(inverse))
