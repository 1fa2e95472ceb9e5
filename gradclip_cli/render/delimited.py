r"""TSV, CSV and Markdown: one line a row, every number in full.

TSV needs no quoting because the escape of names leaves no tab or line end; CSV quotes as RFC 4180
says; Markdown puts a backslash before what would be markup. The escape of names is the same in all.
"""

import csv
import functools
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from types import NoneType
from typing import Any, BinaryIO

from gradclip_cli.render.renderer import Renderer
from gradclip_cli.render.templates import Template, Templates, Types
from gradclip_cli.results.columns import Column, Result, Sheet, Value
from gradclip_cli.tensors.names import escape

_MARKUP = re.compile(r"([\\`*_{}\[\]<>|&#~])")
_ESCAPED = r"\\\1"


class Delimited(Renderer):
    """A header and a row a line, however its cells are kept apart."""

    def begin(self, labels: Sequence[int | str] = ()) -> str:
        """Give the names of the columns."""
        return self.head(["row", *self.sheet.names])

    def row(self, kind: str, row: Any) -> str:
        """Give a row."""
        return self.line([kind, *map(cell, self.sheet.values(row))])

    def end(self, result: Result) -> Iterator[str]:
        """Give the row of the whole, where there is one."""
        whole = result.whole()
        if whole is not None:
            yield self.row("global", whole)

    def head(self, names: Sequence[str]) -> str:
        """Give the first line."""
        return self.line(names)

    def line(self, cells: Sequence[str]) -> str:
        """Give a line."""
        raise NotImplementedError


class Tsv(Delimited):
    """A line's cells are parted by tabs."""

    def __init__(self, sheet: Sheet, stream: BinaryIO | None, everything: bool) -> None:
        super().__init__(sheet, stream, everything)
        self._templates = Templates(sheet, _template)

    def row(self, kind: str, row: Any) -> str:
        """Give a row."""
        values = self.sheet.values(row)
        return f"{kind}\t{self._templates.of(values).filled(values)}\n"

    def line(self, cells: Sequence[str]) -> str:
        """Give a line."""
        return "\t".join(cells) + "\n"


def _template(_columns: Sequence[Column], types: Types) -> Template:
    marks = [
        "%.0s" if kind is NoneType else "%r" if kind in (int, float) else "%s" for kind in types
    ]
    written = {at: _BY_TYPE[kind] for at, kind in enumerate(types) if kind in _WRITTEN}
    return Template("\t".join(marks), types, written)


class Csv(Delimited):
    """CSV with the line ends of RFC 4180."""

    def line(self, cells: Sequence[str]) -> str:
        """Give a line."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\r\n").writerow(cells)
        return out.getvalue()


class Markdown(Delimited):
    """A table of GitHub's Markdown."""

    def head(self, names: Sequence[str]) -> str:
        """Give the first two lines."""
        return self.line(names) + f"| {' | '.join(['---'] * len(names))} |\n"

    def line(self, cells: Sequence[str]) -> str:
        """Give a line."""
        return f"| {' | '.join(_MARKUP.sub(_ESCAPED, cell) for cell in cells)} |\n"


def cell(value: Value) -> str:
    """Write a value so that it can be read back: unknown is empty, numbers round-trip."""
    return _BY_TYPE[type(value)](value)


_WRITTEN: dict[type, Callable[[Any], str]] = {
    str: escape,
    bool: lambda value: "true" if value else "false",
    # There are many tensors, but few shapes.
    tuple: functools.lru_cache(json.JSONEncoder(separators=(",", ":")).encode),
}
_BY_TYPE: dict[type, Callable[[Any], str]] = {
    **_WRITTEN,
    NoneType: lambda _: "",
    int: repr,
    float: repr,
}
