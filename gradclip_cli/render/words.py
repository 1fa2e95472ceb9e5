"""How values are written for a person: the cells of tables, and lines that fit a width."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich.cells import cell_len

from gradclip_cli.render.names import end_of
from gradclip_cli.results.phrases import (
    UNKNOWN,
    cosine,
    nonfinite,
    number,
    part_of,
    ratio,
    steps,
)
from gradclip_cli.tensors.names import sides

_BAR = 10
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_INDENT = "  "


def bar(share: float | None) -> str:
    """Draw a share as a bar of at most ten characters.

    >>> bar(1.0), bar(0.33)
    ('██████████', '███▎')
    """
    whole, rest = divmod(round((share or 0.0) * _BAR * 8), 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def _all_of(value: tuple[int, int] | None) -> str:
    if value is None:
        return UNKNOWN
    count, whole = value
    return "all" if count and count == whole else f"{count:,}"


_MARKED = {"spike": "spike", "overflow": "beyond", "zero": "zero", "": ""}


def _mark(value: tuple[str, float, bool]) -> str:
    mark, norm, few = value
    if mark == "spike" and few:
        return "spike?"
    return _MARKED.get(mark, "NaN" if math.isnan(norm) else "inf")


CELLS: dict[str, Callable[[Any], str]] = {
    "text": lambda value: UNKNOWN if value is None else str(value),
    "dtype": lambda value: value or "mixed",
    "shape": lambda value: UNKNOWN if value is None else sides(value),
    "number": number,
    "ratio": ratio,
    "three": lambda value: f"{value:.3f}",
    "cosine": cosine,
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

BRIEF: dict[str, Callable[[Any], str]] = {
    "number": lambda value: number(value, 2),
    "ratio": lambda value: ratio(value, 2),
}
"""The same where there is little room."""


# Names and lines


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
    """Break a text at its spaces into lines of a width, the later ones indented by two more.

    Nothing is left out: a word that is longer than a line goes on in the next. What is read as one
    stays together, as a number and its unit.

    >>> list(wrapped("the norm grew to 9.808 × the median", 22))
    ['the norm grew to', '  9.808 × the median']
    """
    line = text[: len(text) - len(text.lstrip(" "))]
    indent = line + _INDENT
    for word in _units(_joined(text).split(), width - len(indent)):
        if line.strip() and cell_len(f"{line} {word}") > width:
            yield line
            line = indent
        line += f" {word}" if line.strip() else word
        while cell_len(line) > width:
            end = end_of(line, width, len(line) - len(line.lstrip(" ")))
            yield line[:end]
            line = indent + line[end:]
    yield line


_JOINT = "\0"  # in place of a space at which no line ends
_READ_AS_ONE = re.compile(
    r"(?<=\d) (?=[%×]|NaN\b|[+-]inf\b)"  # a number and its unit
    r"|(?<=×) (?=the median\b)|(?<=× the) (?=median\b)"
    r"|(?<=\d,) (?=[\d, ]*\])"  # an index: [0, 3]
    r"|(?<=\bstep) (?=\d)"
    r"|(?<!\S)(?!-inf\b)--?[a-z][-a-z]* (?=['A-Z\d])"  # an option and its value
)


def _joined(text: str) -> str:
    return _READ_AS_ONE.sub(lambda found: found[0].replace(" ", _JOINT), text)


def _units(joined: Iterable[str], width: int) -> Iterator[str]:
    """Give what stays together, its words one by one where it is wider than a line."""
    for unit in joined:
        whole = unit.replace(_JOINT, " ")
        yield from [whole] if cell_len(whole) <= width else unit.split(_JOINT)


def message(text: str, width: int, further: str = _INDENT) -> Iterator[str]:
    """Break what is said of files at its spaces; what is longer than a line stays whole.

    So a path can be copied, and a command with a quoted program, which would be another in two
    lines: it goes on to the end of the text. The terminal breaks them where it must. Later lines
    are indented `further`.

    >>> list(message("hint: convert it with this: sh -c 'a longer one' FILE", 12))
    ['hint:', '  convert it', "  with this: sh -c 'a longer one' FILE"]
    """
    line = text[: len(text) - len(text.lstrip(" "))]
    indent = line + further
    for word in _units(_copied(text, width), width - len(indent)):
        is_room = cell_len(f"{line} {word}") <= width or cell_len(indent + word) > width
        if line.strip() and (not is_room or cell_len(line) > width):
            yield line
            line = indent
        line += f" {word}" if line.strip() else word
    yield line


_PROGRAM = re.compile(r"(?<!\S)'[^']* [^']*'")


def _copied(text: str, width: int) -> list[str]:
    """Give the words of a text, a command that has no room on a line as one of them."""
    for quoted in _PROGRAM.finditer(text):
        if cell_len(quoted[0]) > width:
            told, colon, command = text[: quoted.start()].rpartition(": ")
            before = _joined(told + colon).strip(" ").split(" ")
            return [*before, command + text[quoted.start() :]]
    return _joined(text.lstrip(" ")).split(" ")


def flowed(parts: Iterable[str], width: int) -> Iterator[str]:
    """Write parts in a line, or in as many as they need, the later ones indented."""
    line = ""
    for part in parts:
        if line and cell_len(f"{line}{_INDENT}{part}") > width:
            yield line
            line = ""
            part = f"{_INDENT}{part}"
        line = f"{line}{_INDENT}{part}" if line else part
        if cell_len(line) > width:
            *full, line = wrapped(line, width)
            yield from full
    yield line


def facts(told: list[str], width: int) -> Iterator[str]:
    """Write facts one after the other, a new line where the next does not fit."""
    line = ""
    for fact in told:
        if line and cell_len(f"{line} · {fact}") > width:
            yield line
            line = ""
        line = f"{line} · {fact}" if line else fact
        *full, line = wrapped(line, width)
        yield from full
    yield line
