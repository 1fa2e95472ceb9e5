"""What there is to say about a run over its steps."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradclip_cli.errors import Status
from gradclip_cli.results.columns import Column, Result, Sheet
from gradclip_cli.results.gates import Gate, status
from gradclip_cli.results.limiting import Limit
from gradclip_cli.results.phrases import exactly
from gradclip_cli.results.phrases import steps as share_of_steps
from gradclip_cli.series.departures import Departure
from gradclip_cli.series.findings import FirstNonfinite, Jump, Spike, Unchanged
from gradclip_cli.series.layers import Fading
from gradclip_cli.series.ranges import RangeRule
from gradclip_cli.series.shifts import Shift
from gradclip_cli.series.silence import Silence
from gradclip_cli.series.spikes import SpikeRule
from gradclip_cli.series.trajectory import Step
from gradclip_cli.series.unreadable import Unreadable
from gradclip_cli.tensors.names import escape, named, plural

COLUMNS = (
    Column("step", "step", "the number, or name", title="step"),
    Column("source", "source", "the operand: where it was read from"),
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
        "to the median of the norms before that kept to their range",
        title="× median",
        words="number",
        rank=1,
    ),
    Column(
        "tensor",
        "worst",
        "the one with the largest part of the sum of squares; where a value is not finite, the "
        "likely first such tensor",
        words="name",
    ),
    Column("share", "share", "its part of the sum of squares"),
    Column(
        "nonfinite",
        "nonfinite",
        "number of NaN and infinities",
        title="not finite",
        words="some",
        rank=2,
    ),
    Column(
        "mark",
        "marked",
        "`spike`, `nonfinite`, `overflow` (beyond float64), `zero`, `unreadable`, or empty",
    ),
    Column("", "mark_and_norm", title="mark", words="mark", left=True),
    Column("", "worst_part", title="share", words="part"),
    Column("finite_norm", "finite_norm", "norm of the finite values"),
    Column("threshold", "threshold", "the norm above which it would be a spike"),
    Column(
        "first_nonfinite",
        "first_nonfinite",
        "the place in `tensor` of its first value that is not finite",
    ),
    Column(
        "few_steps", "few_steps", "of a spike, whether it is told by fewer than 20 steps before it"
    ),
    Column("problem", "problem", "why a step is `unreadable`: it has a row, and counts in nothing"),
)
SHEET = Sheet("trend", COLUMNS, "step", {"step": "steps"}, last="trend")


_MUCH = 4.0  # times the step before: what a person would ask about


@dataclass(frozen=True, slots=True)
class Trend(Result):
    """A run over its steps, in order, and what can be said of it; `unreadable` ones stand apart.

    `shifts` are levels that did not come back, where a spike is far above that; `departures` are
    the tensors that left their own range for good, whether or not the global norm shows it;
    `largest_jump` is from one step to the next. `fading` are the layers along which the norm falls
    geometrically, `always_zero` the tensors that are in every step and have no other value in any,
    `unchanged` those with the same bits in steps one after the other, `silent` those whose gradient
    became zero and stayed so. `limit` is one that was asked about.
    """

    steps: tuple[Step, ...]
    rule: RangeRule | SpikeRule
    first_nonfinite: FirstNonfinite | None
    spikes: tuple[Spike, ...]
    shifts: tuple[Shift, ...]
    departures: tuple[Departure, ...]
    largest_jump: Jump | None
    fading: tuple[Fading, ...]
    always_zero: tuple[str | None, ...]
    notes: tuple[str, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    unchanged: tuple[Unchanged, ...] = ()
    silent: tuple[Silence, ...] = ()
    verdict: str = ""
    gates: tuple[Gate, ...] = ()
    limit: Limit | None = None

    @property
    def finite(self) -> bool:
        """Whether each step was read and its norm is finite."""
        return not self.unreadable and all(math.isfinite(step.global_norm) for step in self.steps)

    @property
    def says(self) -> str:
        """What has to be known first, what could not be read, and which gates failed."""
        said = [self.verdict]
        if self.unreadable:
            said.append(f"{plural(len(self.unreadable), 'step')} cannot be read")
        return "; ".join([*said, *(gate.says for gate in self.gates if gate.status)])

    @property
    def status(self) -> Status:
        """The status with which the command ends; what cannot be read or judged is trouble."""
        return Status.TROUBLE if self.unreadable else status(self.gates)

    @property
    def finite_norms(self) -> list[float]:
        """The norms of the steps where it is finite, in order."""
        return [step.global_norm for step in self.steps if math.isfinite(step.global_norm)]

    @property
    def loudest(self) -> Step | None:
        """The step with the largest norm that is finite; None where none is."""
        finite = [step for step in self.steps if math.isfinite(step.global_norm)]
        return max(finite, key=lambda step: step.global_norm, default=None)

    @property
    def left_at(self) -> list[int]:
        """The places of the steps with which the norm, or a tensor, left its range for good."""
        left = {id(shift.began) for shift in self.shifts} | {
            id(one.step) for one in self.departures
        }
        return [place for place, step in enumerate(self.steps) if id(step) in left]

    @property
    def seeks_shifts(self) -> bool:
        """Whether the rule tells a level that does not come back from spikes."""
        return isinstance(self.rule, RangeRule)

    @property
    def judged(self) -> int:
        """Number of steps of which it could be said whether they are spikes."""
        return sum(step.threshold is not None for step in self.steps)

    @property
    def unjudged_jump(self) -> Jump | None:
        """The largest jump, where the step could not be judged, and a person would ask."""
        jump = self.largest_jump
        if jump is None or jump.step.threshold is not None or jump.times < _MUCH:
            return None
        return jump

    @property
    def limited(self) -> str:
        """What the limit that was asked about would clip, in words."""
        if self.limit is None or self.limit.clipped is None:
            return ""
        share = share_of_steps(self.limit.clipped)
        return f"--clip-norm {exactly(self.limit.norm)} clips {share} of the steps"

    @property
    def origin(self) -> str:
        """What was read."""
        steps = plural(len(self.steps), "step")
        if not self.steps:
            return steps
        first, last = (escape(str(self.steps[at].step)) for at in (0, -1))
        return f"{steps}, {first} to {last}"

    __repr__ = Result.__repr__

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
            "spike_rule": self.rule.words,
            "spike_deviations": self.rule.deviations,
            "spike_window": self.rule.window,
            "judged": self.judged,
            "first_nonfinite": _first_nonfinite(self.first_nonfinite),
            "spikes": [_spike(spike) for spike in self.spikes],
            "shifts": [_shift(shift) for shift in self.shifts],
            "departures": [_departure(one) for one in self.departures],
            "largest_jump": _jump(self.largest_jump),
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
            "silent": [
                {
                    **named(one.tensor, "tensor"),
                    "from": one.step.step,
                    "to": one.last.step,
                    "steps": one.count,
                }
                for one in self.silent
            ],
            "unchanged": [
                {
                    **named(one.tensor, "tensor"),
                    "from": one.first.step,
                    "to": one.last.step,
                    "steps": one.count,
                }
                for one in self.unchanged
            ],
            "unreadable": [
                {"step": bad.step, **named(bad.source, "source"), "problem": bad.problem}
                for bad in self.unreadable
            ],
            "notes": [escape(note) for note in self.notes],
            **({} if self.limit is None else self.limit.values()),
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
        "with_nan": first.with_nan,
        "before": None if before is None else SHEET.by_name(before),
    }


def _spike(spike: Spike) -> Mapping[str, Any]:
    step = spike.step
    return {
        "step": step.step,
        "global_norm": step.global_norm,
        "threshold": step.threshold,
        "ratio": step.ratio,
        "few_steps": step.few_steps,
        **named(step.worst, "tensor"),
        "share": step.share,
        "grown": [
            {
                **named(growth.tensor, "tensor"),
                "share_before": growth.before,
                "share": growth.after,
            }
            for growth in spike.grown
        ],
    }


def _shift(shift: Shift) -> Mapping[str, Any]:
    return {
        "step": shift.step.step,
        "rises": shift.rises,
        "norm_before": shift.before,
        "norm_after": shift.after,
        "steps": shift.count,
        "few_steps": shift.step.usual.few,
        "anew": None if shift.anew is None else shift.anew.step,
        "began": shift.began.step,
        "first": [named(name, "tensor") for name in shift.first],
        "leaving": shift.leaving,
    }


def _departure(one: Departure) -> Mapping[str, Any]:
    return {
        "step": one.step.step,
        **named(one.tensor, "tensor"),
        "rises": one.rises,
        "norm_before": one.before,
        "norm_after": one.after,
        "few_steps": one.few,
    }


def _jump(jump: Jump | None) -> Mapping[str, Any] | None:
    if jump is None:
        return None
    step = jump.step
    return {
        "step": step.step,
        "times": jump.times,
        **named(step.worst, "tensor"),
        "share": step.share,
    }
