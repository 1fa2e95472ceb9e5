"""What a framework would have done, bit for bit.

A framework computes in the tensor's own dtype and rounds at every step, so two that follow one rule
differ in their last bits. Here what a framework does to a tensor is a `Recipe`: a few operations by
a number, each rounded as that framework rounds it.

Measured on x86-64 processors against TensorFlow 2.21, Keras 3.15 on TensorFlow, torch 2.13 and
optax 0.2.8 on JAX 0.10; `tests/rules/test_likeness.py` repeats that where they are installed. Where
a processor has AVX512-FP16, JAX rounds a limit to float16 once, and not to float32 first as here.
Sources: `tensorflow/python/ops/clip_ops.py`, `keras/src/optimizers/base_optimizer.py`,
`torch/nn/utils/clip_grad.py`, `optax/transforms/_clipping.py`.

TensorFlow is the one outside `tf.function`; inside, also compiled by XLA, only clipping of values
differs, and only for subnormal limits and subnormal bfloat16.
"""

import math
from collections.abc import Iterable

import numpy as np

from gradclip_cli.rules.like.arithmetic import Arithmetic, Recipe, Step, rounded_norm
from gradclip_cli.rules.terms import Like

_FLUSHES = {"tensorflow", "keras", "optax", "optax-jit"}


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
