"""What there is to say about a run over its steps."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradclip_cli.results.columns import Column, Result, Sheet
from gradclip_cli.series import findings
from gradclip_cli.series.findings import FirstNonfinite, Spike
from gradclip_cli.series.layers import Fading, fading
from gradclip_cli.series.spikes import SpikeRule
from gradclip_cli.series.trajectory import Step
from gradclip_cli.series.unreadable import Unreadable
from gradclip_cli.tensors.names import escape, named

COLUMNS = (
    Column("step", "step", "the number, or name", title="step"),
    Column("source", "source", "the operand"),
    Column(
        "global_norm",
        "global_norm",
        "norm of all measured tensors",
        title="global norm",
        words="number",
    ),
    Column(
        "ratio",
        "ratio",
        "to the median of the finite norms before",
        title="× median",
        words="times",
    ),
    Column(
        "tensor",
        "worst",
        "the one with the largest part of the sum of squares; where a value is not finite, the "
        "first such tensor",
        words="name",
    ),
    Column("share", "share", "its part of the sum of squares"),
    Column(
        "nonfinite",
        "nonfinite",
        "number of NaN and infinities",
        title="not finite",
        words="some",
    ),
    Column(
        "mark",
        "marked",
        "`spike`, `nonfinite`, `overflow` (beyond float64), `zero`, `unreadable`, or empty",
    ),
    Column("", "mark_and_norm", title="mark", words="mark", left=True),
    Column("", "worst_part", title="share", words="part"),
    Column("finite_norm", "finite_norm", "norm of the finite values"),
    Column("threshold", "threshold", "where a spike began"),
    Column(
        "first_nonfinite",
        "first_nonfinite",
        "where the first value of `tensor` is that is not finite",
    ),
    Column("problem", "problem", "why a step is `unreadable`: it has a row, and counts in nothing"),
)
SHEET = Sheet("trend", COLUMNS, "step", {"step": "steps"}, last="trend")


@dataclass(frozen=True, slots=True)
class Trend(Result):
    """A run over its steps, in order, and what can be said of it; `unreadable` ones stand apart.

    `fading` are the layers along which the norm falls geometrically, `always_zero` the tensors that
    are in every step and have no other value in any.
    """

    steps: tuple[Step, ...]
    rule: SpikeRule
    first_nonfinite: FirstNonfinite | None
    spikes: tuple[Spike, ...]
    fading: tuple[Fading, ...]
    always_zero: tuple[str | None, ...]
    notes: tuple[str, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def finite_norms(self) -> list[float]:
        """The norms of the steps where it is finite, in order."""
        return [step.global_norm for step in self.steps if math.isfinite(step.global_norm)]

    # Laid out

    @property
    def sheet(self) -> Sheet:
        """How it is laid out."""
        return SHEET

    def labels(self) -> Sequence[int | str]:
        """Give what the steps are called."""
        return [row.step for _, row in self.told()]

    def told(self) -> Iterator[tuple[str, Step | Unreadable]]:
        """Give each row with its kind."""
        rows: list[Step | Unreadable] = [*self.steps]
        for bad in self.unreadable:
            rows.insert(bad.place, bad)
        return (("step", row) for row in rows)

    def summary(self) -> Mapping[str, Any]:
        """Give what JSON says of the whole."""
        return {
            "count": len(self.steps),
            "spike_deviations": self.rule.deviations,
            "spike_window": self.rule.window,
            "first_nonfinite": _first_nonfinite(self.first_nonfinite),
            "spikes": [
                {
                    "step": spike.step.step,
                    "global_norm": spike.step.global_norm,
                    "threshold": spike.step.threshold,
                    "ratio": spike.step.ratio,
                    "grown": [
                        {
                            **named(growth.tensor, "tensor"),
                            "share_before": growth.before,
                            "share": growth.after,
                        }
                        for growth in spike.grown
                    ],
                }
                for spike in self.spikes
            ],
            "vanishing": [
                {
                    **named(fading.high, "from"),
                    **named(fading.low, "to"),
                    "layers": fading.layers,
                    "rate": fading.rate,
                    "whole": fading.whole,
                }
                for fading in self.fading
            ],
            "always_zero": self.always_zero,
            "unreadable": [
                {"step": bad.step, **named(bad.source, "source"), "problem": bad.problem}
                for bad in self.unreadable
            ],
            "notes": [escape(note) for note in self.notes],
        }


def _first_nonfinite(first: FirstNonfinite | None) -> Mapping[str, Any] | None:
    if first is None:
        return None
    before = first.before
    return {
        "step": first.step.step,
        **named(first.tensor, "tensor"),
        "dtype": first.dtype,
        "nan": first.found.nan,
        "posinf": first.found.posinf,
        "neginf": first.found.neginf,
        "index": first.found.first,
        "tensors": first.tensors,
        "infinite": first.infinite,
        "before": None if before is None else SHEET.by_name(before),
    }


def trend_of(steps: Sequence[Step], rule: SpikeRule) -> Trend:
    """Read what is to be said from steps in order."""
    return Trend(
        tuple(steps),
        rule,
        findings.first_nonfinite(steps),
        tuple(findings.spikes(steps)),
        fading(steps),
        tuple(findings.always_zero(steps)),
        tuple(findings.notes(steps)),
    )
