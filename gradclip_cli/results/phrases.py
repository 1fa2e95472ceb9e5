"""How figures are put into words, in sentences as in the cells of tables.

What is rounded is never rounded to something that it is not: nearly all is not "100 %".
"""

import math
from collections.abc import Sequence

from gradclip_cli.measure.laws import Sums
from gradclip_cli.tensors.names import escape

UNKNOWN = "–"
UNNAMED = "the unnamed tensor"
_ONE = 1 - 1e-12  # what is nearer to one than arithmetic can tell


def called(name: str | None) -> str:
    """Write a tensor's name among words, whole."""
    return UNNAMED if name is None else escape(name)


def those(names: Sequence[str | None], most: int = 3) -> str:
    """Write the first of some tensors' names, and how many more there are.

    >>> those(["a", "b"]), those(["a", None, "c", "d"], 2)
    ('a, b', 'a, the unnamed tensor and 2 more')
    """
    shown = ", ".join(map(called, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def exactly(value: float) -> str:
    """Write a number with all its digits, whole ones without a point.

    >>> exactly(100.0), exactly(409.6)
    ('100', '409.6')
    """
    return repr(value).removesuffix(".0")


def number(value: float | None, digits: int = 4) -> str:
    """Write a number in so many significant digits, or all before its point.

    Below a thousandth and from a million on there is an exponent.

    >>> number(1.1166), number(433422.39), number(1e6), number(0.00012345), number(None)
    ('1.117', '433,422', '1.000e+06', '1.234e-04', '–')
    """
    if value is None:
        return UNKNOWN
    if not value or not math.isfinite(value):
        return f"{value:.0f}"
    written = f"{value:.{digits - 1}e}"
    power = int(written.partition("e")[2])
    if -3 <= power < 6:
        return f"{value:,.{max(digits - 1 - power, 0)}f}"
    return written


def ratio(value: float | None, digits: int = 4) -> str:
    """Write a ratio as a number; what is not one has as many digits as it takes to see that.

    >>> ratio(1.0), ratio(1.0004), ratio(0.999996), ratio(1.96512), ratio(None)
    ('1.000', '1.0004', '0.999996', '1.965', '–')
    """
    written = number(value, digits)
    if value is None or not math.isfinite(value) or abs(value - 1) < 1 - _ONE:
        return written
    while float(written.replace(",", "")) == 1:
        digits += 1
        written = number(value, digits)
    return written


def cosine(value: float | None) -> str:
    """Write a cosine with six decimals; what is not one is never called one.

    >>> cosine(1.0), cosine(0.99999999), cosine(-0.5), cosine(None)
    ('1.000000', '0.999999', '-0.500000', '–')
    """
    if value is None:
        return UNKNOWN
    if abs(value) >= _ONE:
        return f"{round(value):.6f}"
    return f"{math.copysign(min(abs(value), 0.999999), value):.6f}"


def percent(share: float | None, part: object = True, whole: object = False) -> str:
    """Write a share; what is not all is never called 100 %, what is not nothing never 0 %.

    Where the share was rounded, what the part and the whole have decides: the exact sums of both.

    >>> percent(0.99999), percent(1.0), percent(0.00001), percent(0.5)
    ('99.9 %', '99.9 %', '<0.1 %', '50.0 %')
    """
    if share is None:
        return UNKNOWN
    if part == whole:
        return "100 %"
    if share < 0.001:
        return "<0.1 %" if part else "0.0 %"
    return f"{min(share * 100, 99.9):.1f} %"


def part_of(value: tuple[float | None, Sums, Sums] | None) -> str:
    """Write a share of which the sums are known, too."""
    return UNKNOWN if value is None else percent(*value)


def steps(share: float) -> str:
    """Write a share of steps; what is not all is never called 100 %, what is not none never 0 %.

    >>> steps(1.0), steps(0.9999), steps(0.0), steps(0.00001)
    ('100 %', '99.9 %', '0 %', '0.1 %')
    """
    if share in (0, 1):
        return f"{share * 100:.0f} %"
    return f"{min(max(share * 100, 0.1), 99.9):.1f} %"


def nonfinite(counts: tuple[int, int, int]) -> str:
    """Say in words which values are not finite: how many are NaN, +inf and -inf.

    >>> nonfinite((3, 0, 1))
    '3 NaN, 1 -inf'
    """
    kinds = zip(counts, ("NaN", "+inf", "-inf"), strict=True)
    return ", ".join(f"{count:,} {what}" for count, what in kinds if count)
