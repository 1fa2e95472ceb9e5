"""A run for a person at a terminal: a table that grows with the steps, pictures, answers.

Widths are fixed before the first row, so that rows need not wait for each other. Where the terminal
has no room for all steps, those that are marked are shown, the first and the last.
"""

import math
from collections.abc import Callable, Iterable, Sequence

from rich.cells import cell_len
from rich.text import Text

from gradclip_cli.render.answers import answers, share_of_worst
from gradclip_cli.render.grid import UNKNOWN, console_of, elided, number
from gradclip_cli.render.picture import picture
from gradclip_cli.render.screen import Screen
from gradclip_cli.series.findings import Trend
from gradclip_cli.series.trajectory import Step
from gradclip_cli.tensors.names import escape

_LABEL = 24
_GAP = "  "
_TITLES = (("global norm", 11), ("× median", 9), ("not finite", 10), ("mark", 5), ("share", 6))
_MARKS = {"spike": "spike", "overflow": "over", "zero": "zero", "": ""}


class Table:
    """Writes a row as soon as its step is known, and at the end what they show."""

    def __init__(self, screen: Screen, write: Callable[[str], None]) -> None:
        self._screen = screen
        self._write = write
        self._console = console_of(screen)
        self._total = 0
        self._seen = 0
        self._hidden = 0
        self._label = 4
        self._numbers = False

    def begin(self, steps: Sequence[int | str]) -> None:
        """Write the head."""
        self._total = len(steps)
        widest = max((cell_len(escape(str(step))) for step in steps), default=0)
        self._label = max(len("step"), min(widest, _LABEL))
        self._numbers = all(isinstance(step, int) for step in steps)
        titles = [_aligned("step", self._label, self._numbers)]
        titles += [_aligned(title, width, title != "mark") for title, width in _TITLES]
        head = _GAP.join([*titles, "tensor"])
        self._print([Text(head, "bold"), Text("─" * self._screen.width)])

    def step(self, step: Step) -> None:
        """Write a row, where there is room for it."""
        self._seen += 1
        if not self._has_room(step):
            self._hidden += 1
            return
        style = "bold red" if step.mark in ("nonfinite", "overflow") else ""
        self._print([Text(self._row(step), style or ("bold" if step.mark == "spike" else ""))])

    def end(self, trend: Trend) -> None:
        """Write the pictures and the answers."""
        lines: list[Text] = []
        if self._hidden:
            lines.append(Text(f"… {self._hidden:,} more, --all shows them", "dim"))
        lines += [Text(), *picture(trend.steps, self._screen), Text()]
        self._print([*lines, *answers(trend, self._screen.width)])

    def _has_room(self, step: Step) -> bool:
        height = self._screen.height
        if height is None or self._total + 4 <= height:
            return True
        shown = self._seen - self._hidden - 1
        if self._seen in (1, self._total):
            return True
        return bool(step.mark) and shown < max(height - 6, 3)

    def _row(self, step: Step) -> str:
        mark = _MARKS.get(step.mark, "NaN" if math.isnan(step.global_norm) else "inf")
        cells = (
            number(step.global_norm),
            _ratio(step.ratio),
            f"{step.nonfinite:,}" if step.nonfinite else "",
            mark,
            share_of_worst(step),
        )
        label = elided(escape(str(step.step)), self._label)
        parts = [_aligned(label, self._label, self._numbers)]
        for (title, width), text in zip(_TITLES, cells, strict=True):
            parts.append(_aligned(text, width, title != "mark"))
        start = _GAP.join(parts)
        name = "" if step.measured.worst is None else _named(step.worst)
        return f"{start}{_GAP}{elided(name, self._screen.width - cell_len(start) - 2)}"

    def _print(self, lines: Iterable[Text]) -> None:
        with self._console.capture() as capture:
            for line in lines:
                line.rstrip()
                self._console.print(line, soft_wrap=True)
        self._write(capture.get())


def _aligned(text: str, width: int, right: bool) -> str:
    space = " " * max(width - cell_len(text), 0)
    return space + text if right else text + space


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return UNKNOWN
    return f"{ratio:.2f}" if 0.01 <= ratio < 100_000 else number(ratio)


def _named(name: str | None) -> str:
    return UNKNOWN if name is None else escape(name)
