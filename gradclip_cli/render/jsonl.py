"""JSON Lines: an object a line, each with its kind under `row`, the last about the whole."""

from collections.abc import Iterator, Sequence
from typing import Any

from gradclip_cli.render.json import Rows, line, summary
from gradclip_cli.render.renderer import Renderer
from gradclip_cli.results.columns import Result


class JsonLines(Renderer):
    """A line a row as soon as it is known."""

    def begin(self, labels: Sequence[int | str] = ()) -> str:
        """Give nothing: the rows have their names with them."""
        self._written = Rows(self.sheet)
        return ""

    def row(self, kind: str, row: Any) -> str:
        """Give a row."""
        if kind in self.sheet.aside:
            return ""
        return f'{{"row": "{kind}", {self._written.of(row)[1:]}\n'

    def end(self, result: Result) -> Iterator[str]:
        """Give what is true of the whole."""
        yield f"{line({'row': self.sheet.last, **summary(result)})}\n"
