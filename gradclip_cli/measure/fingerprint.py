"""Fingerprints of stored values: 64 bits of dtype, position and bits, that merge by adding.

Bytes are taken as 64-bit words, zeros behind the last. Of a row of 4,096 values two sums are made,
modulo 2**64: of each word times a random number of its place, and the same with the bytes of each
word in reverse. What a product keeps of a change depends on its lowest bit: of the highest, a sign,
one random bit, of the lowest all 64. In reverse the last byte comes first, so that of any change of
a word the two sums keep at least 58 random bits, whatever changes beside it. Both are then mixed
with the row's number, and what comes of all rows is added. So it does not matter how a tensor was
cut between rows, and any change, of one value or of many, is missed with a chance of about 2**-58.

Reading a block once more takes most of the time of the first sum, and turning bytes round a third
of that of the second: sums of halves of words, or exact products of float64, took longer.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.engine.scratch import scratch
from gradclip_cli.measure.rows import ROW
from gradclip_cli.tensors.codecs import Stored
from gradclip_cli.tensors.dtypes import DType
from gradclip_cli.tensors.dump import Shape

Words = NDArray[np.uint64]

_MODULUS = 1 << 64
_WORD = 8
_FORWARD, _BACKWARD = "<u8", ">u8"  # by name, so that it is the same on every machine

# Numbers of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), which `_mixed` and `_WEIGHTS` are.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
# Odd numbers, so that a row's length is not taken for its number, nor one sum for the other.
_LENGTH = np.uint64(0xD6E8FEB86659FD93)
_SECOND = np.uint64(0xA0761D6478BD642F)


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
        self._lane = dtype.itemsize // dtype.lanes
        self._seed = _seed(dtype, fortran_shape)
        self._first = first * dtype.lanes // ROW
        self._sums: list[Words] = []
        self._missing = 0  # how many values the last row has less than others

    def add(self, stored: Stored) -> None:
        """Take the next piece."""
        size = ROW * self._lane
        whole, rest = divmod(stored.size, size)
        if whole:
            self._sums.append(_sums(stored[: whole * size].reshape(whole, size)))
        if rest:
            self._missing = ROW - rest // self._lane
            last = np.zeros((1, size), np.uint8)
            last[0, :rest] = stored[whole * size :]
            self._sums.append(_sums(last))

    def total(self) -> int:
        """Give what they come to: 0 of none."""
        if not self._sums:
            return 0
        sums = np.concatenate(self._sums, axis=1)
        rows = np.arange(self._first, self._first + sums.shape[1], dtype=np.uint64)
        keys = rows * _STEP + self._seed
        keys[-1:] += np.array([self._missing], np.uint64) * _LENGTH
        return int(np.add.reduce(_of_rows(sums, keys)))


def of_each(stored: Stored, dtype: DType, counts: Sequence[int]) -> list[int]:
    """Give those of small tensors that lie next to each other, real, `counts` values each.

    None has more than a row.
    """
    lengths = np.asarray(counts)
    words, own = _apart(stored, dtype.itemsize, lengths)
    starts = np.cumsum(own) - own
    places = np.arange(words.size) - np.repeat(starts, own)
    sums = np.empty((2, lengths.size), np.uint64)
    products: Words = scratch("products", np.uint64, words.size)
    for total, view, weights in zip(sums, (_FORWARD, _BACKWARD), _WEIGHTS, strict=True):
        # The mode only spares a copy: a place is always within a row.
        np.take(weights, places, out=products, mode="clip")
        np.multiply(products, words.view(view), out=products)
        np.add.reduceat(products, starts, out=total)
    keys = (ROW - lengths).astype(np.uint64) * _LENGTH + _seed(dtype, None)
    found: list[int] = _of_rows(sums, keys).tolist()
    return found


def _apart(
    stored: Stored, itemsize: int, lengths: NDArray[np.int_]
) -> tuple[Words, NDArray[np.int_]]:
    """Give the words of tensors that begin with one each, and how many each has."""
    sizes = lengths * itemsize
    own = -(-sizes // _WORD)
    if not (sizes % _WORD).any():
        return stored.view(_FORWARD), own
    values = stored.view(f"u{itemsize}")
    begins = (np.cumsum(own) - own) * (_WORD // itemsize)
    moved = np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
    words = np.zeros(own.sum(), _FORWARD)
    words.view(values.dtype)[np.arange(values.size) + moved] = values
    return words, own


def _sums(rows: Stored) -> Words:
    """Give both sums of each row of bytes, shape `(2, rows)`."""
    count = rows.shape[1] // _WORD
    found = np.empty((2, len(rows)), np.uint64)
    for total, view, weights in zip(found, (_FORWARD, _BACKWARD), _WEIGHTS, strict=True):
        np.einsum("ij,j->i", rows.view(view), weights[:count], out=total)
    return found


def _of_rows(sums: Words, keys: Words) -> Words:
    """Give what rows add to their tensors, from both sums and a key of each."""
    found: Words = _mixed(sums[0] + keys) + _mixed(sums[1] + keys * _SECOND)
    return found


def _mixed(words: Words) -> Words:
    """Give other words, of which each bit depends on all bits; no two of the same."""
    found = words
    for shift, factor in _ROUNDS:
        found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    return found


_WEIGHTS: Words = _mixed(np.arange(1, 2 * ROW + 1, dtype=np.uint64) * _STEP).reshape(2, ROW)


@cache
def _seed(dtype: DType, fortran_shape: Shape | None) -> Words:
    """Give what tells bytes of one dtype, byte order and memory order from those of another."""
    total = 0
    for letter in f"{dtype.name} {np.dtype(dtype.words).str} {fortran_shape or ''}".encode():
        total = (total * 0x100000001B3 + letter + int(_STEP)) % _MODULUS
    return np.array(total, np.uint64)
