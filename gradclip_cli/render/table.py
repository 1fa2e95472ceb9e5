"""A report for a person at a terminal: a table that fits, and what it means in a line.

Bad values are told by words, not by colour alone.
"""

import math
from collections.abc import Callable, Iterator, Sequence

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from gradclip_cli.measure.moments import Sums
from gradclip_cli.render.grid import (
    NAME_LEAST,
    UNKNOWN,
    Column,
    elided,
    empty_grid,
    facts,
    grid,
    more,
    nonfinite,
    number,
    page,
    plural,
    room_for,
)
from gradclip_cli.render.screen import Screen
from gradclip_cli.results.report import Report, Row, WhatIf
from gradclip_cli.tensors.names import escape

_BAR = 10
_EIGHTHS = " ▏▎▍▌▋▊▉█"


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
    return percent(row.share, row.moments.sums, report.moments.sums)


def _at(row: Row) -> str:
    index = row.max_abs_index
    return UNKNOWN if index is None else ",".join(map(str, index))


_COLUMNS: tuple[tuple[str, int, Callable[[Row, Report], str], bool], ...] = (
    # title, rank, cell, whether it stands on the left
    ("dtype", 3, lambda row, _: row.dtype or "mixed", True),
    ("shape", 4, lambda row, _: _shape(row), True),
    ("norm", 0, lambda row, _: number(row.moments.norm if row.moments else None), False),
    ("share", 0, _share, False),
    ("", 2, lambda row, _: bar(row.share), True),
    ("rms", 6, lambda row, _: number(row.rms), False),
    ("max |x|", 1, lambda row, _: number(row.moments.max_abs if row.moments else None), False),
    ("at", 7, lambda row, _: _at(row), False),
    ("zeros", 5, lambda row, _: f"{row.moments.zeros:,}" if row.moments else UNKNOWN, False),
    ("not finite", 0, lambda row, _: _bad(row), True),
)


def table(report: Report, screen: Screen) -> str:
    """Write the report for a terminal: its rows, what is true of the whole, and a verdict.

    The report of `apply` has no rows here: what it did is said in a few lines.
    """
    return page(screen, _parts(report, screen))


def _parts(report: Report, screen: Screen) -> Iterator[Text | Table]:
    foot = list(_foot(report, screen.width))
    below = len(report.what_if) + 3 if report.what_if else 0
    if report.clipped is not None:
        from gradclip_cli.render.ruling import told  # the rules take time to import

        yield from told(report.clipped, report.ruling, len(report.tensors))
    elif report.rows:
        shown = report.rows[: room_for(len(report.rows), len(foot) + below, screen.height)]
        yield _grid(shown, report, screen.width)
        if len(shown) < len(report.rows):
            yield more(len(report.rows) - len(shown))
        yield Text()
    yield from foot
    if report.what_if:
        yield Text()
        yield _what_if(report.what_if)


def _grid(rows: Sequence[Row], report: Report, width: int) -> Table:
    columns = [
        Column(title, rank, [cell(row, report) for row in rows], left)
        for title, rank, cell, left in _COLUMNS
    ]
    styles = ["bold red" if _bad(row) else "" if row.measured else "dim" for row in rows]
    return grid(rows[0].kind, [row.name for row in rows], columns, styles, width)


def _foot(report: Report, width: int) -> Iterator[Text]:
    moments = report.moments
    if report.clipped is None:
        norm = Text.assemble(("global norm", "bold"), "  ", (repr(report.global_norm), "bold"))
        if moments.nonfinite:
            norm.append(f"  without what is not finite {report.finite_norm!r}")
        yield norm
        yield Text(_verdict(report, width), "bold red" if moments.nonfinite else "")
    told = [plural(moments.count, "value"), *report.notes]
    if report.measured == report.total:
        told.insert(0, plural(report.total, "tensor"))
    if len(report.files) == 1:
        told.append(elided(escape(report.files[0]), width))
    yield from facts(told, width)


def _what_if(chances: Sequence[WhatIf]) -> Table:
    table = empty_grid()
    for title in ("limit", "coefficient", "norm after", "to zero", "subnormal"):
        table.add_column(title, justify="right", no_wrap=True)
    for chance in chances:
        known = (chance.coefficient, chance.norm_after)
        counts = (chance.flushed, chance.subnormal)
        table.add_row(
            repr(chance.clip_norm),
            *(UNKNOWN if value is None else repr(value) for value in known),
            *(UNKNOWN if count is None else f"{count:,}" for count in counts),
        )
    return table


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
    end = f" has {_share(worst, report)} of {_shared(moments.norm_type)}"
    if moments.norm_type == math.inf:
        end = " has the largest value"
    return f"all finite; {_named(worst, width - len(end) - 12)}{end}"


def _shared(p: float) -> str:
    """Say what shares are of: what adds up to the norm of this type."""
    known: dict[float, str] = {
        0: "the values that are not zero",
        1: "the norm",
        2: "the squared norm",
    }
    return known.get(p, f"the sum of |x|^{p:g}")


def _nonfinite_verdict(report: Report, width: int) -> str:
    moments = report.moments
    what = nonfinite(moments.nan, moments.posinf, moments.neginf)
    worst = report.worst
    if worst is None:
        return f"not finite: {what}"
    at = "" if worst.first_nonfinite is None else f" at {list(worst.first_nonfinite)}"
    for start, end in (
        (f"not finite: {what}, the first in ", at),
        (f"{plural(moments.nonfinite, 'value')} not finite, the first in ", at),
        ("not finite, the first in ", ""),
    ):
        room = width - len(start) - len(end)
        if room >= min(NAME_LEAST, cell_len(escape(worst.name or ""))):
            break
    return start + _named(worst, room) + end


def _named(row: Row, room: int) -> str:
    if row.name is None:
        return "the unnamed tensor"
    return elided(escape(row.name), max(room, NAME_LEAST))
