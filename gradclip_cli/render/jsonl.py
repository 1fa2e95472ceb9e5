"""JSON Lines: an object a line, each with its kind under `row`, the last about the whole."""

from collections.abc import Iterator, Sequence
from typing import Any

from gradclip_cli.render.json import line, objects, summary
from gradclip_cli.render.renderer import Renderer
from gradclip_cli.results.columns import Result


class JsonLines(Renderer):
    """A line a row as soon as it is known."""

    def row(self, kind: str, row: Any) -> str:
        """Give a row."""
        return self.rows(kind, [row])

    def rows(self, kind: str, rows: Sequence[Any]) -> str:
        """Give some rows of a kind."""
        if kind in self.sheet.aside:
            return ""
        return "".join([f'{{"row": "{kind}", {one[1:]}\n' for one in objects(self.sheet, rows)])

    def end(self, result: Result) -> Iterator[str]:
        """Give what is true of the whole."""
        yield f"{line({'row': self.sheet.last, **summary(result)})}\n"
