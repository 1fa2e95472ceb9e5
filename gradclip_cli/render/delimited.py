r"""TSV, CSV and Markdown: one line a row, every number in full.

TSV needs no quoting because the escape of names leaves no tab or line end; CSV quotes as RFC 4180
says; Markdown puts a backslash before what would be markup. The escape of names is the same in all.
"""

import csv
import functools
import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any

from gradclip_cli.render.batches import Writers, texts
from gradclip_cli.render.renderer import Renderer
from gradclip_cli.results.columns import Result
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
        return self.rows(kind, [row])

    def rows(self, kind: str, rows: Sequence[Any]) -> str:
        """Give some rows of a kind."""
        columns = texts(self.sheet, rows, _WRITERS)
        return "".join([self.line([kind, *cells]) for cells in zip(*columns, strict=True)])

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

    def line(self, cells: Sequence[str]) -> str:
        """Give a line."""
        return "\t".join(cells) + "\n"


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


_list = functools.lru_cache(json.JSONEncoder(separators=(",", ":")).encode)  # there are few shapes

# Unknown is empty, and numbers can be read back.
_WRITERS: Writers = {
    NoneType: lambda values: itertools.repeat("", len(values)),
    bool: lambda values: ["true" if value else "false" for value in values],
    int: lambda values: map(repr, values),
    float: lambda values: map(repr, values),
    str: lambda values: map(escape, values),
    tuple: lambda values: map(_list, values),
}
