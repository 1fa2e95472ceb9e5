"""How often `trend` is wrong: simulated runs, of which it is known where they were struck.

`python -m benchmarks.spikes` prints the table of docs/runs.md: 1,000 runs of 400 steps a row, some
twenty minutes. The norm of a healthy step is a level times lognormal noise; a fault multiplies a
step, or two one after the other, and a shift all from one step on, by 8 to 20 deviations of the
noise and 4 to 1,000 fold.
"""

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.series.ranges import FEW, RangeRule
from gradclip_cli.series.shifts import shifts
from gradclip_cli.series.trajectory import Layout, Measured, Step, Watch

Floats = NDArray[np.float64]

STEPS, RUNS = 400, 1000
SIGMAS = (0.1, 0.25, 0.5)
_LAYOUT = Layout(("w",), ("float64",), (1,))

LEVELS: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "steady": lambda at, _: 0 * at,
    "drifting, up to 1 % a step": lambda at, rng: at * rng.uniform(-0.01, 0.01),
    "drifting, 1 % a step": lambda at, _: at * 0.01,
    "warm-up, falling tenfold": lambda at, _: np.log(10 - 9 * np.minimum(at / 100, 1)),
    "warm-up, rising twentyfold": lambda at, _: np.log(0.05 + 0.95 * np.minimum(at / 100, 1)),
}
"""The logarithm of the level at each step, by the kind of run."""


@dataclass
class Count:
    """What there was, and how much of it went wrong."""

    of: int = 0
    wrong: int = 0

    def add(self, wrong: bool) -> None:
        """Take note of one more."""
        self.of += 1
        self.wrong += wrong


@dataclass
class Scores:
    """False alarms at steps 20 to 49 and from 50 on, faults missed, shifts not dated."""

    early: Count
    late: Count
    faults: Count
    shifts: Count


def scored(kind: str, sigma: float, runs: int, tail: int | None = None) -> Scores:
    """Simulate runs of a kind; with a `tail` noise is Student's, of so many degrees of freedom."""
    scores = Scores(Count(), Count(), Count(), Count())
    for seed in range(runs):
        rng = np.random.default_rng([seed, round(sigma * 100)])
        level = LEVELS[kind](np.arange(STEPS, dtype=np.float64), rng)
        _struck(level + _noise(rng, sigma, tail), sigma, rng, scores)
        _shifted(level + _noise(rng, sigma, tail), sigma, rng, scores.shifts)
    return scores


def watched(logarithms: Floats) -> list[Step]:
    """Give the steps of a run whose norms have these logarithms."""
    watch = Watch(RangeRule())
    norms = [math.exp(value) for value in logarithms.tolist()]
    return [
        watch.step(at, "", Measured(_LAYOUT, [norm], [norm], {}, norm))
        for at, norm in enumerate(norms)
    ]


def _struck(logarithms: Floats, sigma: float, rng: np.random.Generator, scores: Scores) -> None:
    struck: set[int] = set()
    for place in rng.choice(np.arange(FEW, STEPS - 1), 6, replace=False).tolist():
        for at in {place, place + int(rng.integers(2))} - struck:
            logarithms[at] += _size(rng, sigma)
            struck.add(at)
    for step in watched(logarithms)[FEW:]:
        at = int(step.step)
        marked = step.mark == "spike"
        if at in struck:
            scores.faults.add(not marked)
        else:
            (scores.early if at < 50 else scores.late).add(marked)


def _shifted(logarithms: Floats, sigma: float, rng: np.random.Generator, count: Count) -> None:
    begin = int(rng.integers(FEW, STEPS - 30))
    logarithms[begin:] += _size(rng, sigma)
    found = [int(shift.step.step) for shift in shifts(watched(logarithms)) if shift.anew]
    count.add(not any(abs(step - begin) <= 2 for step in found))


def _size(rng: np.random.Generator, sigma: float) -> float:
    return rng.uniform(max(8 * sigma, math.log(4)), min(20 * sigma, math.log(1000)))


def _noise(rng: np.random.Generator, sigma: float, tail: int | None) -> Floats:
    if tail is None:
        return sigma * rng.standard_normal(STEPS)
    return sigma * rng.standard_t(tail, STEPS) / math.sqrt(tail / (tail - 2))


def rows(runs: int) -> Iterator[str]:
    """Give the table's rows in Markdown."""
    yield "| run | σ | false alarms, steps 20–49 | from 50 on | faults missed | shifts not dated |"
    yield "|---|---|---|---|---|---|"
    cases: list[tuple[str, int | None]] = [(kind, None) for kind in LEVELS]
    for kind, tail in [*cases, ("steady", 5), ("steady", 3)]:
        for sigma in SIGMAS:
            found = scored(kind, sigma, runs, tail)
            name = kind if tail is None else f"{kind}, heavy tails (t, {tail} degrees)"
            alarms = (f"{one.wrong:,} of {one.of:,}" for one in (found.early, found.late))
            rest = (f"{one.wrong / one.of:.2%}" for one in (found.faults, found.shifts))
            yield f"| {' | '.join([name, str(sigma), *alarms, *rest])} |"


if __name__ == "__main__":
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS):
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()
