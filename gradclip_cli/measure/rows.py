"""Rows of 4,096 values, counted from a tensor's first: what is summed in one go.

Sums over rows are kept without any rounding, so the digits of a norm do not depend on how its
tensor was cut, as long as every cut is between rows.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.engine.scratch import scratch
from gradclip_cli.measure.laws import Sums, exact_sums
from gradclip_cli.tensors.codecs import Floats, Values

# A dot product of 1,024 float64 stays in the first-level cache, is too short for BLAS to share out
# among threads (which would change its last bits), and errs by less than 1e-13. `vecdot` lets other
# threads run only while it does more than 500 of them, so a block of 128 rows takes 512.
ROW = 4096
DOT = ROW // 4

# Spans begin with a multiple of so many real numbers: what a fingerprint takes at once.
UNIT = 16 * ROW

# Rows whose largest exponent lies outside are scaled by a power of two before they are multiplied:
# between these bounds no sum of products overflows, and what underflows does not count.
LOWEST, HIGHEST = -450, 480

Exponents = NDArray[np.int32]


def ordinary(exponents: Exponents) -> NDArray[np.bool_]:
    """Say of exponents, as of `np.frexp`, whether squares of such values stay within float64."""
    within: NDArray[np.bool_] = (exponents > LOWEST) & (exponents < HIGHEST)
    return within


def widened(values: Values) -> Floats:
    """Give values as float64: themselves, or a scratch array."""
    if values.dtype == np.float64:
        return values
    wide: Floats = scratch("wide", np.float64, values.size)
    np.copyto(wide, values)
    return wide


def rows(wide: Floats) -> list[Floats]:
    """Give whole rows, and what is left as a last one."""
    whole = len(wide) // ROW * ROW
    return [part for part in (wide[:whole].reshape(-1, ROW), wide[None, whole:]) if part.size]


def scaled_rows(
    wide: Floats, is_within: Callable[[Exponents], NDArray[np.bool_]] = ordinary, spare: int = 0
) -> Iterator[tuple[Floats, Exponents]]:
    """Give rows times powers of two, and their exponents; 0 where the largest value is within.

    Others are brought below 2**-spare.
    """
    for part in rows(wide):
        exponents = np.frexp(np.abs(part).max(axis=1))[1]
        shifts = np.where(is_within(exponents), 0, -exponents - spare)
        yield (np.ldexp(part, shifts[:, None]) if shifts.any() else part), shifts


def summed(shifts: Exponents, totals: Floats, terms: dict[int, list[float]]) -> None:
    """Add the totals of rows to terms by shift."""
    for shift, total in zip(shifts.tolist(), totals.tolist(), strict=True):
        terms.setdefault(shift, []).append(total)


def squares(wide: Floats) -> Sums:
    """Give the sums of squares of rows, each scaled where a square might leave float64."""
    terms: dict[int, list[float]] = {}
    for part, shifts in scaled_rows(wide):
        if part.shape[1] == ROW:
            parts = part.reshape(-1, DOT)
            summed(shifts, of_quarters(np.vecdot(parts, parts)), terms)
        else:
            summed(shifts, np.vecdot(part, part), terms)
    return exact_sums(terms)


def of_quarters(dots: Floats) -> Floats:
    """Give the sum of each row from those of its quarters, added in a fixed order."""
    one, two, three, four = dots.reshape(-1, ROW // DOT).T
    total: Floats = (one + two) + (three + four)
    return total


_WITHIN = 480  # for other powers than 2, exponent times power


def fits(exponents: Exponents, p: float) -> NDArray[np.bool_]:
    """Say of exponents whether sums of p-th powers of such values stay within float64."""
    within: NDArray[np.bool_] = np.abs(exponents + 1) * p < _WITHIN
    return within


def powers(values: Values, lanes: int, p: float) -> Sums:
    """Give the sums of `|x|**p`, row by row, scaled where a power might leave float64."""
    terms: dict[int, list[float]] = {}
    # Halves, because a complex size can overflow although its parts do not.
    for part, shifts in scaled_rows(widened(values), lambda exponents: fits(exponents, p), 1):
        sizes = np.abs(part) if lanes == 1 else np.hypot(part[:, 0::2], part[:, 1::2])
        summed(shifts, (sizes if p == 1 else sizes**p).sum(axis=1), terms)
    return exact_sums(terms)
