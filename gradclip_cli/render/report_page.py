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
from gradclip_cli.render.words import CELLS, elided, facts, wrapped
from gradclip_cli.results.columns import Result, Sheet
from gradclip_cli.results.figures import CLIPPED
from gradclip_cli.results.phrases import UNKNOWN
from gradclip_cli.results.report import Report, Row
from gradclip_cli.tensors.names import escape, plural

_EFFECTS = ("norm after", "to zero", "subnormal")

if TYPE_CHECKING:
    from gradclip_cli.results.figures import Clipped, WhatIf, Written


class ReportPage(Page):
    """A dump's rows, what is true of the whole, and a verdict.

    Of `apply` a few lines say what it did, and where; rows are those that it clipped, where each
    has its own limit.
    """

    def end(self, result: Result) -> Iterable[str]:
        """Give the page."""
        assert isinstance(result, Report)
        return [page(self.screen, self._parts(result))]

    def _parts(self, report: Report) -> Iterator[Text | Table]:
        width, height = self.screen.width, self.screen.height
        foot = list(_foot(report, width))
        below = len(report.what_if) + 3 if report.what_if else 0
        rows: Sequence[Row] = report.rows
        sheet = self.sheet
        if report.clipped is not None:
            lines = list(_clipped(report.clipped, report, len(report.tensors)))
            rows, sheet = _clipped_rows(report), _CLIPPED
            yield from lines
            if rows:
                below += len(lines) + 1
                yield Text()
        if rows:
            shown = rows[: room_for(len(rows), len(foot) + below, height)]
            names = [row.name for row in shown]
            styles = [
                "bold red" if any(row.bad) else "" if row.measured else "dim" for row in shown
            ]
            yield grid(shown[0].kind, names, cells(sheet, shown), styles, width)
            if len(shown) < len(rows):
                yield more(len(rows) - len(shown))
            yield Text()
        yield from foot
        if report.what_if:
            yield Text()
            yield _what_if(report.what_if)


_CLIPPED = Sheet("clipped", CLIPPED, "tensor", {})


def _clipped_rows(report: Report) -> Sequence[Row]:
    """Give the tensors that were clipped, worst first, where each has a limit of its own."""
    if report.ruling is None or report.ruling.rule.is_joint:
        return ()
    return [row for row in report.rows if row.clipped is not None and row.clipped.clipped]


def _clipped(clipped: "Clipped", report: Report, tensors: int) -> Iterator[Text]:
    """Say what `apply` did to so many tensors: the rule, the norms, what was lost."""
    ruling = report.ruling
    would_be = "would be " if report.written is not None and report.written.dry_run else ""
    lines = []
    if ruling is not None and ruling.rule.told:
        lines.append(("rule", ruling.rule.told))
    lines.append(("norm before", repr(clipped.norm_before)))
    if ruling is not None:
        lines.append(("limit", ruling.rule.bound))
    if clipped.coefficient is not None:
        lines.append(("coefficient", repr(clipped.coefficient)))
    some = (would_be.strip() or "yes") if clipped.clipped else "no"
    if clipped.clipped and ruling is not None and not ruling.rule.is_joint:
        some = f"{ruling.changed:,} of {plural(tensors, 'tensor')}{would_be and ' would be'}"
    lines.append(("clipped", some))
    measured = f"measured from what {would_be or 'was '}written"
    lines.append(("norm after", f"{clipped.norm_after!r}  {measured}"))
    if clipped.flushed:
        title = "would be zero" if would_be else "became zero"
        lines.append((title, plural(clipped.flushed, "value")))
    if clipped.saturated:
        lines.append((f"{would_be}saturated", plural(clipped.saturated, "value")))
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
    if report.written is not None:
        yield Text(_where(report.written))


def _where(written: "Written") -> str:
    """Say where results went, or would go; a path is not cut, so that it can be copied."""
    if written.paths is None:
        return "nothing was written, and no place is named: add -o or --in-place"
    done = "would be written" if written.dry_run else "written"
    count = len(written.paths)
    if written.in_place and not count:
        return f"no file {'would be' if written.dry_run else 'was'} changed"
    if written.in_place:
        where = f"{count:,} of {plural(written.files, 'file')}"
        if written.files == 1:
            where = escape(*written.paths)
        kept = f", the original as {escape(written.backups[0])}" if written.backups else ""
        if len(written.backups) > 1:
            kept = ", the originals beside them"
        return f"{done} in place: {where}{kept}"
    if written.paths == ("-",):
        return f"{done} to standard output"
    if written.folder:
        return f"{done}: {plural(count, 'file')} into {escape(written.folder)}"
    return f"{done} to {escape(*written.paths)}"


def _what_if(chances: "Sequence[WhatIf]") -> Table:
    """Give a row a rule; where one is not for the joint norm, also which, and what it clips."""
    joint = all(chance.rule.is_joint for chance in chances)
    table = empty_grid()
    if not joint:
        table.add_column("rule", no_wrap=True)
        table.add_column("clipped", justify="right", no_wrap=True)
    for title in ("limit", *(["coefficient"] if joint else []), *_EFFECTS):
        table.add_column(title, justify="right", no_wrap=True)
    count, number = CELLS["count"], _in_full if joint else CELLS["number"]
    for chance in chances:
        table.add_row(
            *([] if joint else [chance.rule.word, count(chance.changed)]),
            chance.rule.bound,
            *([number(chance.coefficient)] if joint else []),
            number(chance.norm_after),
            count(chance.flushed),
            count(chance.subnormal),
        )
    return table


def _in_full(value: float | None) -> str:
    return UNKNOWN if value is None else repr(value)
