"""Arithmetic as frameworks do it, and recipes of it: each step rounded as that framework rounds.

All compute float16 and bfloat16 in float32 and round each result. TensorFlow and XLA flush: they
read subnormal numbers as zero, and give zero for a subnormal result. Those of float16 stay, being
normal numbers of float32. A recipe needs one block of values at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.measure.places import FortranPlaces
from gradclip_cli.rewrite.edits import Edit
from gradclip_cli.rules.terms import Like
from gradclip_cli.tensors.codecs import Floats, Values, decode, encode
from gradclip_cli.tensors.dtypes import DType
from gradclip_cli.tensors.dump import Shape

Verb = Literal["times", "over", "at most", "at least"]

DTYPES = {
    name: DType(name, "float", bits, words)
    for name, bits, words in (
        ("float16", 16, "=f2"),
        ("bfloat16", 16, "=u2"),
        ("float32", 32, "=f4"),
        ("float64", 64, "=f8"),
    )
}
"""The dtypes that have recipes; the frameworks have no others, or do not agree with themselves."""


# Arithmetic


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Arithmetic of a dtype on values that it has: float16 and bfloat16 by way of float32.

    Each function gives results rounded to the dtype, in float64 for float64 and else in float32.
    """

    dtype: str
    flushes: bool

    def number(self, value: float) -> Any:
        """Give a number as the dtype has it.

        By way of float32 for float16 and bfloat16, as the frameworks read Python's numbers: that
        can round twice.
        """
        return self._rounded(self._operand(value))

    def times(self, values: Any, number: Any) -> Any:
        """Give the products."""
        return self._rounded(self._computed(np.multiply, values, number))

    def over(self, values: Any, number: Any) -> Any:
        """Give the quotients; by zero as IEEE 754 has it."""
        return self._rounded(self._computed(np.divide, values, number))

    def plus(self, values: Any, number: Any) -> Any:
        """Give the sums, the number rounded before; only torch adds, which flushes nothing."""
        return self._rounded(self._operand(values) + self.number(number))

    def at_most(self, values: Any, limit: Any, or_equal: bool = False) -> Any:
        """Give the limit in place of values above it, or also equal to it; NaN stays."""
        left, right = self._operand(values), self._operand(limit)
        return np.where(left >= right if or_equal else left > right, right, values)

    def at_least(self, values: Any, limit: Any, or_equal: bool = False) -> Any:
        """Give the limit in place of values below it, or also equal to it; NaN stays."""
        left, right = self._operand(values), self._operand(limit)
        return np.where(left <= right if or_equal else left < right, right, values)

    def is_below(self, value: float, limit: float) -> bool:
        """Say whether a number is below another."""
        return bool(self._operand(value) < self._operand(limit))

    @property
    def _working(self) -> type[np.floating[Any]]:
        return np.float64 if self.dtype == "float64" else np.float32

    @property
    def _tiny(self) -> Any:
        """The smallest normal number of what is computed in."""
        return np.finfo(self._working).tiny

    @property
    def _may_flush(self) -> bool:
        """Whether there can be anything to flush; products of float16 are no less than 2**-48."""
        return self.flushes and self.dtype != "float16"

    def _operand(self, values: Any) -> Any:
        """Give operands as the processor reads them: where it flushes, none that is subnormal."""
        values = np.asarray(values).astype(self._working, copy=False)
        if not self._may_flush or not (low := np.abs(values) < self._tiny).any():
            return values
        return np.where(low, values * 0, values)

    def _computed(self, operation: Callable[..., Any], values: Any, number: Any) -> Any:
        """Give the results of an operation; where the processor flushes, 0 for subnormal ones.

        It asks whether a result is subnormal after rounding it as if exponents had no end. What
        was rounded up to the smallest normal number is therefore computed again, far above that.
        """
        values, number = self._operand(values), self._operand(number)
        results = operation(values, number)
        if not self._may_flush or not (low := np.abs(results) <= self._tiny).any():
            return results
        lift = self._working(2.0**64)
        low = low & (np.abs(operation(values * lift, number)) < self._tiny * lift)
        return np.where(low, results * 0, results)

    def _rounded(self, values: Any) -> Any:
        """Round float32 to nearest even."""
        if self.dtype == "float16":
            return values.astype(np.float16).astype(np.float32)
        if self.dtype != "bfloat16":
            return values
        bits = values.view(np.uint32)
        bits = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
        return np.where(np.isnan(values), values, (bits & np.uint32(0xFFFF0000)).view(np.float32))


