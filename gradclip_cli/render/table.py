"""A report for a person at a terminal: a table that fits, and what it means in a line.

Names are strangers: they enter Rich as `Text`, escaped. Bad values are told by words, not by colour
alone. Where there is no room the least needed columns go first, then the middle of long names;
nothing is ever wrapped.
"""

import io
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradclip_cli.moments import Sums
from gradclip_cli.names import escape
from gradclip_cli.render.screen import Screen
from gradclip_cli.report import Clipped, Report, Row, rms

UNKNOWN = "–"
_BAR = 10
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_GAP = 2
_NAME_ENOUGH = 40  # columns are left out until a name has this much, or all that it needs
_NAME_LEAST = 12


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: the higher `rank`, the earlier it is left out; 0 always stays."""

    title: str
    rank: int
    cell: Callable[[Row, Report], str]
    left: bool = False


def number(value: float | None) -> str:
    """Write a number in four significant digits.

    >>> number(1234.56), number(0.0), number(None)
    ('1.235e+03', '0', '–')
    """
    if value is None:
        return UNKNOWN
    return f"{value:.3e}" if value and math.isfinite(value) else f"{value:.0f}"


def percent(share: float | None, part: Sums = ((0, (1.0,)),), whole: Sums = ()) -> str:
    """Write a share; what is not all is never called 100 %, what is not nothing never 0 %.

    The exact sums of squares of the part and the whole decide where the share was rounded.

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


def bar(share: float | None) -> str:
    """Draw a share as a bar of at most ten characters.

    >>> bar(1.0), bar(0.33)
    ('██████████', '███▎')
    """
    whole, part = divmod(round((share or 0.0) * _BAR * 8), 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")


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


def _bad(row: Row) -> str:
    moments = row.moments
    return "" if moments is None else nonfinite(moments.nan, moments.posinf, moments.neginf)


def _shape(row: Row) -> str:
    if row.shape is None:
        return UNKNOWN
    return "×".join(map(str, row.shape)) or "scalar"


def _share(row: Row, report: Report) -> str:
    if row.moments is None:
        return UNKNOWN
    return percent(row.share, row.moments.squares, report.moments.squares)


def _at(row: Row) -> str:
    index = row.max_abs_index
    return UNKNOWN if index is None else ",".join(map(str, index))


_COLUMNS = (
    _Column("dtype", 3, lambda row, _: row.dtype or "mixed", left=True),
    _Column("shape", 4, lambda row, _: _shape(row), left=True),
    _Column("norm", 0, lambda row, _: number(row.moments.norm if row.moments else None)),
    _Column("share", 0, _share),
    _Column("", 2, lambda row, _: bar(row.share), left=True),
    _Column("rms", 6, lambda row, _: number(rms(row.moments) if row.moments else None)),
    _Column("max |x|", 1, lambda row, _: number(row.moments.max_abs if row.moments else None)),
    _Column("at", 7, lambda row, _: _at(row)),
    _Column("zeros", 5, lambda row, _: f"{row.moments.zeros:,}" if row.moments else UNKNOWN),
    _Column("not finite", 0, lambda row, _: _bad(row), left=True),
)


def table(report: Report, screen: Screen) -> str:
    """Write the report for a terminal: its rows, what is true of the whole, and a verdict.

    The report of `apply` has no rows here: what it did is said in a few lines.
    """
    console = console_of(screen)
    foot = list(_foot(report, screen.width))
    with console.capture() as capture:
        if report.clipped is not None:
            for line in _clipping(report.clipped):
                console.print(line, soft_wrap=True)
        elif report.rows:
            shown = _shown(report.rows, len(foot), screen.height)
            console.print(_grid(shown, report, screen.width))
            if len(shown) < len(report.rows):
                rest = len(report.rows) - len(shown)
                console.print(Text(f"… {rest:,} more, --all shows them", "dim"))
            console.print()
        for line in foot:
            console.print(line, soft_wrap=True)
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


def _shown(rows: Sequence[Row], foot: int, height: int | None) -> Sequence[Row]:
    """Give the rows that fit above the foot: two lines of head, an empty one, and the prompt."""
    if height is None or len(rows) + foot + 4 <= height:
        return rows
    return rows[: max(height - foot - 5, 3)]


def _grid(rows: Sequence[Row], report: Report, width: int) -> Table:
    names = [UNKNOWN if row.name is None else escape(row.name) for row in rows]
    title = rows[0].kind
    columns = [(column, [column.cell(row, report) for row in rows]) for column in _COLUMNS]
    columns = [
        (column, cells)
        for column, cells in columns
        if any(cell not in ("", UNKNOWN) for cell in cells)
    ]
    kept, room = _fitting(columns, max(map(cell_len, (title, *names))), width)
    grid = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, _GAP - 1, 0, 0),
        show_edge=False,
        pad_edge=False,
        header_style="bold",
    )
    grid.add_column(title, no_wrap=True)
    for column, _ in kept:
        grid.add_column(column.title, justify="left" if column.left else "right", no_wrap=True)
    for index, (name, row) in enumerate(zip(names, rows, strict=True)):
        style = "bold red" if _bad(row) else "" if row.measured else "dim"
        texts = [Text(elided(name, room)), *(Text(cells[index]) for _, cells in kept)]
        grid.add_row(*texts, style=style)
    return grid


