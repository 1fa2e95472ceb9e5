"""How many values have which power of two as their exponent: what a histogram is drawn of.

Unlike `exponents`, which tells the values of one exponent apart as dtypes do that round them.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.engine.scratch import scratch
from gradclip_cli.measure import tallies
from gradclip_cli.measure.tallies import Tally
from gradclip_cli.tensors.codecs import Values

Powers = Tally
"""By the exponent, as in 2^exponent."""

_MANY = 1 << 17  # values: from here on it pays to count them in pairs
_NORMAL = slice(1, 255)  # exponents of float32 as they are stored, but for subnormal and not finite
_BIAS = 127
_LOWEST = -1100  # of float64, subnormal numbers included
_SPAN = 2200  # exponents, and more than enough


def measured(values: Values, lanes: int) -> Powers:
    """Count the values of a block, complex ones by their larger part.

    Zeros are not counted, nor is what is not finite.
    """
    values = tallies.larger(values, lanes)
    if values.dtype != np.float32:
        return _any(values)
    found = _single(np.ascontiguousarray(values))
    told = tallies.of_counts(found[_NORMAL], _NORMAL.start - _BIAS)
    if found[0]:  # subnormal numbers, or zeros
        small = np.abs(values)
        return tallies.merged([_any(small[small < 2.0**-126]), told])
    return told


def each(values: Values, counts: Sequence[int]) -> list[Powers]:
    """Count the values of tensors that lie next to each other, real, `counts` values each."""
    owners = np.repeat(np.arange(len(counts)), counts)
    kept = (values != 0) & np.isfinite(values)
    exponents = np.frexp(values[kept])[1].astype(np.int64) - 1 - _LOWEST
    keys, many = np.unique(owners[kept] * _SPAN + exponents, return_counts=True)
    owners, exponents = np.divmod(keys, _SPAN)
    pairs = np.stack([exponents + _LOWEST, many], axis=1).reshape(-1).tolist()
    bounds = (2 * np.searchsorted(owners, np.arange(len(counts) + 1))).tolist()
    return [tuple(pairs[begin:end]) for begin, end in itertools.pairwise(bounds)]


def _single(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Count float32 by the exponents that they are stored with."""
    half = values.size // 2 if values.size >= _MANY else 0
    rest = (values[2 * half :].view(np.uint32) >> 23) & 0xFF
    found = np.bincount(rest, minlength=256)
    if half:
        # The exponents of two values, a byte each, make a key: so half as many are counted.
        high = scratch("powers", np.uint32, 2 * half)
        np.right_shift(values[: 2 * half].view(np.uint32), 23, out=high)
        narrow = scratch("exponents of a byte", np.uint8, 2 * half)
        np.copyto(narrow, high, casting="unsafe")  # without the sign, which is the ninth bit
        keys = scratch("pairs", np.int64, half)  # as they are counted, so that none are copied
        np.copyto(keys, narrow.view(np.uint16))
        both = np.bincount(keys, minlength=1 << 16).reshape(256, 256)
        found = found + both.sum(axis=0) + both.sum(axis=1)
    return found


def _any(values: Values) -> Powers:
    """Count values of any float."""
    _, exponents = tallies.parts(values)
    return tallies.of_counts(np.bincount(exponents - 1 - _LOWEST), _LOWEST)


def divided(powers: Powers, power: int) -> Powers:
    """Give the counts of values that are divided by a power of two."""
    return tallies.moved(powers, -power)