# Recipes


@dataclass(frozen=True, slots=True)
class Step:
    """An operation by a number on every value; a limit may take the place of its equal, a zero."""

    verb: Verb
    number: float
    or_equal: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a framework does to each value of a tensor of a dtype; without steps, nothing.

    From the value number `rest_from` on, in C order, `rest` is done instead.
    """

    dtype: str
    flushes: bool
    steps: tuple[Step, ...] = ()
    rest_from: int | None = None
    rest: "Recipe | None" = None

    def apply(self, values: Values, first: int = 0) -> Values:
        """Give the framework's results for a block of values as `dtypes.decode` gives them.

        The block's first value is number `first` of the tensor. Results are numbers that the dtype
        has, as float64 for float64 and else as float32, so that `dtypes.encode` rounds nothing.
        Only the payload of a NaN may not be the framework's.
        """
        if self.rest is not None and self.rest_from is not None:
            cut = min(max(self.rest_from - first, 0), len(values))
            return np.concatenate([self.whole.apply(values[:cut]), self.rest.apply(values[cut:])])
        arithmetic = Arithmetic(self.dtype, self.flushes)
        with np.errstate(all="ignore"):
            for step in self.steps:
                match step.verb:
                    case "times":
                        values = arithmetic.times(values, step.number)
                    case "over":
                        values = arithmetic.over(values, step.number)
                    case "at most":
                        values = arithmetic.at_most(values, step.number, step.or_equal)
                    case "at least":
                        values = arithmetic.at_least(values, step.number, step.or_equal)
        return values

    @property
    def whole(self) -> "Recipe":
        """The same for all values."""
        return Recipe(self.dtype, self.flushes, self.steps)

    @property
    def coefficient(self) -> float:
        """What a 1 becomes: of a rule that scales, the factor of every value but for rounding."""
        one: NDArray[Any] = np.ones(1, np.float64 if self.dtype == "float64" else np.float32)
        return float(self.apply(one)[0])


@dataclass(frozen=True, slots=True)
class Follow(Edit):
    """What a framework does, by its recipe; `fortran_shape` is that of a tensor not in C order."""

    recipe: Recipe
    fortran_shape: Shape | None = None

    @property
    def is_positional(self) -> bool:  # type: ignore[override]
        """Whether a part of the tensor has another recipe."""
        return self.recipe.rest is not None

    def apply(self, values: Values, first: int, lanes: int) -> Floats:
        """Give the framework's results."""
        rest, rest_from = self.recipe.rest, self.recipe.rest_from
        if rest is None or rest_from is None or self.fortran_shape is None:
            results = self.recipe.apply(values, first)
        else:
            positions = FortranPlaces(first, self.fortran_shape).of(np.arange(values.size))
            results = self.recipe.whole.apply(values)
            results = np.where(positions < rest_from, results, rest.apply(values))
        return results.astype(np.float64, copy=False)


def rounded_norm(norm: float, dtype: str) -> float:
    """Give a norm rounded once, to nearest even, to the dtype of a framework's norm.

    >>> rounded_norm(70000.0, "float16"), rounded_norm(1.003, "bfloat16")
    (inf, 1.0)
    """
    stored = np.empty(DTYPES[dtype].size_of(1), np.uint8)
    with np.errstate(all="ignore"):
        encode(np.array([norm]), DTYPES[dtype], stored)
        return float(decode(stored, DTYPES[dtype])[0])


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework, and the dtype in which it has the joint norm of the tensors at hand."""

    name: Like
    norm_in: str
