"""What a framework would have done, bit for bit.

A framework computes in the tensor's own dtype and rounds at every step, so two that follow one rule
differ in their last bits. Here what a framework does to a tensor is a `Recipe`: a few operations by
a number, each rounded as that framework rounds it. A recipe needs one block of values at a time.

Measured on x86-64 processors against TensorFlow 2.21, Keras 3.15 on TensorFlow, torch 2.13 and
optax 0.2.8 on JAX 0.10; `tests/test_likeness.py` repeats that where they are installed. Sources:
`tensorflow/python/ops/clip_ops.py`, `keras/src/optimizers/base_optimizer.py`,
`torch/nn/utils/clip_grad.py`, `optax/transforms/_clipping.py`.

TensorFlow is the one outside `tf.function`; inside, also compiled by XLA, only clipping of values
differs, and only for subnormal limits and subnormal bfloat16.

All compute float16 and bfloat16 in float32 and round each result. TensorFlow and XLA flush: they
read subnormal numbers as zero, and give zero for a subnormal result. Those of float16 stay, being
normal numbers of float32.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.choices import Like
from gradclip_cli.tensors.dtypes import DType, Values, decode, encode

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

_FLUSHES = {"tensorflow", "keras", "optax", "optax-jit"}


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
            whole = Recipe(self.dtype, self.flushes, self.steps)
            return np.concatenate([whole.apply(values[:cut]), self.rest.apply(values[cut:])])
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
    def coefficient(self) -> float:
        """What a 1 becomes: of a rule that scales, the factor of every value but for rounding."""
        one: NDArray[Any] = np.ones(1, np.float64 if self.dtype == "float64" else np.float32)
        return float(self.apply(one)[0])


def norm_dtype(dtypes: Iterable[str]) -> str:
    """Give the dtype of a framework's norm of tensors of these dtypes, by its rules of promotion.

    TensorFlow and Keras raise an error where there is more than one.

    >>> norm_dtype(["bfloat16"]), norm_dtype(["bfloat16", "float16"])
    ('bfloat16', 'float32')
    """
    found = set(dtypes)
    if len(found) == 1:
        return found.pop()
    return "float64" if "float64" in found else "float32"


def rounded_norm(norm: float, dtype: str) -> float:
    """Give a norm rounded once, to nearest even, to the dtype of a framework's norm.

    >>> rounded_norm(70000.0, "float16"), rounded_norm(1.003, "bfloat16")
    (inf, 1.0)
    """
    stored = np.empty(DTYPES[dtype].itemsize, np.uint8)
    with np.errstate(all="ignore"):
        encode(np.array([norm]), DTYPES[dtype], stored)
        return float(decode(stored, DTYPES[dtype])[0])


def clip_by_global_norm(
    like: Like, norm: float, clip_norm: float, dtype: str, norm_in: str, count: int
) -> Recipe:
    """Give what a framework does to a tensor of `count` values when it clips by a global norm.

    `norm` may be 0, infinite or NaN. It is rounded to `norm_in`, the dtype of the framework's norm,
    which its own norm already has.
    """
    norm = rounded_norm(norm, norm_in)
    with np.errstate(all="ignore"):
        match like:
            case "torch":
                steps = _torch(norm, clip_norm, norm_in)
            case "tensorflow" | "keras":
                steps = _tensorflow(norm, clip_norm, dtype, norm_in, like == "keras")
            case "optax" | "optax-jit":
                steps = _optax(norm, clip_norm, dtype, norm_in, count, like == "optax-jit")
    return Recipe(dtype, like in _FLUSHES, steps)


def _torch(norm: float, clip_norm: float, norm_in: str) -> tuple[Step, ...]:
    """`min(max_norm / (norm + 1e-6), 1)`, a number over a tensor being a reciprocal, then times."""
    of_norm = Arithmetic(norm_in, False)
    reciprocal = of_norm.over(1, of_norm.plus(norm, 1e-6))
    coefficient = of_norm.at_most(of_norm.times(reciprocal, clip_norm), 1)
    return (Step("times", float(coefficient)),)


def _tensorflow(
    norm: float, clip_norm: float, dtype: str, norm_in: str, keras: bool
) -> tuple[Step, ...]:
    """`clip_norm * min(1 / norm, 1 / clip_norm)`, NaN where the norm is not finite.

    Keras takes the limit's reciprocal in float64, and does not clip at a limit of 0 or less.
    """
    if keras and not clip_norm > 0:
        return ()
    of_norm = Arithmetic(norm_in, True)
    limit = of_norm.number(clip_norm)
    over_limit = of_norm.number(1.0 / clip_norm) if keras else of_norm.over(1, limit)
    scale = of_norm.times(limit, of_norm.at_most(of_norm.over(1, norm), over_limit))
    scale = scale if math.isfinite(norm) else math.nan
    return (Step("times", float(Arithmetic(dtype, True).number(scale))),)


def _optax(
    norm: float, clip_norm: float, dtype: str, norm_in: str, count: int, jit: bool
) -> tuple[Step, ...]:
    """`x / norm * max_norm` unless `norm < max_norm`.

    XLA turns the quotient by a broadcast norm into a product with its reciprocal: outside `jax.jit`
    of every dtype, inside only of bfloat16, whose reciprocal stays a float32; and not where there
    is one value and so nothing to broadcast.
    """

    def limit(of: str) -> float:
        exactly = jit and of == "float16"
        return (
            rounded_norm(clip_norm, of)
            if exactly
            else float(Arithmetic(of, True).number(clip_norm))
        )

    own = Arithmetic(dtype, True)
    if Arithmetic(norm_in, True).is_below(norm, limit(norm_in)):
        return ()
    norm = float(own.number(norm))
    if count == 1 or (jit and dtype != "bfloat16"):
        return Step("over", norm), Step("times", limit(dtype))
    of_reciprocal = Arithmetic("float32", True) if dtype == "bfloat16" else own
    return Step("times", float(of_reciprocal.over(1, norm))), Step("times", limit(dtype))


def clip_by_norm(norm: float, clip_norm: float, dtype: str) -> Recipe:
    """Give what TensorFlow and Keras do to a tensor that they clip by its own norm.

    `x * clip_norm / max(norm, clip_norm)`; TensorFlow reads a limit below 0 as 0.
    """
    own = Arithmetic(dtype, True)
    with np.errstate(all="ignore"):
        limit = own.number(max(clip_norm, 0.0))
        larger = own.at_least(norm, limit)
    return Recipe(dtype, True, (Step("times", float(limit)), Step("over", float(larger))))


# TensorFlow's minimum and maximum take so many values at once; what is left over goes one by one.
_PACKETS = {"float16": 1, "bfloat16": 8, "float32": 8, "float64": 4}


def clip_by_value(like: Like, low: float, high: float, dtype: str, count: int) -> Recipe:
    """Give what a framework does to a tensor of `count` values that it keeps between two limits.

    `low` is at most `high`; NaN stays NaN. Zeros of either sign are equal: torch keeps the value's,
    XLA has -0 below +0, and TensorFlow takes the limit's for the values that it takes at once. It
    does not flush the bfloat16 that it takes one by one.
    """
    if like == "keras" and high == -low and not high > 0:
        return Recipe(dtype, True)  # `clipvalue=0` is none
    own = Arithmetic(dtype, like in _FLUSHES)
    with np.errstate(all="ignore"):
        low, high = float(own.number(low)), float(own.number(high))
    if like == "torch":
        return Recipe(dtype, False, (Step("at least", low), Step("at most", high)))
    flush = Step("times", 1.0)
    if like in ("optax", "optax-jit"):
        at_least = Step("at least", low, or_equal=math.copysign(1, low) > 0)
        at_most = Step("at most", high, or_equal=math.copysign(1, high) < 0)
        return Recipe(dtype, True, (at_least, at_most, flush))
    one_by_one = (Step("at most", high), Step("at least", low))
    at_once = (
        (Step("at most", high, or_equal=True), Step("at least", low, or_equal=True), flush)
        if dtype in ("float32", "float64")
        else (*one_by_one, flush)
    )
    rest = one_by_one if dtype == "bfloat16" else (*one_by_one, flush)
    return Recipe(dtype, True, at_once, count - count % _PACKETS[dtype], Recipe(dtype, True, rest))
