"""What rounding to the stored dtypes explains: how far a norm can be from the one meant."""

import math
from collections.abc import Iterable, Iterator

from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.tensors.dtypes import binary_of, lanes_of

# Of a norm: what it, the norm before and the coefficient lose in float64 themselves, where the
# 4,096 squares of a row are added one after the other.
ARITHMETIC = 2.0**-40


def explained(parts: Iterable[tuple[str, Moments]], limit: float, p: float = 2.0) -> float:
    r"""Give by how much the norm of values may exceed a limit that they were clipped to.

    `parts` are names of dtypes and moments of what is stored in them.

    Each value is rounded by at most `u·|x| + s/2`, with `u` the unit roundoff and `s` the smallest
    subnormal of its dtype, so by the triangle inequality the norm is changed by at most
    `√(Σ (uᵢ·nᵢ)² + Σ countᵢ·(sᵢ/2)²)`, with `nᵢ` the norm of that dtype's values; for another p the
    same with p-th powers, for infinite p the largest. The second term, that of subnormal numbers,
    is at most a hundredth of the limit. For p below 1, where there is no such inequality for norms
    but one for sums of powers, the bound comes from that; for p = 0 rounding takes values away and
    adds none. See Higham, *Accuracy and Stability of Numerical Algorithms* (2002), section 2.1.
    """
    if p == 0:
        return 0.0
    relative, absolute, norms = [], [], []
    for dtype, moments in _by_dtype(parts):
        norms.append(moments.finite_norm)
        relative.append(binary_of(dtype).unit_roundoff * moments.finite_norm)
        smallest = binary_of(dtype).smallest
        size = smallest / 2 or smallest  # float64 has no half of its smallest
        count = moments.count * lanes_of(dtype)
        absolute.append(size if p == math.inf else size * count ** (1 / p))
    error = _joint([_joint(relative, p), min(_joint(absolute, p), limit / 100)], p)
    if p < 1:
        error = _joint([limit, error], p) - limit
    return max(error, _joint(norms, p) * ARITHMETIC)


def _by_dtype(parts: Iterable[tuple[str, Moments]]) -> Iterator[tuple[str, Moments]]:
    found: dict[str, list[Moments]] = {}
    for dtype, moments in parts:
        found.setdefault(dtype, []).append(moments)
    return ((dtype, merge(some)) for dtype, some in found.items())


def _joint(norms: Iterable[float], p: float) -> float:
    """Give the norm of parts together from theirs."""
    found = [norm for norm in norms if norm]
    largest = max(found, default=0.0)
    if p == math.inf or len(found) < 2:
        return largest
    if p == 2:
        return math.hypot(*found)
    total: float = math.fsum((norm / largest) ** p for norm in found) ** (1 / p)
    return largest * total
