r"""A report as TSV, CSV or Markdown: one line a row, every number in full.

TSV needs no quoting because the escape of names leaves no tab or line end; CSV quotes as RFC 4180
says; Markdown puts a backslash before what would be markup. The escape of names is the same in all.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import NoneType
from typing import Any

from gradclip_cli.render.rows import Sheet, Value
from gradclip_cli.tensors.names import escape

_MARKUP = re.compile(r"([\\`*_{}\[\]<>|&#~])")
_ESCAPED = r"\\\1"


def tsv(sheet: Sheet) -> Iterator[str]:
    """Write a header and a row a line, parted by tabs."""
    return map(_tsv_line, _cells(sheet))


def comma_separated(sheet: Sheet) -> Iterator[str]:
    """Write CSV with the line ends of RFC 4180."""
    return map(_csv_line, _cells(sheet))


def markdown(sheet: Sheet) -> Iterator[str]:
    """Write a table of GitHub's Markdown."""
    cells = iter(_cells(sheet))
    yield _markdown_head(next(cells))
    yield from map(_markdown_line, cells)


def _tsv_line(cells: Iterable[str]) -> str:
    return "\t".join(cells) + "\n"


def _csv_line(cells: Iterable[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue()


def _markdown_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_MARKUP.sub(_ESCAPED, cell) for cell in cells)} |\n"


def _markdown_head(titles: Sequence[str]) -> str:
    return _markdown_line(titles) + f"| {' | '.join(['---'] * len(titles))} |\n"


WRITERS = {"tsv": tsv, "csv": comma_separated, "md": markdown}
"""By format: writes a sheet."""

LINES = {"tsv": _tsv_line, "csv": _csv_line, "md": _markdown_line}
"""By format: writes the cells of one row, for rows that are written as they become known."""

HEADS = {"tsv": _tsv_line, "csv": _csv_line, "md": _markdown_head}
"""By format: writes the titles of the columns."""


def _cells(sheet: Sheet) -> Iterable[list[str]]:
    columns = (*sheet.columns, *sheet.further_columns)
    yield ["row", *columns]
    rest = [""] * len(sheet.further_columns)
    for kind, row in sheet.rows:
        yield [kind, *map(cell, row), *rest]
    for kind, found in (*sheet.further, ("global", sheet.whole)):
        yield [kind, *(cell(found.get(name)) for name in columns)]


def cell(value: Value) -> str:
    """Write a value so that it can be read back: unknown is empty, numbers round-trip."""
    return _BY_TYPE[type(value)](value)


_BY_TYPE: dict[type, Callable[[Any], str]] = {
    NoneType: lambda _: "",
    str: escape,
    bool: lambda value: "true" if value else "false",
    int: repr,
    float: repr,
    tuple: json.JSONEncoder(separators=(",", ":")).encode,
}
