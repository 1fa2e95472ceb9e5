"""Norms of the units of tensors: of slices along some axes, each unit a number of its own.

What of a tensor is measured is scaled by a power of two before, so that the powers of its largest
value do not overflow. Sums of blocks are added with the rounding errors kept beside.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradclip_cli.engine.crew import Crew
from gradclip_cli.engine.sweep import swept
from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import Reader, Source
from gradclip_cli.measure.moments import Moments
from gradclip_cli.measure.rows import ROW
from gradclip_cli.measure.slices import unit_numbers, units_of
from gradclip_cli.measure.spans import Work, blocks, cut
from gradclip_cli.tensors.codecs import Floats, Values, decode
from gradclip_cli.tensors.dump import Shape, Tensor
from gradclip_cli.tensors.names import quoted

MOST_UNITS = 1 << 22


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums by unit, rounded, and beside them what rounding took away."""

    rounded: Floats
    errors: Floats

    def plus(self, more: Floats) -> "_Sums":
        total = self.rounded + more
        larger = np.abs(self.rounded) >= np.abs(more)
        lost = np.where(larger, (self.rounded - total) + more, (more - total) + self.rounded)
        return _Sums(total, self.errors + np.where(np.isfinite(total), lost, 0))


@dataclass(frozen=True, slots=True)
class _Slices:
    """How a tensor's units lie, the power of two that its values are divided by, and the norm's p.

    Values that are not finite count as 0 if `finite_only`.
    """

    shape: Shape
    axes: tuple[int, ...]
    fortran: bool
    exponent: int
    p: float
    finite_only: bool

    @property
    def units(self) -> int:
        return math.prod(units_of(self.shape, self.axes))

    def nothing(self) -> _Sums:
        return _Sums(np.zeros(self.units), np.zeros(self.units))

    def together(self, sums: _Sums, part: _Sums) -> _Sums:
        if self.p == math.inf:
            return _Sums(np.maximum(sums.rounded, part.rounded), part.errors)
        return sums.plus(part.rounded).plus(part.errors)

    def norms(self, sums: _Sums) -> Floats:
        total = sums.rounded + sums.errors
        if self.p == 0:
            return total
        roots = total
        if self.p != math.inf:
            roots = np.sqrt(total) if self.p == 2 else total ** (1 / self.p)
        return np.ldexp(roots, self.exponent)


@dataclass(frozen=True, slots=True)
class _Part:
    """A span, and the slices of each of its tensors."""

    work: Work
    slices: tuple[_Slices, ...]

    @property
    def size(self) -> int:
        return self.work.size

    @property
    def place(self) -> Source:
        return self.work.place

    @property
    def label(self) -> str:
        return self.work.label


def check_units(tensors: Sequence[Tensor], axes: Sequence[tuple[int, ...]]) -> None:
    """Raise `GradclipError` where a tensor has too many units to keep in memory."""
    for tensor, some in zip(tensors, axes, strict=True):
        count = math.prod(units_of(tensor.shape, some))
        if count > MOST_UNITS:
            raise GradclipError(
                tensor.source.label,
                f"{quoted(tensor.name)} has {count:,} units; at most {MOST_UNITS:,} have a norm "
                "each",
                "leave it out with --exclude 'PATTERN', or give other --axes",
            )


def unit_norms(
    tensors: Sequence[Tensor],
    axes: Mapping[int, tuple[int, ...]],
    moments: Mapping[int, Moments],
    crew: Crew,
    norm_type: float = 2.0,
    finite_only: bool = True,
) -> dict[int, Floats]:
    """Give the norms of the units of the tensors that have axes, in C order of `slices.units_of`.

    `axes` are those that a norm is over, by the tensor's index; `moments` say how large its values
    are. Values that are not finite count as 0 if `finite_only`. A unit whose values are all less
    than 2**-500 of the tensor's largest may come out as 0.
    """
    slices = {
        index: _Slices(
            tensors[index].shape,
            some,
            tensors[index].fortran,
            math.frexp(moments[index].max_abs or 0.0)[1],
            norm_type,
            finite_only,
        )
        for index, some in axes.items()
    }
    sums = {index: each.nothing() for index, each in slices.items()}
    parts = (
        _Part(work, tuple(slices[index] for index in work.indices)) for work in cut(tensors, axes)
    )
    size = sum(tensors[index].size for index in axes)
    with np.errstate(all="ignore"):
        for index, part in swept(crew, _measured, parts, "measuring units", size):
            sums[index] = slices[index].together(sums[index], part)
        return {index: each.norms(sums[index]) for index, each in slices.items()}


def _measured(part: _Part, reader: Reader) -> Iterator[tuple[int, _Sums]]:
    span = part.work.span
    sums = [each.nothing() for each in part.slices]
    for first, stored in blocks(reader, span):
        values = decode(stored, span.dtype)
        if not span.small:
            sums = [_added(sums[0], part.slices[0], values, span.dtype.lanes, span.start + first)]
            continue
        ends = itertools.accumulate(span.counts)
        for at, (count, end) in enumerate(zip(span.counts, ends, strict=True)):
            own = values[end - count : end]
            sums[at] = _added(sums[at], part.slices[at], own, span.dtype.lanes, 0)
    yield from zip(part.work.indices, sums, strict=True)


def _added(sums: _Sums, slices: _Slices, values: Values, lanes: int, start: int) -> _Sums:
    """Add what a block's values come to; few at a time, so that few roundings follow each other."""
    sizes = np.ldexp(values.astype(np.float64), -slices.exponent)
    sizes = np.abs(sizes) if lanes == 1 else np.hypot(sizes[0::2], sizes[1::2])
    if slices.finite_only:
        sizes[~np.isfinite(sizes)] = 0
    numbers = unit_numbers(slices.shape, slices.axes, start, sizes.size, slices.fortran)
    if slices.p == math.inf:
        largest = sums.rounded.copy()
        np.maximum.at(largest, numbers, sizes)
        return _Sums(largest, sums.errors)
    powers = (sizes != 0).astype(np.float64) if slices.p == 0 else sizes**slices.p
    powers[np.isnan(sizes)] = math.nan
    step = max(ROW, slices.units)
    for at in range(0, sizes.size, step):
        some = slice(at, at + step)
        more: Floats = np.bincount(numbers[some], powers[some], slices.units).astype(np.float64)
        sums = sums.plus(more)
    return sums
