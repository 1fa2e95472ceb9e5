"""A report for a person at a terminal: a table that fits, and what it means in a line.

Bad values are told by words, not by colour alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from gradclip_cli.render.grid import (
    cells,
    empty_grid,
    grid,
    more,
    page,
    room_for,
)
from gradclip_cli.render.page import Page
from gradclip_cli.render.words import elided, facts, wrapped
from gradclip_cli.results.columns import Result
from gradclip_cli.results.phrases import UNKNOWN
from gradclip_cli.results.report import Report
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
        style = "bold red" if moments.nonfinite else ""
        yield from (Text(line, style) for line in wrapped(report.verdict, width))
    told = [plural(moments.count, "value"), *report.notes]
    told += [gate.says for gate in report.gates if gate.says and not gate.status]
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
