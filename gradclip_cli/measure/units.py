"""Norms of the units of tensors: of slices along some axes, each unit a number of its own.

Values are divided by a power of two before their powers are taken, so that none overflows: by that
of their tensor's largest, which is known already. Where this lets a power vanish that may be all
that its unit has, the tensor is measured once more with a power of two for each unit, that of its
own largest value. Sums of blocks are added with the rounding errors kept beside.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.engine.crew import Crew
from gradclip_cli.engine.sweep import swept
from gradclip_cli.errors import GradclipError, RefusedError
from gradclip_cli.files.source import Reader, Source
from gradclip_cli.measure.laws import inverse_of
from gradclip_cli.measure.moments import Moments
from gradclip_cli.measure.rows import ROW
from gradclip_cli.measure.slices import unit_numbers, units_of
from gradclip_cli.measure.spans import Work, blocks, cut
from gradclip_cli.tensors.codecs import Floats, Values, decode
from gradclip_cli.tensors.dump import Shape, Tensor
from gradclip_cli.tensors.names import quoted

MOST_UNITS = 1 << 22
NO_UNITS: Floats = np.zeros(1)
"""Stands for the norms of a tensor that is left alone."""

_ONE = 0.5  # a size whose exponent is 0: nothing is scaled
_HALVED = 1.0  # one whose exponent is 1
_BEYOND = 1025  # the exponent of a complex value whose size is beyond float64
_FAINT = 2.0**-960  # a power so small is held with fewer digits, or not at all
_SUBNORMAL = 2.0**-1022  # so is a size below, whatever its power
_LARGEST = float(np.finfo(np.float64).max)
_ENOUGH = 2.0**110  # times the power of what is faint: beside so much no number of them counts


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums by unit, rounded, and beside them what rounding took away.

    `faint` says that a value, or its power, was too small for float64 to hold all its digits.
    """

    rounded: Floats
    errors: Floats
    faint: bool = False

    def plus(self, more: Floats) -> "_Sums":
        total = self.rounded + more
        larger = np.abs(self.rounded) >= np.abs(more)
        lost = np.where(larger, (self.rounded - total) + more, (more - total) + self.rounded)
        return _Sums(total, self.errors + np.where(np.isfinite(total), lost, 0), self.faint)


