"""A report as text: one module for each kind of format, imported when it is asked for."""

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from gradclip_cli.choices import Format
from gradclip_cli.results.report import Report

if TYPE_CHECKING:
    from gradclip_cli.render.rows import Sheet
    from gradclip_cli.results.comparison import Comparison

_ROWS_A_PIECE = 1000


def plain(report: "Report | Comparison", form: Format | None) -> str:
    """Write a report for a file: TSV if no format is asked for, a table in 80 columns."""
    if form == "table":
        return _table(report, None, everything=True)
    return "".join(_written(_sheet(report), form))


def _written(sheet: "Sheet", form: Format | None) -> Iterator[str]:
    if form in ("json", "jsonl"):
        from gradclip_cli.render import json

        return json.whole(sheet) if form == "json" else json.lines(sheet)
    from gradclip_cli.render import text

    return text.WRITERS[form or "tsv"](sheet)


def _sheet(report: "Report | Comparison") -> "Sheet":
    if isinstance(report, Report):
        from gradclip_cli.render import rows

        return rows.sheet(report)
    from gradclip_cli.render import diff_rows

    return diff_rows.sheet(report)


def render(
    report: "Report | Comparison", form: Format | None, stream: BinaryIO, everything: bool
) -> Iterable[str]:
    """Write a report for a stream; no format means a table on a terminal, TSV elsewhere.

    A table shows as many rows as the terminal has room for, unless `everything` is wanted. What
    else there is comes in pieces, because a text of 100,000 tensors is long to copy as a whole.
    """
    if form == "table" or (form is None and stream.isatty()):
        return [_table(report, stream, everything)]
    return _gathered(_written(_sheet(report), form))


def _gathered(rows: Iterator[str]) -> Iterator[str]:
    while some := "".join(itertools.islice(rows, _ROWS_A_PIECE)):
        yield some


def _table(report: "Report | Comparison", stream: BinaryIO | None, everything: bool) -> str:
    from gradclip_cli.render import screen

    there = screen.Screen() if stream is None else screen.of(stream, everything)
    # Rich takes 40 milliseconds to import, which a pipe need not pay for.
    if isinstance(report, Report):
        from gradclip_cli.render.table import table

        return table(report, there)
    from gradclip_cli.render.diff_table import table as diff_table

    return diff_table(report, there, everything)
