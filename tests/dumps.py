"""Dump files written by hand and read back strictly, and exact arithmetic as the oracle.

Nothing here uses gradclip, NumPy or the safetensors library: a file is bytes that are put together
and taken apart by the rules of the format, a stored number is an integer code. Every format below
fits in float64, so a code's exact value is a Python float, and `Fraction` does the rest.
"""

import ast
import io
import json
import math
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

Shape = tuple[int, ...]
Stored = tuple[str, Shape, bytes]
"""A tensor of a safetensors file: dtype code, shape, bytes. Of an npy file: descr, shape, bytes."""

MAGIC = b"\x93NUMPY"
_WIDTHS = {
    4: "F4",
    6: "F6_E2M3 F6_E3M2",
    8: "BOOL U8 I8 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ",
    16: "U16 I16 F16 BF16",
    32: "U32 I32 F32",
    64: "U64 I64 F64 C64",
}
ITEM_BITS = {code: bits for bits, codes in _WIDTHS.items() for code in codes.split()}


# Numbers


@dataclass(frozen=True, slots=True)
class Binary:
    """A binary floating-point format: a sign bit, an exponent, a fraction.

    `kind` says what is no number: of `ieee` all codes with the top exponent, of `fn` the code with
    all bits set, of `fnuz` that of -0.0, each with and without sign but for the last; of `finite`
    none is.
    """

    name: str
    bits: int
    fraction_bits: int
    kind: str = "ieee"

    @property
    def infinite(self) -> bool:
        """Whether it has infinities."""
        return self.kind == "ieee"

    @property
    def nan(self) -> int:
        """A code of NaN; of a finite format the largest, to which nothing is to be compared."""
        return self.sign if self.kind == "fnuz" else self.sign - 1

    @property
    def sign(self) -> int:
        """The code of -0.0."""
        return 1 << (self.bits - 1)

    @property
    def bias(self) -> int:
        """What is added to an exponent to store it."""
        return (self.sign >> (self.fraction_bits + 1)) - (self.kind != "fnuz")

    @property
    def top(self) -> int:
        """The code of the largest finite value."""
        missing = {"ieee": 1 << self.fraction_bits, "fn": 1}.get(self.kind, 0)
        return self.sign - missing - 1

    @property
    def largest(self) -> float:
        """The largest finite value."""
        return self.value(self.top)

    @property
    def smallest(self) -> float:
        """The smallest value above zero."""
        return self.value(1)

    def value(self, code: int) -> float:
        """Give the exact value of a code."""
        size = code & (self.sign - 1)
        if code == self.sign and self.kind == "fnuz":
            return math.nan
        if size > self.top:
            value = math.inf if self.infinite and size == self.top + 1 else math.nan
        else:
            exponent, fraction = divmod(size, 1 << self.fraction_bits)
            if exponent:
                fraction += 1 << self.fraction_bits
            value = math.ldexp(fraction, max(exponent, 1) - self.bias - self.fraction_bits)
        return -value if code & self.sign else value

    def rung(self, size: int) -> Fraction:
        """Give the exact value of a code without its sign, as if there were no infinities or NaN.

        So the code after that of the largest value has the value that would come next.
        """
        exponent, fraction = divmod(size, 1 << self.fraction_bits)
        if exponent:
            fraction += 1 << self.fraction_bits
        return Fraction(fraction) * Fraction(2) ** (
            max(exponent, 1) - self.bias - self.fraction_bits
        )

    def rounded(self, value: float | Fraction) -> int:
        """Give the code of a value rounded once to nearest, ties to the even code.

        What is beyond the largest value becomes infinity, or the largest where there is none. Of
        NaN it gives one of the codes.
        """
        if isinstance(value, float) and math.isnan(value):
            return self.nan
        is_negative = value < 0 or str(value) == "-0.0"
        if isinstance(value, float) and math.isinf(value):
            size = self.top + 1
        else:
            size = _nearest_rung(self, value if value > 0 else -value)
        size = size if self.infinite else min(size, self.top)
        return self.negative(size) if is_negative else size

    def negative(self, size: int) -> int:
        """Give the code of minus what a code without sign stands for."""
        return size if self.kind == "fnuz" and not size else self.sign | size

    def saturates(self, value: float) -> bool:
        """Say whether the value would round to more than the largest, were there room for it."""
        if self.infinite or math.isnan(value) or math.isinf(value):
            return not self.infinite and not math.isnan(value)
        halfway = (self.rung(self.top) + self.rung(self.top + 1)) / 2
        return abs(Fraction(value)) > halfway or (
            abs(Fraction(value)) == halfway and self.top % 2 == 1
        )

    def pack(self, codes: Iterable[int], order: str = "<") -> bytes:
        """Give the bytes of codes, in byte order `<` or `>`."""
        codes = list(codes)
        if self.bits < 8:  # the first has the lowest bits
            parts = [codes[at : at + 4] for at in range(0, len(codes), 4)]
            return b"".join(
                sum(code << place * self.bits for place, code in enumerate(part)).to_bytes(
                    len(part) * self.bits // 8, "little"
                )
                for part in parts
            )
        return struct.pack(f"{order}{len(codes)}{_WORDS[self.bits]}", *codes)

    def unpack(self, data: bytes, order: str = "<") -> tuple[int, ...]:
        """Give the codes in some bytes."""
        if self.bits < 8:
            size, mask = self.bits // 2, (1 << self.bits) - 1
            parts = [data[at : at + size] for at in range(0, len(data), size)]
            return tuple(
                int.from_bytes(part, "little") >> place & mask
                for part in parts
                for place in range(0, len(part) * 8, self.bits)
            )
        return struct.unpack(f"{order}{len(data) * 8 // self.bits}{_WORDS[self.bits]}", data)

    def store(self, values: Iterable[float | Fraction], order: str = "<") -> bytes:
        """Give the bytes of values, each rounded once."""
        return self.pack(map(self.rounded, values), order)

    def load(self, data: bytes, order: str = "<") -> list[float]:
        """Give the exact values that some bytes store."""
        return [self.value(code) for code in self.unpack(data, order)]


