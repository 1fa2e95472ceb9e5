"""A run, step by step: what was measured of each, and how it compares with those before it.

A step's tensors are kept as two numbers each, so a run of thousands of steps needs little memory,
however large a step is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

from gradclip_cli.measure.culprits import likely_first
from gradclip_cli.series.ranges import RangeRule
from gradclip_cli.series.spikes import SpikeRule, Usual
from gradclip_cli.tensors.dump import Index

Mark = Literal["", "spike", "nonfinite", "overflow", "zero"]


@dataclass(frozen=True)
class Layout:
    """The tensors that were measured, in the order of their files; steps share it."""

    names: tuple[str | None, ...] = field(repr=False)
    dtypes: tuple[str, ...] = field(repr=False)
    counts: tuple[int, ...] = field(repr=False)

    @cached_property
    def place_of(self) -> dict[str | None, int]:
        """Where the tensor of a name stands."""
        return {name: tensor for tensor, name in enumerate(self.names)}


@dataclass(frozen=True, slots=True)
class Nonfinite:
    """How many values of a tensor are not finite, and where the first is."""

    nan: int
    posinf: int
    neginf: int
    first: Index

    @property
    def count(self) -> int:
        """Number of values that are NaN or infinite."""
        return self.nan + self.posinf + self.neginf


@dataclass(frozen=True)
class Measured:
    """One step by itself: the norms of its tensors' finite values, and what is not finite.

    `norms` and `sizes` (largest finite magnitudes; NaN where there is none) have an entry for each
    tensor of the layout, and so has what is `further` in the table of statistics. `finite_norm` is
    inf where it is beyond float64. Tensors that are `unread` could not be decoded.
    """

    layout: Layout = field(repr=False)
    norms: Sequence[float] = field(repr=False)
    sizes: Sequence[float] = field(repr=False)
    nonfinite: Mapping[int, Nonfinite]
    finite_norm: float
    notes: tuple[str, ...] = ()
    further: Mapping[str, Sequence[Any]] = field(default_factory=dict, repr=False)
    unread: tuple[str | None, ...] = ()

    @property
    def global_norm(self) -> float:
        """The L2 norm of all tensors together; NaN or inf where a value is."""
        if any(bad.nan for bad in self.nonfinite.values()):
            return math.nan
        return math.inf if self.nonfinite else self.finite_norm

    @cached_property
    def worst(self) -> int | None:
        """The likely first of what is not finite, else the largest tensor; None if all is zero."""
        if self.nonfinite:
            names = self.layout.names
            bad = sorted(self.nonfinite.items())
            return likely_first((tensor, names[tensor], found.nan) for tensor, found in bad)
        largest = max(self.norms, default=0.0)
        return self.norms.index(largest) if largest else None

    @cached_property
    def is_alone(self) -> bool:
        """Whether one tensor has a norm above zero, and no other."""
        return sum(map(bool, self.norms)) == 1

    def share(self, tensor: int) -> float | None:
        """Give a tensor's part of the sum of squares; None where that is zero or not finite."""
        norm = self.global_norm
        return (self.norms[tensor] / norm) ** 2 if 0 < norm < math.inf else None

    def size_of_all(self) -> tuple[float, int] | None:
        """Give the largest finite magnitude and the tensor that has it; None without values."""
        found = [(size, -tensor) for tensor, size in enumerate(self.sizes) if not math.isnan(size)]
        if not found:
            return None
        size, tensor = max(found)
        return size, -tensor


def names_of(steps: Sequence["Step"]) -> list[str | None]:
    """Give the names of all tensors that steps have, in the order in which they first come."""
    layouts = {id(step.measured.layout): step.measured.layout for step in steps}
    return list(dict.fromkeys(name for layout in layouts.values() for name in layout.names))


@dataclass(frozen=True, slots=True)
class Step:
    """One step among the others, and what those before it lead to expect.

    `outside` is the number of the step with which norms began to stay outside their range, None
    where they are inside, and `anew` says that with this one they are a new level.
    """

    step: int | str
    source: str
    measured: Measured
    usual: Usual
    mark: Mark
    outside: int | None = None
    anew: bool = False

    @property
    def ratio(self) -> float | None:
        """Its norm over the median of those before; None of too few, and where one is no number."""
        norm = self.global_norm
        return norm / self.usual.median if self.usual.median and math.isfinite(norm) else None

    @property
    def threshold(self) -> float | None:
        """Where a spike begins; None where too few finite norms came before."""
        return self.usual.threshold

    @property
    def strays(self) -> bool:
        """Whether its norm, if it is finite, has left the range of those before."""
        return math.isfinite(self.global_norm) and self.usual.is_outside(self.global_norm)

    problem: ClassVar[None] = None  # as only what is unreadable has

    @property
    def global_norm(self) -> float:
        """The L2 norm of all measured tensors together; NaN or inf where a value is."""
        return self.measured.global_norm

    @property
    def finite_norm(self) -> float:
        """The same over the finite values alone."""
        return self.measured.finite_norm

    @property
    def nonfinite(self) -> int:
        """Number of values that are NaN or infinite."""
        return sum(bad.count for bad in self.measured.nonfinite.values())

    @property
    def worst(self) -> str | None:
        """The name of the tensor to blame: the likely first not finite, else the largest."""
        worst = self.measured.worst
        return None if worst is None else self.measured.layout.names[worst]

    @property
    def share(self) -> float | None:
        """The part of the sum of squares that the worst tensor has."""
        worst = self.measured.worst
        return None if worst is None else self.measured.share(worst)

    @property
    def largest(self) -> float | None:
        """The largest finite magnitude of all; None where there is none."""
        found = self.measured.size_of_all()
        return None if found is None else found[0]

    @property
    def marked(self) -> Mark | None:
        """Its mark, None where there is none."""
        return self.mark or None

    @property
    def mark_and_norm(self) -> tuple[Mark, float, bool]:
        """Its mark, the norm that says why, and whether few steps came before."""
        return self.mark, self.global_norm, self.usual.few

    @property
    def few_steps(self) -> bool | None:
        """Whether its mark rests on few steps; None where it is not marked by those before."""
        return self.usual.few if self.mark == "spike" else None

    @property
    def worst_part(self) -> tuple[float | None, bool, bool]:
        """The worst tensor's share, and what two are the same only where no other has any."""
        return self.share, True, self.measured.is_alone

    @property
    def first_nonfinite(self) -> Index | None:
        """Where the worst tensor has its first value that is not finite."""
        bad, worst = self.measured.nonfinite, self.measured.worst
        return bad[worst].first if bad and worst is not None else None


class Watch:
    """Takes steps in order and says of each how it compares with those before it."""

    def __init__(self, rule: RangeRule | SpikeRule) -> None:
        self._recent = rule.recent()
        self._count = 0

    def step(self, step: int | str, source: str, measured: Measured) -> Step:
        """Give the row of a step."""
        recent, number = self._recent, self._count
        self._count += 1
        usual = recent.usual(number)
        norm = measured.global_norm
        if math.isfinite(norm):
            recent.add(number, norm)
        anew = recent.anew and math.isfinite(norm)
        mark = _mark(measured, norm, usual)
        return Step(step, source, measured, usual, mark, recent.since, anew)


def _mark(measured: Measured, norm: float, usual: Usual) -> Mark:
    if measured.nonfinite:
        return "nonfinite"
    if math.isinf(norm):
        return "overflow"
    if usual.threshold is not None and norm > usual.threshold:
        return "spike"
    return "" if norm else "zero"
