"""What there is to say about two dumps: tensor by tensor, and the verdict.

Bits decide what is identical, tolerances what is equal. Where B is A times one number in every
tensor, to within the rounding of the dtypes, that number and its likely cause are the answer.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gradclip_cli.choices import Sort
from gradclip_cli.compare.difference import Difference, merge
from gradclip_cli.errors import GradclipError
from gradclip_cli.measure.moments import Moments
from gradclip_cli.tensors.dump import Shape, Tensor, multi_index
from gradclip_cli.tensors.names import natural

State = Literal["identical", "equal", "dtype", "differs", "shape", "only_a", "only_b"]
"""What a tensor is in B, seen from A: the same bits; equal within tolerance; the same numbers in
another dtype; other values; another shape, or a dtype whose values cannot be compared; missing."""

Verdict = Literal["identical", "equal", "multiple", "differ"]

Index = tuple[int, ...]

_MOST_WORKERS = 4096  # larger whole numbers are no likely world size, and met by chance


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a tensor may differ: it passes if either bound holds; None is no bound."""

    relative: float | None = None
    absolute: float | None = None

    def __post_init__(self) -> None:
        for option, bound in (("--rtol", self.relative), ("--atol", self.absolute)):
            if bound is not None and not 0 <= bound < math.inf:
                raise GradclipError(
                    option,
                    f"{bound!r} is no bound for an error",
                    "give a finite number, 0 or more, for example 1e-6",
                )

    def allows(self, difference: Difference) -> bool:
        """Say whether a tensor passes; values that are not finite must be the same in both."""
        if difference.astray:
            return False
        error, largest = difference.relative_error or 0.0, difference.gap.max_abs or 0.0
        return (self.relative is not None and error <= self.relative) or (
            self.absolute is not None and largest <= self.absolute
        )


@dataclass(frozen=True, slots=True)
class Compared:
    """A tensor of A, of B or of both: what it is on each side, and how it differs.

    `moments_a` and `moments_b` are None where a side lacks the tensor or it cannot be decoded,
    `difference` where the values cannot be compared. `changed` counts the values, of tensors that
    cannot be decoded the bytes, that are stored differently.
    """

    name: str | None
    state: State
    a: Tensor | None
    b: Tensor | None
    moments_a: Moments | None
    moments_b: Moments | None
    difference: Difference | None
    changed: int | None = None
    kind: Literal["tensor"] = "tensor"

    @property
    def same(self) -> bool:
        """Whether the tensor passes."""
        return self.state in ("identical", "equal")

    @property
    def shape(self) -> Shape:
        """The shape in A, or where that lacks it in B."""
        tensor = self.a or self.b
        return () if tensor is None else tensor.shape

    @property
    def count(self) -> int:
        """Number of values in A, or where that lacks it in B."""
        return math.prod(self.shape)

    @property
    def max_abs_at(self) -> Index | None:
        """Multi-index of the largest difference, the first in C order; None where there is none."""
        if self.difference is None or not self.difference.gap.max_abs:
            return None
        return self._index(self.difference.gap.max_abs_at)

    @property
    def first_newly(self) -> Index | None:
        """Multi-index of the first value that is finite in A and not in B."""
        return None if self.difference is None else self._index(self.difference.first_newly)

    def _index(self, position: int | None) -> Index | None:
        return None if position is None else multi_index(position, self.shape)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two dumps: the rows, worst first, and the difference of all gradients in both together.

    `factor` is the number r for which B = r * A holds in all gradients of both, but for rounding
    and where values are not finite; `compared` says how many gradients that are. Of a factor that
    could be 1 is only said that the difference is `only_rounding`.
    """

    rows: tuple[Compared, ...]
    verdict: Verdict
    difference: Difference
    tolerance: Tolerance
    compared: int
    total: int
    counts: dict[State, int]
    files_a: tuple[str, ...]
    files_b: tuple[str, ...]
    factor: float | None = None
    only_rounding: bool = False
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether the dumps are identical, or equal within the tolerances."""
        return self.verdict in ("identical", "equal")

    @property
    def likely(self) -> tuple[str, ...]:
        """What the factor is likely to come from."""
        return () if self.factor is None else likely(self.factor)


def compared(
    a: Tensor | None,
    b: Tensor | None,
    moments: tuple[Moments | None, Moments | None],
    difference: Difference | None,
    tolerance: Tolerance,
) -> Compared:
    """Put together what is known of a tensor; one side at least is there."""
    here = a or b
    name = None if here is None else here.name
    state = _state(a, b, difference, tolerance)
    changed = None if difference is None else difference.changed
    if here is not None and here.dtype.kind == "opaque":  # what was measured are its bytes
        return Compared(name, state, a, b, None, None, None, changed)
    if difference is not None:
        moments = difference.a, difference.b
    return Compared(name, state, a, b, *moments, difference, changed)


def _state(
    a: Tensor | None, b: Tensor | None, difference: Difference | None, tolerance: Tolerance
) -> State:
    if a is None or b is None:
        return "only_b" if a is None else "only_a"
    if a.shape != b.shape:
        return "shape"
    if difference is None:
        return "dtype"
    if not difference.changed and a.dtype.name == b.dtype.name:
        return "identical"
    if tolerance.allows(difference) and a.dtype.kind != "opaque":
        return "equal"
    return "differs" if difference.changed else "dtype"


