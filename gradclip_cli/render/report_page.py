"""A report for a person at a terminal: a table that fits, and what it means in a line.

Bad values are told by words, not by colour alone.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from gradclip_cli.render.grid import Column, grid, listing, page
from gradclip_cli.render.page import Page
from gradclip_cli.render.words import CELLS, facts, flowed, wrapped
from gradclip_cli.results.columns import Result, Sheet
from gradclip_cli.results.figures import CLIPPED
from gradclip_cli.results.phrases import UNKNOWN, number, those
from gradclip_cli.results.report import Report, Row
from gradclip_cli.tensors.names import escape, plural

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

    def _parts(self, report: Report) -> Iterator[Text]:
        width = self.screen.width
        foot = list(_foot(report, width))
        chances = [*_what_if(report.what_if, width)] if report.what_if else []
        below = sum(part.plain.count("\n") + 1 for part in chances) + 1 if chances else 0
        rows: Sequence[Row] = report.telling
        sheet = self.sheet
        if report.clipped is not None:
            lines = list(_clipped(report.clipped, report, width))
            rows, sheet = _clipped_rows(report), _CLIPPED
            yield from lines
            if rows:
                below += len(lines) + 1
                yield Text()
        if rows:
            styles = [*map(_style, rows)]
            yield from listing(self.screen, rows[0].kind, sheet, rows, styles, len(foot) + below)
            yield Text()
        yield from foot
        if chances:
            yield from (Text(), *chances)


def _style(row: Row) -> str:
    if any(row.bad):
        return "bold red"
    return "" if row.measured else "dim"


_CLIPPED = Sheet("clipped", CLIPPED, "tensor", {})


def _clipped_rows(report: Report) -> Sequence[Row]:
    """Give the tensors that were clipped, worst first, where each has a limit of its own."""
    if report.ruling is None or report.ruling.rule.is_joint:
        return ()
    return [row for row in report.rows if row.clipped is not None and row.clipped.clipped]


def _clipped(clipped: "Clipped", report: Report, width: int) -> Iterator[Text]:
    """Say what `apply` did: the rule, the norms, what was lost."""
    ruling = report.ruling
    would_be = "would be " if report.written is not None and report.written.dry_run else ""
    lines: list[tuple[str, ...]] = []
    if ruling is not None and ruling.rule.told:
        lines.append(("rule", ruling.rule.told))
    lines.append(("norm before", repr(clipped.norm_before)))
    handled = report.handled
    if handled is not None and handled.found:
        done = f"{handled.says(bool(would_be))}: {those(handled.tensors)}"
        lines.append(("not finite", done + handled.afterwards))
    if ruling is not None:
        lines.append(("limit", ruling.rule.bound))
    lines += _coefficient(clipped, report, would_be)
    some = "yes" if clipped.clipped else "no"
    if clipped.clipped and ruling is not None and not ruling.rule.is_joint:
        some = f"{ruling.changed:,} of {plural(len(report.tensors), 'tensor')}"
    lines.append(("would clip" if would_be else "clipped", some))
    measured = f"measured from what {would_be or 'was '}written"
    lines.append(("norm after", repr(clipped.norm_after), measured))
    if clipped.flushed:
        title = "would be zero" if would_be else "became zero"
        lines.append((title, plural(clipped.flushed, "value")))
    if clipped.saturated:
        lines.append((f"{would_be}saturated", plural(clipped.saturated, "value")))
    if ruling is not None and ruling.like is not None:
        like = f"as {ruling.like}"
        lines.append((like, "; ".join(ruling.departures) or "as exact but for rounding"))
    widest = max(len(title) for title, *_ in lines)
    for title, *values in lines:
        first, *rest = flowed(values, width - widest - 2)
        yield Text.assemble((title.ljust(widest), "bold"), "  ", first)
        yield from (Text(" " * (widest + 2) + line) for line in rest)


def _coefficient(clipped: "Clipped", report: Report, would_be: str) -> Iterator[tuple[str, ...]]:
    """Give the coefficient, and what it makes of values where it is that of no finite norm."""
    handled, norm = report.handled, clipped.norm_before
    assert handled is not None
    become, becomes = ("would become",) * 2 if would_be else ("become", "becomes")
    mixed = f"finite values {become} 0, infinities nan"
    if clipped.coefficient is not None:
        said = []
        if math.isnan(clipped.coefficient) and handled.after == handled.count:
            said.append(f"the norm is {norm!r}, so every value {becomes} nan")
        elif not clipped.coefficient and math.isinf(norm) and handled.found:
            said.append(f"the norm is {norm!r}, so {mixed}")
        yield "coefficient", repr(clipped.coefficient), *said
        return
    each = [row.clipped for row in report.tensors if row.clipped is not None]
    said = []
    spoilt = [one.norm_before for one in each if math.isnan(one.coefficient or 0)]
    if spoilt:
        where = "nan" if any(map(math.isnan, spoilt)) else "inf"
        said.append(f"nan where the norm is {where}: there every value {becomes} nan")
    if any(one.coefficient == 0 and math.isinf(one.norm_before) for one in each):
        said.append(f"0 where the norm is inf: there {mixed}")
    if said:
        yield "coefficient", *said


def _foot(report: Report, width: int) -> Iterator[Text]:
    moments = report.moments
    if report.clipped is None:
        said = ["global norm", repr(report.global_norm)]
        if moments.nonfinite:
            said.append(f"without what is not finite {report.finite_norm!r}")
        first, *rest = flowed(said, width)
        bold = cell_len("  ".join(said[:2]))
        yield Text.assemble((first[:bold], "bold"), first[bold:])
        yield from map(Text, rest)
        style = "bold red" if moments.nonfinite else ""
        yield from (Text(line, style) for line in wrapped(report.verdict, width))
        if report.excluded:
            left = f"{plural(report.excluded, 'tensor')} not measured: excluded by the selection"
            yield from (Text(line, "dim") for line in wrapped(left, width))
    told = [plural(moments.count, "value"), *report.notes]
    told += [gate.says for gate in report.gates if gate.says and not gate.status]
    if report.measured == report.total:
        told.insert(0, plural(report.total, "tensor"))
    if len(report.files) == 1:
        told.append(escape(report.files[0]))
    yield from (Text(line, "dim") for line in facts(told, width))
    if report.written is not None:
        where = _where(report.written)
        paths = report.written.paths
        yield from map(Text, wrapped(where, width) if paths is None else [where])


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


def _what_if(chances: "Sequence[WhatIf]", width: int) -> Iterator[Text]:
    """Give a row a rule; where one is not for the joint norm, also which, and what it clips."""
    joint = all(chance.rule.is_joint for chance in chances)
    bounds = [chance.rule.bound for chance in chances]
    after = _column("norm after", [chance.norm_after for chance in chances], joint)
    columns = [
        Column("clipped", 0, [CELLS["count"](chance.changed) for chance in chances]),
        Column("limit", 0, bounds),
        after,
    ]
    if joint:
        columns = [_column("coefficient", [chance.coefficient for chance in chances], joint), after]
    columns += [
        Column("became zero", 1, [CELLS["count"](chance.flushed) for chance in chances]),
        Column("lost digits", 2, [CELLS["count"](chance.subnormal) for chance in chances]),
    ]
    names = bounds if joint else [chance.rule.word for chance in chances]
    made = grid("limit" if joint else "rule", names, columns, [""] * len(names), width)
    yield from made.lines(len(names))
    if any(chance.subnormal for chance in chances) and "lost" in made.head:
        yield from (Text(line, "dim") for line in wrapped(_LOST, width))


_LOST = "lost digits: values that become subnormal, with fewer digits than others of their dtype"


def _column(title: str, values: Sequence[float | None], in_full: bool) -> Column:
    """Give a column of numbers, with all their digits where there is room for them."""
    rounded = [number(value) for value in values]
    if not in_full:
        return Column(title, 0, rounded)
    return Column(title, 0, [*map(_in_full, values)], fewer=lambda: rounded)


def _in_full(value: float | None) -> str:
    return UNKNOWN if value is None else repr(value)