@dataclass(frozen=True, slots=True)
class _Slices:
    """How a tensor's units lie, the powers of two that values are divided by, and the norm's p.

    The exponents are one for all units, or one for each. Values that are not finite count as 0 if
    `finite_only`.
    """

    shape: Shape
    axes: tuple[int, ...]
    fortran: bool
    exponents: NDArray[np.intc]
    p: float
    finite_only: bool

    @property
    def least(self) -> float:
        """The smallest scaled size that is held with all its digits, as its power is."""
        size: float = _FAINT ** (1 / self.p)
        return max(size, _SUBNORMAL)

    @property
    def units(self) -> int:
        return math.prod(units_of(self.shape, self.axes))

    def nothing(self) -> _Sums:
        return _Sums(np.zeros(self.units), np.zeros(self.units))

    def together(self, sums: _Sums, part: _Sums) -> _Sums:
        if self.p == math.inf:
            return _Sums(np.maximum(sums.rounded, part.rounded), part.errors)
        added = sums.plus(part.rounded).plus(part.errors)
        return dataclasses.replace(added, faint=sums.faint or part.faint)

    def norms(self, sums: _Sums) -> Floats:
        total = sums.rounded + sums.errors
        if self.p == 0:
            return total
        roots = total
        if self.p == 2:
            roots = np.sqrt(total)
        elif self.p != math.inf:
            inverse, rest = inverse_of(self.p)
            finite = np.clip(total, _SUBNORMAL, _LARGEST)
            roots = total**inverse * (1 + rest * np.log(finite))
        return np.ldexp(roots, self.exponents)

    def overflow(self, sums: _Sums) -> bool:
        """Say whether a unit of finite sums has a norm beyond float64."""
        sound = np.isfinite(sums.rounded)
        return bool(np.any(np.isinf(self.norms(sums)[sound])))


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

    def expect(self, reader: Reader) -> None:
        self.work.expect(reader)


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
    are. Values that are not finite count as 0 if `finite_only`. Raises `RefusedError` where those
    of a unit are finite, and its norm is beyond float64.
    """

    def slices(index: int, exponents: NDArray[np.intc], p: float = norm_type) -> _Slices:
        tensor = tensors[index]
        return _Slices(tensor.shape, axes[index], tensor.fortran, exponents, p, finite_only)

    measured = partial(_summed, tensors, crew)
    with np.errstate(all="ignore"):
        each = {index: slices(index, _shared_exponent(norm_type, moments[index])) for index in axes}
        sums = measured(each)
        faint = [
            index
            for index in axes
            if sums[index].faint
            and np.any(sums[index].rounded < each[index].least ** norm_type * _ENOUGH)
        ]
        if faint:
            largest = measured(
                {index: slices(index, _exponents(_ONE), math.inf) for index in faint}
            )
            each |= {index: slices(index, _exponents(largest[index].rounded)) for index in faint}
            sums |= measured({index: each[index] for index in faint})
        for index in axes:
            if each[index].overflow(sums[index]):
                raise _beyond(tensors[index])
        return {index: each[index].norms(sums[index]) for index in axes}


def _beyond(tensor: Tensor) -> RefusedError:
    return RefusedError(
        tensor.source.label,
        f"the norm of a slice of {quoted(tensor.name)} is beyond float64 (1.8e308); nothing was "
        "written",
        "clip the larger tensors alone first: --include 'PATTERN'",
    )


def _shared_exponent(p: float, moments: Moments) -> NDArray[np.intc]:
    """Give that by which all values of a tensor are divided: none where no powers are taken."""
    largest = moments.max_abs or 0.0
    if p == 0 or (p == math.inf and math.isfinite(largest)):
        return _exponents(_ONE)
    return _exponents(_HALVED if p == math.inf else largest)


def _exponents(sizes: Floats | float) -> NDArray[np.intc]:
    return np.where(np.isinf(sizes), np.intc(_BEYOND), np.frexp(sizes)[1])


def _summed(
    tensors: Sequence[Tensor], crew: Crew, slices: Mapping[int, _Slices]
) -> dict[int, _Sums]:
    """Sum up the units of the tensors that have slices, by index."""
    sums = {index: each.nothing() for index, each in slices.items()}
    parts = (
        _Part(work, tuple(slices[index] for index in work.indices)) for work in cut(tensors, slices)
    )
    size = sum(tensors[index].size for index in slices)
    for index, part in swept(crew, _measured, parts, "measuring units", size):
        sums[index] = slices[index].together(sums[index], part)
    return sums


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
    wide = values.astype(np.float64)
    numbers = unit_numbers(slices.shape, slices.axes, start, wide.size // lanes, slices.fortran)
    exponents = slices.exponents
    if exponents.ndim:
        exponents = np.repeat(exponents[numbers], lanes)
    wide = np.ldexp(wide, -exponents)
    sizes = np.abs(wide) if lanes == 1 else np.hypot(wide[0::2], wide[1::2])
    pairs = wide.reshape(-1, lanes)
    bad = ~np.isfinite(pairs).all(axis=1)
    if bad.any():  # a size is NaN where a part is, of which `hypot` makes infinities
        is_nan = np.isnan(pairs[bad]).any(axis=1)
        sizes[bad] = 0 if slices.finite_only else np.where(is_nan, math.nan, math.inf)
    if slices.p == math.inf:
        largest = sums.rounded.copy()
        np.maximum.at(largest, numbers, sizes)
        return _Sums(largest, sums.errors)
    powers = (sizes != 0).astype(np.float64) if slices.p == 0 else sizes**slices.p
    powers[bad] = sizes[bad]
    if slices.p and not sums.faint and np.any(small := sizes < slices.least):
        is_faint = bool(np.any(values.reshape(-1, lanes)[small]))  # and no zero
        sums = dataclasses.replace(sums, faint=is_faint)
    step = max(ROW, slices.units)
    for at in range(0, sizes.size, step):
        some = slice(at, at + step)
        more: Floats = np.bincount(numbers[some], powers[some], slices.units).astype(np.float64)
        sums = sums.plus(more)
    return sums
