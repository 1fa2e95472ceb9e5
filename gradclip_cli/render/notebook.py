"""How far a pass is, in a notebook: an output of the cell, which is emptied when it is over.

Rich's own display there needs widgets, and leaves a dead one in the file. This needs nothing
further, and sends no more than an eye can follow.
"""

import io
import time
from typing import Any

from rich.console import Console
from rich.progress import Progress

from gradclip_cli.render.progress import Bar

_WIDTH = 100
_REST = 0.2  # seconds between two pictures
_LINE = '<pre style="margin:0;line-height:normal;overflow:hidden">{code}</pre>'
_NOTHING = {"text/html": "", "text/plain": ""}


def bar() -> "CellBar | None":
    """Give a bar for the cell that runs; None where there is no kernel behind a notebook."""
    from IPython import get_ipython

    return None if getattr(get_ipython(), "kernel", None) is None else CellBar()


class CellBar(Bar):
    """Draws in one output of a cell, whatever the passes, what a terminal gets."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(
            file=io.StringIO(), record=True, width=_WIDTH, force_jupyter=False, highlight=False
        )
        self._output: Any = None
        self._last = 0.0

    def show(self, bar: Progress) -> None:
        """Draw it."""
        from IPython.display import display

        picture = self._picture(bar)
        if self._output is None:
            self._output = display(picture, raw=True, display_id=True)
        else:
            self._output.update(picture, raw=True)
        self._last = time.monotonic()

    def move(self, bar: Progress) -> None:
        """Draw it again, unless that was but now."""
        if time.monotonic() - self._last >= _REST:
            self.show(bar)

    def hide(self, bar: Progress) -> None:
        """Leave an output with nothing in it: to clear the cell would take what others wrote."""
        self._output.update(_NOTHING, raw=True)

    def _picture(self, bar: Progress) -> dict[str, str]:
        self._console.print(bar.get_renderable())
        html = self._console.export_html(clear=False, code_format=_LINE, inline_styles=True)
        return {"text/html": html, "text/plain": self._console.export_text().rstrip()}
