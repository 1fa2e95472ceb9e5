"""What values are stored as: the dtypes, and the facts about each that others go by.

Formats: IEEE 754; bfloat16 is the upper half of a float32; float8 e4m3fn and e5m2 are those of
"FP8 Formats for Deep Learning" (Micikevicius et al. 2022) and of ml_dtypes.
"""

import sys
from typing import Literal

from gradclip_cli.frozen import frozen

Kind = Literal["float", "complex", "integer", "boolean", "opaque"]


@frozen
class Binary:
    """A binary floating-point format: the bits of exponent and fraction, and what its top means.

    Where it is not `infinite`, as float8 e4m3fn, only the last code of all is no number: NaN.

    >>> Binary(5, 10).largest, Binary(5, 10).smallest, Binary(4, 3, infinite=False).largest
    (65504.0, 5.960464477539063e-08, 448.0)
    """

    exponent_bits: int
    fraction_bits: int
    infinite: bool = True

    @property
    def bias(self) -> int:
        """What is taken off the exponent as it is stored."""
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def unit_roundoff(self) -> float:
        """The largest relative error of rounding to it, but for subnormal numbers."""
        return 2.0 ** -(self.fraction_bits + 1)

    @property
    def smallest(self) -> float:
        """The smallest value above zero, a subnormal number."""
        return 2.0 ** (1 - self.bias - self.fraction_bits)

    @property
    def largest(self) -> float:
        """The largest finite value."""
        unit = 2.0**-self.fraction_bits
        if self.infinite:
            return (2 - unit) * 2.0**self.bias
        return (2 - 2 * unit) * 2.0 ** (self.bias + 1)


_BINARIES = {
    "float16": Binary(5, 10),
    "bfloat16": Binary(8, 7),
    "float32": Binary(8, 23),
    "float64": Binary(11, 52),
    "complex64": Binary(8, 23),
    "complex128": Binary(11, 52),
    "float8_e4m3fn": Binary(4, 3, infinite=False),
    "float8_e5m2": Binary(5, 2),
}


@frozen
class DType:
    """A dtype as it is stored: its name, what it counts as, and NumPy's name of its words.

    `opaque` dtypes are floats that gradclip cannot decode; they have no words.
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
    def itemsize(self) -> int:
        """Bytes a value; for dtypes whose values fill whole bytes."""
        return self.bits // 8

    @property
    def binary(self) -> Binary:
        """The format of a lane; of whole numbers that of float64, in which they are measured."""
        return binary_of(self.name)

    @property
    def is_narrow(self) -> bool:
        """Whether it is a float of less than 32 bits whose words can be compared as they lie."""
        native = "<" if sys.byteorder == "little" else ">"
        return self.kind == "float" and self.bits < 32 and self.words[0] in ("=", "|", native)

    @property
    def is_short(self) -> bool:
        """Whether it is a float of 16 bits, of which there are few enough to tabulate."""
        return self.kind == "float" and self.bits == 16


def binary_of(name: str) -> Binary:
    """Give the format of a dtype's lanes by its name; float64's where it is no float."""
    return _BINARIES.get(name, _BINARIES["float64"])


def lanes_of(name: str) -> int:
    """Give the number of real numbers a value of a dtype has, by its name."""
    return 2 if name.startswith("complex") else 1


def without_letter(name: str) -> DType | None:
    """Give the dtype of a name for which NumPy has no letter; None where it is not known.

    >>> without_letter("bfloat16")
    DType(name='bfloat16', kind='float', bits=16, words='<u2')
    """
    if name not in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return None
    bits = 16 if name == "bfloat16" else 8
    return DType(name, "float", bits, "<u2" if bits == 16 else "|u1")


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
