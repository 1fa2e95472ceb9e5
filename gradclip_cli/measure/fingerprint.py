"""Fingerprints of stored values: 64 bits of dtype, position and bits, that merge by adding.

Bytes are taken as 64-bit words, each times a weight, summed modulo 2**64; so it does not matter how
a tensor was cut, and one changed word always shows, its weight being odd. A weight has a part for
the row of 4,096 values and one for the place in it. The second would take as long again as the
first, which is a plain sum over rows: so it is there for every eighth run of 128 rows alone, the
first, and all small tensors, among them.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.measure.rows import ROW
from gradclip_cli.tensors.codecs import Stored
from gradclip_cli.tensors.dtypes import DType

Words = NDArray[np.uint64]

_MODULUS = 1 << 64
_RUN, _EVERY = 128, 8  # rows in a run, and of which the first has weights for places
_GOLDEN, _COUNTED = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03


def merged(parts: Sequence[str]) -> str:
    """Give the fingerprint of the whole.

    >>> merged(["ffffffffffffffff", "0000000000000003"])
    '0000000000000002'
    """
    return written(sum(int(part, 16) for part in parts))


def written(total: int) -> str:
    """Write a sum in sixteen digits."""
    return f"{total % _MODULUS:016x}"


def of_block(stored: Stored, dtype: DType, first: int) -> int:
    """Give the sum of a block whose first value has this number, a multiple of `ROW`."""
    size = ROW * dtype.itemsize
    whole = stored.size // size
    total = stored.size // dtype.itemsize * _COUNTED
    number = first // ROW
    if whole:
        words = stored[: whole * size].view(np.uint64).reshape(whole, -1)
        # Every call costs two threads more than what it does: they wait for one interpreter.
        total += int(np.dot(np.add.reduce(words, axis=1), _weights(number, number + whole)))
        for low in range(-(number % _RUN), whole, _RUN):
            if (number + low) // _RUN % _EVERY == 0:
                some = words[max(low, 0) : low + _RUN]
                total += int(np.dot(np.add.reduce(some, axis=0), _PLACES[: words.shape[1]]))
    if whole * size < stored.size:
        rest = np.zeros(-(-(stored.size - whole * size) // 8) * 8, np.uint8)
        rest[: stored.size - whole * size] = stored[whole * size :]
        last = rest.view(np.uint64)
        total += int(np.add.reduce(last * _weights(number + whole, number + whole + 1)))
        if (number + whole) // _RUN % _EVERY == 0:
            total += int(np.dot(last, _PLACES[: last.size]))
    return total * _odd(dtype) % _MODULUS


def of_each(stored: Stored, dtype: DType, counts: Sequence[int]) -> list[int]:
    """Give the sums of small tensors that lie next to each other, real, `counts` values each."""
    lengths = np.asarray(counts, np.intp)
    starts = np.cumsum(lengths) - lengths
    places = (np.arange(lengths.sum()) - np.repeat(starts, lengths)) * dtype.itemsize
    values = stored.view(f"u{dtype.itemsize}").astype(np.uint64)
    values <<= (places % 8 * 8).astype(np.uint64)
    values *= _PLACES[places // 8] + _weights(0, 1)
    sums = np.add.reduceat(values, starts) + lengths.astype(np.uint64) * np.uint64(_COUNTED)
    found: list[int] = (sums * np.uint64(_odd(dtype))).tolist()
    return found


def _mixed(numbers: Words) -> Words:
    """Scatter numbers over 64 bits (SplitMix64: Steele, Lea and Flood, OOPSLA 2014)."""
    words = (numbers + np.uint64(1)) * np.uint64(_GOLDEN)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _weights(begin: int, end: int) -> Words:
    """Give the weights of rows, which are odd."""
    if end <= _ROWS.size:
        return _ROWS[begin:end]
    return _mixed(np.arange(begin, end, dtype=np.uint64)) | np.uint64(1)


_ROWS = _mixed(np.arange(1 << 14, dtype=np.uint64)) | np.uint64(1)
# Those of places are even, so that together they are odd.
_PLACES = _mixed(np.arange(1 << 32, (1 << 32) + ROW * 2, dtype=np.uint64)) << np.uint64(1)


@cache
def _odd(dtype: DType) -> int:
    """Give a dtype's own factor, by its name and the order of its bytes."""
    total = 0
    for letter in f"{dtype.name} {dtype.words}".encode():
        total = (total * 0x100000001B3 + letter + _GOLDEN) % _MODULUS
    return total | 1
