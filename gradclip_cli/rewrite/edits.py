"""What is done to the values of a tensor, a block at a time.

An edit takes a block of values as `codecs.decode` gives them and gives float64, which is rounded
once when it is encoded. `first` is the number of the block's first value in the tensor, in memory
order; complex values take two lanes. An edit is data: it crosses threads, processes and machines.
"""

import dataclasses
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.engine.scratch import scratch
from gradclip_cli.measure.slices import unit_numbers
from gradclip_cli.tensors.codecs import Floats, Values, decode, encode
from gradclip_cli.tensors.dtypes import DType


class Edit:
    """What is done to each value of a span.

    `is_positional` says whether it matters where in the tensor a value lies, `is_plain` whether the
    same stored value always becomes the same, so that it can be looked up. `is_even` edits change
    every tensor of a span or none.
    """

    __slots__ = ()

    zero_nonfinite: bool = False
    is_positional: ClassVar[bool] = False
    is_plain: ClassVar[bool] = False
    is_even: ClassVar[bool] = False

    def apply(self, values: Values, first: int, lanes: int) -> Floats:
        """Give the results for a block of values."""
        raise NotImplementedError

    def range(self, norm: float, count: int) -> tuple[float, float] | None:
        """Give between what the L2 norm of finite values comes to lie, but for rounding.

        `norm` is what `count` of them have before. None where the edit promises nothing of it.
        """
        return None

    def divided(self, scale: float) -> "Edit":
        """Give the same edit of values that are divided by a scale first, and rounded once.

        Only what a rule makes of a whole tensor has one.
        """
        raise NotImplementedError

    @property
    def kind(self) -> Hashable:
        """What edits have in common that may share a span."""
        return type(self).__qualname__

    def beside(self, others: Sequence["Edit"], counts: tuple[int, ...]) -> "Edit":
        """Give one edit for whole tensors side by side, `counts` values each, this one's first.

        All are of one kind.
        """
        if not self.is_positional and _are_one(others):
            return self
        return Together(tuple(others), counts)


@dataclass(frozen=True, slots=True)
class Scale(Edit):
    """`x * coefficient`; with `zero_nonfinite`, NaN and infinities become 0 before.

    >>> Scale(0.5).beside([Scale(0.5), Scale(0.5)], (2, 1))
    Scale(coefficient=0.5, zero_nonfinite=False)
    >>> Scale(0.5).beside([Scale(0.5), Scale(0.25)], (2, 1))
    ScaleEach(coefficients=(0.5, 0.25), counts=(2, 1), zero_nonfinite=False)
    """

    coefficient: float
    zero_nonfinite: bool = False

    is_plain: ClassVar[bool] = True
    is_even: ClassVar[bool] = True

    def apply(self, values: Values, first: int, lanes: int) -> Floats:
        """Give the products."""
        return product(values, self.coefficient, self.zero_nonfinite, lanes)

    def range(self, norm: float, count: int) -> tuple[float, float] | None:
        """Give the one norm that it can come to."""
        return self.coefficient * norm, self.coefficient * norm

    def divided(self, scale: float) -> "Scale":
        """Give the same edit of values that are divided by a scale first."""
        return Scale(self.coefficient / scale, self.zero_nonfinite)

    @property
    def kind(self) -> Hashable:
        """What edits have in common that may share a span."""
        return Scale, self.zero_nonfinite

    def beside(self, others: Sequence[Edit], counts: tuple[int, ...]) -> Edit:
        """Give one edit for whole tensors side by side."""
        if _are_one(others):
            return self
        factors = tuple(other.coefficient for other in others if isinstance(other, Scale))
        return ScaleEach(factors, counts, self.zero_nonfinite)


@dataclass(frozen=True, slots=True)
class ScaleEach(Edit):
    """Whole small tensors side by side, `counts` values each, each times its own coefficient."""

    coefficients: tuple[float, ...]
    counts: tuple[int, ...]
    zero_nonfinite: bool

    is_even: ClassVar[bool] = True

    def apply(self, values: Values, first: int, lanes: int) -> Floats:
        """Give the products of all."""
        factors = np.repeat(self.coefficients, self.counts)
        return product(values, factors, self.zero_nonfinite, lanes)


