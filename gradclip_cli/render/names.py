"""How names stand where there is little room: never cut where they differ.

What all of them share is written once, above them; what is still too long goes on in a second line.
So each can be told from every other, and the whole name can be read.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from gradclip_cli.tensors.names import escape

_SEPARATORS = "./_-"
_INDENT = "  "


@dataclass(frozen=True, slots=True)
class Folded:
    """Names without what all begin with and end in, and how that is written."""

    names: Sequence[str]
    shared: str = ""


def folded(names: Sequence[str], tails: bool = False) -> Folded:
    """Leave out the first parts that all names share, and with `tails` the last.

    >>> folded(["h.0.w", "h.1.w"])
    Folded(names=['0.w', '1.w'], shared='h.…')
    >>> folded(["h.0.w", "h.1.w"], tails=True)
    Folded(names=['0', '1'], shared='h.….w')
    """
    if len(names) < 2:
        return Folded(names)
    head = _beginning(names)
    rest = [name[len(head) :] for name in names]
    tail = _beginning([name[::-1] for name in rest])[::-1] if tails else ""
    rest = [name[: len(name) - len(tail)] for name in rest]
    if not head + tail or any(name != name.strip(" ") for name in rest):
        return Folded(names)
    return Folded(rest, f"{head}…{tail}")


def step_room(width: int) -> int:
    """Give the columns that what a step is called takes at most, on a screen of a width.

    >>> step_room(40), step_room(80)
    (13, 24)
    """
    return min(width // 3, 24)


def steps_shown(labels: Iterable[int | str], width: int) -> Folded:
    """Give what steps are called: without what all share, where one is wider than that."""
    names = [escape(str(label)) for label in labels]
    return (
        folded(names, tails=True) if any(width_of(one) > width for one in names) else Folded(names)
    )


def _beginning(names: Sequence[str]) -> str:
    """Give the whole parts that all begin with and none ends in."""
    common = os.path.commonprefix(names)[: min(map(len, names)) - 1]  # noqa: RUF071 no paths
    return common[: max(map(common.rfind, _SEPARATORS)) + 1]


def broken(name: str, width: int, indent: str = _INDENT) -> list[str]:
    """Break a name into lines of a width, behind a part of it where there is one to break behind.

    The later ones are indented: no name begins with a space, and no line ends in one that counts.

    >>> broken("transformer.layers.10.weight", 16)
    ['transformer.', '  layers.10.', '  weight']
    """
    if width_of(name) <= width:
        return [name]
    lines: list[str] = []
    line = name
    while width_of(line) > width:
        end = end_of(line, width, len(indent) if lines else 0)
        lines.append(line[:end])
        line = indent + line[end:]
    return [*lines, line]


def end_of(text: str, width: int, start: int = 0) -> int:
    """Give where a text is broken, behind `start`: where a part of it ends, or the room does."""
    end = next(at for at in range(len(text), start, -1) if width_of(text[:at]) <= width)
    for separators in ("./", _SEPARATORS):
        last = max(text.rfind(one, start, end) for one in separators) + 1
        if last - start > (end - start) // 3:
            end = last
            break
    while end > start + 1 and text[end - 1] == " ":
        end -= 1
    return end


def width_of(text: str) -> int:
    """Give the columns that a text takes on a terminal."""
    return len(text) if text.isascii() else cell_len(text)
