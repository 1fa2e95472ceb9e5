"""Stored bytes to numbers and back, exactly.

`decode` gives the values of a block as float32 or float64, whichever holds them without rounding
(64-bit integers excepted, which NumPy promotes to float64 as well). `encode` rounds float64 once,
to nearest even, to the stored dtype. A complex value is two real lanes, real part first.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.engine.scratch import Bytes, scratch
from gradclip_cli.tensors.dtypes import DType, binary_of

Stored = Bytes
Values = NDArray[Any]  # float32 or float64, shape (count * lanes,)
Floats = NDArray[np.float64]


def decode(stored: Stored, dtype: DType) -> Values:
    """Give the numbers that a block of bytes stores, in lanes of float32 or float64.

    The result is a view of `stored` or a scratch array: use it before the next block is decoded.
    """
    words = stored.view(dtype.words)
    if not words.dtype.isnative:
        native = scratch("native", words.dtype.newbyteorder("="), words.size)
        np.copyto(native, words)
        words = native
    if dtype.name in _DECODERS:
        return _DECODERS[dtype.name](words)
    if dtype.kind == "integer":
        values = scratch("values", np.float64, words.size)
        np.copyto(values, words)
        return values
    return words


def magnitudes(words: NDArray[Any]) -> NDArray[Any]:
    """Give the words of floats without their signs, as whole numbers in native byte order.

    They are 0 where the float is, and else order as the sizes do, infinities and then NaN last: so
    NumPy finds the largest by them faster than among floats, and by narrow words even more so. The
    result is a scratch array.
    """
    unsigned = words.view(f"u{words.itemsize}")
    without_sign = unsigned.dtype.type((1 << (8 * words.itemsize - 1)) - 1)
    sizes = scratch("magnitudes", unsigned.dtype, words.size)
    np.bitwise_and(unsigned, without_sign, out=sizes)
    return sizes


def sparse(stored: Stored, dtype: DType) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say of each lane of a block whether it is zero, and whether it is subnormal.

    Subnormal numbers have fewer digits than others of their dtype. Whole numbers never are.
    """
    words = stored.view(dtype.words)
    if dtype.kind == "integer":
        return words == 0, np.zeros(words.shape, np.bool_)
    if not words.dtype.isnative:
        words = words.astype(words.dtype.newbyteorder("="))
    sizes = magnitudes(words)
    zero = sizes == 0
    return zero, (sizes < 1 << dtype.binary.fraction_bits) & ~zero


def encode(values: NDArray[np.float64], dtype: DType, stored: Stored) -> int:
    """Round each value once to nearest even into `stored`; give how many had to be saturated.

    Only float8 e4m3fn saturates, having no infinity; the others overflow to one, as IEEE 754 says.
    """
    words = stored.view(dtype.words)
    if dtype.name in _ENCODERS:
        return _ENCODERS[dtype.name](values, words)
    np.copyto(words, values, casting="same_kind")
    return 0


def _decode_narrow(
    signed: str, shift: int, kept: int, bias: int, nonfinite: int, slowly: Callable[[Any, Any], Any]
) -> Callable[[Any], Values]:
    """Give a decoder that moves sign, exponent and fraction to where float32 has them.

    `kept` are the bits that count after the shift, `bias` is what the exponent's bias lacks then.
    NumPy's own conversion of float16 runs at a tenth of the speed, a table for float8 at a third.
    Infinities and NaN, words from `nonfinite` on, have no place in the shifted form, so a block
    that holds one is decoded slowly.
    """
    mask = np.uint32(kept).view(np.int32)
    scale = np.float32(2.0**bias)

    def decode_words(words: NDArray[Any]) -> Values:
        values = scratch("values", np.float32, words.size)
        if words.size and magnitudes(words).max() >= nonfinite:
            slowly(values, words)
            return values
        bits = values.view(np.int32)
        np.copyto(bits, words.view(signed))
        bits <<= shift
        bits &= mask
        values *= scale
        return values

    return decode_words


