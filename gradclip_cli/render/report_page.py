"""A report for a person at a terminal: a table that fits, and what it means in a line.

Bad values are told by words, not by colour alone.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from gradclip_cli.render.grid import (
    NAME_LEAST,
    cells,
    empty_grid,
    grid,
    more,
    page,
    room_for,
)
from gradclip_cli.render.page import Page
from gradclip_cli.render.words import UNKNOWN, elided, facts, name_of, nonfinite, part_of
from gradclip_cli.results.columns import Result
from gradclip_cli.results.report import Report, Row
from gradclip_cli.tensors.names import escape, plural

if TYPE_CHECKING:
    from gradclip_cli.results.figures import Clipped, Ruling, WhatIf


class ReportPage(Page):
    """A dump's rows, what is true of the whole, and a verdict.

    The report of `apply` has no rows here: what it did is said in a few lines.
    """

    def end(self, result: Result) -> Iterable[str]:
        """Give the page."""
        assert isinstance(result, Report)
        return [page(self.screen, self._parts(result))]

    def _parts(self, report: Report) -> Iterator[Text | Table]:
        width, height = self.screen.width, self.screen.height
        foot = list(_foot(report, width))
        below = len(report.what_if) + 3 if report.what_if else 0
        if report.clipped is not None:
            yield from _clipped(report.clipped, report.ruling, len(report.tensors))
        elif report.rows:
            shown = report.rows[: room_for(len(report.rows), len(foot) + below, height)]
            names = [row.name for row in shown]
            styles = [
                "bold red" if any(row.bad) else "" if row.measured else "dim" for row in shown
            ]
            yield grid(shown[0].kind, names, cells(self.sheet, shown), styles, width)
            if len(shown) < len(report.rows):
                yield more(len(report.rows) - len(shown))
            yield Text()
        yield from foot
        if report.what_if:
            yield Text()
            yield _what_if(report.what_if)


def _clipped(clipped: "Clipped", ruling: "Ruling | None", tensors: int) -> Iterator[Text]:
    """Say what `apply` did to so many tensors: the rule, the norms, what was lost."""
    lines = []
    if ruling is not None and ruling.rule.told:
        lines.append(("rule", ruling.rule.told))
    lines.append(("norm before", repr(clipped.norm_before)))
    if ruling is not None:
        lines.append(("limit", ruling.rule.bound))
    if clipped.coefficient is not None:
        lines.append(("coefficient", repr(clipped.coefficient)))
    some = "yes" if clipped.clipped else "no"
    if clipped.clipped and ruling is not None and not ruling.rule.is_joint:
        some = f"{ruling.changed:,} of {plural(tensors, 'tensor')}"
    lines.append(("clipped", some))
    if clipped.norm_after is None:
        lines.append(("norm after", "nothing was written"))
    else:
        lines.append(("norm after", f"{clipped.norm_after!r}  measured from what was written"))
    if clipped.flushed:
        lines.append(("became zero", plural(clipped.flushed, "value")))
    if clipped.saturated:
        lines.append(("saturated", plural(clipped.saturated, "value")))
    if ruling is not None and ruling.like is not None:
        like = f"as {ruling.like}"
        lines.append((like, "; ".join(ruling.departures) or "as exact but for rounding"))
    widest = max(len(title) for title, _ in lines)
    for title, value in lines:
        yield Text.assemble((title.ljust(widest), "bold"), "  ", value)


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
    yield from (Text(line, "dim") for line in facts(told, width))


def _what_if(chances: "Sequence[WhatIf]") -> Table:
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
    end = f" has {part_of(worst.part)} of {_shared(moments.norm_type)}"
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
    what = nonfinite((moments.nan, moments.posinf, moments.neginf))
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
    return name_of(row.name, max(room, NAME_LEAST))
