"""Fingerprints of stored values: 64 bits of dtype, position and bits, that merge by adding.

Bytes are taken in units of 65,536 real numbers, the last of which may be shorter. Each is hashed by
XXH3 (Collet, https://github.com/Cyan4973/xxHash), which knows the number of the unit and what the
bytes stand for as its seed, and the hashes are added modulo 2**64. So it does not matter how a
tensor was cut between units, and any change is missed with a chance of about 2**-64, but where
somebody aims at it: the hash is fast, not cryptographic.
"""

import itertools
from collections.abc import Sequence
from functools import cache

import numpy as np

from gradclip_cli.measure.rows import UNIT
from gradclip_cli.tensors.codecs import Stored
from gradclip_cli.tensors.dtypes import DType
from gradclip_cli.tensors.dump import Shape

_MODULUS = 1 << 64
_WORDS = ">u8"  # whose bytes come in the order of digits
_STEP = 0x9E3779B97F4A7C15  # of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): odd


def merged(parts: Sequence[str]) -> str:
    """Give the fingerprint of the whole.

    >>> merged(["ffffffffffffffff", "0000000000000003"])
    '0000000000000002'
    """
    words = np.frombuffer(bytes.fromhex("".join(parts)), _WORDS)
    return written(int(np.add.reduce(words)))


def written(total: int) -> str:
    """Write a sum in sixteen digits."""
    return f"{total % _MODULUS:016x}"


def written_each(totals: Sequence[int]) -> list[str]:
    """Write many, all below 2**64, in a third of the time."""
    digits = np.array(totals, _WORDS).tobytes().hex()
    return [digits[at : at + 16] for at in range(0, len(digits), 16)]


class Fingerprint:
    """Takes a tensor's bytes piece by piece, in order, from the value `first` on, a unit's first.

    Pieces of whole units, as blocks are, take no longer than their hashes do.
    """

    def __init__(self, dtype: DType, fortran_shape: Shape | None = None, first: int = 0) -> None:
        self._size = dtype.size_of(UNIT) // dtype.lanes
        self._seed = _seed(dtype, fortran_shape)
        self._next, rest = divmod(first * dtype.lanes, UNIT)
        assert not rest, "spans begin with units"
        self._total = 0
        self._rest = b""

    def add(self, stored: Stored) -> None:
        """Take the next piece."""
        data = memoryview(self._rest + stored.tobytes()) if self._rest else stored.data
        whole = len(data) // self._size * self._size
        for begin in range(0, whole, self._size):
            self._add(data[begin : begin + self._size])
        self._rest = bytes(data[whole:])

    def _add(self, unit: memoryview | bytes) -> None:
        from xxhash import xxh3_64_intdigest  # only what is asked for waits for it

        self._total += xxh3_64_intdigest(unit, (self._seed + self._next * _STEP) % _MODULUS)
        self._next += 1

    def total(self) -> int:
        """Give what they come to, when all is taken: 0 of none."""
        if self._rest:
            self._add(self._rest)
            self._rest = b""
        return self._total % _MODULUS


def of_each(stored: Stored, dtype: DType, counts: Sequence[int]) -> list[int]:
    """Give those of small tensors that lie next to each other, real, `counts` values each.

    None has more than a unit.
    """
    from xxhash import xxh3_64_intdigest

    data, seed = stored.data, _seed(dtype, None)
    ends = list(itertools.accumulate(map(dtype.size_of, counts)))
    return [
        xxh3_64_intdigest(data[begin:end], seed)
        for begin, end in zip([0, *ends[:-1]], ends, strict=True)
    ]


@cache
def _seed(dtype: DType, fortran_shape: Shape | None) -> int:
    """Give what tells bytes of one dtype, byte order and memory order from those of another."""
    from xxhash import xxh3_64_intdigest

    order = np.dtype(dtype.words).str if dtype.words else ""
    return xxh3_64_intdigest(f"{dtype.name} {order} {fortran_shape or ''}".encode())
