"""A report as text: one module for each kind of format, imported when it is asked for."""

from gradclip_cli.choices import Format
from gradclip_cli.render import json, text
from gradclip_cli.report import Report

_WRITERS = {
    "tsv": text.tsv,
    "csv": text.comma_separated,
    "md": text.markdown,
    "json": json.whole,
    "jsonl": json.lines,
}


def render(report: Report, form: Format, width: int, colour: bool) -> str:
    """Write a report; `width` in columns and `colour` are for the table alone."""
    if form == "table":
        # Rich takes 40 milliseconds to import, which a pipe need not pay for.
        from gradclip_cli.render.table import table

        return table(report, width, colour)
    return _WRITERS[form](report)
