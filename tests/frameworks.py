"""The frameworks, real and as recorded, and numbers to compare them by, bit for bit."""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from gradclip_cli.rules.like.arithmetic import DTYPES, Recipe, rounded_norm
from gradclip_cli.rules.terms import Like
from gradclip_cli.tensors.codecs import decode, encode
from tests.recorded import contents, recorded_vector

Array = NDArray[Any]

ARRAYS: dict[str, Any] = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
}

WORDS = {name: f"u{np.dtype(dtype).itemsize}" for name, dtype in ARRAYS.items()}
TINY = {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 2.0**-126, "float64": 2.0**-1022}
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def decoded(values: Array, dtype: str) -> Array:
    stored = np.frombuffer(values.tobytes(), np.uint8)
    with np.errstate(all="ignore"):
        return np.array(decode(stored, DTYPES[dtype]))


def applied(recipe: Recipe, values: Array) -> Array:
    """Give a recipe's results as they would be stored; a rounding in that is an error."""
    results = recipe.apply(decoded(values, recipe.dtype))
    stored = np.empty(values.nbytes, np.uint8)
    with np.errstate(all="ignore"):
        encode(results.astype(np.float64), DTYPES[recipe.dtype], stored)
        np.testing.assert_array_equal(decode(stored, DTYPES[recipe.dtype]), results)
    return stored.view(values.dtype)


def differing(mine: Array, theirs: Array, dtype: str) -> list[int]:
    """Give where bits differ; a NaN equals a NaN."""
    words = WORDS[dtype]
    with np.errstate(all="ignore"):
        both_nan = np.isnan(mine.astype(np.float64)) & np.isnan(theirs.astype(np.float64))
    return np.flatnonzero((mine.view(words) != theirs.view(words)) & ~both_nan).tolist()


LIKES: dict[str, Like] = {
    "torch": "torch",
    "tf": "tensorflow",
    "keras": "keras",
    "optax": "optax",
}

WITHOUT_FLOAT64 = {"f64_3_4", "f64_1e-200", "mixed_f32_f64"}
"""Recorded of JAX without its 64-bit mode, in which it reads float64 as float32."""


def recorded() -> Iterator[tuple[str, str]]:
    for name, case in contents()["recorded"].items():
        if not all(given["dtype"] in DTYPES for given in case["in"] if given):
            continue
        for peer, answer in recorded_vector(name).answers.items():
            if answer.outputs and not (peer == "optax" and name in WITHOUT_FLOAT64):
                yield name, peer


@dataclass(frozen=True)
class Peer:
    """A framework's own functions: by a norm that it is given, and between two limits."""

    clip: Callable[[Array, str, float, float, str], Array]
    clamp: Callable[[Array, float], Array]


def installed(module: str) -> Any:
    return pytest.importorskip(module, reason=f"{module} is installed only to compare with it")


def installed_jax() -> Any:
    """Give JAX as `docs/rules.md` says that it was measured.

    With AVX512-FP16 it rounds a number to float16 once, without by way of float32; what it is
    compiled for must not depend on whose processor the tests run.
    """
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
    jax = installed("jax")
    jax.config.update("jax_enable_x64", True)
    return jax


@cache
def torch_peer() -> Peer:
    torch = installed("torch")

    def given(values: Array) -> Any:
        if values.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(values.view(np.int16).copy()).view(torch.bfloat16)
        return torch.from_numpy(values.copy())

    def parameter(values: Array) -> Any:
        found = torch.nn.Parameter(torch.zeros_like(given(values)))
        found.grad = given(values)
        return found

    def result(tensor: Any) -> Array:
        if tensor.dtype == torch.bfloat16:
            return np.array(tensor.view(torch.int16).numpy()).view(ml_dtypes.bfloat16)
        return np.array(tensor.numpy())

    def clip(values: Array, _dtype: str, norm: float, limit: float, norm_in: str) -> Array:
        own = parameter(values)
        its_norm = given(np.array([norm]).astype(ARRAYS[norm_in])).reshape(())
        torch.nn.utils.clip_grads_with_norm_([own], limit, its_norm)
        return result(own.grad)

    def clamp(values: Array, limit: float) -> Array:
        own = parameter(values)
        torch.nn.utils.clip_grad_value_([own], limit)
        return result(own.grad)

    return Peer(clip, clamp)


@cache
def tensorflow_peer() -> Peer:
    tensorflow = installed("tensorflow")

    def clip(values: Array, _dtype: str, norm: float, limit: float, norm_in: str) -> Array:
        own = tensorflow.constant(np.array(norm).astype(ARRAYS[norm_in]))
        clipped, _ = tensorflow.clip_by_global_norm([tensorflow.constant(values)], limit, own)
        return np.array(clipped[0].numpy())

    def clamp(values: Array, limit: float) -> Array:
        found = tensorflow.clip_by_value(tensorflow.constant(values), -limit, limit)
        return np.array(found.numpy())

    return Peer(clip, clamp)


