"""A report as text: one module for each kind of format, imported when it is asked for."""

from typing import BinaryIO

from gradclip_cli.choices import Format
from gradclip_cli.render import json, screen, text
from gradclip_cli.render.rows import sheet
from gradclip_cli.report import Report

_WRITERS = {
    "tsv": text.tsv,
    "csv": text.comma_separated,
    "md": text.markdown,
    "json": json.whole,
    "jsonl": json.lines,
}


def plain(report: Report, form: Format | None) -> str:
    """Write a report for a file: TSV if no format is asked for, a table in 80 columns."""
    if form != "table":
        return _WRITERS[form or "tsv"](sheet(report))
    from gradclip_cli.render.table import table

    return table(report, screen.Screen())


def render(report: Report, form: Format | None, stream: BinaryIO, everything: bool) -> str:
    """Write a report for a stream; no format means a table on a terminal, TSV elsewhere.

    A table shows as many rows as the terminal has room for, unless `everything` is wanted.
    """
    if not (form == "table" or (form is None and stream.isatty())):
        return plain(report, form)
    # Rich takes 40 milliseconds to import, which a pipe need not pay for.
    from gradclip_cli.render.table import table

    return table(report, screen.of(stream, everything))