def _fitting(
    columns: list[tuple[_Column, list[str]]], longest: int, width: int
) -> tuple[list[tuple[_Column, list[str]]], int]:
    """Leave out columns by rank until names have room; give the rest and the room for names."""
    while True:
        taken = sum(_GAP + max(map(cell_len, (column.title, *cells))) for column, cells in columns)
        room = width - taken
        last = max((column for column, _ in columns), key=lambda column: column.rank)
        if room >= min(longest, _NAME_ENOUGH) or not last.rank:
            return columns, max(room, _NAME_LEAST)
        columns = [pair for pair in columns if pair[0] is not last]


def _foot(report: Report, width: int) -> Iterator[Text]:
    moments = report.moments
    if report.clipped is None:
        norm = Text.assemble(("global norm", "bold"), "  ", (repr(report.global_norm), "bold"))
        if moments.nonfinite:
            norm.append(f"  without what is not finite {report.finite_norm!r}")
        yield norm
        yield Text(_verdict(report, width), "bold red" if moments.nonfinite else "")
    facts = [_plural(moments.count, "value"), *report.notes]
    if report.measured == report.total:
        facts.insert(0, _plural(report.total, "tensor"))
    if len(report.files) == 1:
        facts.append(elided(escape(report.files[0]), width))
    line = ""
    for fact in facts:
        if line and cell_len(f"{line} · {fact}") > width:
            yield Text(line, "dim")
            line = ""
        line = f"{line} · {fact}" if line else fact
        while cell_len(line) > width:
            head, *rest = textwrap.wrap(line, width)
            yield Text(head, "dim")
            line = " ".join(rest)
    yield Text(line, "dim")


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _verdict(report: Report, width: int) -> str:
    """Say in one line what a person has to know first."""
    moments = report.moments
    if moments.nonfinite:
        return _nonfinite_verdict(report, width)
    if report.overflows:
        return "the global norm is beyond float64"
    if report.measured == 0:
        return "there is nothing to measure"
    if report.global_norm == 0:
        return "all values are zero"
    worst = report.worst
    if report.measured == 1 or worst is None:
        return "all values are finite"
    end = f" has {_share(worst, report)} of the squared norm"
    return f"all finite; {_named(worst, width - len(end) - 12)}{end}"


def _nonfinite_verdict(report: Report, width: int) -> str:
    moments = report.moments
    what = nonfinite(moments.nan, moments.posinf, moments.neginf)
    worst = report.worst
    if worst is None:
        return f"not finite: {what}"
    at = "" if worst.first_nonfinite is None else f" at {list(worst.first_nonfinite)}"
    for start, end in (
        (f"not finite: {what}, the first in ", at),
        (f"{_plural(moments.nonfinite, 'value')} not finite, the first in ", at),
        ("not finite, the first in ", ""),
    ):
        room = width - len(start) - len(end)
        if room >= min(_NAME_LEAST, cell_len(escape(worst.name or ""))):
            break
    return start + _named(worst, room) + end


def _named(row: Row, room: int) -> str:
    if row.name is None:
        return "the unnamed tensor"
    return elided(escape(row.name), max(room, _NAME_LEAST))


def _clipping(clipped: Clipped) -> Iterator[Text]:
    lines = [
        ("norm before", repr(clipped.norm_before)),
        ("limit", repr(clipped.clip_norm)),
        ("coefficient", repr(clipped.coefficient)),
        ("clipped", "yes" if clipped.clipped else "no"),
    ]
    if clipped.norm_after is None:
        lines.append(("norm after", "nothing was written"))
    else:
        lines.append(("norm after", f"{clipped.norm_after!r}  measured from what was written"))
    if clipped.flushed:
        lines.append(("became zero", _plural(clipped.flushed, "value")))
    if clipped.saturated:
        lines.append(("saturated", _plural(clipped.saturated, "value")))
    for title, value in lines:
        yield Text.assemble((f"{title:<11}", "bold"), "  ", value)
