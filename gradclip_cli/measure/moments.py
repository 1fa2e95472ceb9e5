"""What is known of some values, in a form that merges exactly.

Sums of squares are kept without any rounding, as the few floats whose exact sum they are. The
moments of a whole therefore do not depend on how it was cut into parts, nor on their order.
"""

import dataclasses
import math
from collections.abc import Iterable

from gradclip_cli.frozen import frozen
from gradclip_cli.measure import statistics
from gradclip_cli.measure.laws import Sums, by, exact, exact_sums, first, inverse_of, merged
from gradclip_cli.measure.statistics import Further

Largest = tuple[float, int | None]
"""A magnitude, and the first position, in C order, of a value that has it; None where any will do.
"""


def _largest(found: list[Largest | None]) -> Largest | None:
    known = [one for one in found if one is not None]
    if not known:
        return None
    size = max([size for size, _ in known])
    return size, first([at for one, at in known if one == size])


def _norm_type(types: list[float]) -> float:
    return next((p for p in types if p != 2), 2.0)


@frozen
class Moments:
    """What is known of some values: everything is over finite values but the counts of the others.

    `largest` is None where no value is finite. Positions are C-order positions in the tensor, the
    first where several qualify. A complex value is NaN where a part is, else infinite where one is.

    `norm_type` is the p of `norm`, `(Σ|x|^p)^(1/p)`: the largest magnitude for p = inf, for p = 0
    the number of values that are not zero. `powers` are the sums of other powers than 2. `further`
    has what the table of statistics asks for, by name.
    """

    count: int = by(sum, 0)
    squares: Sums = by(exact, ())
    largest: Largest | None = by(_largest, None)
    zeros: int = by(sum, 0)
    nan: int = by(sum, 0)
    posinf: int = by(sum, 0)
    neginf: int = by(sum, 0)
    first_nonfinite: int | None = by(first, None)
    norm_type: float = by(_norm_type, 2.0)
    powers: Sums = by(exact, ())
    further: Further = by(statistics.together, ())

    @property
    def max_abs(self) -> float | None:
        """The largest magnitude; None where no value is finite."""
        return None if self.largest is None else self.largest[0]

    @property
    def max_abs_at(self) -> int | None:
        """Its position, the first in C order."""
        return None if self.largest is None else self.largest[1]

    @property
    def nonfinite(self) -> int:
        """Number of values that are NaN or infinite."""
        return self.nan + self.posinf + self.neginf

    @property
    def sums(self) -> Sums:
        """What adds up to the norm's power; of p = inf, where nothing does, nothing."""
        if self.norm_type == 2:
            return self.squares
        if self.norm_type == 0:
            filled = self.count - self.zeros - self.nonfinite
            return ((0, (float(filled),)),) if filled else ()
        return self.powers

    @property
    def finite_norm(self) -> float:
        """The norm of the finite values; inf where it is beyond float64."""
        if self.norm_type == 2:
            return _norm(self.squares, 2)
        if self.norm_type == 0:
            return float(self.count - self.zeros - self.nonfinite)
        return (
            self.max_abs or 0.0
            if self.norm_type == math.inf
            else _norm(self.powers, self.norm_type)
        )

    @property
    def norm(self) -> float:
        """The norm as IEEE 754 would have it: NaN with a NaN, inf with an infinity."""
        return self._as_it_is(self.finite_norm)

    @property
    def rms(self) -> float | None:
        """The root mean square, which can be a number where the norm is beyond float64."""
        if not self.count:
            return None
        size, exponent = root(self.squares)
        try:
            found = math.ldexp(size / math.sqrt(self.count), exponent)
        except OverflowError:  # of a complex value, whose size is, or by rounding
            found = self.max_abs or 0.0
        return self._as_it_is(found)

    @property
    def finite_l2_norm(self) -> float:
        """The L2 norm of the finite values, whatever the norm's type."""
        return _norm(self.squares, 2)

    def _as_it_is(self, finite_norm: float) -> float:
        if self.first_nonfinite is None:
            return finite_norm
        return math.nan if self.nan else math.inf


def merge(parts: Iterable[Moments]) -> Moments:
    """Give the moments of the whole; the order of the parts does not matter.

    >>> merge([Moments(1, ((0, (9.0,)),)), Moments(1, ((0, (16.0,)),))]).norm
    5.0
    """
    return merged(Moments, parts)


def knowing(moments: Moments, further: Further) -> Moments:
    """Give moments of which more is known."""
    if not further:
        return moments
    return dataclasses.replace(moments, further=(*moments.further, *further))


def divided(moments: Moments, scale: float) -> Moments:
    """Give the moments of the same values divided by a scale; exact for a power of two.

    >>> found = divided(Moments(2, ((0, (25.0,)),), (4.0, 1)), 2.0)
    >>> found.norm, found.max_abs
    (2.5, 2.0)
    """
    mantissa, exponent = math.frexp(scale)
    mantissa, exponent = 2 * mantissa, exponent - 1  # the first is 1 for a power of two
    p = moments.norm_type
    largest = moments.largest
    return dataclasses.replace(
        moments,
        squares=_shifted(moments.squares, exponent, mantissa**2),
        powers=_shifted(moments.powers, exponent, mantissa**p if math.isfinite(p) else 1.0),
        largest=largest and (largest[0] / scale, largest[1]),
        further=statistics.divided(moments.further, exponent if mantissa == 1 else None),
    )


def _shifted(sums: Sums, shift: int, by: float) -> Sums:
    if by == 1:
        return tuple((own + shift, terms) for own, terms in sums)
    return exact_sums({own + shift: [term / by for term in terms] for own, terms in sums})


def root(sums: Sums, p: float = 2.0) -> tuple[float, int]:
    """Give (r, e) where r * 2**e is the p-th root of a sum of p-th powers, wherever float64 ends.

    >>> root(((0, (9.0,)),)), root(((-1000, (9.0,)),))
    ((3.0, 0), (3.0, 1000))
    """
    if not sums:
        return 0.0, 0
    lowest, terms = sums[0]  # the smallest shift belongs to the largest values
    if len(sums) == 1:
        total = terms[0]  # the first term is the rounded sum of all
    else:
        total = math.fsum(
            term * 2.0 ** max(p * (lowest - shift), -2000.0)
            for shift, terms in sums
            for term in terms
        )
    if p == 2:
        return math.sqrt(total), -lowest
    inverse, rest = inverse_of(p)
    return total**inverse * (1 + rest * math.log(total)), -lowest


def _norm(sums: Sums, p: float) -> float:
    """Give the norm whose p-th power the sums are; inf where it is beyond float64."""
    if p == 2 and len(sums) == 1 and sums[0][0] == 0:  # so nearly always: a tenth of the time
        return math.sqrt(sums[0][1][0])
    try:
        return math.ldexp(*root(sums, p))
    except OverflowError:
        return math.inf
