"""Measurements of how two tensors differ, that merge exactly as `Moments` do.

`compare` gives the `Difference` of two blocks, A and B, and `merge` that of many parts. Norms,
products and the gap B - A are over the values that are finite on both sides; what is not finite is
counted. Whether B is a multiple of A is not guessed from norms: each pair of values allows the
factors that one rounding of either side explains, and the common part of all those intervals is
kept, which one value that does not fit leaves empty.
"""

import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.compare.few import Few, few
from gradclip_cli.compare.few import together as few_together
from gradclip_cli.compare.likeness import ALL, likeness, likeness_each
from gradclip_cli.compare.likeness import both as likenesses
from gradclip_cli.engine.scratch import scratch
from gradclip_cli.frozen import frozen
from gradclip_cli.measure.gauge import measure, measure_each
from gradclip_cli.measure.laws import Sums, by, exact, exact_sums, first, merged
from gradclip_cli.measure.moments import Moments, root
from gradclip_cli.measure.moments import merge as merge_moments
from gradclip_cli.measure.places import IN_ORDER, Places
from gradclip_cli.measure.rows import HIGHEST, LOWEST, ROW, rows, scaled_rows, summed
from gradclip_cli.tensors.codecs import Floats
from gradclip_cli.tensors.dtypes import FLOAT64, DType

Mask = NDArray[np.bool_]
Factors = tuple[float, float]

ANY: Factors = (-math.inf, math.inf)
NONE: Factors = (math.inf, -math.inf)


@dataclass(frozen=True, slots=True)
class Rounding:
    """By how much one rounding can move a value: a part of it, and near zero an amount."""

    part: float
    amount: float


def rounding(a: DType, b: DType) -> Rounding:
    """Give what rounding to both dtypes can do to a value of B, and the arithmetic here besides."""
    digits_a, digits_b = (dtype.binary.fraction_bits + 1 for dtype in (a, b))
    amount = max(b.binary.smallest / 2, FLOAT64.binary.smallest)
    return Rounding(2.0**-digits_a + 2.0**-digits_b + 2.0**-51, amount)


def common(factors: Iterable[Factors]) -> Factors:
    """Give the factors that all allow; `NONE` where there is none.

    >>> common([(1.0, 3.0), (2.0, 4.0)])
    (2.0, 3.0)
    """
    lowest, highest = ANY
    for low, high in factors:
        lowest, highest = max(lowest, low), min(highest, high)
    return (lowest, highest) if lowest <= highest else NONE


@frozen
class Difference:
    """What is known of pairs of values.

    `a`, `b` and `gap`, which is B - A, are moments; values of the gap where either side is not
    finite count as not finite. `squares_a`, `squares_b` and `products` are over the other values: a
    shift of the products says that they times 2**shift add up to the terms. `changed` values are
    stored differently, `astray` are not finite on one side alone or in another way, `newly` only in
    B. `factors` are the lowest and highest r for which B = r * A but for rounding, `likeness` says
    what all differences may come to, and `few` has the changed values, unless they are many.
    """

    a: Moments = by(merge_moments)
    b: Moments = by(merge_moments)
    gap: Moments = by(merge_moments)
    squares_a: Sums = by(exact)
    squares_b: Sums = by(exact)
    products: Sums = by(exact)
    changed: int = by(sum, 0)
    astray: int = by(sum, 0)
    newly: int = by(sum, 0)
    first_newly: int | None = by(first, None)
    factors: Factors = by(common, ANY)
    likeness: int = by(likenesses, ALL)
    few: Few | None = by(few_together, ())

    @property
    def ratio(self) -> float | None:
        """The norm of B over that of A; inf where only A is zero, None where both are."""
        return _quotient(self.squares_b, self.squares_a)

    @property
    def relative_error(self) -> float | None:
        """The norm of B - A over that of A: 0 of equals, inf where only A is zero.

        None where no value is finite on both sides.
        """
        if self.gap.nonfinite == self.gap.count and self.gap.count:
            return None
        return _quotient(self.gap.squares, self.squares_a) or 0.0

    @property
    def cosine(self) -> float | None:
        """The cosine of the angle between A and B; None where either is zero."""
        if not (self.squares_a and self.squares_b):
            return None
        if not self.products:
            return 0.0
        (size_a, exponent_a), (size_b, exponent_b) = root(self.squares_a), root(self.squares_b)
        lowest = self.products[0][0]
        total = math.fsum(
            math.ldexp(term, lowest - shift) for shift, terms in self.products for term in terms
        )
        cosine = math.ldexp(total / size_a / size_b, -lowest - exponent_a - exponent_b)
        # The last bits of a cosine of one are chance, and nothing is further from zero.
        return cosine if abs(cosine) < 1 - 1e-15 else math.copysign(1.0, cosine)


