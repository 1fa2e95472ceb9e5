"""Numbers on a page: a few digits are seen, and all are there to be copied.

The text of an element is the whole number; the style hides its further digits behind an ellipsis,
until somebody asks for them. So nothing is rounded, and where no style is allowed all is seen.
"""

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from gradclip_cli.results.phrases import UNKNOWN

SEEN = 6  # significant digits
_BEHIND = 2  # digits after the point, so that nobody takes it for hidden digits before it


def number(value: float | None) -> Markup:
    """Write a number, all digits of it.

    >>> print(number(16.881943016134134), number(0.5), number(None), number(433422.3932))
    16.8819<i>43016134134</i> 0.5 – 433<b></b>422.39<i>32</i>
    >>> print(number(1234567))
    1<b></b>234<b></b>567
    """
    if value is None:
        return Markup(UNKNOWN)
    if isinstance(value, int):
        return Markup(_parted(str(value)))
    written = repr(value)
    if not math.isfinite(value):
        return Markup(written)
    mantissa, mark, exponent = written.partition("e")
    end = _end(mantissa)
    more = mantissa[end:]
    hidden = f"<i>{more}</i>" if more else ""
    return Markup(f"{_parted(mantissa[:end])}{hidden}{mark}{exponent}")


def _parted(digits: str) -> str:
    """Part thousands by gaps that are not copied."""
    whole, point, part = digits.partition(".")
    return f"{int(whole):,}".replace(",", "<b></b>") + point + part if len(whole) > 4 else digits


def _end(mantissa: str) -> int:
    """Give where the digits end that are seen: some of them behind the point."""
    least = mantissa.find(".") + 1 + _BEHIND
    seen = 0
    for place, character in enumerate(mantissa):
        if seen >= SEEN and place >= least:
            return place
        seen += character.isdigit() and (seen > 0 or character != "0")
    return len(mantissa)


def text(value: object) -> Markup:
    """Write a value of any kind that a result has."""
    if isinstance(value, bool):
        return Markup("yes" if value else "no")
    if value is None or isinstance(value, float | int):
        return number(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return Markup("[{}]").format(Markup(", ").join(map(text, value)))
    return escape(value)
