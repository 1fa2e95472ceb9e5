"""Tensors compared byte by byte: whether one is a copy of another, or nearly so."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.formats.pieces import in_c_order
from gradclip_cli.frozen import frozen
from gradclip_cli.tensors.codecs import decode
from gradclip_cli.tensors.dump import Tensor, multi_index

_PIECE = 1 << 20
_SOON = 32 << 20  # bytes; copies mostly differ, or not, in what is read first
_HEAD = 1 << 12
_FEW = 1000  # one value of so many may differ in what was a copy
_SAMPLE = 1 << 16  # values that tell whether a tensor is nearly a copy
_NEAR, _MOST = 0.01, 0.9
_LEAST = 16  # values of a tensor in which one that differs is few


@frozen
class Unlike:
    """How a tensor differs from one of the same dtype and shape: in how many values.

    The first of them is the value `first`, counted in C order, and differs in the bits of `bits`.
    """

    count: int
    first: int
    bits: int

    def said(self, tensor: Tensor) -> str:
        """Say it in words.

        >>> from gradclip_cli.tensors.dtypes import numeric
        >>> tensor = Tensor("w", numeric("f", 32), (2, 3), None, 0, 24)
        >>> Unlike(1, 4, 1 << 30).said(tensor)
        '1 of 6 values, at [1, 1], bit 30'
        """
        where = ("at" if self.count == 1 else "first at", [*multi_index(self.first, tensor.shape)])
        words = f"{self.count:,} of {tensor.count:,} values, {where[0]} {where[1]}"
        is_one = self.bits.bit_count() == 1
        return f"{words}, bit {self.bits.bit_length() - 1}" if is_one else words


def unlike(one: Tensor, other: Tensor, few: bool = False) -> Unlike | None:
    """Compare the bytes of tensors of one dtype and shape; None if they are the same.

    With `few` it ends where more than a few have been found to differ.
    """
    item = max(one.dtype.size_of(1), 1)
    count = first = bits = seen = 0
    for mine, its in zip(_pieces(one, item), _pieces(other, item), strict=True):
        if not np.array_equal(mine, its):
            changed = np.flatnonzero((mine != its).any(axis=1))
            if not count:
                first = seen + int(changed[0])
                pair = mine[changed[0]] ^ its[changed[0]]
                little = pair[::-1] if one.dtype.words[:1] == ">" else pair
                bits = int.from_bytes(little.tobytes(), "little")
            count += changed.size
        seen += len(mine)
        if few and count > max(seen // _FEW, 1):
            break
    return Unlike(count, first, bits) if count else None


def are_few(found: Unlike, tensor: Tensor) -> bool:
    """Say whether so few values differ that the tensors may have been copies."""
    return found.count <= max(tensor.count // _FEW, 1) and tensor.count >= _LEAST


def near(one: Tensor, other: Tensor) -> str:
    """Say how nearly a tensor is a copy of another of the same dtype and shape; nothing if not.

    It is where nine of ten values that are not 0 are within a hundredth of the other's, among the
    first ones: those of two pieces hardly ever are.
    """
    item = max(one.dtype.size_of(1), 1)
    pairs = zip(_pieces(one, item, _SAMPLE), _pieces(other, item, _SAMPLE), strict=True)
    for stored in pairs:  # only the first
        mine, its = (decode(part.reshape(-1), one.dtype).astype(np.float64) for part in stored)
        with np.errstate(invalid="ignore"):
            sizes = np.maximum(np.abs(mine), np.abs(its))
            is_near = np.abs(mine - its) <= sizes * _NEAR
        filled = np.count_nonzero(sizes)
        close = np.count_nonzero(is_near & (sizes > 0))
        if filled >= _LEAST and close >= _MOST * filled:
            return f"{close:,} of {filled:,} values that are not 0 are within 1 %"
        break
    return ""


def is_plain(tensor: Tensor) -> bool:
    """Say whether all values are one, as in what was never computed."""
    head: NDArray[np.uint8] | None = None
    for piece in _pieces(tensor, max(tensor.dtype.size_of(1), 1)):
        head = piece[0].copy() if head is None else head
        if (piece != head).any():
            return False
    return True


def is_sparse(tensor: Tensor) -> bool:
    """Say whether most values are 0, so that two tensors may be nearly the same by chance."""
    pieces = _pieces(tensor, max(tensor.dtype.size_of(1), 1))
    return 2 * sum(int(piece.any(axis=1).sum()) for piece in pieces) < tensor.count


def head(tensor: Tensor) -> bytes:
    """Give the bytes of the first values, a few thousand at most."""
    tensor = in_c_order(tensor)
    found = bytearray(min(tensor.size, _HEAD))
    with tensor.source.opened() as reader:
        reader.read_exactly(memoryview(found), tensor.offset)
    return bytes(found)


def is_zero(tensor: Tensor) -> bool:
    """Say whether all bytes are 0."""
    return not any(piece.any() for piece in _pieces(tensor, max(tensor.dtype.size_of(1), 1)))


def _pieces(tensor: Tensor, item: int, count: int = _PIECE) -> Iterator[NDArray[np.uint8]]:
    """Give the bytes of values in C order, a row for each, some at a time."""
    tensor = in_c_order(tensor)
    with tensor.source.opened() as reader:
        reader.expect(tensor.offset, min(tensor.size, _SOON))
        for begin in range(0, tensor.size, count * item):
            data = np.empty(min(count * item, tensor.size - begin), np.uint8)
            reader.read_exactly(data.data, tensor.offset + begin)
            yield data[: data.size // item * item].reshape(-1, item)