def _decode_bfloat16(words: NDArray[np.uint16]) -> Values:
    shifted = scratch("values", np.uint32, words.size)
    np.copyto(shifted, words)
    shifted <<= 16
    return shifted.view(np.float32)


def _encode_float16(values: NDArray[np.float64], words: NDArray[np.float16]) -> int:
    """Round float64 to float16 by adding a power of two, whose last bit is float16's.

    NumPy's own conversion takes 100 ns for a value that it rounds to a subnormal one. By way of
    float32 all is twice as fast as in float64; the sum is then a second rounding, but it can only
    go wrong where the first one went to a value halfway between two float16: these and whatever is
    not finite are left to NumPy.
    """
    near = scratch("narrow", np.float32, values.size)
    np.copyto(near, values, casting="same_kind")
    bits = near.view(np.int32)
    lower = scratch("lower", np.uint16, values.size)
    np.copyto(lower, bits, casting="unsafe")
    lower <<= 4  # halfway values have at most 12 bits, so the last 12 of the fraction are 0
    slow = np.flatnonzero(lower == 0)
    slow = slow[near[slow] != values[slow]]
    counts = magnitudes(near).view(np.int32)
    if counts.size and counts.max() >= _FLOAT32_65536:
        slow = np.union1d(slow, np.flatnonzero(counts >= _FLOAT32_65536))
        np.minimum(counts, _FLOAT32_65536, out=counts)
    power = scratch("power", np.int32, values.size)
    np.bitwise_and(counts, 0x7F800000, out=power)
    np.maximum(power, (127 - 14) << 23, out=power)  # below 2**-14 the last bit stays the same
    power += 13 << 23
    sizes = counts.view(np.float32)
    sizes += power.view(np.float32)
    counts -= power  # units of float16's last bit: 1,024 to 2,048, or fewer where subnormal
    power >>= 13
    power -= (127 - 14 + 13) << 10
    counts += power
    bits >>= 16
    bits &= 0x8000
    counts |= bits
    np.copyto(words.view(f"{words.dtype.byteorder}u2"), counts, casting="unsafe")
    words[slow] = values[slow]
    return 0


_FLOAT32_65536 = (127 + 16) << 23


def _encode_bfloat16(values: NDArray[np.float64], words: NDArray[np.uint16]) -> int:
    """Round float64 to bfloat16 by way of float32, which must not be a second rounding.

    It is one only where float32 lands on a tie between two bfloat16 and the value was not on it:
    there the float32 is moved one unit towards the value.
    """
    near = scratch("narrow", np.float32, values.size)
    np.copyto(near, values, casting="same_kind")
    bits = near.view(np.uint32)
    lower = scratch("lower", np.uint16, values.size)
    np.copyto(lower, bits, casting="unsafe")
    ties = np.flatnonzero(lower == 0x8000)
    if ties.size:
        distance = np.nan_to_num(np.abs(values[ties]) - np.abs(near[ties].astype(np.float64)))
        bits[ties] += np.sign(distance).astype(np.int32).view(np.uint32)
    nan = np.flatnonzero(np.isnan(near))
    quiet = bits[nan] >> 16 | 0x40  # rounding up could carry a NaN over into infinity or zero
    np.right_shift(bits, 16, out=lower, casting="unsafe")
    lower &= 1
    bits += lower
    bits += 0x7FFF
    np.right_shift(bits, 16, out=words, casting="unsafe")
    words[nan] = quiet
    return 0


@cache
def _float8_values(name: str) -> NDArray[np.float32]:
    """Give the 256 values of a float8 dtype, by code."""
    form = binary_of(name)
    values = np.empty(256, np.float32)
    for code in range(256):
        exponent = (code & 0x7F) >> form.fraction_bits
        fraction = (code & ((1 << form.fraction_bits) - 1)) / (1 << form.fraction_bits)
        size = (fraction + bool(exponent)) * 2.0 ** (max(exponent, 1) - form.bias)
        if form.infinite and exponent == (1 << form.exponent_bits) - 1:
            size = math.nan if fraction else math.inf
        elif not form.infinite and code & 0x7F == 0x7F:
            size = math.nan
        values[code] = -size if code & 0x80 else size
    values.flags.writeable = False
    return values