def _nearest_rung(form: Binary, value: float | Fraction) -> int:
    """Give the code of a value that is not negative, as if the ladder went one rung further."""
    above, below = value.as_integer_ratio()
    if not above:
        return 0
    power = above.bit_length() - below.bit_length()  # of two: the value is not below it
    power -= above < below << power if power >= 0 else above << -power < below
    power = max(power, 1 - form.bias)  # where the values that have no leading one begin
    shift = form.fraction_bits - power
    units, rest = divmod(above << max(shift, 0), below << max(-shift, 0))
    twice, whole = 2 * rest, below << max(-shift, 0)
    units += twice > whole or (twice == whole and units % 2 == 1)
    # A leading one counts as one exponent, and a fraction that is full goes on into the next.
    return min(units + ((power + form.bias - 1) << form.fraction_bits), form.top + 1)


_WORDS = {8: "B", 16: "H", 32: "I", 64: "Q"}

FLOAT16 = Binary("float16", 16, 10)
BFLOAT16 = Binary("bfloat16", 16, 7)
FLOAT32 = Binary("float32", 32, 23)
FLOAT64 = Binary("float64", 64, 52)
FLOAT8_E4M3FN = Binary("float8_e4m3fn", 8, 3, "fn")
FLOAT8_E5M2 = Binary("float8_e5m2", 8, 2)
FLOAT8_E4M3FNUZ = Binary("float8_e4m3fnuz", 8, 3, "fnuz")
FLOAT8_E5M2FNUZ = Binary("float8_e5m2fnuz", 8, 2, "fnuz")
FLOAT6_E2M3FN = Binary("float6_e2m3fn", 6, 3, "finite")
FLOAT6_E3M2FN = Binary("float6_e3m2fn", 6, 2, "finite")
FLOAT4_E2M1FN = Binary("float4_e2m1fn", 4, 1, "finite")

LANES: dict[str, Binary] = {
    "F16": FLOAT16,
    "BF16": BFLOAT16,
    "F32": FLOAT32,
    "F64": FLOAT64,
    "F8_E4M3": FLOAT8_E4M3FN,
    "F8_E5M2": FLOAT8_E5M2,
    "F8_E4M3FNUZ": FLOAT8_E4M3FNUZ,
    "F8_E5M2FNUZ": FLOAT8_E5M2FNUZ,
    "F6_E2M3": FLOAT6_E2M3FN,
    "F6_E3M2": FLOAT6_E3M2FN,
    "F4": FLOAT4_E2M1FN,
    "C64": FLOAT32,
    "f2": FLOAT16,
    "f4": FLOAT32,
    "f8": FLOAT64,
    "c8": FLOAT32,
    "c16": FLOAT64,
}
"""By safetensors code or npy descr without byte order: the format of a value or of its lanes."""


