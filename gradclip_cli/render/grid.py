"""A table that fits a terminal, with what is said above and below it.

Names are strangers, and come escaped. Where there is no room the least needed columns go first,
then digits, then what all names share, which is written above them; a name that is longer still
goes on in a second line. Nothing that tells two rows apart is ever cut.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.text import Text

from gradclip_cli.render.names import Folded, broken, folded, width_of
from gradclip_cli.render.screen import Screen
from gradclip_cli.render.words import BRIEF, CELLS, wrapped
from gradclip_cli.results.columns import Column as Told
from gradclip_cli.results.columns import Sheet
from gradclip_cli.results.phrases import UNKNOWN
from gradclip_cli.tensors.names import escape

NAME_LEAST = 16
GAP = "  "
_NAME_ENOUGH = 40
_LINES_LEAST = 3
_ASIDE = "    "


@dataclass(frozen=True)
class Column:
    """A column and its cells: the higher `rank`, the earlier it is left out; 0 always stays.

    `fewer` gives the same cells in fewer digits.
    """

    title: str
    rank: int
    cells: Sequence[str]
    left: bool = False
    fewer: Callable[[], Sequence[str]] | None = None

    @cached_property
    def width(self) -> int:
        """Characters that it takes."""
        return max(map(width_of, (*self.title.split("\n"), *self.cells)))

    @property
    def says_nothing(self) -> bool:
        """Whether all cells are empty or unknown."""
        return all(cell in ("", UNKNOWN) for cell in self.cells)

    def narrower(self) -> "Column":
        """Give it in fewer digits, its title in lines of a word."""
        given = self.cells if self.fewer is None else self.fewer()
        return Column(self.title.replace(" ", "\n"), self.rank, given, self.left)

    def aligned(self) -> list[str]:
        """Give its cells, filled up to its width."""
        return [aligned(cell, self.width, self.left) for cell in self.cells]


def page(screen: Screen, parts: Iterable[Text]) -> str:
    """Write lines one below the other, in colour where the screen takes it."""
    console = console_of(screen)
    with console.capture() as capture:
        for part in parts:
            console.print(part, soft_wrap=True)
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


def cells(sheet: Sheet, rows: Sequence[Any]) -> list[Column]:
    """Give the columns of a sheet that a terminal's table has, each with its cells."""
    return [
        Column(
            column.title or "",
            column.rank,
            [cell(column, row) for row in rows],
            column.left,
            partial(_brief, column, rows) if column.words in BRIEF else None,
        )
        for column in sheet.titled
    ]


def cell(column: Told, row: Any) -> str:
    """Write a row's value in a column."""
    return CELLS[column.words](column.of(row))


def _brief(column: Told, rows: Sequence[Any]) -> list[str]:
    return [BRIEF[column.words](column.of(row)) for row in rows]


def printed(console: Console, lines: Iterable[Text]) -> str:
    """Write lines as they are, without the spaces at their ends."""
    with console.capture() as capture:
        for line in lines:
            line.rstrip()
            console.print(line, soft_wrap=True)
    return capture.get()


def aligned(text: str, width: int, left: bool) -> str:
    """Fill a cell up with spaces to a width."""
    space = " " * (width - width_of(text))
    return text + space if left else space + text


def more(hidden: int) -> Text:
    """Say how many rows there are that did not fit."""
    return Text(f"… {hidden:,} more, --all shows them", "dim")


def side_by_side(
    blocks: Sequence[Sequence[str]], widths: Sequence[int], lefts: Sequence[bool]
) -> str:
    """Put blocks of lines beside each other, each as wide as it is said to be."""
    lines = []
    for at in range(max(map(len, blocks))):
        texts = [block[at] if at < len(block) else "" for block in blocks]
        lines.append(GAP.join(map(aligned, texts, widths, lefts)).rstrip())
    return "\n".join(lines)


def titled(title: str, shared: str, room: int, width: int) -> tuple[str, list[str]]:
    """Write what names are, and what all share: beside it, or in lines of a width below."""
    whole = f"{title} {shared}" if shared else title
    if width_of(whole) <= room:
        return whole, []
    return title, [f"{GAP}{line}" for line in broken(shared, width - len(GAP), "")]


# The table


