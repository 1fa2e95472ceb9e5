"""Fingerprints of stored values: 64 bits of dtype, position and bits, that merge by adding.

Bytes are taken as 64-bit words. Those of a row of 4,096 values are added up, and the sum is mixed
with the row's number; what comes of all rows is added modulo 2**64. So it does not matter how a
tensor was cut between rows, and one changed word always shows, but for a chance of 2**-64.

A sum does not see that two words of its row change places, or both their signs. To mix each value
with its place would take several times as long: it is done in one row of 1,024, the first, and so
all small tensors, among them. Of 128 rows from that one on there are sums over columns as well.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.engine.scratch import scratch
from gradclip_cli.measure.rows import ROW
from gradclip_cli.tensors.codecs import Stored
from gradclip_cli.tensors.dtypes import DType
from gradclip_cli.tensors.dump import Shape

Words = NDArray[np.uint64]

_MODULUS = 1 << 64
_RUN, _EVERY = 128, 1024  # rows that are summed by columns too, and how often that is done

# Odd numbers: those of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
_MISSING = np.uint64(0x94D049BB133111EB)
_HALF = np.uint64(32)

_PLACES: Words = np.arange(ROW, dtype=np.uint64) * _STEP


def merged(parts: Sequence[str]) -> str:
    """Give the fingerprint of the whole.

    >>> merged(["ffffffffffffffff", "0000000000000003"])
    '0000000000000002'
    """
    return written(sum(int(part, 16) for part in parts))


def written(total: int) -> str:
    """Write a sum in sixteen digits."""
    return f"{total % _MODULUS:016x}"


class Fingerprint:
    """Takes a tensor's bytes piece by piece, in order, from the value `first` on.

    Pieces, but for the last, are of whole rows. Little is done for each, as in a `Gauge`.
    """

    def __init__(self, dtype: DType, fortran_shape: Shape | None = None, first: int = 0) -> None:
        self._words = _words(dtype)
        self._seed = _seed(dtype, fortran_shape)
        self._first = self._next = first * dtype.lanes // ROW
        self._sums: list[Words] = []
        self._columns = 0
        self._last = ROW  # how long the last row is

    def add(self, stored: Stored) -> None:
        """Take the next piece."""
        size = ROW * self._words.itemsize
        whole, rest = divmod(stored.size, size)
        if whole:
            self._add(stored[: whole * size].view(np.uint64).reshape(whole, -1))
        if rest:
            self._last = rest // self._words.itemsize
            last = np.zeros((1, size), np.uint8)
            last[0, :rest] = stored[whole * size :]
            self._add(last.view(np.uint64))

    def _add(self, words: Words) -> None:
        rows = len(words)
        sums = np.add.reduce(words, axis=1)
        for begin in range(-(self._next % _EVERY), rows, _EVERY):
            if begin >= 0:
                values = words[begin].view(self._words)[: self._last]
                sums[begin] = np.add.reduce(_mixed(values, _PLACES[: values.size]))
            some = words[max(begin + 1, 0) : max(begin + _RUN, 0)]
            if len(some):
                columns = np.add.reduce(some, axis=0)
                self._columns += int(np.dot(columns, _WEIGHTS[: columns.size]))
        self._sums.append(sums)
        self._next += rows

    def total(self) -> int:
        """Give what they come to: 0 of none."""
        if not self._sums:
            return 0
        keys = np.arange(self._first, self._next, dtype=np.uint64) * _STEP + self._seed
        keys[-1:] += _missing(np.array([self._last]))
        sums = int(np.add.reduce(_mixed(np.concatenate(self._sums), keys)))
        return (sums + self._columns) % _MODULUS


def of_each(stored: Stored, dtype: DType, counts: Sequence[int]) -> list[int]:
    """Give those of small tensors that lie next to each other, real, `counts` values each."""
    values = stored.view(_words(dtype))
    lengths = np.asarray(counts)
    starts = np.cumsum(lengths) - lengths
    # A position goes up by one with each value, and back to 0 where a tensor begins.
    keys: Words = scratch("keys", np.uint64, values.size)
    keys[:] = _STEP
    keys[0] = 0
    keys[starts[1:]] -= lengths[:-1].astype(np.uint64) * _STEP
    np.add.accumulate(keys, out=keys)
    sums = np.add.reduceat(_mixed(values, keys), starts)
    found: list[int] = _mixed(sums, _missing(lengths) + _seed(dtype, None)).tolist()
    return found


def _missing(lengths: NDArray[np.int_]) -> Words:
    """Give what tells rows of so many values from longer ones that end with zeros."""
    return (ROW - lengths).astype(np.uint64) * _MISSING


def _mixed(words: NDArray[Any], keys: Words) -> Words:
    """Mix each word with its key: a scratch array. With one key, two words never give the same.

    The upper half goes into the lower one before the product, or the highest bit would reach no
    other, and again after it, or what two of them change there would cancel.
    """
    found: Words = scratch("mixed", np.uint64, words.size)
    upper: Words = scratch("upper", np.uint64, words.size)
    np.add(words, keys, out=found)
    np.bitwise_xor(found, np.right_shift(found, _HALF, out=upper), out=found)
    np.multiply(found, _FACTOR, out=found)
    np.bitwise_xor(found, np.right_shift(found, _HALF, out=upper), out=found)
    return found


_WEIGHTS: Words = _mixed(_PLACES, _PLACES) | np.uint64(1)


@cache
def _words(dtype: DType) -> "np.dtype[Any]":
    """Give the unsigned words that a dtype's real numbers fill."""
    return np.dtype(f"u{dtype.itemsize // dtype.lanes}")


@cache
def _seed(dtype: DType, fortran_shape: Shape | None) -> Words:
    """Give what tells bytes of one dtype, byte order and memory order from those of another."""
    total = 0
    for letter in f"{dtype.name} {np.dtype(dtype.words).str} {fortran_shape or ''}".encode():
        total = (total * 0x100000001B3 + letter + int(_STEP)) % _MODULUS
    return np.array(total, np.uint64)