def _decode_float8(name: str, values: NDArray[np.float32], codes: NDArray[np.uint8]) -> None:
    # The mode only spares a copy: a code is always within the table.
    np.take(_float8_values(name), codes, out=values, mode="clip")


# The upper 17 bits of a float64 (sign, exponent, 5 bits of fraction), the last of them set where
# any lower bit is ("round to odd"), keep two bits more than float8 has. Rounding that to nearest
# even is therefore the same as rounding the float64 itself, and there are few enough to tabulate.
_ODD_SHIFT = 47


@cache
def _float8_codes(name: str) -> NDArray[np.uint8]:
    """Give the code of each float64 rounded to odd; its upper 17 bits are the index."""
    values = (np.arange(1 << 17, dtype=np.uint64) << np.uint64(_ODD_SHIFT)).view(np.float64)
    sizes = _float8_values(name)[:0x80].astype(np.float64)
    finite = np.flatnonzero(np.isfinite(sizes))
    ladder = sizes[finite]  # ascending, as positive codes are
    if binary_of(name).infinite:  # overflow begins halfway to what the next exponent holds
        ladder = np.append(ladder, 2.0 ** (binary_of(name).bias + 1))
    size = np.abs(values)
    with np.errstate(invalid="ignore"):
        above = np.clip(np.searchsorted(ladder, size), 1, len(ladder) - 1)
        below = above - 1
        middle = (ladder[below] + ladder[above]) / 2
        upward = (size > middle) | ((size == middle) & (above % 2 == 0))
    codes = np.where(upward, above, below).astype(np.uint8)
    codes[np.isnan(values)] = 0x7E if binary_of(name).infinite else 0x7F
    codes |= (np.signbit(values).astype(np.uint8)) << 7
    codes.flags.writeable = False
    return codes


def _encode_float8(name: str) -> Callable[[NDArray[np.float64], NDArray[np.uint8]], int]:
    form = binary_of(name)
    # Halfway to the next rung of the ladder, which the format does not have: 464 of e4m3fn.
    unit = 2.0 ** (form.bias + 1 - form.fraction_bits)
    beyond = None if form.infinite else form.largest + unit / 2

    def encode_values(values: NDArray[np.float64], codes: NDArray[np.uint8]) -> int:
        bits = values.view(np.uint64)
        upper = bits >> np.uint64(_ODD_SHIFT)
        upper |= (bits & np.uint64((1 << _ODD_SHIFT) - 1)) != 0
        np.take(_float8_codes(name), upper.view(np.int64), out=codes, mode="clip")
        return 0 if beyond is None else int(np.count_nonzero(np.abs(values) > beyond))

    return encode_values


_DECODERS: dict[str, Callable[[Any], Values]] = {
    "float16": _decode_narrow("i2", 13, 0x8FFFE000, 112, 0x7C00, np.copyto),
    "bfloat16": _decode_bfloat16,
    "float8_e4m3fn": _decode_narrow(
        "i1", 20, 0x87F00000, 120, 0x7F, partial(_decode_float8, "float8_e4m3fn")
    ),
    "float8_e5m2": _decode_narrow(
        "i1", 21, 0x8FE00000, 112, 0x7C, partial(_decode_float8, "float8_e5m2")
    ),
}
_ENCODERS: dict[str, Callable[[NDArray[np.float64], Any], int]] = {
    "float16": _encode_float16,
    "bfloat16": _encode_bfloat16,
    "float8_e4m3fn": _encode_float8("float8_e4m3fn"),
    "float8_e5m2": _encode_float8("float8_e5m2"),
}
