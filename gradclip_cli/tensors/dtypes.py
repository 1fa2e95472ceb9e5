"""What values are stored as: the dtypes, and the facts about each that others go by.

Formats: IEEE 754; bfloat16 is the upper half of a float32; float8 e4m3fn and e5m2 are those of
"FP8 Formats for Deep Learning" (Micikevicius et al. 2022), e4m3fnuz and e5m2fnuz those of "8-bit
Numerical Formats For Deep Neural Networks" (Noune et al. 2022), float6, float4 and e8m0 those of
"OCP Microscaling Formats (MX) Specification" 1.0; names and codes are those of ml_dtypes.
"""

import math
import sys
from typing import Literal, get_args

from gradclip_cli.frozen import frozen

Kind = Literal["float", "complex", "integer", "boolean", "scale", "opaque", "void"]
"""What a dtype counts as: a `scale` is a factor of other tensors' values, `void` are mere bytes."""

Top = Literal["ieee", "fn", "fnuz", "finite"]
"""What the codes of a format stand for that have no place among its numbers.

`ieee` gives the top exponent to infinities and NaN, `fn` the last code alone to NaN, `fnuz` the
code of minus zero to NaN, and `finite` has neither infinities nor NaN.
"""


@frozen
class Binary:
    """A binary floating-point format: the bits of exponent and fraction, and what its top means.

    >>> Binary(5, 10).largest, Binary(5, 10).smallest, Binary(4, 3, "fn").largest
    (65504.0, 5.960464477539063e-08, 448.0)
    """

    exponent_bits: int
    fraction_bits: int
    top: Top = "ieee"

    @property
    def bits(self) -> int:
        """Bits a number, that of its sign included."""
        return 1 + self.exponent_bits + self.fraction_bits

    @property
    def bias(self) -> int:
        """What is taken off the exponent as it is stored."""
        return (1 << (self.exponent_bits - 1)) - (self.top != "fnuz")

    @property
    def infinite(self) -> bool:
        """Whether it has infinities."""
        return self.top == "ieee"

    @property
    def has_nan(self) -> bool:
        """Whether a code stands for NaN."""
        return self.top != "finite"

    @property
    def unit_roundoff(self) -> float:
        """The largest relative error of rounding to it, but for subnormal numbers."""
        return 2.0 ** -(self.fraction_bits + 1)

    @property
    def smallest(self) -> float:
        """The smallest value above zero, a subnormal number."""
        return 2.0 ** (1 - self.bias - self.fraction_bits)

    @property
    def smallest_normal(self) -> float:
        """The smallest value that has all digits."""
        return 2.0 ** (1 - self.bias)

    @property
    def largest(self) -> float:
        """The largest finite value."""
        exponent = (1 << self.exponent_bits) - 1 - self.infinite - self.bias
        missing = 2 if self.top == "fn" else 1
        return math.ldexp(2 - math.ldexp(missing, -self.fraction_bits), exponent)


_NARROW = {
    "float8_e4m3fn": Binary(4, 3, "fn"),
    "float8_e5m2": Binary(5, 2),
    "float8_e4m3fnuz": Binary(4, 3, "fnuz"),
    "float8_e5m2fnuz": Binary(5, 2, "fnuz"),
    "float6_e2m3fn": Binary(2, 3, "finite"),
    "float6_e3m2fn": Binary(3, 2, "finite"),
    "float4_e2m1fn": Binary(2, 1, "finite"),
}
_BINARIES = {
    "float16": Binary(5, 10),
    "bfloat16": Binary(8, 7),
    "float32": Binary(8, 23),
    "float64": Binary(11, 52),
    "complex64": Binary(8, 23),
    "complex128": Binary(11, 52),
    **_NARROW,
}