def comparison(
    rows: Iterable[Compared],
    gradients: Sequence[Difference],
    tolerance: Tolerance,
    files: tuple[tuple[str, ...], tuple[str, ...]],
    notes: Sequence[str],
) -> Comparison:
    """Put the rows together; `gradients` are the differences of those that count for the whole."""
    ordered = sorted(rows, key=_badness)
    counts: dict[State, int] = {}
    for row in ordered:
        counts[row.state] = counts.get(row.state, 0) + 1
    whole = merge(gradients)
    verdict: Verdict = "differ"
    factor, only_rounding = None, False
    if counts.keys() <= {"identical", "equal"}:
        verdict = "identical" if counts.keys() <= {"identical"} else "equal"
    else:
        lowest, highest = whole.factors
        only_rounding = lowest <= 1 <= highest and bool(whole.gap.max_abs)
        factor = None if lowest <= 1 <= highest else _factor(whole)
        own = {id(difference) for difference in gradients}
        others = (row for row in ordered if id(row.difference) not in own)
        if factor is not None and not whole.astray and all(row.same for row in others):
            verdict = "multiple"
    return Comparison(
        tuple(ordered),
        verdict,
        whole,
        tolerance,
        len(gradients),
        len(ordered),
        counts,
        *files,
        factor,
        only_rounding,
        tuple(notes),
    )


def _factor(whole: Difference) -> float | None:
    """Give the number that A is multiplied by in B; a round one where only that one is in reach."""
    lowest, highest = whole.factors
    ratio = whole.ratio
    if not ratio or math.isinf(ratio) or lowest > highest or lowest <= 0 <= highest:
        return None
    sign = math.copysign(1.0, lowest)
    low, high = sorted((sign * lowest, sign * highest))
    many = round(ratio) if 1 <= ratio <= _MOST_WORKERS else 1
    parts = round(1 / ratio) if 1 / _MOST_WORKERS <= ratio <= 1 else 1
    power = 2.0 ** round(math.log2(ratio))
    for number, spacing in ((power, power), (float(many), 1.0), (1 / parts, parts**-2.0)):
        if low <= number <= high and high - low < spacing / 10:
            return sign * number
    return sign * min(max(ratio, low), high)


def likely(factor: float) -> tuple[str, ...]:
    """Say what a factor is likely to come from, the likeliest first.

    >>> likely(65536.0), likely(6.0), likely(0.3)
    (('a loss scale of 2^16',), ('a world size or accumulation count of 6',), ('clipping',))
    >>> likely(0.5)
    ('clipping', 'a mean instead of a sum over 2', 'a loss scale of 2^1 taken out')
    """
    if factor <= 0:
        return ()
    size = max(factor, 1 / factor)
    fraction, exponent = math.frexp(size)
    number = round(size) if size <= _MOST_WORKERS else 1
    is_power, is_whole = fraction == 0.5, factor in (number, 1 / number)
    causes = [] if factor > 1 else ["clipping"]
    if is_whole and factor < 1:
        causes.append(f"a mean instead of a sum over {number}")
    if is_power:
        causes.append(f"a loss scale of 2^{exponent - 1}" + (" taken out" if factor < 1 else ""))
    if is_whole and factor > 1:
        causes.append(f"a world size or accumulation count of {number}")
    return tuple(causes)


def _badness(row: Compared) -> tuple[int, float, Any]:
    difference = row.difference
    rank = _RANKS[row.state]
    size = 0.0
    if difference is not None and row.state == "differs":
        rank -= bool(difference.astray)
        size = -(difference.astray or difference.relative_error or 0.0)
    return rank, size, natural(row.name or "")


_RANKS: dict[State, int] = {
    "only_a": 0,
    "only_b": 0,
    "shape": 0,
    "differs": 3,
    "dtype": 4,
    "equal": 5,
    "identical": 6,
}


def arranged(
    found: Comparison, sort: Sort | None, reverse: bool = False, top: int | None = None
) -> Comparison:
    """Give the comparison with its rows sorted and chosen as wished; by default worst first."""
    rows = list(found.rows)
    if sort is not None:
        rows.sort(key=_KEYS[sort])
    if reverse:
        rows.reverse()
    return replace(found, rows=tuple(rows[:top]))


def _norm(row: Compared) -> float:
    norms = [part.finite_norm for part in (row.moments_a, row.moments_b) if part is not None]
    return -max(norms, default=-1.0)


def _largest(row: Compared) -> float:
    return -((row.difference and row.difference.gap.max_abs) or 0.0)


_KEYS: dict[Sort, Callable[[Compared], Any]] = {
    "name": lambda row: natural(row.name or ""),
    "norm": lambda row: (_norm(row), natural(row.name or "")),
    "size": lambda row: (-row.count, natural(row.name or "")),
    "max": lambda row: (_largest(row), natural(row.name or "")),
    "file": lambda row: (
        natural("" if (here := row.a or row.b) is None else here.source.label),
        natural(row.name or ""),
    ),
}
