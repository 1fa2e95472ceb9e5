"""Rules as their sources call them, and which cases of `vectors/clipping.json` are about each."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.rules.adaptively import clip_adaptively, unit_axes
from gradclip_cli.rules.by_average_norm import clip_by_average_norm
from gradclip_cli.rules.by_global_norm import clip_by_norm
from gradclip_cli.rules.by_rms import clip_by_rms
from gradclip_cli.rules.by_tensor_norm import normalized_axes
from gradclip_cli.rules.by_value import clip_by_value

Array = NDArray[np.float64]


def norm_of(values: Array, axes: tuple[int, ...] | None = None, p: float = 2.0) -> Array:
    """Give p-norms over axes, which stay with a length of 1; over all by default."""
    sizes = np.abs(values)
    if p == math.inf:
        return np.asarray(np.max(sizes, axis=axes, keepdims=True))
    return np.asarray(np.sum(sizes**p, axis=axes, keepdims=True) ** (1 / p))


def by_value(tensors: Sequence[Array], params: dict[str, Any]) -> list[Array]:
    names = ("clip_value", "max_delta", "clipvalue", "max")
    high: float = next(params[name] for name in names if name in params)
    low: float = params.get("min", -high)
    return [clip_by_value(tensor, low, high) for tensor in tensors]


def by_own_norm(tensors: Sequence[Array], params: dict[str, Any]) -> list[Array]:
    limit: float = params["clip_norm" if "clip_norm" in params else "clipnorm"]
    axes = tuple(params["axes"]) if "axes" in params else None
    return [np.multiply(x, clip_by_norm(norm_of(x, axes), limit)) for x in tensors]


def by_average(tensors: Sequence[Array], params: dict[str, Any]) -> list[Array]:
    return [
        tensor * clip_by_average_norm(norm_of(tensor), tensor.size, params["clip_norm"])
        for tensor in tensors
    ]


def by_rms(tensors: Sequence[Array], params: dict[str, Any]) -> list[Array]:
    return [
        tensor * clip_by_rms(norm_of(tensor), tensor.size, params["threshold"])
        for tensor in tensors
    ]


def adaptively(tensors: Sequence[Array], params: dict[str, Any]) -> list[Array]:
    results = []
    for tensor, weights in zip(tensors, map(np.array, params["params_tensors"]), strict=True):
        axes = normalized_axes(params["axis"], tensor.ndim) if "axis" in params else None
        axes = axes or unit_axes(tensor.shape, "jax")
        norms = (norm_of(tensor, axes), norm_of(weights, axes))
        results.append(tensor * clip_adaptively(*norms, params["clipping"], params["eps"]))
    return results


def jointly(tensors: Sequence[Array], params: dict[str, Any]) -> list[Array]:
    p = float(params["norm_type"])
    norm = norm_of(np.concatenate([tensor.ravel() for tensor in tensors]), p=p).item()
    return [tensor * clip_by_norm(norm, params["max_norm"], 1e-6) for tensor in tensors]


Rule = Callable[[Sequence[Array], dict[str, Any]], list[Array]]

CASES: dict[Rule, tuple[str, ...]] = {
    by_value: (
        *("tf-value", "tf-value-0type-float32", "tf-value-0type-bfloat16", "tf-value-0type-int32"),
        *("tf-value-0type-uint8", "tf-value-slices-0", "tf-value-slices-2", "torch-value"),
        *("optax-clip-1e6", "keras-clipvalue"),
    ),
    by_own_norm: (
        *("tf-norm-clipped", "tf-norm-zero", "tf-norm-axis0", "tf-norm-axis1-notclipped"),
        *("tf-avg-equals-norm", "keras-clipnorm"),
    ),
    by_average: ("tf-avg-clipped", "tf-avg-zero"),
    by_rms: ("optax-block-rms-1/1", "optax-block-rms-1/7"),
    adaptively: ("optax-agc-1/1", "optax-agc-1/7", "optax-agc-2d", "optax-agc-conv3d"),
    jointly: ("torch-arange-p0.5", "torch-arange-pinf"),
}

OF_OTHER_NORMS = ("p=inf", "p=0.5", "p=4.0", "p=inf_nan")
