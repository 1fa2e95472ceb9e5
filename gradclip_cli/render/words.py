"""How values are put into words for a person: the cells of tables, and what stands between them.

What is rounded is never rounded to something that it is not: nearly all is not "100 %".
"""

import math
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from rich.cells import cell_len

from gradclip_cli.measure.laws import Sums
from gradclip_cli.tensors.names import escape, sides

UNKNOWN = "–"
UNNAMED = "the unnamed tensor"
_BAR = 10
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_ONE = 1 - 1e-12  # what is nearer to one than arithmetic can tell
_INDENT = "  "


# Numbers


def number(value: float | None) -> str:
    """Write a number in four significant digits.

    >>> number(1234.56), number(0.0), number(None)
    ('1.235e+03', '0', '–')
    """
    if value is None:
        return UNKNOWN
    return f"{value:.3e}" if value and math.isfinite(value) else f"{value:.0f}"


def ratio(value: float | None) -> str:
    """Write a ratio with four decimals, unless it is too large or small for them.

    >>> ratio(8.0), ratio(0.00001154), ratio(2.0**40), ratio(None)
    ('8.0000', '1.154e-05', '1.100e+12', '–')
    """
    if value is None or not 1e-2 <= abs(value) < 1e7:
        return number(value)
    return f"{value:.4f}"


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


def times(value: float | None) -> str:
    """Write how many times a norm is another.

    >>> times(3.7391), times(212699.0), times(None)
    ('3.74', '2.127e+05', '–')
    """
    if value is None:
        return UNKNOWN
    return f"{value:.2f}" if 0.01 <= value < 100_000 else number(value)


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


def bar(share: float | None) -> str:
    """Draw a share as a bar of at most ten characters.

    >>> bar(1.0), bar(0.33)
    ('██████████', '███▎')
    """
    whole, rest = divmod(round((share or 0.0) * _BAR * 8), 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def nonfinite(counts: tuple[int, int, int]) -> str:
    """Say in words which values are not finite: how many are NaN, +inf and -inf.

    >>> nonfinite((3, 0, 1))
    '3 NaN, 1 -inf'
    """
    kinds = zip(counts, ("NaN", "+inf", "-inf"), strict=True)
    return ", ".join(f"{count:,} {what}" for count, what in kinds if count)


def _all_of(value: tuple[int, int] | None) -> str:
    if value is None:
        return UNKNOWN
    count, whole = value
    return "all" if count and count == whole else f"{count:,}"


_MARKED = {"spike": "spike", "overflow": "over", "zero": "zero", "": ""}


def _mark(value: tuple[str, float]) -> str:
    mark, norm = value
    return _MARKED.get(mark, "NaN" if math.isnan(norm) else "inf")


CELLS: dict[str, Callable[[Any], str]] = {
    "text": lambda value: UNKNOWN if value is None else str(value),
    "dtype": lambda value: value or "mixed",
    "shape": lambda value: UNKNOWN if value is None else sides(value),
    "number": number,
    "three": lambda value: f"{value:.3f}",
    "ratio": ratio,
    "cosine": cosine,
    "times": times,
    "part": part_of,
    "steps": steps,
    "bar": bar,
    "count": lambda value: UNKNOWN if value is None else f"{value:,}",
    "some": lambda value: f"{value:,}" if value else "",
    "all_of": _all_of,
    "index": lambda value: UNKNOWN if value is None else ",".join(map(str, value)),
    "nonfinite": nonfinite,
    "mark": _mark,
}
"""How a column's value is written in the table of a terminal, by what the column calls it."""


# Names and lines


def name_of(name: str | None, width: int) -> str:
    """Write a tensor's name among words, so that it takes at most `width` columns."""
    return UNNAMED if name is None else elided(escape(name), width)


def elided(name: str, width: int) -> str:
    """Cut a name in the middle so that it takes at most `width` columns.

    >>> elided("transformer.layers.10.weight", 16)
    'transfor….weight'
    """
    if cell_len(name) <= width:
        return name
    head, tail = "", ""
    for front, back in zip(name, reversed(name), strict=True):
        if cell_len(head + front + tail) >= width:
            break
        head += front
        if cell_len(head + back + tail) >= width:
            break
        tail = back + tail
    return f"{head}…{tail}"


def wrapped(text: str, width: int) -> Iterator[str]:
    """Break a text at its spaces into lines of a width, the later ones indented by two more."""
    line = text[: len(text) - len(text.lstrip(" "))]
    indent = line + _INDENT
    for word in text.split():
        if line.strip() and cell_len(f"{line} {word}") > width:
            yield line
            line = indent
        gap = " " if line.strip() else ""
        line = elided(f"{line}{gap}{word}", width)
    yield line


def facts(told: list[str], width: int) -> Iterator[str]:
    """Write facts one after the other, a new line where the next does not fit."""
    line = ""
    for fact in told:
        if line and cell_len(f"{line} · {fact}") > width:
            yield line
            line = ""
        line = f"{line} · {fact}" if line else fact
        while cell_len(line) > width:
            head, *rest = textwrap.wrap(line, width)
            yield head
            line = " ".join(rest)
    yield line
