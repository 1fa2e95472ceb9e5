"""Tables of a page, made of a result's sheet as every format is: the same names and values."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from markupsafe import Markup, escape

from gradclip_cli.measure.statistics import STATISTICS
from gradclip_cli.render.html.numbers import text
from gradclip_cli.render.html.parts import Head, Line, Table, Tone
from gradclip_cli.render.html.svg import element
from gradclip_cli.results.columns import Column, Sheet
from gradclip_cli.tensors.names import escape as escaped
from gradclip_cli.tensors.names import plural, shortened, sides

MOST_ROWS = 1000
_LAST = {"source"}  # long, and seldom what one looks for
_WIDE = 40  # characters of a name that is not broken
LONGEST_NAME = 300  # characters
_DRAWN = {one.name for one in STATISTICS}  # as pictures, or for machines alone


def table(
    title: str,
    sheet: Sheet,
    rows: Sequence[Any],
    tone: Callable[[Any], Tone | None],
    order: str = "",
) -> Table:
    """Lay out rows, the first thousand of them, in the columns that tell."""
    shown = rows[:MOST_ROWS]
    columns = [column for column in sheet.own if column.name not in _DRAWN]
    columns.sort(key=lambda column: column.name in _LAST)
    first, *rest = columns
    kept, zero = [first], []
    seen: dict[tuple[Any, ...], str] = {}
    for column in rest:
        all_values = tuple([_plain(column.of(row)) for row in shown])
        values = {*all_values}
        if all(value is True for value in all_values):
            continue  # it is so in all rows
        if values <= {0}:  # or False
            zero.append(column.title or _words(column.name))
        elif values - {None, ""}:
            twin = seen.setdefault(all_values, column.name)
            if twin == column.name or column.name != "finite_norm":
                kept.append(column)
    heads = [
        Head(
            _words(column.name),
            column.doc.replace("`", "").replace("\\|", "|"),
            _kind(column, shown),
        )
        for column in kept
    ]
    lines = [
        Line([_cell(column, row, column is first) for column in kept], tone(row)) for row in shown
    ]
    left = []
    said = f", {order}" if order else ""
    if len(rows) > len(shown):
        left.append(f"the first {len(shown):,} of {plural(len(rows), 'row')}{said}")
    if zero:
        left.append(f"0 in all these rows: {', '.join(zero)}")
    return Table(title, heads, lines, left, order if len(lines) > 1 else "")


def _kind(column: Column, rows: Sequence[Any]) -> Literal["num", "name", ""]:
    if column.words == "name":
        return "name"
    return "num" if any(_is_number(column.of(row)) for row in rows) else ""


def _words(name: str) -> str:
    return name.replace("_", " ")


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(column: Column, row: Any, is_first: bool) -> Markup:
    value = column.of(row)
    if column.words == "name":
        if value is None:
            return escape("(no name)" if is_first else "")
        name = shortened(escaped(value), LONGEST_NAME)
        if len(name) <= _WIDE:
            return escape(name)
        return element("span", Markup(".<wbr>").join(name.split(".")), class_="long")
    if column.words == "shape" and value is not None:
        return escape(sides(value))
    if isinstance(value, str):
        return escape(shortened(escaped(value), LONGEST_NAME))
    if column.name == "share" and value is not None:
        return text(value) + bar(value)
    return Markup("") if value is None else text(value)


def bar(share: float) -> Markup:
    """Draw a share as a small bar; nothing of what could not be seen."""
    if not 0.005 <= share <= 1:
        return Markup("")
    drawn = element("rect", width=round(share * 60), height=8)
    return element("svg", drawn, class_="bar", width=60, height=8, aria_hidden="true")


def worst_steps(steps: Iterable[Any]) -> list[Any]:
    """Sort steps: what cannot be read or is not finite in its order, then by the norm."""

    def badness(step: Any) -> tuple[int, float]:
        norm = getattr(step, "global_norm", None)
        if norm is None or not math.isfinite(norm):
            return 0, 0.0
        return (1 if step.mark else 2), -norm

    return sorted(steps, key=badness)
