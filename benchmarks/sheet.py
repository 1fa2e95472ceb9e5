"""A table and a few lines below it, for a terminal or as Markdown, whatever it is about."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

Cells = tuple[str, ...]

_WIDE = 160  # columns where no terminal says how wide it is


@dataclass(frozen=True, slots=True)
class Sheet:
    """Titles, those of them whose columns are aligned to the right, rows, and lines of remarks."""

    titles: Cells
    right: frozenset[str]
    rows: Sequence[Cells]
    remarks: Sequence[str]


def show(sheet: Sheet, style: Callable[[Cells], str] = lambda _: "") -> None:
    """Print to standard output; `style` gives that of a row."""
    console = Console(highlight=False, emoji=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDE
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in sheet.titles:
        grid.add_column(title, justify="right" if title in sheet.right else "left", overflow="fold")
    for cells in sheet.rows:
        grid.add_row(*cells, style=style(cells))
    console.print(grid, *sheet.remarks, sep="\n")


def markdown(sheet: Sheet) -> str:
    """Write the same as Markdown."""
    lines = [
        sheet.titles,
        tuple("--:" if title in sheet.right else "---" for title in sheet.titles),
        *sheet.rows,
    ]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return table + "".join(f"\n{remark}\n" for remark in sheet.remarks)
