"""Norms as sums in float32 have them: what a large tensor loses on the way.

torch sums the squares of a float32 tensor on a CPU in a few sums side by side, as many as the lanes
of its vectors times its threads, each in float32 and one after the other: see `norm_kernel` in
aten/src/ATen/native/cpu/ReduceOpsKernel.cpp. A sum of 2^24 times its terms stands still.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.measure.spans import blocks, cut
from gradclip_cli.tensors.codecs import decode
from gradclip_cli.tensors.dump import Tensor

SUMS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Into how many sums squares go."""

_LEAST = 1 << 14  # values below which float32 loses nothing to speak of
_NARROW = {"float32", "float16", "bfloat16"}


def can_lose(tensor: Tensor) -> bool:
    """Say whether a tensor is so large, of such a dtype, that sums in float32 lose anything."""
    return tensor.count >= _LEAST and tensor.dtype.name in _NARROW


def summed_singly(tensor: Tensor) -> dict[int, float]:
    """Give a tensor's L2 norm by the number of sums in float32 that its squares go into."""
    totals = {sums: np.zeros(sums, np.float32) for sums in SUMS}
    with tensor.source.opened() as reader, np.errstate(over="ignore"):
        reader.expect(tensor.offset, tensor.size)
        for work in cut([tensor], [0], in_order=True):
            for _, stored in blocks(reader, work.span):
                values = decode(stored, work.span.dtype).astype(np.float32)
                squares = np.square(values)
                for sums, total in totals.items():
                    totals[sums] = _added(total, squares)
    return {
        sums: math.sqrt(math.fsum(total.astype(np.float64).tolist()))
        for sums, total in totals.items()
    }


def _added(total: NDArray[np.float32], squares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add squares to sums in turn, each sum in order."""
    sums = total.size
    if sums == 1:
        return np.add.accumulate(np.concatenate([total, squares]), dtype=np.float32)[-1:].copy()
    whole = squares.size // sums * sums
    rows = np.concatenate([total, squares[:whole]]).reshape(-1, sums)
    found: NDArray[np.float32] = np.add.reduce(rows, axis=0, dtype=np.float32)
    found[: squares.size - whole] += squares[whole:]
    return found


def norms_of(
    known: Sequence[float], lost: Iterable[tuple[int, dict[int, float]]]
) -> dict[int, list[float]]:
    """Give all norms by the number of sums, of which some tensors, by their index, lose by it."""
    found = {sums: [*known] for sums in SUMS}
    for index, norms in lost:
        for sums, norm in norms.items():
            found[sums][index] = norm
    return found