@dataclass(frozen=True, slots=True, eq=False)
class ScaleUnits(Edit):
    """`x * coefficient`, each unit of a tensor by its own; see `slices.unit_numbers`."""

    coefficients: Floats
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    fortran: bool
    zero_nonfinite: bool = False

    is_positional: ClassVar[bool] = True

    def apply(self, values: Values, first: int, lanes: int) -> Floats:
        """Give the products."""
        count = values.size // lanes
        numbers = unit_numbers(self.shape, self.axes, first, count, self.fortran)
        factors = np.repeat(self.coefficients[numbers], lanes)
        return product(values, factors, self.zero_nonfinite, lanes)

    def range(self, norm: float, count: int) -> tuple[float, float] | None:
        """Give what the least coefficient and the largest would come to."""
        return float(self.coefficients.min()) * norm, float(self.coefficients.max()) * norm

    def divided(self, scale: float) -> "ScaleUnits":
        """Give the same edit of values that are divided by a scale first."""
        return dataclasses.replace(self, coefficients=self.coefficients / scale)


@dataclass(frozen=True, slots=True)
class Clamp(Edit):
    """`min(max(x / scale, low), high)`; `zero_nonfinite` makes NaN 0 before, and infinities.

    >>> Clamp(-1.0, 1.0).divided(2.0)
    Clamp(low=-1.0, high=1.0, zero_nonfinite=False, scale=2.0)
    """

    low: float
    high: float
    zero_nonfinite: bool = False
    scale: float = 1.0

    is_plain: ClassVar[bool] = True

    def apply(self, values: Values, first: int, lanes: int) -> Floats:
        """Give the values between the limits; what is at a limit stays, a zero with its sign."""
        wide = product(values, 1 / self.scale, self.zero_nonfinite, lanes)
        return clamped(wide, self.low, self.high)

    def range(self, norm: float, count: int) -> tuple[float, float] | None:
        """Give 0, and what all have together that are as large as the limits allow."""
        most = max(abs(self.low), abs(self.high)) * math.sqrt(count)
        return 0.0, min(most, norm / self.scale) if self.low <= 0 <= self.high else most

    def divided(self, scale: float) -> "Clamp":
        """Give the same edit of values that are divided by a scale first."""
        return dataclasses.replace(self, scale=self.scale * scale)

    @property
    def kind(self) -> Hashable:
        """What edits have in common that may share a span."""
        return self


@dataclass(frozen=True, slots=True)
class Keep(Edit):
    """Nothing is done to the values, whose bytes are copied; but they are looked at."""


@dataclass(frozen=True, slots=True)
class Together(Edit):
    """Whole small tensors side by side, `counts` values each, each with an edit of its own."""

    edits: tuple[Edit, ...]
    counts: tuple[int, ...]

    def apply(self, values: Values, first: int, lanes: int) -> Floats:
        """Give the results of all."""
        results = np.empty(values.size)
        begin = 0
        for edit, count in zip(self.edits, self.counts, strict=True):
            end = begin + count
            results[begin:end] = edit.apply(values[begin:end], 0, lanes)
            begin = end
        return results


def _are_one(edits: Sequence[Edit]) -> bool:
    one = edits[0]
    return all(other is one for other in edits) or all(other == one for other in edits)


def tabulated(edit: Edit, dtype: DType) -> NDArray[np.uint16]:
    """Give what an edit makes of every code of a float of 16 bits, by the code: stored as `dtype`.

    There are only 65,536, and to look a code up takes half as long as to decode it, edit the value
    and encode it.
    """
    order = dtype.words[0]
    every = np.arange(1 << 16, dtype=f"{order}u2").view(np.uint8)
    results = np.empty_like(every)
    encode(edit.apply(decode(every, dtype), 0, 1), dtype, results)
    return results.view(np.uint16)


def clamped(values: Floats, low: float, high: float) -> Floats:
    """Give `min(max(x, low), high)` of each value; NaN stays, and so does a value at a limit."""
    return np.where(values < low, low, np.where(values > high, high, values))


def product(values: Values, factors: Any, zero_nonfinite: bool, lanes: int) -> Floats:
    """Give values times factors in a scratch array; NaN and infinities are 0 before, if wanted."""
    wide: Floats = scratch("wide", np.float64, values.size)
    # Asked for the product of float32 as float64, NumPy widens it in small pieces first.
    np.copyto(wide, values)
    if zero_nonfinite:
        pairs = wide.reshape(-1, lanes)
        pairs[~np.isfinite(pairs).all(axis=1)] = 0
    wide *= factors
    return wide