@cache
def keras_peer() -> Peer:
    tensorflow = installed("tensorflow")
    keras = installed("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the recipes are those of Keras on TensorFlow")
    optimizers = installed("keras.src.optimizers.base_optimizer")

    def clip(values: Array, _dtype: str, norm: float, limit: float, norm_in: str) -> Array:
        own = tensorflow.constant(np.array(norm).astype(ARRAYS[norm_in]))
        optimizer = keras.optimizers.SGD(1.0, global_clipnorm=limit)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optimizers, "global_norm", lambda _: own)
            return np.array(optimizer._clip_gradients([tensorflow.constant(values)])[0].numpy())

    def clamp(values: Array, limit: float) -> Array:
        optimizer = keras.optimizers.SGD(1.0, clipvalue=limit)
        return np.array(optimizer._clip_gradients([tensorflow.constant(values)])[0].numpy())

    return Peer(clip, clamp)


@cache
def optax_peer() -> Peer:
    jax, optax = installed_jax(), installed("optax")

    def clip(values: Array, _dtype: str, norm: float, limit: float, norm_in: str) -> Array:
        own = jax.numpy.asarray(np.array(norm).astype(ARRAYS[norm_in]))
        rule = optax.clip_by_global_norm(limit)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optax.tree, "norm", lambda _: own)
            return np.array(rule.update([jax.numpy.asarray(values)], rule.init([]))[0][0])

    def clamp(values: Array, limit: float) -> Array:
        rule = optax.clip(limit)
        return np.array(rule.update([jax.numpy.asarray(values)], rule.init([]))[0][0])

    return Peer(clip, clamp)


PEERS: dict[Like, Callable[[], Peer]] = {
    "torch": torch_peer,
    "tensorflow": tensorflow_peer,
    "keras": keras_peer,
    "optax": optax_peer,
}

every_peer = pytest.mark.parametrize("like", PEERS)


# The frameworks warn of each other and of NumPy, at their import and later.
quietly = pytest.mark.filterwarnings("ignore")


def spread(numbers: np.random.Generator, dtype: str) -> float:
    """Give a number anywhere in the dtype's range, and subnormal ones."""
    low, high = {"float16": (-8, 4.8), "float64": (-323, 308)}.get(dtype, (-45.0, 38.5))
    return float(10.0 ** numbers.uniform(low, high))


def random_values(numbers: np.random.Generator, dtype: str) -> Array:
    """Give none to many values: any bits at all, ordinary ones, subnormal ones, special ones."""
    count = int(numbers.choice([0, 1, 2, 5, 8, 17, 40, 64]))
    words = WORDS[dtype]
    values: Array
    with np.errstate(all="ignore"):
        match numbers.integers(4):
            case 0:
                values = numbers.integers(
                    0, np.iinfo(words).max, count, dtype=words, endpoint=True
                ).view(ARRAYS[dtype])
            case 1:
                values = (numbers.standard_normal(count) * 4).astype(ARRAYS[dtype])
            case 2:
                scale = TINY[dtype] * 10.0 ** numbers.uniform(-2, 2)
                values = (numbers.standard_normal(count) * scale).astype(ARRAYS[dtype])
            case _:
                scale = spread(numbers, dtype)
                values = (numbers.standard_normal(count) * scale).astype(ARRAYS[dtype])
        special = np.array(
            [0.0, -0.0, math.inf, -math.inf, math.nan, TINY[dtype], -TINY[dtype] / 2]
        ).astype(ARRAYS[dtype])
    if count and numbers.random() < 0.4:
        at = numbers.integers(0, count, 4)
        values[at] = numbers.choice(special, 4)
    return values


def random_norm(numbers: np.random.Generator, dtype: str) -> float:
    special = [0.0, math.inf, math.nan, TINY[dtype], TINY[dtype] / 4, 3 / TINY[dtype]]
    match numbers.integers(8):
        case 0:
            norm = float(numbers.choice(special))
        case 1:
            norm = spread(numbers, dtype)
        case _:
            norm = float(np.exp(numbers.normal())) * 5
    return rounded_norm(norm, dtype)


def random_limit(numbers: np.random.Generator, dtype: str, norm: float) -> float:
    """Give a limit on either side of the norm, at it, or far away; now and then a senseless one."""
    match numbers.integers(10):
        case 0:
            return spread(numbers, dtype)
        case 1:
            return float(numbers.choice([-1.5, math.inf, TINY[dtype] / 3, 1 + 2**-11 + 2**-40]))
        case 2:
            return norm if 0 < norm < math.inf else 1.0
        case _:
            ratio = float(np.exp(numbers.normal() * 0.7))
            return norm * ratio if 0 < norm < math.inf else ratio


def near_the_smallest(dtype: str, norm: float, limit: float) -> Array:
    """Give values that clipping brings just above and below the smallest normal number."""
    ratio = limit / norm if 0 < limit < norm < math.inf else 1.0
    with np.errstate(all="ignore"):
        middle = np.array(TINY[dtype] / (ratio or 1.0)).astype(ARRAYS[dtype])
        if middle == 0 or norm == limit:
            return (np.arange(1, 21) * (norm * TINY[dtype])).astype(ARRAYS[dtype])
    bits = int(middle.view(WORDS[dtype]))
    near: Array = np.arange(max(bits - 10, 0), bits + 11, dtype=WORDS[dtype])
    return near.view(ARRAYS[dtype])