@frozen
class DType:
    """A dtype as it is stored: its name, what it counts as, and NumPy's name of its words.

    `opaque` dtypes are floats that gradclip cannot decode; they have no words. Of less than eight
    bits values are packed, and words are bytes; `apart` they have a byte each.
    """

    name: str
    kind: Kind
    bits: int
    words: str = ""

    @property
    def lanes(self) -> int:
        """Real numbers a value: 2 for complex, else 1."""
        return lanes_of(self.name)

    @property
    def binary(self) -> Binary:
        """The format of a lane; of whole numbers that of float64, in which they are measured."""
        return binary_of(self.name)

    @property
    def is_narrow(self) -> bool:
        """Whether it is a float of less than 32 bits whose words can be compared as they lie."""
        native = "<" if sys.byteorder == "little" else ">"
        return (
            self.kind == "float"
            and 8 <= self.bits < 32
            and self.binary.bits == self.bits
            and self.binary.top != "fnuz"
            and self.words[0] in ("=", "|", native)
        )

    @property
    def is_short(self) -> bool:
        """Whether it is a float of 16 bits, of which there are few enough to tabulate."""
        return self.kind == "float" and self.bits == 16

    @property
    def apart(self) -> "DType":
        """The same where every value has bytes of its own, as in an array of NumPy."""
        return DType(self.name, self.kind, max(self.bits, 8), self.words)

    @property
    def packed(self) -> "DType":
        """The same where values of less than a byte share bytes."""
        return narrow(self.name) if self.name in _NARROW else self

    def size_of(self, count: int) -> int:
        """Give the number of bytes of so many values, which fill whole bytes.

        >>> narrow("float6_e2m3fn").size_of(8), FLOAT64.size_of(8)
        (6, 64)
        """
        return count * self.bits // 8

    def count_in(self, size: int) -> int:
        """Give the number of values that fill so many bytes."""
        return size * 8 // self.bits


def binary_of(name: str) -> Binary:
    """Give the format of a dtype's lanes by its name; float64's where it is no float."""
    return _BINARIES.get(name, _BINARIES["float64"])


def lanes_of(name: str) -> int:
    """Give the number of real numbers a value of a dtype has, by its name."""
    return 2 if name.startswith("complex") else 1


BFLOAT16 = DType("bfloat16", "float", 16, "<u2")
E8M0 = DType("float8_e8m0fnu", "scale", 8, "|u1")


def narrow(name: str) -> DType:
    """Give a float of eight bits or less by its name."""
    assert name in _NARROW, "a narrow float"
    return DType(name, "float", int(name[5]), "|u1")


def without_letter(name: str) -> DType | None:
    """Give the dtype of an array's values for which NumPy has no letter; None where none is known.

    >>> without_letter("bfloat16")
    DType(name='bfloat16', kind='float', bits=16, words='<u2')
    """
    known = (BFLOAT16, E8M0, *map(narrow, _NARROW))
    return next((dtype.apart for dtype in known if dtype.name == name), None)


def said_to_be(name: str, bits: int) -> DType | None:
    """Give the dtype of a name if its values are of so many bits in an array, else None."""
    found = without_letter(name)
    return found if found is not None and found.bits == bits else None


def void(name: str, size: int) -> DType:
    """Give the dtype, as its format calls it, of values of `size` bytes without a meaning."""
    return DType(name, "void", 8 * size)


VoidAs = Literal[
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "float6_e2m3fn",
    "float6_e3m2fn",
    "float4_e2m1fn",
    "float8_e8m0fnu",
]
"""What the user may say that such values are."""

VOID_AS: tuple[VoidAs, ...] = get_args(VoidAs)

RangeOf = Literal[
    "fp16", "bf16", "e4m3", "e5m2", "fp8", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"
]
"""Whose range can be asked about, as trainers and dtypes are called; fp8 is e4m3."""

RANGES: tuple[RangeOf, ...] = get_args(RangeOf)


FLOAT64 = DType("float64", "float", 64, "<f8")

_KINDS: dict[str, tuple[str, Kind]] = {
    "f": ("float", "float"),
    "c": ("complex", "complex"),
    "i": ("int", "integer"),
    "u": ("uint", "integer"),
}


def numeric(letter: str, bits: int, order: str = "<") -> DType:
    """Give the dtype that NumPy writes as a letter and a size, in byte order `<` or `>`.

    >>> numeric("f", 32), numeric("c", 64, ">").words
    (DType(name='float32', kind='float', bits=32, words='<f4'), '>f4')
    """
    if letter == "b":
        return DType("bool", "boolean", 8, "|u1")
    name, kind = _KINDS[letter]
    size = bits // 16 if kind == "complex" else bits // 8
    return DType(f"{name}{bits}", kind, bits, f"{order}{'f' if letter == 'c' else letter}{size}")