@dataclass(frozen=True, slots=True)
class Grid:
    """A table, laid out: its head, and its rows, each in one line or more, with their styles."""

    head: str
    width: int
    rows: Sequence[str]
    styles: Sequence[str]

    def fitting(self, total: int, lines: int, height: int | None) -> int:
        """Give how many rows fit beside so many lines: an empty one and the prompt come to them.

        Where it is not all of a `total`, another says so.
        """
        if height is None:
            return len(self.rows)
        heights = [row.count("\n") + 1 for row in self.rows]
        taken = self.head.count("\n") + 2 + lines + 2
        if len(heights) == total and sum(heights) + taken <= height:
            return total
        room, used = max(height - taken - 1, _LINES_LEAST), 0
        for count, one in enumerate(heights):
            used += one
            if used > room and count:
                return count
        return len(heights)

    def lines(self, count: int) -> Iterator[Text]:
        """Give the table with so many rows, those of one style behind each other in one text."""
        yield Text(self.head, "bold")
        yield Text("─" * self.width)
        places = range(count)
        for style, run in groupby(places, key=self.styles.__getitem__):
            yield Text("\n".join(map(self.rows.__getitem__, run)), style)


def listing(
    screen: Screen,
    title: str,
    sheet: Sheet,
    rows: Sequence[Any],
    styles: Sequence[str],
    beside: int,
) -> Iterator[Text]:
    """Give rows as a table, as many as fit beside so many lines, and how many more there are.

    Columns that say nothing are left out.
    """
    height = screen.height
    shown = rows if height is None else rows[: max(height - beside, _LINES_LEAST)]
    columns = [column for column in cells(sheet, shown) if not column.says_nothing]
    made = grid(title, [row.name for row in shown], columns, styles, screen.width)
    count = made.fitting(len(rows), beside, height)
    yield from made.lines(count)
    if count < len(rows):
        yield more(len(rows) - count)


def grid(
    title: str,
    names: Sequence[str | None],
    columns: Sequence[Column],
    styles: Sequence[str],
    width: int,
) -> Grid:
    """Lay out a table whose first column has the names."""
    written = [UNKNOWN if name is None else escape(name) for name in names]
    telling = [*columns]
    aside: list[Column] = []
    kept, shown, room = _fitting(title, written, telling, width)
    least = min(NAME_LEAST, _longest(title, shown.names))
    if room < least:  # what is said in words stands below its row
        aside = [column for column in telling if column.left and not column.rank]
        telling = [column for column in telling if column not in aside]
        kept, shown, room = _fitting(title, written, telling, width)
    room = max(room, least)
    blocks = [broken(name, room) for name in shown.names]
    room = min(room, max(_longest(title, shown.names), width_of(f"{title} {shown.shared}")))
    named, below = titled(title, shown.shared, room, width)
    heads = [[named], *(column.title.split("\n") for column in kept)]
    widths, lefts = [room, *(one.width for one in kept)], [True, *(one.left for one in kept)]
    head = "\n".join([side_by_side(heads, widths, lefts), *below])
    texts = zip(*(column.aligned() for column in kept), strict=True) if kept else [()] * len(blocks)
    rows = []
    for at, (block, text) in enumerate(zip(blocks, texts, strict=True)):
        first = GAP.join([aligned(block[0], room, left=True), *text]).rstrip()
        said = [line for one in aside if one.cells[at] for line in _below(one.cells[at], width)]
        rows.append("\n".join([first, *block[1:], *said]))
    return Grid(head, sum(widths) + len(GAP) * len(kept), rows, styles)


def _below(text: str, width: int) -> Iterator[str]:
    return wrapped(_ASIDE + text, width)


def _longest(title: str, names: Sequence[str]) -> int:
    return max(map(width_of, (title, *names)))


def _fitting(
    title: str, names: Sequence[str], columns: list[Column], width: int
) -> tuple[list[Column], Folded, int]:
    """Choose columns, how names are written, and the room for them; it may be too little."""
    choices = [
        (kept, width - sum(len(GAP) + one.width for one in kept)) for kept in _fewer(columns)
    ]
    forms = (partial(folded, names, tails=tails) for tails in (False, True))
    for form in (partial(Folded, names), *forms):
        shown = form()
        longest = _longest(title, shown.names)
        for kept, room in choices:
            if longest <= room:
                return kept, shown, room
    kept, room = next((one for one in choices if one[1] >= _NAME_ENOUGH), choices[-1])
    return kept, shown, room


def _fewer(columns: list[Column]) -> Iterator[list[Column]]:
    """Leave out a column after the other, then digits."""
    while True:
        yield columns
        last = max(columns, key=lambda column: column.rank, default=None)
        if last is None or not last.rank:
            break
        columns = [column for column in columns if column is not last]
    yield [column.narrower() for column in columns]