def _quotient(above: Sums, below: Sums) -> float | None:
    """Give the root of one sum of squares over that of another, wherever float64 ends."""
    if not below:
        return math.inf if above else None
    (size, exponent), (unit, other) = root(above), root(below)
    try:
        return math.ldexp(size / unit, exponent - other)
    except OverflowError:
        return math.inf


def merge(parts: Iterable[Difference]) -> Difference:
    """Give the difference of the whole; the order of the parts does not matter."""
    return merged(Difference, parts)


def unchanged(one: Moments, around: Rounding) -> Difference:
    """Give the difference of values, whose moments are given, from themselves."""
    finite = one.count - one.nonfinite
    gap = Moments(
        one.count,
        largest=(0.0, None) if finite else None,
        zeros=finite,
        nan=one.nonfinite,
        first_nonfinite=one.first_nonfinite,
    )
    products = (*((2 * shift, terms) for shift, terms in one.squares),)
    factors = ANY
    if one.max_abs:
        width = around.part + around.amount / one.max_abs
        factors = 1 - width, 1 + width
    return Difference(one, one, gap, one.squares, one.squares, products, factors=factors)


def compare(
    a: Floats,
    b: Floats,
    changed: Mask,
    around: Rounding,
    lanes: int = 1,
    places: Places = IN_ORDER,
) -> Difference:
    """Compare two blocks of float64, shape `(count * lanes,)`; the rest is as for `measure`.

    `changed`, shape `(count,)`, says which values are stored differently.
    """

    def measured(values: Floats, lanes: int = lanes) -> Moments:
        return measure(values, lanes, places)

    one, other = measured(a), measured(b)
    alike, listed = likeness(a, b, changed, lanes), few(a, b, changed, lanes, places)
    squares_a, squares_b = one.squares, other.squares
    astray = newly = 0
    first_newly = None
    gap = _measured_gap(a, b, one, other, measured)
    if one.nonfinite or other.nonfinite:
        pairs_a, pairs_b = a.reshape(-1, lanes), b.reshape(-1, lanes)
        bad_a, bad_b = _bad(pairs_a), _bad(pairs_b)
        bad = bad_a | bad_b
        astray = int(np.count_nonzero(bad & ~_alike(pairs_a, pairs_b)))
        marked = measured(np.where(bad_b & ~bad_a, np.nan, 0.0), 1)
        newly, first_newly = marked.nan, marked.first_nonfinite
        a, b = (np.where(bad[:, None], 0.0, pairs).reshape(-1) for pairs in (pairs_a, pairs_b))
        squares_a, squares_b = measured(a).squares, measured(b).squares
    return Difference(
        one,
        other,
        gap,
        squares_a,
        squares_b,
        _products(a, b, one.max_abs or 0.0, other.max_abs or 0.0),
        int(np.count_nonzero(changed)),
        astray,
        newly,
        first_newly,
        _factors(a, b, around),
        alike,
        listed,
    )


def differing(a: Floats, b: Floats, lanes: int) -> Mask:
    """Say which values, in lanes, are not the same number; NaN is the same as NaN."""
    return ~_alike(a.reshape(-1, lanes), b.reshape(-1, lanes))


def _alike(a: Floats, b: Floats) -> Mask:
    same: Mask = np.logical_and.reduce((a == b) | (np.isnan(a) & np.isnan(b)), axis=1)
    return same


def _bad(pairs: Floats) -> Mask:
    finite: Mask = np.logical_and.reduce(np.isfinite(pairs), axis=1)
    return ~finite


