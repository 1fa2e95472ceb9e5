"""A run for a person at a terminal: a table that grows with the steps, pictures, answers.

Widths are fixed before the first row, so that rows need not wait for each other. Where the terminal
has no room for all steps, those that are marked are shown, the first and the last.
"""

from collections.abc import Iterable, Sequence
from typing import BinaryIO

from rich.cells import cell_len
from rich.text import Text

from gradclip_cli.render.grid import aligned, cell, console_of, more, printed
from gradclip_cli.render.page import Page
from gradclip_cli.render.picture import picture
from gradclip_cli.render.words import elided, wrapped
from gradclip_cli.results.answers import notes, paragraphs
from gradclip_cli.results.columns import Column, Result, Sheet
from gradclip_cli.results.phrases import UNKNOWN
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.ranges import FEW
from gradclip_cli.series.trajectory import Step
from gradclip_cli.series.unreadable import Unreadable
from gradclip_cli.tensors.names import escape, printable

_LABEL = 24
_GAP = "  "
_NUMBER = 9
_WIDTHS = {"global norm": 11, "× median": 9, "not finite": 10, "mark": 6, "share": 6}


class TrendPage(Page):
    """Gives a row as soon as its step is known, and at the end what they show."""

    def __init__(self, sheet: Sheet, stream: BinaryIO | None, everything: bool) -> None:
        super().__init__(sheet, stream, everything)
        _, *self._columns = sheet.titled  # the first are the labels
        self._total = 0
        self._seen = 0
        self._hidden = 0
        self._label = 4
        self._numbers = False

    def begin(self, labels: Sequence[int | str] = ()) -> str:
        """Give the head."""
        self._total = len(labels)
        widest = max((cell_len(escape(str(label))) for label in labels), default=0)
        self._label = max(len("step"), min(widest, _LABEL))
        self._numbers = all(isinstance(label, int) for label in labels)
        titles = [aligned("step", self._label, not self._numbers)]
        titles += [_aligned(column, column.title or "") for column in self._columns]
        head = _GAP.join([*titles, "tensor"])
        return self._print([Text(head, "bold"), Text("─" * self.screen.width)])

    def row(self, kind: str, row: Step | Unreadable) -> str:
        """Give a row, where there is room for it."""
        self._seen += 1
        if not self._has_room(row):
            self._hidden += 1
            return ""
        if isinstance(row, Unreadable):
            line = f"{self._labelled(row)}{_GAP}{row.mark}: {printable(row.problem)}"
            return self._print([Text(elided(line, self.screen.width), "bold red")])
        style = "bold red" if row.mark in ("nonfinite", "overflow") else ""
        return self._print(
            [Text(self._line(row), style or ("bold" if row.mark == "spike" else ""))]
        )

    def end(self, result: Result) -> Iterable[str]:
        """Give the pictures and the answers."""
        assert isinstance(result, Trend)
        lines = [more(self._hidden)] if self._hidden else []
        lines += [Text(line, "dim") for line in wrapped(_legend(result), self.screen.width)]
        lines += [Text(), *picture(result.steps, self.screen), Text()]
        for bad in result.unreadable:
            said = f"step {escape(str(bad.step))} cannot be read: {printable(bad.problem)}"
            lines += [Text(line, "bold red") for line in wrapped(said, self.screen.width)]
        for paragraph, is_bad in paragraphs(result):
            style = "bold red" if is_bad else ""
            lines += [Text(line, style) for line in wrapped(paragraph, self.screen.width)]
        lines += [Text(line, "dim") for line in wrapped(notes(result), self.screen.width)]
        return [self._print(lines)]

    def _has_room(self, step: Step | Unreadable) -> bool:
        height = self.screen.height
        if height is None or self._total + 4 <= height:
            return True
        shown = self._seen - self._hidden - 1
        if self._seen in (1, self._total):
            return True
        return bool(step.mark) and shown < max(height - 6, 3)

    def _line(self, step: Step) -> str:
        parts = [self._labelled(step)]
        parts += [_aligned(column, cell(column, step)) for column in self._columns]
        start = _GAP.join(parts)
        name = UNKNOWN if step.worst is None else escape(step.worst)
        if step.measured.worst is None:
            name = ""
        return f"{start}{_GAP}{elided(name, self.screen.width - cell_len(start) - 2)}"

    def _labelled(self, step: Step | Unreadable) -> str:
        label = elided(escape(str(step.step)), self._label)
        return aligned(label, self._label, not self._numbers)

    def _print(self, lines: Iterable[Text]) -> str:
        return printed(console_of(self.screen), lines)


def _legend(trend: Trend) -> str:
    said = "× median: to the median norm of the steps before that kept to their range"
    if any(step.few_steps for step in trend.steps):
        said += f"; spike?: by few steps, fewer than {FEW} before it"
    return said


def _aligned(column: Column, text: str) -> str:
    title = column.title or ""
    return aligned(text, _WIDTHS.get(title, max(len(title), _NUMBER)), column.left)