SCALES = "F8_E8M0"
"""Powers of two, by which values of other tensors are to be multiplied."""


def is_complex(code: str) -> bool:
    """Say whether a value of the dtype is two real lanes."""
    return code.lstrip("<>=|").lower().startswith("c")


def lanes(stored: Stored) -> list[float]:
    """Give the exact values of a floating tensor in memory order; a complex value is two."""
    code, _, data = stored
    if code == SCALES:
        return [math.nan if byte == 0xFF else math.ldexp(1.0, byte - 127) for byte in data]
    order = ">" if code.startswith(">") else "<"
    return LANES[code.lstrip("<>=|")].load(data, order)


def floats(code: str, shape: Shape, values: Iterable[float | Fraction]) -> Stored:
    """Give a floating tensor of the values (lanes, in memory order), each rounded once."""
    order = ">" if code.startswith(">") else "<"
    stored = code, shape, LANES[code.lstrip("<>=|")].store(values, order)
    assert len(stored[2]) == math.prod(shape) * item_bits(code) // 8, (
        "as many values as the shape has"
    )
    return stored


def item_size(code: str) -> int:
    """Give the bytes of a value, if it fills whole ones."""
    return item_bits(code) // 8


def item_bits(code: str) -> int:
    """Give the bits of a value of a safetensors code or an npy descr."""
    bare = code.lstrip("<>=|")
    return ITEM_BITS[code] if code in ITEM_BITS else int(bare[1:]) * 8


def exact_norm(values: Iterable[float]) -> float:
    """Give the L2 norm of finite values, computed in integers and rounded once; inf beyond float64.

    >>> exact_norm([3.0, -4.0]), exact_norm([3 * 2.0**-1074, 4 * 2.0**-1074])
    (5.0, 2.5e-323)
    """
    ratios = [value.as_integer_ratio() for value in values]
    depth = max((below.bit_length() - 1 for _, below in ratios), default=0)
    total = sum((above << (depth - below.bit_length() + 1)) ** 2 for above, below in ratios)
    spare = 128  # more bits than float64 has, so that the root's own rounding does not show
    root = Fraction(math.isqrt(total << (2 * spare)), 1 << (depth + spare))
    try:
        return float(root)
    except OverflowError:
        return math.inf


def twos(count: int) -> Stored:
    """Give a tensor of that many twos, without the slow exact arithmetic of `floats`."""
    return "F32", (count,), struct.pack("<f", 2.0) * count


# safetensors


@dataclass(frozen=True, slots=True)
class Safetensors:
    """A safetensors file taken apart; `header` is everything before the values."""

    header: bytes
    tensors: dict[str, Stored]
    metadata: dict[str, str] | None


