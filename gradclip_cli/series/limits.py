"""Ways to clip, each a function from recorded norms, in order, to a coefficient for each."""

import bisect
import math
from collections.abc import Sequence

from gradclip_cli.series.spikes import percentile

# AutoClip's percentile of all norms so far: 10, which its authors found best.
_AUTOCLIP_PERCENT = 10.0
# ZClip's defaults.
_ZCLIP_ALPHA, _ZCLIP_Z, _ZCLIP_WARMUP, _ZCLIP_EPS = 0.97, 2.5, 25, 1e-6


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
