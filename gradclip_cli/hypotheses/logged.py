"""A number as it was logged: its text, which says how many digits of it are known."""

import math
from decimal import Decimal, InvalidOperation

from gradclip_cli.errors import GradclipError
from gradclip_cli.frozen import frozen

_SINGLE = 2.0**-22  # relative: no trainer's own arithmetic in float32 is finer
_MOST_DIGITS = 400


@frozen
class Logged:
    """What was logged, as it was written, and the bounds of all numbers that are printed so."""

    text: str
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, text: str) -> "Logged":
        """Read a number; raises `GradclipError` for what is none, or is no norm.

        >>> Logged.of("7.20").low, Logged.of("7.2").high
        (7.195, 7.25)
        """
        try:
            number = Decimal(text.strip())
        except InvalidOperation:
            number = None
        if number is None or "_" in text or number.is_snan() or len(text) > _MOST_DIGITS:
            hint = "give it as it stands in the log, for example --logged 12.228"
            raise GradclipError("--logged", f"{text!r} is not a number", hint)
        if not number.is_nan() and number < 0:
            raise GradclipError(
                "--logged", f"{text} is not a norm", "no norm is below zero: is it another column?"
            )
        value = float(number)
        if not math.isfinite(value):
            return cls(text, value, value, value)
        exponent = number.as_tuple().exponent
        assert isinstance(exponent, int), "of a finite number"
        half = Decimal((0, (5,), exponent - 1))
        low, high = float(number - half), float(number + half)
        return cls(text, value, min(low, value * (1 - _SINGLE)), max(high, value * (1 + _SINGLE)))

    def is_given_by(self, low: float, high: float) -> bool:
        """Say whether a number between two bounds may be printed so."""
        if math.isnan(self.value):
            return math.isnan(low)
        if math.isinf(self.value):
            return math.isinf(high)
        return low <= self.high and high >= self.low
