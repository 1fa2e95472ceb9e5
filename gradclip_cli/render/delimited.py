r"""TSV, CSV and Markdown: one line a row, every number in full.

TSV needs no quoting because the escape of names leaves no tab or line end; CSV quotes as RFC 4180
says; Markdown puts a backslash before what would be markup. The escape of names is the same in all.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from types import NoneType
from typing import Any

from gradclip_cli.render.renderer import Renderer
from gradclip_cli.results.columns import Result, Value
from gradclip_cli.tensors.names import escape

_MARKUP = re.compile(r"([\\`*_{}\[\]<>|&#~])")
_ESCAPED = r"\\\1"


class Tsv(Renderer):
    """A header and a row a line, parted by tabs."""

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
        return "\t".join(cells) + "\n"


class Csv(Tsv):
    """CSV with the line ends of RFC 4180."""

    def line(self, cells: Sequence[str]) -> str:
        """Give a line."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\r\n").writerow(cells)
        return out.getvalue()


class Markdown(Tsv):
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


_BY_TYPE: dict[type, Callable[[Any], str]] = {
    NoneType: lambda _: "",
    str: escape,
    bool: lambda value: "true" if value else "false",
    int: repr,
    float: repr,
    tuple: json.JSONEncoder(separators=(",", ":")).encode,
}
