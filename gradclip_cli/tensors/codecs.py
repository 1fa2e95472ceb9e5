"""Stored bytes to numbers and back, exactly.

`decode` gives the values of a block as float32 or float64, whichever holds them without rounding
(64-bit integers excepted, which NumPy promotes to float64 as well). `encode` rounds float64 once,
to nearest even, to the stored dtype; there is no rounding to scale factors. A complex value is two
real lanes, real part first.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.engine.scratch import Bytes, scratch
from gradclip_cli.tensors.dtypes import E8M0, DType
from gradclip_cli.tensors.narrow import by_table, encode_narrow, look_up, unpacked

Stored = Bytes
Values = NDArray[Any]  # float32 or float64, shape (count * lanes,)
Floats = NDArray[np.float64]


def decode(stored: Stored, dtype: DType) -> Values:
    """Give the numbers that a block of bytes stores, in lanes of float32 or float64.

    The result is a view of `stored` or a scratch array: use it before the next block is decoded.
    """
    words = words_of(stored, dtype)
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


def words_of(stored: Stored, dtype: DType) -> NDArray[Any]:
    """Give the words of a block's values, one each: a view, or of packed values a scratch array."""
    return unpacked(stored, dtype) if dtype.bits < 8 else stored.view(dtype.words)


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
    if dtype.bits <= 8 and dtype.kind == "float":  # a NaN may have the code of minus zero
        sizes = np.abs(decode(stored, dtype))
        zero = sizes == 0
        return zero, (sizes < dtype.binary.smallest_normal) & ~zero
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

    Formats without an infinity saturate; the others overflow to one, as IEEE 754 says. Those that
    have no NaN are given none.
    """
    if dtype.bits <= 8 and dtype.kind == "float":
        return encode_narrow(values, dtype, stored)
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


_DECODERS: dict[str, Callable[[Any], Values]] = {
    "float16": _decode_narrow("i2", 13, 0x8FFFE000, 112, 0x7C00, np.copyto),
    "bfloat16": _decode_bfloat16,
    "float8_e4m3fn": _decode_narrow(
        "i1", 20, 0x87F00000, 120, 0x7F, partial(look_up, "float8_e4m3fn")
    ),
    "float8_e5m2": _decode_narrow("i1", 21, 0x8FE00000, 112, 0x7C, partial(look_up, "float8_e5m2")),
    **{
        name: by_table(name)
        for name in (
            "float8_e4m3fnuz",
            "float8_e5m2fnuz",
            "float6_e2m3fn",
            "float6_e3m2fn",
            "float4_e2m1fn",
            E8M0.name,
        )
    },
}
_ENCODERS: dict[str, Callable[[NDArray[np.float64], Any], int]] = {
    "float16": _encode_float16,
    "bfloat16": _encode_bfloat16,
}
