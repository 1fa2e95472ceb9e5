"""A run over its steps as text: rows as soon as they are known, what they mean at the foot.

A table for a person has pictures and answers below it; TSV, CSV and Markdown are the rows alone;
JSON has the answers beside the rows, JSON Lines in its last line.
"""

from collections.abc import Callable, Sequence
from typing import Any

from gradclip_cli.choices import Format
from gradclip_cli.render.json import dumps, exact, named, number
from gradclip_cli.render.rows import Value
from gradclip_cli.render.text import HEADS, LINES, cell
from gradclip_cli.results.report import SCHEMA
from gradclip_cli.series.findings import Trend
from gradclip_cli.series.trajectory import Step
from gradclip_cli.tensors.names import escape

COLUMNS = (
    "step",
    "source",
    "global_norm",
    "ratio",
    "tensor",
    "share",
    "nonfinite",
    "mark",
    "finite_norm",
    "threshold",
    "first_nonfinite",
)

Write = Callable[[str], None]


class Rows:
    """TSV, CSV or Markdown: a line as soon as its step is known."""

    def __init__(self, form: Format, write: Write) -> None:
        self._form = form
        self._line = LINES[form]
        self._write = write

    def begin(self, _steps: Sequence[int | str]) -> None:
        """Write the head."""
        self._write(HEADS[self._form](["row", *COLUMNS]))

    def step(self, step: Step) -> None:
        """Write a row."""
        found = values(step)
        self._write(self._line(["step", *(cell(found[column]) for column in COLUMNS)]))

    def end(self, trend: Trend) -> None:
        """Write nothing more."""


class JsonLines:
    """An object a line, the last with the answers."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def begin(self, steps: Sequence[int | str]) -> None:
        """Do nothing."""

    def step(self, step: Step) -> None:
        """Write a row."""
        self._write(dumps({"row": "step", **_object(step)}))

    def end(self, trend: Trend) -> None:
        """Write what is true of the whole."""
        self._write(dumps({"row": "trend", **_summary(trend)}))


class Json:
    """One object, when all is known."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def begin(self, steps: Sequence[int | str]) -> None:
        """Do nothing."""

    def step(self, step: Step) -> None:
        """Do nothing."""

    def end(self, trend: Trend) -> None:
        """Write everything."""
        steps = [_object(step) for step in trend.steps]
        self._write(dumps({**_summary(trend), "steps": steps}))


Printer = Rows | JsonLines | Json


def printer(form: Format | None, write: Write) -> Printer:
    """Give what writes a run in a format that is not the table; TSV if none is asked for."""
    if form == "json":
        return Json(write)
    if form == "jsonl":
        return JsonLines(write)
    return Rows("tsv" if form in (None, "table") else form, write)


def values(step: Step) -> dict[str, Value]:
    """Give a step's values by column."""
    return {
        "step": step.step,
        "source": step.source,
        "global_norm": step.global_norm,
        "ratio": step.ratio,
        "tensor": step.worst,
        "share": step.share,
        "nonfinite": step.nonfinite,
        "mark": step.mark or None,
        "finite_norm": step.finite_norm,
        "threshold": step.threshold,
        "first_nonfinite": step.first_nonfinite,
    }


def _object(step: Step) -> dict[str, Any]:
    found: dict[str, Any] = {column: number(value) for column, value in values(step).items()}
    found |= named(step.worst, "tensor")
    found["source"] = exact(step.source)
    found["step"] = _label(step)
    return found


def _label(step: Step) -> int | str:
    return step.step if isinstance(step.step, int) else exact(step.step)


def _summary(trend: Trend) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "count": len(trend.steps),
        "spike_deviations": trend.rule.deviations,
        "spike_window": trend.rule.window,
        "first_nonfinite": _first_nonfinite(trend),
        "spikes": [
            {
                "step": _label(spike.step),
                "global_norm": number(spike.step.global_norm),
                "threshold": number(spike.step.threshold),
                "ratio": number(spike.step.ratio),
                "grown": [
                    {
                        **named(growth.tensor, "tensor"),
                        "share_before": growth.before,
                        "share": growth.after,
                    }
                    for growth in spike.grown
                ],
            }
            for spike in trend.spikes
        ],
        "vanishing": [
            {
                **named(fading.high, "from"),
                **named(fading.low, "to"),
                "layers": fading.layers,
                "rate": fading.rate,
                "whole": fading.whole,
            }
            for fading in trend.fading
        ],
        "always_zero": [None if name is None else exact(name) for name in trend.always_zero],
        "notes": [escape(note) for note in trend.notes],
    }


def _first_nonfinite(trend: Trend) -> dict[str, Any] | None:
    first = trend.first_nonfinite
    if first is None:
        return None
    return {
        "step": _label(first.step),
        **named(first.tensor, "tensor"),
        "dtype": first.dtype,
        "nan": first.found.nan,
        "posinf": first.found.posinf,
        "neginf": first.found.neginf,
        "index": first.found.first,
        "tensors": first.tensors,
        "infinite": [None if name is None else exact(name) for name in first.infinite],
        "before": None if first.before is None else _object(first.before),
    }
