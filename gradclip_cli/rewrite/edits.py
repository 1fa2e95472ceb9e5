"""What is done to the values of a tensor, a block at a time.

An edit takes a block of values as `dtypes.decode` gives them and gives float64, which is rounded
once when it is encoded. `first` is the number of the block's first value in the tensor, in memory
order; complex values take two lanes.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.engine.scratch import scratch
from gradclip_cli.rules.equations import clip_by_value, unit_numbers
from gradclip_cli.rules.like.recipes import Recipe
from gradclip_cli.tensors.dtypes import DType, Values, decode, encode

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scale:
    """`x * coefficient`; with `zero_nonfinite`, NaN and infinities become 0 before."""

    coefficient: float
    zero_nonfinite: bool = False

    def apply(self, values: Values, _first: int, lanes: int) -> Floats:
        """Give the products."""
        return _product(values, self.coefficient, self.zero_nonfinite, lanes)

    @property
    def kind(self) -> Hashable:
        """What edits have in common that may share a span."""
        return Scale, self.zero_nonfinite


@dataclass(frozen=True, slots=True)
class Clamp:
    """`min(max(x, low), high)`; NaN stays, unless `zero_nonfinite` makes it and infinities 0."""

    low: float
    high: float
    zero_nonfinite: bool = False

    def apply(self, values: Values, _first: int, lanes: int) -> Floats:
        """Give the values between the limits; what is at a limit stays, a zero with its sign."""
        wide = _product(values, 1.0, self.zero_nonfinite, lanes)
        return clip_by_value(wide, self.low, self.high)

    @property
    def kind(self) -> Hashable:
        """What edits have in common that may share a span."""
        return self


@dataclass(frozen=True, slots=True)
class Follow:
    """What a framework does, by its recipe."""

    recipe: Recipe

    def apply(self, values: Values, first: int, _lanes: int) -> Floats:
        """Give the framework's results."""
        return self.recipe.apply(values, first).astype(np.float64, copy=False)

    @property
    def kind(self) -> Hashable:
        """What edits have in common that may share a span."""
        return Follow


@dataclass(frozen=True, slots=True, eq=False)
class ScaleUnits:
    """`x * coefficient`, each unit of a tensor by its own; see `rules.unit_numbers`."""

    coefficients: Floats
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    fortran: bool
    zero_nonfinite: bool = False

    def apply(self, values: Values, first: int, lanes: int) -> Floats:
        """Give the products."""
        count = values.size // lanes
        numbers = unit_numbers(self.shape, self.axes, first, count, self.fortran)
        factors = np.repeat(self.coefficients[numbers], lanes)
        return _product(values, factors, self.zero_nonfinite, lanes)

    @property
    def kind(self) -> Hashable:
        """What edits have in common that may share a span."""
        return ScaleUnits


@dataclass(frozen=True, slots=True)
class ScaleEach:
    """Whole small tensors side by side, `counts` values each, each times its own coefficient."""

    coefficients: tuple[float, ...]
    counts: tuple[int, ...]
    zero_nonfinite: bool

    def apply(self, values: Values, _first: int, lanes: int) -> Floats:
        """Give the products of all."""
        factors = np.repeat(self.coefficients, self.counts)
        return _product(values, factors, self.zero_nonfinite, lanes)


@dataclass(frozen=True, slots=True)
class Together:
    """Whole small tensors side by side, `counts` values each, each with an edit of its own."""

    edits: tuple["Edit", ...]
    counts: tuple[int, ...]

    def apply(self, values: Values, _first: int, lanes: int) -> Floats:
        """Give the results of all."""
        results = np.empty(values.size)
        begin = 0
        for edit, count in zip(self.edits, self.counts, strict=True):
            end = begin + count
            results[begin:end] = edit.apply(values[begin:end], 0, lanes)
            begin = end
        return results


Edit = Scale | Clamp | Follow | ScaleUnits
SpanEdit = Edit | ScaleEach | Together


def together(edits: Sequence[Edit], counts: tuple[int, ...]) -> SpanEdit:
    """Give one edit for a span of whole tensors, whose edits are of one kind.

    >>> together([Scale(0.5), Scale(0.5)], (2, 1)), together([Scale(0.5), Scale(0.25)], (2, 1))
    (Scale(coefficient=0.5, zero_nonfinite=False), \
ScaleEach(coefficients=(0.5, 0.25), counts=(2, 1), zero_nonfinite=False))
    """
    edit = edits[0]
    if len(edits) == 1:
        return edit
    if isinstance(edit, Clamp) or all(other is edit for other in edits):
        alike = True
    else:
        alike = isinstance(edit, Scale) and all(other == edit for other in edits)
    positional = isinstance(edit, ScaleUnits) or (
        isinstance(edit, Follow) and edit.recipe.rest is not None
    )
    if alike and not positional:
        return edit
    if isinstance(edit, Scale):
        factors = tuple(other.coefficient for other in edits if isinstance(other, Scale))
        return ScaleEach(factors, counts, edit.zero_nonfinite)
    return Together(tuple(edits), counts)


def tabulated(edit: Scale | Clamp, dtype: DType) -> NDArray[np.uint16]:
    """Give what an edit makes of every code of a float of 16 bits, by the code: stored as `dtype`.

    There are only 65,536, and to look a code up takes half as long as to decode it, edit the value
    and encode it.
    """
    order = dtype.words[0]
    every = np.arange(1 << 16, dtype=f"{order}u2").view(np.uint8)
    results = np.empty_like(every)
    encode(edit.apply(decode(every, dtype), 0, 1), dtype, results)
    return results.view(np.uint16)


def _product(values: Values, factors: Any, zero_nonfinite: bool, lanes: int) -> Floats:
    product: Floats = scratch("wide", np.float64, values.size)
    # Asked for the product of float32 as float64, NumPy widens it in small pieces first.
    np.copyto(product, values)
    if zero_nonfinite:
        pairs = product.reshape(-1, lanes)
        pairs[~np.isfinite(pairs).all(axis=1)] = 0
    product *= factors
    return product
