"""What all differences of two tensors come to: the sign of zero, or a rounding to fewer digits.

Each likeness is a bit, and what holds of all blocks holds of the whole: bits merge by "and".
"""

import functools
import operator
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.engine.scratch import scratch
from gradclip_cli.tensors.codecs import Floats, decode, encode
from gradclip_cli.tensors.dtypes import BFLOAT16, DType, narrow, numeric

Mask = NDArray[np.bool_]

# In which copies of gradients are kept, the finest first: what fits the first is told.
_COARSE = (
    numeric("f", 16),
    BFLOAT16,
    narrow("float8_e4m3fn"),
    narrow("float8_e5m2"),
)
_WORDS = (
    "the sign of zero",
    *(f"rounding to {dtype.name}" for dtype in _COARSE),
    *(f"rounding to {dtype.name} in A" for dtype in _COARSE),
)
ALL = (1 << len(_WORDS)) - 1
_SAMPLE = 16  # changed values that tell whether it is worth while to look at all
_DIGITS = 11  # binary ones: more than any of these dtypes has


def both(likenesses: Sequence[int]) -> int:
    """Give the likenesses that all have."""
    return functools.reduce(operator.and_, likenesses, ALL)


def words(likeness: int) -> str | None:
    """Say the same of both dumps but for what; None where there is more to it.

    >>> words(0b1), words(0b100), words(0)
    ('the sign of zero', 'rounding to bfloat16', None)
    """
    return next((said for bit, said in enumerate(_WORDS) if likeness >> bit & 1), None)


def likeness(a: Floats, b: Floats, changed: Mask, lanes: int) -> int:
    """Give the likenesses of two blocks of float64; the arguments are those of `compare`."""
    return sum(1 << bit for bit, alike in _alike(a, b, changed, lanes) if alike.all())


def likeness_each(a: Floats, b: Floats, changed: Mask, starts: NDArray[np.intp]) -> list[int]:
    """Give the likenesses of small tensors, real, which lie one behind the other from `starts`."""
    found = np.zeros(starts.size, np.int64)
    for bit, alike in _alike(a, b, changed, 1):
        found |= np.logical_and.reduceat(alike, starts).astype(np.int64) << bit
    return found.tolist()


def _alike(a: Floats, b: Floats, changed: Mask, lanes: int) -> Iterator[tuple[int, Mask]]:
    """Give, for each likeness that may hold of some values, of which values it does."""
    first = np.flatnonzero(changed)[:_SAMPLE]
    if not first.size or _are_zero(a.reshape(-1, lanes)[first].reshape(-1), lanes).any():
        yield 0, ~changed | (_are_zero(a, lanes) & _are_zero(b, lanes))
    for side, (fine, coarse) in enumerate(((a, b), (b, a))):
        pairs_fine, pairs_coarse = fine.reshape(-1, lanes), coarse.reshape(-1, lanes)
        sample = pairs_coarse[first].reshape(-1)
        if first.size and not _has_few_digits(sample):
            continue
        for number, dtype in enumerate(_COARSE):
            if first.size and not _is_rounded(pairs_fine[first], pairs_coarse[first], dtype).any():
                continue
            bit = 1 + number + side * len(_COARSE)
            yield bit, ~changed | _is_rounded(pairs_fine, pairs_coarse, dtype)


def _are_zero(values: Floats, lanes: int) -> Mask:
    zero: Mask = (values.reshape(-1, lanes) == 0).all(axis=1)
    return zero


def _has_few_digits(values: Floats) -> bool:
    """Say whether some of the values may have been rounded to a dtype with few digits."""
    with np.errstate(invalid="ignore"):
        fractions = np.frexp(values)[0] * 2.0**_DIGITS
        whole = (fractions == np.rint(fractions)) | ~np.isfinite(fractions)
    return bool(whole.any())


def _is_rounded(fine: Floats, coarse: Floats, dtype: DType) -> Mask:
    """Say of which values one is the other, rounded to a dtype."""
    values = np.ascontiguousarray(fine).reshape(-1)
    stored = scratch("coarse", np.uint8, dtype.size_of(values.size))
    with np.errstate(over="ignore", invalid="ignore"):
        encode(values, dtype, stored)
    near = decode(stored, dtype).reshape(coarse.shape)
    same: Mask = ((near == coarse) | (np.isnan(near) & np.isnan(coarse))).all(axis=1)
    return same
