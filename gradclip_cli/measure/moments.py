"""What is known of some values, in a form that merges exactly.

Sums of squares are kept without any rounding, as the few floats whose exact sum they are. The
moments of a whole therefore do not depend on how it was cut into parts, nor on their order.
"""

import math
from collections.abc import Iterable

from gradclip_cli.frozen import frozen

LARGEST_POWER = 512.0
"""Beyond, norms are hardly to be told from the largest magnitude, and powers leave float64."""

Sums = tuple[tuple[int, tuple[float, ...]], ...]
"""Sums of squares by shift: (s, terms) means that the values times 2**s, squared, add up to the
exact sum of the terms. Each term is what rounding the sum of it and the later ones gives. Likewise
of sizes to another power."""


@frozen
class Moments:
    """What is known of some values: everything is over finite values but the counts of the others.

    `max_abs` is None where no value is finite. Positions are C-order positions in the tensor, the
    first where several qualify. A complex value is NaN where a part is, else infinite where one is.

    `norm_type` is the p of `norm`, `(Σ|x|^p)^(1/p)`: the largest magnitude for p = inf, for p = 0
    the number of values that are not zero. `powers` are the sums of other powers than 2.
    """

    count: int = 0
    squares: Sums = ()
    max_abs: float | None = None
    max_abs_at: int | None = None
    zeros: int = 0
    nan: int = 0
    posinf: int = 0
    neginf: int = 0
    first_nonfinite: int | None = None
    norm_type: float = 2.0
    powers: Sums = ()

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
    def l2_norm(self) -> float:
        """The same for p = 2, whatever the norm's type."""
        return self._as_it_is(_norm(self.squares, 2))

    def _as_it_is(self, finite_norm: float) -> float:
        if self.first_nonfinite is None:
            return finite_norm
        return math.nan if self.nan else math.inf


def merge(parts: Iterable[Moments]) -> Moments:
    """Give the moments of the whole; the order of the parts does not matter.

    >>> merge([Moments(1, ((0, (9.0,)),)), Moments(1, ((0, (16.0,)),))]).norm
    5.0
    """
    parts = tuple(parts)
    if len(parts) == 1:
        return parts[0]
    norm_type = next((part.norm_type for part in parts if part.count), 2.0)
    largest = max((part.max_abs for part in parts if part.max_abs is not None), default=None)
    return Moments(  # from lists: generators take twice as long for 100,000 parts
        sum([part.count for part in parts]),
        add([part.squares for part in parts]),
        largest,
        _first([part.max_abs_at for part in parts if part.max_abs == largest]),
        sum([part.zeros for part in parts]),
        sum([part.nan for part in parts]),
        sum([part.posinf for part in parts]),
        sum([part.neginf for part in parts]),
        _first([part.first_nonfinite for part in parts]),
        norm_type,
        add([part.powers for part in parts]),
    )


def _first(positions: Iterable[int | None]) -> int | None:
    return min((position for position in positions if position is not None), default=None)


def add(parts: Iterable[Sums]) -> Sums:
    """Give the exact sum of exact sums."""
    terms: dict[int, list[float]] = {}
    for part in parts:
        for shift, some in part:
            terms.setdefault(shift, []).extend(some)
    return exact_sums(terms)


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
    return math.sqrt(total) if p == 2 else total ** (1 / p), -lowest


def _norm(sums: Sums, p: float) -> float:
    """Give the norm whose p-th power the sums are; inf where it is beyond float64."""
    if p == 2 and len(sums) == 1 and sums[0][0] == 0:  # so nearly always: a tenth of the time
        return math.sqrt(sums[0][1][0])
    try:
        return math.ldexp(*root(sums, p))
    except OverflowError:
        return math.inf


def exact_sums(terms: dict[int, list[float]]) -> Sums:
    """Give sums from their terms by shift."""
    return tuple((shift, exact) for shift in sorted(terms) if (exact := _exact(terms[shift])))


def _exact(values: list[float]) -> tuple[float, ...]:
    """Give the shortest floats whose exact sum is the exact sum of the values, largest first.

    Each is `math.fsum` of what is left, so equal sums give equal floats.
    """
    rest = list(values)
    terms = []
    while term := math.fsum(rest):
        terms.append(term)
        rest.append(-term)
    return tuple(terms)
