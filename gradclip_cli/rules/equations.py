"""Every rule of clipping, as its equation: from norms to the coefficients that values are times.

A norm may be of all tensors together, of a group of them, of a tensor, or of a slice of one: an
equation is the same for each, so it takes an array of norms, of any shape, and gives an array of
coefficients. A coefficient is 1 exactly where nothing is to change, at most 1 elsewhere, and what
IEEE 754 says of a norm that is not finite. The limits are finite and above 0.

Which norms: the p-norm is `(Σ|x|^p)^(1/p)`, for p = inf the largest magnitude, for p = 0 the number
of values that are not zero. Of p = 0 scaling changes nothing, so that limit is never kept.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradclip_cli.choices import Layout
from gradclip_cli.errors import GradclipError

Floats = NDArray[np.float64]
Shape = tuple[int, ...]


# Norms to coefficients


def clip_by_norm(norms: ArrayLike, clip_norm: float, eps: float = 0.0) -> Floats:
    """Give `min(1, clip_norm / (norm + eps))`: no norm is above `clip_norm` afterwards.

    Of the norm of all tensors it is TensorFlow's `clip_by_global_norm` (Pascanu, Mikolov, Bengio
    2013), with an `eps` of 1e-6 torch's `clip_grad_norm_`; of each tensor's or slice's own norm it
    is TensorFlow's `clip_by_norm` and Keras's `clipnorm`.

    >>> clip_by_norm([0.0, 5.0, 10.0], 5.0), clip_by_norm([5.0, 9.0], 5.0, eps=1.0)
    (array([1. , 1. , 0.5]), array([0.83333333, 0.5       ]))
    """
    sums = np.asarray(norms, np.float64) + eps
    with np.errstate(all="ignore"):
        return np.where(sums <= clip_norm, 1.0, clip_norm / sums)


def clip_by_average_norm(
    norms: ArrayLike, counts: ArrayLike, clip_norm: float, eps: float = 0.0
) -> Floats:
    """Give `min(1, clip_norm / (norm / count + eps))`, as TensorFlow's `clip_by_average_norm`.

    Its average is the norm divided by the number of values, which is not the root mean square.

    >>> clip_by_average_norm([5.0], [6], 0.8)
    array([0.96])
    """
    return clip_by_norm(np.divide(norms, np.maximum(counts, 1)), clip_norm, eps)


def clip_by_rms(norms: ArrayLike, counts: ArrayLike, clip_rms: float, eps: float = 0.0) -> Floats:
    """Give `1 / max(1, rms / clip_rms)`, as optax's `clip_by_block_rms`.

    >>> clip_by_rms([10.0], [4], 1.0)
    array([0.2])
    """
    return clip_by_norm(np.divide(norms, np.sqrt(np.maximum(counts, 1))), clip_rms, eps)


def clip_adaptively(
    norms: ArrayLike, parameter_norms: ArrayLike, clipping: float, eps: float = 1e-3
) -> Floats:
    """Give `min(1, clipping * max(parameter_norm, eps) / norm)`, unit by unit.

    Adaptive gradient clipping (Brock, De, Smith, Simonyan 2021); optax's `adaptive_grad_clip`. The
    authors' code divides by 1e-6 where a norm is less, which they call impossible to engage.

    >>> clip_adaptively([5.0, 5.0, 5.0], [100.0, 1.0, 0.0], 0.1)
    array([1.e+00, 2.e-02, 2.e-05])
    """
    norms = np.asarray(norms, np.float64)
    limits = clipping * np.maximum(parameter_norms, eps)
    with np.errstate(all="ignore"):
        return np.where(norms <= limits, 1.0, limits / norms)


def clip_by_value(values: ArrayLike, low: float, high: float) -> Floats:
    """Give `min(max(x, low), high)` of each value; NaN stays, and so does a value at a limit.

    TensorFlow's `clip_by_value`, torch's `clip_grad_value_`, Keras's `clipvalue`, optax's `clip`.

    >>> clip_by_value([-7.0, 0.5, 7.0], -1.0, 2.0)
    array([-1. ,  0.5,  2. ])
    """
    wide = np.asarray(values, np.float64)  # narrower values would round the limits, too
    return np.where(wide < low, low, np.where(wide > high, high, wide))


def beyond_float64(norms: ArrayLike, coefficients: ArrayLike) -> bool:
    """Say whether float64 has too few digits for a coefficient: one below its normal numbers.

    >>> beyond_float64([1e300, 1.0], [1e-309, 1.0]), beyond_float64([math.inf], [0.0])
    (True, False)
    """
    subnormal = np.asarray(coefficients) < np.finfo(np.float64).tiny
    return bool(np.any(subnormal & np.isfinite(norms)))


# Units


def normalized_axes(axes: Sequence[int], dimensions: int) -> tuple[int, ...]:
    """Give the axes that a norm is over, counted from the first, in order; negative ones from last.

    Raises `GradclipError` for an axis that is not there, or is there twice.

    >>> normalized_axes([-1, 0], 3)
    (0, 2)
    """
    found = sorted(axis + dimensions if axis < 0 else axis for axis in axes)
    if any(not 0 <= axis < dimensions for axis in found) or len({*found}) < len(found):
        raise GradclipError(
            "--axes",
            f"{','.join(map(str, axes))} does not fit a tensor of {dimensions:,} dimensions",
            "name each axis once, counted from 0; choose the tensors with --include",
        )
    return tuple(found)


def unit_axes(shape: Shape, layout: Layout) -> tuple[int, ...]:
    """Give the axes that a unit's norm is over, for adaptive gradient clipping.

    A unit is what feeds one output: in JAX's layout a slice along the last axes (the authors'
    `unitwise_norm` in nfnets, with optax's rule for five dimensions), in torch's along the first
    (timm's). A vector is one unit. Raises `GradclipError` where the authors' code does.

    >>> unit_axes((3, 3, 16, 32), "jax"), unit_axes((32, 16, 3, 3), "torch"), unit_axes((8,), "jax")
    ((0, 1, 2), (1, 2, 3), (0,))
    """
    everything = tuple(range(len(shape)))
    if layout == "torch":
        return everything if len(shape) <= 1 else everything[1:]
    if sum(side != 1 for side in shape) <= 1:
        return everything
    match len(shape):
        case 2 | 3:
            return (0,)
        case 4 | 5:
            return everything[:-1]
    raise GradclipError(
        "--agc",
        f"a tensor of {len(shape):,} dimensions has no units by the authors' rule",
        "leave it out with --exclude 'PATTERN', or give --agc-layout torch",
    )


def units_of(shape: Shape, axes: Sequence[int]) -> Shape:
    """Give the shape of the array of units: 1 along each of the axes that a norm is over.

    >>> units_of((3, 3, 16, 32), (0, 1, 2))
    (1, 1, 1, 32)
    """
    return tuple(1 if axis in axes else side for axis, side in enumerate(shape))


def unit_numbers(
    shape: Shape, axes: Sequence[int], first: int, count: int, fortran: bool = False
) -> NDArray[np.intp]:
    """Give the number of the unit of each of `count` values, from value `first` on.

    Values are in memory order, units in C order of `units_of`: what a block of a tensor needs to
    add up the norms of its units, and to take its coefficients.

    >>> unit_numbers((2, 3), (0,), 1, 4), unit_numbers((2, 3), (1,), 1, 4)
    (array([1, 2, 0, 1]), array([0, 0, 1, 1]))
    """
    sides = units_of(shape, axes)
    positions = np.arange(first, first + count)
    numbers = np.zeros_like(positions)
    for axis, side in enumerate(sides):
        if side > 1:
            stride = math.prod(shape[:axis] if fortran else shape[axis + 1 :])
            numbers += positions // stride % side * math.prod(sides[axis + 1 :])
    return numbers
