"""Dtypes of at most eight bits: tables of what each code stands for, and packed codes.

Formats: see `tensors/dtypes.py`. Neither safetensors nor the MX specification says how values of
less than a byte lie in bytes; they are taken as torch and the makers of such files pack float4: the
first value has the lowest bits. Float6 goes on so, four values in three bytes.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.engine.scratch import Bytes, scratch
from gradclip_cli.files.packed import pack, packing
from gradclip_cli.tensors.dtypes import E8M0, Binary, DType, binary_of

Codes = NDArray[np.uint8]
Table = NDArray[np.float32]


def unpacked(stored: Bytes, dtype: DType) -> Codes:
    """Give a code for each packed value of a block, in a scratch array."""
    each, size = packing(dtype.bits)
    found = scratch("codes", np.uint8, dtype.count_in(stored.size))
    packed, places = stored.reshape(-1, size), found.reshape(-1, each)
    mask = (1 << dtype.bits) - 1
    for place in range(each):
        byte, bit = divmod(place * dtype.bits, 8)
        column = places[:, place]
        np.right_shift(packed[:, byte], bit, out=column)
        if bit + dtype.bits > 8:
            column |= packed[:, byte + 1] << (8 - bit)
        column &= mask
    return found


def by_table(name: str) -> Callable[[Any], Table]:
    """Give a decoder that looks every code up."""

    def decode_words(words: Codes) -> Table:
        values = scratch("values", np.float32, words.size)
        look_up(name, values, words)
        return values

    return decode_words


def look_up(name: str, values: Table, words: Codes) -> None:
    """Put the value of every code into `values`."""
    # The mode only spares a copy: a code is always within the table.
    np.take(_values(name), words, out=values, mode="clip")


@cache
def _values(name: str) -> Table:
    """Give the values of a dtype of at most eight bits, by code."""
    if name == E8M0.name:
        sizes = np.ldexp(np.float32(1), np.arange(-127, 128))
        values = np.append(sizes, np.float32(math.nan))
    else:
        form = binary_of(name)
        sizes = np.arange(1 << form.bits - 1)
        exponents, fractions = np.divmod(sizes, 1 << form.fraction_bits)
        digits = fractions + ((exponents > 0) << form.fraction_bits)
        last = np.maximum(exponents, 1) - form.bias - form.fraction_bits
        positive = np.ldexp(digits.astype(np.float32), last)
        if form.top == "ieee":
            positive[exponents == (1 << form.exponent_bits) - 1] = math.nan
            positive[-(1 << form.fraction_bits)] = math.inf
        elif form.top == "fn":
            positive[-1] = math.nan
        values = np.concatenate([positive, -positive])
        if form.top == "fnuz":
            values[len(sizes)] = math.nan
    values = np.append(values, np.full(256 - len(values), np.nan, np.float32))  # no codes of it
    values.flags.writeable = False
    return values


# The upper 17 bits of a float64 (sign, exponent, 5 bits of fraction), the last of them set where
# any lower bit is ("round to odd"), keep two bits more than these dtypes have. Rounding that to
# nearest even is therefore the same as rounding the float64 itself, and there are few enough to
# tabulate.
_ODD_SHIFT = 47


@cache
def _codes(name: str) -> Codes:
    """Give the code of each float64 rounded to odd; its upper 17 bits are the index."""
    values = (np.arange(1 << 17, dtype=np.uint64) << np.uint64(_ODD_SHIFT)).view(np.float64)
    form = binary_of(name)
    bits = form.bits - 1
    sizes = _values(name)[: 1 << bits].astype(np.float64)
    ladder = sizes[np.isfinite(sizes)]  # ascending, as positive codes are
    if form.infinite:  # overflow begins halfway to what the next exponent holds
        ladder = np.append(ladder, 2.0 ** (form.bias + 1))
    size = np.abs(values)
    with np.errstate(invalid="ignore"):
        above = np.clip(np.searchsorted(ladder, size), 1, len(ladder) - 1)
        below = above - 1
        middle = (ladder[below] + ladder[above]) / 2
        upward = (size > middle) | ((size == middle) & (above % 2 == 0))
    found = np.where(upward, above, below).astype(np.uint8)
    negative = np.signbit(values)
    if form.top == "fnuz":  # which has no minus zero
        negative &= found > 0
    found |= negative.astype(np.uint8) << bits
    nan = np.isnan(values)
    if form.top == "fnuz":
        found[nan] = 1 << bits
    elif form.top != "finite":
        quiet = 0x7E if form.infinite else 0x7F
        found[nan] = quiet | np.signbit(values[nan]).astype(np.uint8) << bits
    found.flags.writeable = False
    return found


def encode_narrow(values: NDArray[np.float64], dtype: DType, stored: Bytes) -> int:
    """Round to a dtype of at most eight bits; give how many values were saturated."""
    bits = values.view(np.uint64)
    upper = bits >> np.uint64(_ODD_SHIFT)
    upper |= (bits & np.uint64((1 << _ODD_SHIFT) - 1)) != 0
    found = stored if dtype.bits == 8 else scratch("codes", np.uint8, values.size)
    np.take(_codes(dtype.name), upper.view(np.int64), out=found, mode="clip")
    if dtype.bits < 8:
        pack(found, dtype.bits, stored)
    if dtype.binary.infinite:
        return 0
    return int(np.count_nonzero(np.abs(values) >= _first_beyond(dtype.binary)))


def _first_beyond(form: Binary) -> float:
    """Give the least value that rounds to the next rung of the ladder, which a format lacks.

    Halfway to it a value rounds to an even code: back to the largest of `fn`, else to the next.

    >>> _first_beyond(Binary(4, 3, "fnuz")), _first_beyond(Binary(2, 1, "finite"))
    (248.0, 7.0)
    """
    exponent = math.frexp(form.largest)[1] - 1
    halfway = form.largest + math.ldexp(0.5, exponent - form.fraction_bits)
    return math.nextafter(halfway, math.inf) if form.top == "fn" else halfway
