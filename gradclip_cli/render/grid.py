"""A table that fits a terminal, with what is said above and below it.

Names are strangers: they enter Rich as `Text`, escaped. Where there is no room the least needed
columns go first, then the middle of long names; nothing is ever wrapped.
"""

import io
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradclip_cli.render.screen import Screen
from gradclip_cli.tensors.names import escape

UNKNOWN = "–"
NAME_LEAST = 12
_GAP = 2
_NAME_ENOUGH = 40


@dataclass(frozen=True, slots=True)
class Column:
    """A column and its cells: the higher `rank`, the earlier it is left out; 0 always stays."""

    title: str
    rank: int
    cells: Sequence[str]
    left: bool = False

    @property
    def width(self) -> int:
        """Characters that it takes, the gap before it included."""
        return _GAP + max(map(cell_len, (self.title, *self.cells)))

    @property
    def says_nothing(self) -> bool:
        """Whether all cells are empty or unknown."""
        return all(cell in ("", UNKNOWN) for cell in self.cells)


def page(screen: Screen, parts: Iterable[Text | Table]) -> str:
    """Write lines and tables one below the other, in colour where the screen takes it."""
    console = console_of(screen)
    with console.capture() as capture:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, Text))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def console_of(screen: Screen) -> Console:
    """Give a console that draws for a screen, into memory, and takes no text for markup."""
    return Console(
        file=io.StringIO(),
        width=screen.width,
        force_terminal=screen.colour,
        no_color=not screen.colour,
        color_system="256" if screen.colour else None,
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
    )


def room_for(rows: int, lines: int, height: int | None) -> int:
    """Give how many rows fit beside so many lines: a head of two, an empty one, and the prompt."""
    if height is None or rows + lines + 4 <= height:
        return rows
    return max(height - lines - 5, 3)


def more(hidden: int) -> Text:
    """Say how many rows there are that did not fit."""
    return Text(f"… {hidden:,} more, --all shows them", "dim")


def grid(
    title: str,
    names: Sequence[str | None],
    columns: Sequence[Column],
    styles: Sequence[str],
    width: int,
    name_enough: int = _NAME_ENOUGH,
) -> Table:
    """Give a table whose first column has the names; columns that say nothing are left out.

    So are others, until names have room enough, or all that they need.
    """
    written = [UNKNOWN if name is None else escape(name) for name in names]
    telling = [column for column in columns if not column.says_nothing]
    kept, room = _fitting(telling, max(map(cell_len, (title, *written))), width, name_enough)
    table = empty_grid()
    table.add_column(title, no_wrap=True)
    for column in kept:
        table.add_column(column.title, justify="left" if column.left else "right", no_wrap=True)
    for index, (name, style) in enumerate(zip(written, styles, strict=True)):
        texts = [Text(elided(name, room)), *(Text(column.cells[index]) for column in kept)]
        table.add_row(*texts, style=style)
    return table


def empty_grid() -> Table:
    """Give a table without columns yet, in the one look that all of them have."""
    return Table(
        box=box.SIMPLE_HEAD,
        padding=(0, _GAP - 1, 0, 0),
        show_edge=False,
        pad_edge=False,
        header_style="bold",
    )


def _fitting(
    columns: list[Column], longest: int, width: int, enough: int
) -> tuple[list[Column], int]:
    """Leave out columns by rank until names have room; give the rest and the room for names."""
    while True:
        room = width - sum(column.width for column in columns)
        last = max(columns, key=lambda column: column.rank, default=None)
        if room >= min(longest, enough) or last is None or not last.rank:
            return columns, max(room, NAME_LEAST)
        columns = [column for column in columns if column is not last]


def facts(told: Iterable[str], width: int) -> Iterator[Text]:
    """Write facts one after the other, a new line where the next does not fit."""
    line = ""
    for fact in told:
        if line and cell_len(f"{line} · {fact}") > width:
            yield Text(line, "dim")
            line = ""
        line = f"{line} · {fact}" if line else fact
        while cell_len(line) > width:
            head, *rest = textwrap.wrap(line, width)
            yield Text(head, "dim")
            line = " ".join(rest)
    yield Text(line, "dim")


def number(value: float | None) -> str:
    """Write a number in four significant digits.

    >>> number(1234.56), number(0.0), number(None)
    ('1.235e+03', '0', '–')
    """
    if value is None:
        return UNKNOWN
    return f"{value:.3e}" if value and math.isfinite(value) else f"{value:.0f}"


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


def nonfinite(nan: int, posinf: int, neginf: int) -> str:
    """Say in words which values are not finite.

    >>> nonfinite(3, 0, 1)
    '3 NaN, 1 -inf'
    """
    counts = ((nan, "NaN"), (posinf, "+inf"), (neginf, "-inf"))
    return ", ".join(f"{count:,} {what}" for count, what in counts if count)


def plural(count: int, noun: str) -> str:
    """Write how many there are of something.

    >>> plural(1, "tensor"), plural(2000, "value")
    ('1 tensor', '2,000 values')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
