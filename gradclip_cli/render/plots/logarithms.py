"""Logarithms on a plain axis: Matplotlib's logarithmic one gives up at numbers such as 1e300."""

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axis import Axis

_MOST = 8
_LARGEST = 308  # of the powers that are numbers
_DECADES = 1.5  # from so many on only powers of ten are marked
_ROUND = ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9))


def logarithm(norm: float) -> float:
    """Give the decimal logarithm; what is not finite or zero leaves a gap."""
    return math.log10(norm) if 0 < norm < math.inf else math.nan


def power(logarithm: float) -> str:
    """Write a number by its decimal logarithm."""
    if math.isclose(logarithm, round(logarithm), abs_tol=1e-9):
        return f"$10^{{{round(logarithm)}}}$"
    return f"{10.0**logarithm:.3g}" if logarithm < _LARGEST else ""


def mark(axis: "Axis", low: float, high: float) -> None:
    """Mark an axis of logarithms at round numbers: powers of ten, or those between them."""
    if high - low > _DECADES:
        powers = range(math.ceil(low), math.floor(min(high, _LARGEST)) + 1)
        shown = [place for place in powers if place % (-(-len(powers) // _MOST)) == 0]
        axis.set_ticks(shown, [power(place) for place in shown])
        return
    for digits in _ROUND:
        places = [*_between(low, high, digits)]
        if len(places) > 2:
            axis.set_ticks([place for place, _ in places], [said for _, said in places])
            return
    axis.set_major_formatter(lambda value, _: f"{10.0**value:.4g}" if value < _LARGEST else "")


def _between(low: float, high: float, digits: tuple[float, ...]) -> Iterator[tuple[float, str]]:
    powers = range(math.floor(low), math.floor(high) + 1)
    for whole, digit in itertools.product(powers, digits):
        place = whole + math.log10(digit)
        if low <= place <= high:
            yield place, f"{digit * 10.0**whole:g}" if abs(whole) < 300 else f"{digit:g}e{whole}"
