"""A report for a person at a terminal: a table that fits, and what it means in a line.

Names are strangers: they enter Rich as `Text`, escaped. Bad values are told by words, not by colour
alone. What does not fit is left out from the right of the list of wishes, never wrapped.
"""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradclip_cli.names import escape
from gradclip_cli.report import Clipped, Report, TensorReport, rms

_UNKNOWN = "–"
_BAR = 10
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_NAME_LEAST, _NAME_MOST = 16, 100


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table: `wish` says how early it is left out, 0 is never."""

    title: str
    wish: int
    cell: Callable[[TensorReport], str]
    left: bool = False


def number(value: float | None) -> str:
    """Write a number in four significant digits.

    >>> number(1234.56), number(0.0), number(None)
    ('1.235e+03', '0', '–')
    """
    if value is None:
        return _UNKNOWN
    return f"{value:.3e}" if value and math.isfinite(value) else f"{value:.0f}"


def percent(share: float | None) -> str:
    """Write a share; what is not all is never called 100 %, what is not nothing never 0 %.

    >>> percent(0.99999), percent(1.0), percent(0.00001), percent(0.5)
    ('99.9 %', '100 %', '<0.1 %', '50.0 %')
    """
    if share is None:
        return _UNKNOWN
    if share == 1.0:
        return "100 %"
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{min(share * 100, 99.9):.1f} %"


def bar(share: float | None) -> str:
    """Draw a share as a bar of at most ten characters."""
    eighths = round((share or 0.0) * _BAR * 8)
    whole, part = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")


def counted(nan: int, posinf: int, neginf: int) -> str:
    """Say in words which values are not finite."""
    counts = ((nan, "NaN"), (posinf, "+inf"), (neginf, "-inf"))
    return " ".join(f"{count:,} {what}" for count, what in counts if count)


def _bad(tensor: TensorReport) -> str:
    moments = tensor.moments
    return "" if moments is None else counted(moments.nan, moments.posinf, moments.neginf)


def _at(tensor: TensorReport) -> str:
    index = tensor.max_abs_index
    return _UNKNOWN if index is None else ",".join(map(str, index))


_COLUMNS = (
    _Column("dtype", 3, lambda tensor: tensor.dtype, left=True),
    _Column("shape", 4, lambda tensor: "×".join(map(str, tensor.shape)) or "scalar", left=True),
    _Column("norm", 0, lambda tensor: number(tensor.moments.norm if tensor.moments else None)),
    _Column("share", 0, lambda tensor: percent(tensor.share)),
    _Column("", 2, lambda tensor: bar(tensor.share), left=True),
    _Column("rms", 6, lambda tensor: number(rms(tensor.moments) if tensor.moments else None)),
    _Column(
        "max |x|", 1, lambda tensor: number(tensor.moments.max_abs if tensor.moments else None)
    ),
    _Column("at", 7, _at),
    _Column("zeros", 5, lambda tensor: f"{tensor.moments.zeros:,}" if tensor.moments else _UNKNOWN),
    _Column("not finite", 0, _bad, left=True),
)


def table(report: Report, width: int, colour: bool) -> str:
    """Write the report for a terminal of so many columns."""
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        no_color=not colour,
        color_system="standard" if colour else None,
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
    )
    with console.capture() as capture:
        if report.clipped is None:
            console.print(_tensor_table(report, width))
            console.print()
        for line in _foot(report):
            console.print(line, soft_wrap=True)
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def _tensor_table(report: Report, width: int) -> Table:
    rows = [(escape(tensor.name or ""), tensor) for tensor in report.tensors]
    columns = [
        (column, [column.cell(tensor) for _, tensor in rows])
        for column in _COLUMNS
        if column.title != "not finite" or report.moments.nonfinite
    ]
    longest = max(map(cell_len, ("tensor", *(name for name, _ in rows))))
    kept, name_width = _fitting(columns, longest, width)
    grid = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
        header_style="bold",
    )
    grid.add_column("tensor", no_wrap=True)
    for column, _ in kept:
        grid.add_column(column.title, justify="left" if column.left else "right", no_wrap=True)
    for index, (name, tensor) in enumerate(rows):
        style = "bold red" if _bad(tensor) else "" if tensor.measured else "dim"
        texts = [Text(elided(name, name_width)), *(Text(cells[index]) for _, cells in kept)]
        grid.add_row(*texts, style=style)
    return grid


def _fitting(
    columns: Sequence[tuple[_Column, list[str]]], longest: int, width: int
) -> tuple[list[tuple[_Column, list[str]]], int]:
    """Leave out the least wished-for columns until the names have room."""
    kept = list(columns)
    while True:
        taken = sum(2 + max(map(cell_len, (column.title, *cells))) for column, cells in kept)
        room = width - taken
        optional = [column for column, _ in kept if column.wish]
        if room >= min(longest, _NAME_MOST) or not optional:
            return kept, max(room, _NAME_LEAST)
        if room >= 40 and max(column.wish for column in optional) <= 4:
            return kept, room
        last = max(optional, key=lambda column: column.wish)
        kept = [pair for pair in kept if pair[0] is not last]


def elided(name: str, width: int) -> str:
    """Cut a name in the middle so that it takes at most `width` columns.

    >>> elided("transformer.layers.10.weight", 16)
    'transfo…0.weight'
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


def _foot(report: Report) -> list[Text]:
    moments = report.moments
    files = escape(report.files[0]) if len(report.files) == 1 else ""
    facts = [f"{report.measured:,} tensors", f"{moments.count:,} values", *filter(None, [files])]
    lines = [Text.assemble(("global norm  ", "bold"), (f"{report.global_norm!r}", "bold"))]
    if moments.nonfinite:
        lines[0].append(f"  (finite part {report.finite_norm!r})")
    lines[0].append(f"  {' · '.join([*facts, *report.notes])}", "dim")
    lines.append(Text(_verdict(report)))
    return lines + ([_clipping(report.clipped)] if report.clipped else [])


def _verdict(report: Report) -> str:
    """Say in one line what a person has to know first."""
    moments = report.moments
    if moments.nonfinite:
        bad = [tensor for tensor in report.tensors if _bad(tensor)]
        first = bad[0]
        return (
            f"{len(bad):,} of {report.measured:,} tensors hold values that are not finite: "
            f"{counted(moments.nan, moments.posinf, moments.neginf)}; "
            f"first {escape(first.name or '')} at {list(first.first_nonfinite or ())}"
        )
    if report.overflows:
        return "the global norm is beyond float64"
    if report.measured == 0:
        return "nothing to measure"
    if report.global_norm == 0:
        return "all values are zero"
    worst = report.tensors[0]
    if report.measured == 1:
        return "all values are finite"
    return (
        f"all values are finite; {escape(worst.name or '')} holds {percent(worst.share)} "
        "of the squared norm"
    )


def _clipping(clipped: Clipped) -> Text:
    before = f"norm {clipped.norm_before!r}, limit {clipped.clip_norm!r}"
    if not clipped.clipped:
        return Text(f"not clipped: {before}")
    after = (
        "nothing was written"
        if clipped.norm_after is None
        else f"norm after {clipped.norm_after!r}"
    )
    lost = f", {clipped.flushed:,} values became zero" if clipped.flushed else ""
    return Text(f"clipped: {before}, coefficient {clipped.coefficient!r}; {after}{lost}")
