"""What limits would have done to the recorded norms: percentiles, and candidates beside each other.

A candidate is a function from the norms to a coefficient for each. All of it is arithmetic on
what was recorded; a run that had been clipped otherwise would have gone another way.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradclip_cli.series.findings import Trend
from gradclip_cli.series.spikes import percentile

PERCENTILES = (50, 75, 90, 95, 99)
RECOMMENDED = 90  # Deep Learning Tuning Playbook (Godbole et al. 2023): begin there
AGGRESSIVE = 0.5  # the same: more than half of the steps clipped is extremely aggressive
FIXED = (1.0, 5.0)
CAVEAT = (
    "these norms were recorded under the run's own clipping and learning rate; with another limit "
    "it would have taken another path"
)

# AutoClip's percentile of all norms so far: 10, which its authors found best.
_AUTOCLIP_PERCENT = 10.0
# ZClip's defaults.
_ZCLIP_ALPHA, _ZCLIP_Z, _ZCLIP_WARMUP, _ZCLIP_EPS = 0.97, 2.5, 25, 1e-6


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to clip, and what it would have done to the finite steps.

    `limit` is None where it changes from step to step. `clipped` and `clipped_last` are shares of
    the steps, of all and of their last tenth. A spike is caught if it is brought down to where a
    spike begins.
    """

    name: str
    limit: float | None
    clipped: float
    clipped_last: float
    mean_coefficient: float
    worst_coefficient: float
    caught: int
    missed: int

    @property
    def is_aggressive(self) -> bool:
        """Whether more than half of the steps are clipped."""
        return self.clipped > AGGRESSIVE


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What was tried, and the limit that is recommended; None where no step gives one.

    `steps` have a finite norm, `excluded` have none. `percentiles` are of the finite norms;
    `first_spike` is the first step that is a spike.
    """

    steps: int
    excluded: int
    percentiles: tuple[tuple[int, float], ...]
    candidates: tuple[Candidate, ...]
    recommended: Candidate | None
    first_spike: int | str | None = None


def suggest(trend: Trend) -> Suggestion:
    """Try limits on the norms of a run; its steps without a finite norm are counted, not used."""
    steps = [step for step in trend.steps if math.isfinite(step.global_norm)]
    excluded = len(trend.steps) - len(steps)
    if not steps:
        return Suggestion(0, excluded, (), (), None)
    norms = [step.global_norm for step in steps]
    ordered = sorted(norms)
    percentiles = tuple((percent, percentile(ordered, percent)) for percent in PERCENTILES)
    ends = [step.threshold if step.mark == "spike" else None for step in steps]

    def tried(name: str, limit: float | None, coefficients: list[float]) -> Candidate:
        last = coefficients[-math.ceil(len(norms) / 10) :]
        brought = [
            norm * coefficient <= end
            for norm, coefficient, end in zip(norms, coefficients, ends, strict=True)
            if end is not None
        ]
        return Candidate(
            name,
            limit,
            sum(coefficient < 1 for coefficient in coefficients) / len(norms),
            sum(coefficient < 1 for coefficient in last) / len(last),
            math.fsum(coefficients) / len(norms),
            min(coefficients),
            sum(brought),
            len(brought) - sum(brought),
        )

    fixed = [(f"percentile {percent}", limit) for percent, limit in percentiles]
    fixed += [(f"fixed {limit!r}", limit) for limit in FIXED]
    candidates = [tried(name, limit, by_limit(norms, limit)) for name, limit in fixed if limit > 0]
    candidates.append(tried("AutoClip", None, autoclip(norms)))
    candidates.append(tried("ZClip", None, zclip(norms)))
    skipped = [0.0 if end is not None else 1.0 for end in ends]
    rule = trend.rule
    candidates.append(tried(f"skip above {rule.deviations:g}σ", None, skipped))
    recommended = next((one for one in candidates if one.name == f"percentile {RECOMMENDED}"), None)
    first = next((step.step for step in steps if step.mark == "spike"), None)
    return Suggestion(len(steps), excluded, percentiles, tuple(candidates), recommended, first)


def by_limit(norms: Sequence[float], limit: float) -> list[float]:
    """Clip each norm by one limit: `min(1, limit / norm)`.

    >>> by_limit([0.0, 5.0, 10.0], 5.0)
    [1.0, 1.0, 0.5]
    """
    return [_coefficient(norm, limit) for norm in norms]


def autoclip(norms: Sequence[float], percent: float = _AUTOCLIP_PERCENT) -> list[float]:
    """Clip each norm by a percentile of all up to it, itself included.

    AutoClip: Seetharaman, Wichern, Pardo, Le Roux, *AutoClip: Adaptive Gradient Clipping for Source
    Separation Networks*, MLSP 2020 (arXiv:2007.14469).

    >>> autoclip([4.0, 2.0, 8.0], 50)
    [1.0, 1.0, 0.5]
    """
    seen: list[float] = []
    coefficients = []
    for norm in norms:
        bisect.insort(seen, norm)
        coefficients.append(_coefficient(norm, percentile(seen, percent)))
    return coefficients


def zclip(norms: Sequence[float]) -> list[float]:
    """Clip the norms that stand out from their moving average, the further the harder.

    ZClip: Kumar, Owen, Roy Chowdhury, Güra, *ZClip: Adaptive Spike Mitigation for LLM Pre-Training*
    (arXiv:2504.02507), with its defaults: mean and variance move by 3 %, 25 steps set them, and a
    z-score above 2.5 is scaled back to mean + 2.5² / z · σ, by which they move on.
    """
    warmup = norms[:_ZCLIP_WARMUP]
    coefficients = [1.0] * len(warmup)
    mean = math.fsum(norm / len(warmup) for norm in warmup)
    variance = math.fsum((norm - mean) * (norm - mean) / len(warmup) for norm in warmup)
    for norm in norms[_ZCLIP_WARMUP:]:
        deviation = math.sqrt(variance)
        z = (norm - mean) / (deviation + _ZCLIP_EPS)
        effective = norm
        if z > _ZCLIP_Z:
            effective = mean + _ZCLIP_Z * deviation * (_ZCLIP_Z / z)
        coefficients.append(_coefficient(norm, effective))
        mean = _ZCLIP_ALPHA * mean + (1 - _ZCLIP_ALPHA) * effective
        distance = effective - mean
        variance = _ZCLIP_ALPHA * variance + (1 - _ZCLIP_ALPHA) * distance * distance
    return coefficients


def _coefficient(norm: float, limit: float) -> float:
    return limit / norm if norm > limit else 1.0
