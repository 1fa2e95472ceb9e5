"""A run for a person at a terminal: a table that grows with the steps, pictures, answers.

Widths are fixed with the first row, so that rows need not wait for each other. Where the terminal
has no room for all steps, those that are marked are shown, the first and the last.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from rich.text import Text

from gradclip_cli.render.grid import (
    GAP,
    NAME_LEAST,
    cell,
    console_of,
    more,
    printed,
    side_by_side,
    titled,
)
from gradclip_cli.render.names import broken, step_room, steps_shown, width_of
from gradclip_cli.render.page import Page
from gradclip_cli.render.picture import picture
from gradclip_cli.render.words import wrapped
from gradclip_cli.results.answers import notes, paragraphs
from gradclip_cli.results.columns import Column, Result, Sheet
from gradclip_cli.results.phrases import UNKNOWN
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.ranges import FEW
from gradclip_cli.series.trajectory import Step
from gradclip_cli.series.unreadable import Unreadable
from gradclip_cli.tensors.names import escape, printable

_ASIDE = "    "
_NUMBER = 9
_NAME_ENOUGH = 32
_WIDTHS = {"global norm": 11, "× median": 9, "not finite": 10, "mark": 6, "share": 6}


class TrendPage(Page):
    """Gives a row as soon as its step is known, and at the end what they show."""

    def __init__(self, sheet: Sheet, stream: BinaryIO | None, everything: bool) -> None:
        super().__init__(sheet, stream, everything)
        self._columns: Sequence[Column] = ()
        self._steps: Iterator[str] = iter(())
        self._total = 0
        self._seen = 0
        self._hidden = 0
        self._lines = 0
        self._label = 4
        self._room = 0
        self._numbers = False
        self._shared = ""

    def begin(self, labels: Sequence[int | str] = ()) -> str:
        """Take note of what the steps are called: the head waits for the names of the first."""
        self._total = len(labels)
        most = step_room(self.screen.width)
        steps = steps_shown(labels, most)
        self._steps, self._shared = iter(steps.names), steps.shared
        widest = max(map(width_of, steps.names), default=0)
        self._label = max(len("step"), min(widest, most))
        self._numbers = all(isinstance(label, int) for label in labels)
        return ""

    def _head(self, names: Iterable[str | None]) -> str:
        width = self.screen.width
        longest = max((width_of(escape(name or "")) for name in names), default=0)
        _, *columns = self.sheet.titled  # the first are the labels
        least = max(NAME_LEAST, min(longest, _NAME_ENOUGH))
        self._columns, self._room = _fitting(columns, width - self._label, least)
        named, below = titled("step", self._shared, self._label, width)
        titles = [[named]]
        titles += [[column.title or ""] for column in self._columns]
        titles += [["tensor"]] if self._room else []
        head = "\n".join([self._beside(titles), *below])
        return self._print([Text(head, "bold"), Text("─" * width)])

    def row(self, kind: str, row: Step | Unreadable) -> str:
        """Give a row, where there is room for it."""
        head = "" if self._seen else self._head(_names(row))
        self._seen += 1
        label = next(self._steps, escape(str(row.step)))
        if not self._has_room(row):  # which the first has
            self._hidden += 1
            return ""
        if isinstance(row, Unreadable):
            text, style = self._unreadable(label, row), "bold red"
        else:
            text = self._row(label, row)
            style = "bold red" if row.mark in ("nonfinite", "overflow") else ""
            style = style or ("bold" if row.mark == "spike" else "")
        self._lines += text.count("\n") + 1
        return head + self._print([Text(text, style)])

    def end(self, result: Result) -> Iterable[str]:
        """Give the pictures and the answers."""
        assert isinstance(result, Trend)
        head = "" if self._seen else self._head(())
        lines = [more(self._hidden)] if self._hidden else []
        legend = "; ".join(_legend(result, self._columns))
        lines += [Text(line, "dim") for line in wrapped(legend, self.screen.width) if legend]
        lines += [Text(), *picture(result.steps, self.screen), Text()]
        for bad in result.unreadable:
            said = f"step {escape(str(bad.step))} cannot be read: {printable(bad.problem)}"
            lines += [Text(line, "bold red") for line in wrapped(said, self.screen.width)]
        for paragraph, is_bad in paragraphs(result):
            style = "bold red" if is_bad else ""
            lines += [Text(line, style) for line in wrapped(paragraph, self.screen.width)]
        lines += [Text(line, "dim") for line in wrapped(notes(result), self.screen.width)]
        return [head + self._print(lines)]

    def _has_room(self, step: Step | Unreadable) -> bool:
        height = self.screen.height
        if height is None or self._total + 4 <= height:
            return True
        if self._seen in (1, self._total):
            return True
        return bool(step.mark) and self._lines < max(height - 5, 4)

    def _row(self, label: str, step: Step) -> str:
        name = UNKNOWN if step.worst is None else escape(step.worst)
        blocks = [broken(label, self._label)]
        blocks += [[cell(column, step)] for column in self._columns]
        if step.measured.worst is None:
            name = ""
        if self._room:
            return self._beside([*blocks, broken(name, self._room)])
        below = [f"{_ASIDE}{line}" for line in broken(name, self.screen.width - len(_ASIDE))]
        return "\n".join([self._beside(blocks), *(below if name else [])])

    def _unreadable(self, label: str, bad: Unreadable) -> str:
        room = self.screen.width - self._label - len(GAP)
        problem = printable(bad.problem)
        if width_of(f"{bad.mark}: {problem}") > room:
            problem = problem.partition(": ")[0] + ": see below"
        said = [*wrapped(f"{bad.mark}: {problem}", room)]
        blocks = [broken(label, self._label), said]
        return side_by_side(blocks, [self._label, room], [not self._numbers, True])

    def _beside(self, blocks: Sequence[Sequence[str]]) -> str:
        widths = [self._label, *map(_width, self._columns), self._room]
        lefts = [not self._numbers, *(column.left for column in self._columns), True]
        count = len(blocks)
        return side_by_side(blocks, widths[:count], lefts[:count])

    def _print(self, lines: Iterable[Text]) -> str:
        return printed(console_of(self.screen), lines)


def _legend(trend: Trend, columns: Sequence[Column]) -> Iterator[str]:
    if any(column.name == "ratio" for column in columns):
        yield "× median: to the median norm of the steps before that kept to their range"
    if any(step.few_steps for step in trend.steps):
        yield f"spike?: by few steps, fewer than {FEW} before it"


def _names(row: Step | Unreadable) -> Iterable[str | None]:
    return () if isinstance(row, Unreadable) else row.measured.layout.names


def _fitting(columns: Sequence[Column], width: int, least: int) -> tuple[Sequence[Column], int]:
    """Leave out columns by rank until names have their least; give the room, 0 if there is none."""
    while True:
        room = width - sum(len(GAP) + _width(column) for column in columns) - len(GAP)
        last = max(columns, key=lambda column: column.rank)
        if room >= least or not last.rank or (last.rank == 1 and room >= NAME_LEAST):
            return columns, room if room >= NAME_LEAST else 0
        columns = [column for column in columns if column is not last]


def _width(column: Column) -> int:
    title = column.title or ""
    return _WIDTHS.get(title, max(len(title), _NUMBER))
