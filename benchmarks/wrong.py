"""Where the frameworks go wrong: each clips the same gradients, and a table says what came out.

It needs the extra `peers`. `python -m benchmarks.wrong` prints the table of docs/rules.md.
"""

import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import gradclip_cli

Array = NDArray[Any]
Clip = Callable[[Array, float], tuple[float | None, Array]]
"""Clips an array by its norm; gives the norm, if it says which, and the result."""

CASES = 2000


def by_gradclip(values: Array, limit: float) -> tuple[float | None, Array]:
    """Clip as gradclip does; an error leaves no result."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.safetensors"), Path(folder, "out.safetensors")
        save_file({"g": values}, source)
        report = gradclip_cli.apply(source, clip_norm=limit, output=target)
        assert report.clipped is not None
        return report.clipped.norm_before, load_file(target)["g"]


def by_torch(values: Array, limit: float) -> tuple[float | None, Array]:
    """Clip by `torch.nn.utils.clip_grad_norm_`."""
    torch = importlib.import_module("torch")
    own = torch.nn.Parameter(torch.zeros(values.shape, dtype=getattr(torch, values.dtype.name)))
    own.grad = torch.from_numpy(values.copy())
    norm = torch.nn.utils.clip_grad_norm_([own], limit)
    return float(norm), own.grad.numpy()


def by_tensorflow(values: Array, limit: float) -> tuple[float | None, Array]:
    """Clip by `tf.clip_by_global_norm`."""
    tensorflow = importlib.import_module("tensorflow")
    clipped, norm = tensorflow.clip_by_global_norm([tensorflow.constant(values)], limit)
    return float(norm), clipped[0].numpy()


def by_keras(values: Array, limit: float) -> tuple[float | None, Array]:
    """Clip by a Keras optimizer's `global_clipnorm`."""
    keras = importlib.import_module("keras")
    optimizer = keras.optimizers.SGD(1.0, global_clipnorm=limit)
    clipped = optimizer._clip_gradients([keras.ops.convert_to_tensor(values)])
    return None, np.array(clipped[0])


def by_optax(values: Array, limit: float) -> tuple[float | None, Array]:
    """Clip by `optax.clip_by_global_norm`."""
    jax, optax = importlib.import_module("jax"), importlib.import_module("optax")
    rule = optax.clip_by_global_norm(limit)
    given = [jax.numpy.asarray(values)]
    (clipped,), _ = rule.update(given, rule.init(given))
    return float(optax.global_norm(given)), np.array(clipped)


CLIPS: dict[str, Clip] = {
    "gradclip": by_gradclip,
    "PyTorch": by_torch,
    "TensorFlow": by_tensorflow,
    "Keras": by_keras,
    "optax": by_optax,
}


def outcome(values: Sequence[float], limit: float, dtype: str) -> Callable[[Clip], str]:
    """Give a row: what clipping these values comes to."""

    def row(clip: Clip) -> str:
        try:
            norm, found = clip(np.array(values, dtype), limit)
        except gradclip_cli.GradclipError:
            return "refused"
        said = "" if norm is None else f"norm {norm:.4g}: "
        return said + ", ".join(f"{value:.4g}" for value in found.astype(float))

    return row


def below_the_limit(clip: Clip) -> str:
    """Count the tensors, of random ones whose norm is below the limit, that change all the same."""
    changed = amplified = 0
    for seed in range(CASES):
        numbers = np.random.default_rng(seed)
        values = numbers.standard_normal(10).astype(np.float32)
        limit = float(np.linalg.norm(values.astype(float)) * numbers.uniform(1.01, 10))
        _, found = clip(values, limit)
        changed += bool((found != values).any())
        amplified += bool((np.abs(found) > np.abs(values)).any())
    return f"{changed:,} of {CASES:,} change" + (f", {amplified:,} grow" if amplified else "")


def error_of_the_norm(clip: Clip) -> str:
    """Give the relative error of the norm of ten million ordinary values."""
    values = np.random.default_rng(0).standard_normal(10_000_000).astype(np.float32)
    wide = values.astype(np.longdouble)
    exact = np.sqrt((wide * wide).sum())
    norm, _ = clip(values, 1.0)
    return "" if norm is None else f"{abs(float((norm - exact) / exact)):.0e}"


ROWS: dict[str, Callable[[Clip], str]] = {
    "overflow: 3e20, 4e20 in float32, limit 5": outcome([3e20, 4e20], 5.0, "float32"),
    "overflow: 300, 400 in float16, limit 5": outcome([300, 400], 5.0, "float16"),
    "underflow: 3e-30, 4e-30 in float32, limit 5e-31": outcome([3e-30, 4e-30], 5e-31, "float32"),
    "a NaN: 3, nan, limit 1": outcome([3, np.nan], 1.0, "float32"),
    "an infinity: 3, inf, limit 1": outcome([3, np.inf], 1.0, "float32"),
    "a negative limit: 3, 4, limit -1": outcome([3, 4], -1.0, "float32"),
    f"{CASES:,} random tensors below the limit": below_the_limit,
    "error of the norm of 10,000,000 float32": error_of_the_norm,
}


def table() -> str:
    """Give the table in Markdown."""
    lines = [["", *CLIPS], ["---"] * (len(CLIPS) + 1)]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for title, row in ROWS.items():
            lines.append([title, *(row(clip) for clip in CLIPS.values())])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(table())
