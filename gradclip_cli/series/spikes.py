"""Numbers in a row: what is usual for them, and which of them stand out.

Everything here is over finite numbers that are not negative, as norms are, and stays finite
wherever the answer is.
"""

import contextlib
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from gradclip_cli.errors import GradclipError

LEAST = 5  # norms that have to come before: of fewer the deviation says nothing


@dataclass(frozen=True, slots=True)
class SpikeRule:
    """A norm is a spike above mean + `deviations` · σ of the last `window` finite norms before it.

    Six and 128 are what OLMo's skipping of steps goes by.
    """

    deviations: float = 6.0
    window: int = 128

    @property
    def words(self) -> str:
        """Where a spike begins."""
        return f"mean + {self.deviations:g}σ of the {self.window:,} before"

    def recent(self) -> "Recent":
        """Give what takes note of norms."""
        return Recent(self)


def rule_of(text: str) -> SpikeRule:
    """Read when a norm is a spike: deviations and window.

    >>> rule_of("6,128")
    SpikeRule(deviations=6.0, window=128)
    """
    deviations, _, window = text.partition(",")
    count = int(window) if window.isdecimal() and len(window) < 7 else 0
    with contextlib.suppress(ValueError):
        if 0 < float(deviations) < math.inf and count >= LEAST:
            return SpikeRule(float(deviations), count)
    raise GradclipError(
        "--spike",
        f"{text!r} is not a rule for spikes",
        f"give a number above 0 and a window of {LEAST} or more, for example 6,128",
    )


@dataclass(frozen=True, slots=True)
class Usual:
    """What the norms before a step lead to expect: their median, and where a spike begins.

    Both are None where too few norms came before. What is below `lowest`, if that is known, has
    left the range of the norms before, too. `few` says that all this is known from few of them.
    """

    median: float | None
    threshold: float | None
    lowest: float | None = None
    few: bool = False

    def is_outside(self, norm: float) -> bool:
        """Say whether a norm is a spike, or has left the range downwards."""
        if self.threshold is not None and norm > self.threshold:
            return True
        return self.lowest is not None and norm < self.lowest


class Recent:
    """The last finite norms, spikes among them, as many as the rule's window has."""

    since: int | None = None
    anew = False

    def __init__(self, rule: SpikeRule) -> None:
        self._rule = rule
        self._norms: deque[float] = deque(maxlen=rule.window)

    def add(self, _number: int, norm: float) -> None:
        """Take note of a finite norm."""
        self._norms.append(norm)

    def usual(self, _number: int) -> Usual:
        """Give what the next norm is compared with."""
        if not self._norms:
            return Usual(None, None)
        median = percentile(sorted(self._norms), 50)
        if len(self._norms) < LEAST:
            return Usual(median, None)
        mean, deviation = mean_and_deviation(self._norms)
        return Usual(median, mean + self._rule.deviations * deviation)


def mean_and_deviation(values: Sequence[float] | deque[float]) -> tuple[float, float]:
    """Give the mean and the standard deviation of a sample of two or more, right for any scale.

    Equal values have exactly their own mean and no deviation.

    >>> mean_and_deviation([2.0, 4.0, 6.0]), mean_and_deviation([1e200] * 3)
    ((4.0, 2.0), (1e+200, 0.0))
    """
    first = values[0]
    differences = [value - first for value in values]
    scale = max(map(abs, differences))
    if not scale:
        return first, 0.0
    parts = [difference / scale for difference in differences]
    middle = math.fsum(parts) / len(parts)
    squares = math.fsum((part - middle) * (part - middle) for part in parts)
    return first + middle * scale, math.sqrt(squares / (len(parts) - 1)) * scale


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Give a percentile of sorted values by NumPy's `linear` method, to the bit.

    >>> percentile([1.0, 2.0, 4.0], 50), percentile([1.0, 2.0, 4.0], 75)
    (2.0, 3.0)
    """
    place = (len(ordered) - 1) * (percent / 100)
    below = math.floor(place)
    part = place - below
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    if part >= 0.5:
        return high - (high - low) * (1 - part)
    return low + (high - low) * part
