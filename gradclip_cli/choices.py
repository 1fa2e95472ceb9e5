"""The words that a user chooses among; light, because the help needs them and not NumPy."""

from typing import Literal

Nonfinite = Literal["refuse", "zero", "skip", "propagate"]
"""What to do with NaN and infinities: refuse to clip, write 0, leave their tensors, let them be."""

Sort = Literal["name", "norm", "size", "max", "file"]
"""What rows are sorted by."""

Format = Literal["table", "tsv", "csv", "json", "jsonl", "md"]
"""How a report is written."""

Like = Literal["tensorflow", "keras", "torch", "optax", "optax-jit"]
"""Whose arithmetic to reproduce to the bit; optax rounds otherwise inside `jax.jit`."""

Layout = Literal["jax", "torch"]
"""Where a weight's output units lie: along its last axis, or along its first."""
