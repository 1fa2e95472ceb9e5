"""Codes of less than a byte, that lie in a source a byte each: given as they lie packed.

The first of them has the lowest bits, and those of more than one byte go on in the next.
"""

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.derived import DerivedSource
from gradclip_cli.files.source import Reader
from gradclip_cli.frozen import frozen

Bytes = NDArray[np.uint8]

_AT_ONCE = 1 << 17  # groups that fill whole bytes


def packing(bits: int) -> tuple[int, int]:
    """Give how many values of so many bits fill how many whole bytes, the least of them."""
    shared = math.gcd(bits, 8)
    return 8 // shared, bits // shared


def pack(codes: Bytes, bits: int, stored: NDArray[Any]) -> None:
    """Put codes of less than a byte into bytes, the first into the lowest bits."""
    each, size = packing(bits)
    packed, places = stored.reshape(-1, size), codes.reshape(-1, each)
    packed[:] = 0
    for place in range(each):
        byte, bit = divmod(place * bits, 8)
        packed[:, byte] |= places[:, place] << bit
        if bit + bits > 8:
            packed[:, byte + 1] |= places[:, place] >> (8 - bit)


@frozen
class SubByteSource(DerivedSource):
    """`count` codes of `bits` bits, of the dtype `called`, which fill whole bytes.

    In the source they have a byte each, from byte `start` on.
    """

    start: int
    count: int
    bits: int
    called: str

    apart: ClassVar[bool] = True

    @property
    def size(self) -> int:  # type: ignore[override]
        """Number of bytes that the codes fill."""
        return self.count * self.bits // 8

    def made_from(self, reader: Reader) -> Reader:
        """Give a reader, from one of the base."""
        return _PackingReader(reader, self)


class _PackingReader(Reader):
    def __init__(self, reader: Reader, source: SubByteSource) -> None:
        super().__init__(source.label)
        self._reader = reader
        self._source = source

    def expect(self, offset: int, size: int) -> None:
        source = self._source
        each, packed = packing(source.bits)
        first, last = offset // packed, -(-(offset + size) // packed)
        self._reader.expect(source.start + first * each, (last - first) * each)

    def read_into(self, view: memoryview, offset: int) -> int:
        source = self._source
        each, size = packing(source.bits)
        group, within = divmod(offset, size)
        groups = min(-(-(within + len(view)) // size), source.count // each - group, _AT_ONCE)
        if groups <= 0:
            return 0
        codes = np.empty(groups * each, np.uint8)
        self._reader.read_exactly(codes.data, source.start + group * each)
        if (codes >> source.bits).any():
            raise GradclipError(
                self.label,
                f"holds bytes that are no codes of {source.called}, which no packed value can be",
                "write it as .npy, where each value has a byte of its own",
            )
        packed = np.empty(groups * size, np.uint8)
        pack(codes, source.bits, packed)
        got = min(len(view), packed.size - within)
        view[:got] = packed[within : within + got].data
        return got