def safetensors_bytes(
    tensors: Mapping[str, Stored],
    metadata: Mapping[str, str] | None = None,
    lie: Sequence[str] | None = None,
) -> bytes:
    """Put a safetensors file together; `lie` is the order of the values where it is another one."""
    entries: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    places: dict[str, list[int]] = {}
    data = b""
    for name in tensors if lie is None else lie:
        code, shape, stored = tensors[name]
        assert len(stored) * 8 == math.prod(shape) * ITEM_BITS[code], f"{name}: shape and bytes"
        places[name] = [len(data), len(data) + len(stored)]
        data += stored
    for name, (code, shape, _) in tensors.items():
        entries[name] = {"dtype": code, "shape": list(shape), "data_offsets": places[name]}
    header = json.dumps(entries, ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def write_safetensors(
    path: Path,
    tensors: Mapping[str, Stored],
    metadata: Mapping[str, str] | None = None,
    lie: Sequence[str] | None = None,
) -> Path:
    """Write a safetensors file and give its path."""
    path.write_bytes(safetensors_bytes(tensors, metadata, lie))
    return path


def read_safetensors(path: Path) -> Safetensors:
    """Take a safetensors file apart; fails on anything that the format does not allow."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = raw[: 8 + length], raw[8 + length :]
    assert len(header) == 8 + length, f"{path}: the header is cut short"
    entries = json.loads(header[8:].decode(), object_pairs_hook=_unique)
    metadata = entries.pop("__metadata__", None)
    tensors: dict[str, Stored] = {}
    for name, entry in entries.items():
        assert entry.keys() == {"dtype", "shape", "data_offsets"}, f"{path}: {name}: {entry}"
        begin, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        assert 0 <= begin <= end <= len(data), f"{path}: {name} lies outside the file"
        assert (end - begin) * 8 == math.prod(shape) * ITEM_BITS[entry["dtype"]], f"{path}: {name}"
        tensors[name] = entry["dtype"], shape, data[begin:end]
    last = 0
    for begin, end in sorted(entry["data_offsets"] for entry in entries.values()):
        assert begin == last, f"{path}: a hole or an overlap at byte {last} of the values"
        last = end
    assert last == len(data), f"{path}: {len(data) - last} bytes belong to no tensor"
    return Safetensors(header, tensors, metadata)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entries = dict(pairs)
    assert len(entries) == len(pairs), "a JSON object says a key twice"
    return entries


def header_of(count: int) -> bytes:
    """Give what stands before the values of a dump of so many float32."""
    entry = {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}
    text = json.dumps({"huge": entry}).encode()
    return struct.pack("<Q", len(text)) + text


GRADS = safetensors_bytes({"a": floats("F32", (2,), [3, 4]), "b": floats("F32", (1,), [12])})
"""A dump of norm 13."""


# npy


@dataclass(frozen=True, slots=True)
class Npy:
    """An npy file taken apart; `header` is everything before the values, `array` has its descr."""

    header: bytes
    array: Stored
    fortran: bool


def npy_bytes(array: Stored, fortran: bool = False, version: int = 1) -> bytes:
    """Put an npy file together; the bytes lie in memory order, `fortran` says which that is."""
    descr, shape, data = array
    assert len(data) == math.prod(shape) * item_size(descr), "shape and bytes"
    text = repr({"descr": descr, "fortran_order": fortran, "shape": shape})[:-1] + ", }"
    width = "<H" if version == 1 else "<I"
    unpadded = len(MAGIC) + 2 + struct.calcsize(width) + len(text) + 1
    header = (text + " " * (-unpadded % 64) + "\n").encode("latin-1" if version < 3 else "utf-8")
    return MAGIC + bytes((version, 0)) + struct.pack(width, len(header)) + header + data


def npz_bytes(arrays: Mapping[str, Stored], method: int = zipfile.ZIP_STORED) -> bytes:
    """Put an npz file together, as NumPy does: a member an array."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", method) as archive:
        for name, array in arrays.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), npy_bytes(array), method)
    return whole.getvalue()


def write_npy(path: Path, array: Stored, fortran: bool = False, version: int = 1) -> Path:
    """Write an npy file and give its path."""
    path.write_bytes(npy_bytes(array, fortran, version))
    return path


def read_npy(path: Path) -> Npy:
    """Take an npy file apart; fails on anything that the format does not allow."""
    raw = path.read_bytes()
    assert raw.startswith(MAGIC), f"{path}: no npy file"
    assert raw[6:8] in (b"\x01\x00", b"\x02\x00", b"\x03\x00"), f"{path}: version {raw[6:8]!r}"
    width = "<H" if raw[6] == 1 else "<I"
    start = 8 + struct.calcsize(width)
    (length,) = struct.unpack_from(width, raw, 8)
    text, data = raw[start : start + length].decode(), raw[start + length :]
    assert len(text) == length, f"{path}: the header is cut short"
    assert text.endswith("\n"), f"{path}: the header's last byte"
    fields = ast.literal_eval(text)
    assert list(fields) == ["descr", "fortran_order", "shape"], f"{path}: {list(fields)}"
    descr, shape = fields["descr"], fields["shape"]
    assert len(data) == math.prod(shape) * item_size(descr), f"{path}: {len(data)} bytes of values"
    return Npy(raw[: start + length], (descr, shape, data), fields["fortran_order"])
