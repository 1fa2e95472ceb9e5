"""What a terminal can show: its size, and whether it takes colours."""

import os
from dataclasses import dataclass
from typing import BinaryIO

NARROWEST = 40


@dataclass(frozen=True, slots=True)
class Screen:
    """How large the terminal is, in characters, and whether it takes colours and bold.

    A height of None means that there is no end: everything is shown.
    """

    width: int = 80
    height: int | None = None
    colour: bool = False


def of(stream: BinaryIO, everything: bool = False) -> Screen:
    """Describe the terminal behind a stream; what is no terminal has 80 columns and no end.

    `COLUMNS` and `LINES` win over what the terminal says; `NO_COLOR` and `TERM=dumb` mean plain
    text, bold included (https://no-color.org).
    """
    terminal = stream.isatty()
    width, height = os.get_terminal_size(stream.fileno()) if terminal else (0, 0)
    width = _given("COLUMNS") or width or 80
    height = _given("LINES") or height or 24
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    room = None if everything or not terminal else height
    return Screen(max(width, NARROWEST), room, terminal and not plain)


def _given(variable: str) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() and len(text) < 6 else 0
