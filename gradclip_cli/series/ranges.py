"""The range that the norms of a run keep to: a forecast from those before, and how far they stray.

Norms are multiplied by what they meet, so all is about their logarithms. What has left the range
stays out of the window from which the next range is told: an explosion does not hide the next one.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from gradclip_cli.series.spikes import LEAST, Usual, percentile

FEW = 20  # norms before: with fewer a mark is said to rest on few steps
_LINE = 10  # norms before: of fewer a slope is known too badly, and a level has to do
AGAIN = 20  # norms outside one after the other, at a steady level, are the new level
_FLAT_DEVIATIONS, _FLAT_FOLD = 2.8, math.log(4)  # then: what a person would ask about
_FOLD = math.log(2)  # of a norm that hardly varies, less is no spike
_TRIM = 5 * 1.4826  # median absolute deviations: what is farther from the line is no part of it
MOST_INSIDE = 5  # one in so many may fall back into the range while a new level is reached
_LARGEST = 709.78  # whose exponential float64 holds

Point = tuple[int, float]
"""The number of a step, and the logarithm of its norm."""


@dataclass(frozen=True, slots=True)
class RangeRule:
    """A norm is a spike if its logarithm lies `deviations` above what the last `window` lead to.

    That is a straight line through them by least squares, and the deviation is that of a forecast,
    which grows where few values tell of the next (the prediction interval of Draper and Smith,
    *Applied Regression Analysis*, 1998, section 1.4). Values farther than five deviations from the
    line, told by the median absolute deviation (Rousseeuw and Croux, *Journal of the American
    Statistical Association* 88, 1993), are left out of it. Besides, a spike is at least twice the
    norm that was to come. With fewer than ten before there is no line but a level, and a spike is
    2.8 deviations above it and four times the median.
    """

    deviations: float = 5.0
    window: int = 40

    @property
    def words(self) -> str:
        """Where a spike begins."""
        return "the range of the steps before"

    def recent(self) -> "InRange":
        """Give what takes note of norms."""
        return InRange(self)


@dataclass(frozen=True, slots=True)
class _Fit:
    """What is to come: its logarithm, the standard error of that, and each point's distance."""

    middle: float
    error: float
    distances: Sequence[float]


class InRange:
    """The last norms that kept to the range; `add` takes note of the next, in order.

    `since` is the number of the step with which norms began to stay outside, None while they are
    inside; `anew` says of the last norm that the window began anew with it.
    """

    def __init__(self, rule: RangeRule) -> None:
        self._rule = rule
        self._window: deque[Point] = deque(maxlen=rule.window)
        self._outside: list[Point] = []
        self._inside = 0  # norms inside since the first outside, and at the end one after the other
        self._returned = 0
        self._rising = True
        self._usual: Usual | None = None
        self.since: int | None = None
        self.anew = False

    def add(self, number: int, norm: float) -> None:
        """Take note of a step's finite norm; zero has no logarithm, and is passed over."""
        if self.anew:
            self._forget()
        self.anew = False
        if not norm:
            return
        usual, point = self.usual(number), (number, math.log(norm))
        if usual.is_outside(norm):
            self._strayed(point, rises=norm > (usual.median or 0.0))
        else:
            self._window.append(point)
            self._inside += 1
            self._returned += 1
            if self._returned > 1:  # one by itself may have been missed
                self._forget()
        self._usual = None

    def usual(self, number: int) -> Usual:
        """Give what the norm of the step with this number is compared with."""
        if self._usual is None:
            self._usual = expected([*self._window], number, self._rule)
        return self._usual

    def _strayed(self, point: Point, rises: bool) -> None:
        if self._outside and rises != self._rising:
            self._forget()
        if not self._outside:
            self.since, self._inside, self._rising = point[0], 0, rises
        self._returned = 0
        self._outside.append(point)
        level = self._outside[-AGAIN:]
        if len(level) == AGAIN and self._inside * MOST_INSIDE <= AGAIN and _is_steady(level):
            self._window.clear()
            self._window.extend(level)
            self._outside = []
            self.anew = True

    def _forget(self) -> None:
        self._outside = []
        self.since = None


def expected(points: Sequence[Point], number: int, rule: RangeRule) -> Usual:
    """Give what the norm of the step with a number is compared with, after the points before it."""
    if not points:
        return Usual(None, None)
    middle = percentile(sorted(value for _, value in points), 50)
    median = _exponential(middle)
    if len(points) < LEAST:
        return Usual(median, None)
    # However long norms have been outside: a line does not go on for ever.
    number = min(number, points[-1][0] + 1)
    flat = len(points) < _LINE
    fit = _level(points) if flat else _line(points, number)
    distances = [abs(distance) for distance in fit.distances]
    bound = max(_TRIM * percentile(sorted(distances), 50), _FOLD)
    kept = [point for point, far in zip(points, distances, strict=True) if far <= bound]
    if LEAST - 1 <= len(kept) < len(points):
        fit = _level(kept) if flat else _line(kept, number)
    base = middle if flat else fit.middle
    room = fit.error * (_FLAT_DEVIATIONS if flat else rule.deviations)
    least = _FLAT_FOLD if flat else _FOLD
    highest = max(fit.middle + room, base + least)
    lowest = min(fit.middle - room, base - least)
    few = len(points) < FEW
    return Usual(median, _exponential(highest), _exponential(lowest), few)


def _level(points: Sequence[Point]) -> _Fit:
    """Fit one level: the mean, and the error of the next; distances are from the median."""
    values = [value for _, value in points]
    count = len(values)
    mean = math.fsum(values) / count
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    median = percentile(sorted(values), 50)
    error = math.sqrt(variance * (1 + 1 / count))
    return _Fit(mean, error, [value - median for value in values])


def _line(points: Sequence[Point], number: int) -> _Fit:
    """Fit a line by least squares, and forecast the step with this number."""
    count = len(points)
    center = sum(at for at, _ in points) / count
    mean = math.fsum(value for _, value in points) / count
    spread = math.fsum((at - center) ** 2 for at, _ in points)
    slope = math.fsum((at - center) * (value - mean) for at, value in points) / spread
    distances = [value - mean - slope * (at - center) for at, value in points]
    variance = math.fsum(distance * distance for distance in distances) / (count - 2)
    ahead = number - center
    error = math.sqrt(variance * (1 + 1 / count + ahead * ahead / spread))
    return _Fit(mean + slope * ahead, error, distances)


def _is_steady(level: Sequence[Point]) -> bool:
    """Say whether values neither rise nor fall: their halves differ by no more than they vary."""
    values = [value for _, value in level]
    half = len(values) // 2
    parts = values[:half], values[half:]
    means = [math.fsum(part) / half for part in parts]
    squares = math.fsum(
        (value - mean) ** 2 for part, mean in zip(parts, means, strict=True) for value in part
    )
    deviation = math.sqrt(squares / (len(values) - 2))
    return abs(means[1] - means[0]) <= max(2 * deviation, _FOLD)


def _exponential(value: float) -> float:
    return math.exp(value) if value < _LARGEST else math.inf