def _measured_gap(
    a: Floats, b: Floats, one: Moments, other: Moments, measured: Callable[[Floats], Moments]
) -> Moments:
    """Measure B - A; where that could be beyond float64, a quarter of it."""
    gap: Floats = scratch("gap", np.float64, a.size)
    if max(one.max_abs or 0.0, other.max_abs or 0.0) < sys.float_info.max / 2:
        return measured(np.subtract(b, a, out=gap))
    found = measured(np.subtract(b * 0.25, a * 0.25, out=gap))
    return dataclasses.replace(
        found,
        squares=(*((shift - 2, terms) for shift, terms in found.squares),),
        largest=None if found.largest is None else (found.largest[0] * 4, found.largest[1]),
    )


def _products(a: Floats, b: Floats, largest_a: float, largest_b: float) -> Sums:
    if not (largest_a and largest_b):
        return ()
    if _is_ordinary(largest_a) and _is_ordinary(largest_b):
        pairs = zip(rows(a), rows(b), strict=True)
        return exact_sums({0: [total for pair in pairs for total in np.vecdot(*pair).tolist()]})
    terms: dict[int, list[float]] = {}
    scaled = zip(scaled_rows(a), scaled_rows(b), strict=True)
    for (one, shifts), (other, shifts_other) in scaled:
        summed(shifts + shifts_other, np.vecdot(one, other), terms)
    return exact_sums(terms)


def _is_ordinary(largest: float) -> bool:
    return LOWEST < math.frexp(min(largest, sys.float_info.max))[1] < HIGHEST


def _factors(a: Floats, b: Floats, around: Rounding) -> Factors:
    """Give the factors that all pairs of finite values allow."""
    if a.size > ROW:  # where it is in vain, the first row tells
        lowest, highest = _factors(a[:ROW], b[:ROW], around)
        if lowest > highest:
            return NONE
    low, high = _bounds(a, b, around)
    return _known(float(np.fmax.reduce(low)), float(np.fmin.reduce(high)))


def _bounds(a: Floats, b: Floats, around: Rounding) -> tuple[Floats, Floats]:
    """Give the lowest and the highest factor of each pair, NaN where any will do.

    No factor makes a number of zero, nor of values beyond float64 apart: there none is allowed.
    """
    high: Floats = scratch("high", np.float64, a.size)
    width: Floats = scratch("width", np.float64, a.size)
    low: Floats = scratch("low", np.float64, a.size)
    np.abs(b, out=width)
    width *= around.part
    width += around.amount
    width /= np.abs(a, out=high)
    np.divide(b, a, out=low)
    impossible = np.flatnonzero(np.isinf(low))
    np.add(low, width, out=high)
    low -= width
    low[impossible], high[impossible] = NONE
    return low, high


def _known(lowest: float, highest: float) -> Factors:
    if math.isnan(lowest):
        return ANY
    return (lowest, highest) if lowest <= highest else NONE


def compare_each(
    a: Floats, b: Floats, changed: Mask, around: Rounding, counts: Sequence[int]
) -> list[Difference]:
    """Compare small tensors that lie next to each other, real, `counts` values each, none 0.

    Gives for each what `compare` gives, but for the last bits of the sums.
    """
    lengths = np.asarray(counts)
    starts = np.cumsum(lengths) - lengths
    products = np.add.reduceat(a * b, starts)
    altered = np.add.reduceat(changed, starts, dtype=np.int64)
    low, high = _bounds(a, b, around)
    lowest, highest = np.fmax.reduceat(low, starts), np.fmin.reduceat(high, starts)
    columns: list[list[Any]] = [
        measure_each(a, counts),
        measure_each(b, counts),
        measure_each(b - a, counts),
        *(column.tolist() for column in (products, altered, lowest, highest, starts, lengths)),
        likeness_each(a, b, changed, starts),
    ]
    return [
        Difference(
            *(one, other, gap, one.squares, other.squares),
            ((0, (product,)),) if product else (),
            differ,
            factors=_known(smallest, largest),
            likeness=alike,
            few=few(a[at:][:count], b[at:][:count], changed[at:][:count]) if differ else (),
        )
        if _is_plain(one) and _is_plain(other) and _is_plain(gap)
        else dataclasses.replace(
            compare(a[at:][:count], b[at:][:count], changed[at:][:count], around), a=one, b=other
        )
        for one, other, gap, product, differ, smallest, largest, at, count, alike in zip(
            *columns, strict=True
        )
    ]


def _is_plain(values: Moments) -> bool:
    ordinary = not values.squares or (len(values.squares) == 1 and values.squares[0][0] == 0)
    return ordinary and values.first_nonfinite is None
