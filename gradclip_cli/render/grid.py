"""A table that fits a terminal, with what is said above and below it.

Names are strangers: they enter Rich as `Text`, escaped. Where there is no room the least needed
columns go first, then the middle of long names; nothing is ever wrapped.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradclip_cli.render.screen import Screen
from gradclip_cli.render.words import CELLS, elided
from gradclip_cli.results.columns import Column as Told
from gradclip_cli.results.columns import Sheet
from gradclip_cli.results.phrases import UNKNOWN
from gradclip_cli.tensors.names import escape

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


def cells(sheet: Sheet, rows: Sequence[Any]) -> list[Column]:
    """Give the columns of a sheet that a terminal's table has, each with its cells."""
    return [
        Column(column.title or "", column.rank, [cell(column, row) for row in rows], column.left)
        for column in sheet.titled
    ]


def cell(column: Told, row: Any) -> str:
    """Write a row's value in a column."""
    return CELLS[column.words](column.of(row))


def printed(console: Console, lines: Iterable[Text]) -> str:
    """Write lines as they are, without the spaces at their ends."""
    with console.capture() as capture:
        for line in lines:
            line.rstrip()
            console.print(line, soft_wrap=True)
    return capture.get()


def aligned(text: str, width: int, left: bool) -> str:
    """Fill a cell up with spaces to a width."""
    space = " " * max(width - cell_len(text), 0)
    return text + space if left else space + text


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
