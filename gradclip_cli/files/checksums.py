"""The CRC-32 of bytes that are read in pieces, by several workers, in any order.

The checksum is that of ZIP archives (APPNOTE 4.4.7), as `zlib.crc32` gives it. Those of two pieces
become that of both by arithmetic on polynomials over GF(2), as in `crc32_combine` of zlib.
"""

import threading
from functools import cache

from gradclip_cli.engine.learnt import Learner, number_of, tell

_POLYNOMIAL = 0xEDB88320  # of CRC-32, its highest power in the lowest bit
_ONE = 1 << 31


def combined(first: int, second: int, size: int) -> int:
    """Give the checksum of two pieces from those of each; the second has `size` bytes.

    >>> import zlib
    >>> combined(zlib.crc32(b"gra"), zlib.crc32(b"dient"), 5) == zlib.crc32(b"gradient")
    True
    """
    return _product(_shift(size), first) ^ second


def _product(some: int, others: int) -> int:
    """Multiply two polynomials, modulo that of the checksum."""
    total = 0
    while some:
        if some & _ONE:
            total ^= others
        some = some << 1 & 0xFFFFFFFF
        others = others >> 1 ^ (_POLYNOMIAL if others & 1 else 0)
    return total


@cache
def _power(number: int) -> int:
    """Give x to the power of 2**number."""
    return _ONE >> 1 if not number else _product(_power(number - 1), _power(number - 1))


@cache
def _shift(size: int) -> int:
    """Give the polynomial by which so many bytes move what stands before them."""
    total, number = _ONE, 3  # a byte has 2**3 bits
    while size:
        if size & 1:
            total = _product(_power(number % 32), total)
        size, number = size >> 1, number + 1
    return total


class Tally(Learner):
    """What has been read of `size` bytes, and the checksum of what is known from the first on.

    Threads may add to it at once. Copied to another process it begins anew, and what is added there
    can be told to this one.
    """

    def __init__(self, size: int, number: int = 0) -> None:
        self._size = size
        self.number = number
        self._known = (0, 0)
        self._apart: dict[int, tuple[int, int]] = {}  # by their begin: end, checksum
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["Tally"], tuple[int, int]]:
        """Let a copy know the size, and whose copy it is."""
        return Tally, (self._size, self.number or number_of(self))

    @property
    def known(self) -> tuple[int, int]:
        """The number of bytes of which all are known, and their checksum."""
        return self._known

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are known."""
        return self._known[0] == self._size

    def add(self, begin: int, end: int, checksum: int) -> bool:
        """Take note of a piece; says whether it was the last that was missing."""
        tell(self, begin, end, checksum)
        with self._lock:
            if self.is_whole or 0 < begin < self._known[0]:  # it was read before
                return False
            self._apart[begin] = max((end, checksum), self._apart.get(begin, (0, 0)))
            if not begin:
                self._known = max(self._known, self._apart.pop(0))
            while found := self._apart.pop(self._known[0], None):
                at, own = found
                start, checksum = self._known
                self._known = (at, combined(checksum, own, at - start))
            return self.is_whole

    def learn(self, *fact: int) -> None:
        """Take note of a piece that was read elsewhere."""
        begin, end, checksum = fact
        self.add(begin, end, checksum)
