r"""Where the one array of a `.npy` file lies.

The format, from NumPy's `numpy/lib/_format_impl.py` and NEP 1: the magic `\x93NUMPY`, two version
bytes, the header's length (two bytes little-endian in version 1, four in 2 and 3), then a Python
literal of a dict with exactly the keys `descr`, `fortran_order` and `shape`, padded with spaces and
ended by a line feed; the values follow at once. The header is parsed as a literal, never evaluated,
and nothing is unpickled. As the reference, it takes a literal that is written in another way, and
other words for a dtype, and says so; it refuses a key that is said twice, and what follows the
array or the line feed, of which there are two readings.
"""

import ast
import dataclasses
import math
import re
import struct
import warnings
from collections.abc import Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import Source
from gradclip_cli.files.streams import Front
from gradclip_cli.formats.layouts import Layout, are_alike, check_held, laid, unchanged
from gradclip_cli.formats.registry import Format
from gradclip_cli.tensors.dtypes import DType, numeric, void, without_letter
from gradclip_cli.tensors.dump import DumpFile, Shape, Tensor
from gradclip_cli.tensors.names import shortened

MAGIC = b"\x93NUMPY"
HEADER_LIMIT = 10_000  # as NumPy: a longer literal can exhaust the parser
DIMENSION_LIMIT = 64  # as NumPy 2

_DESCR = re.compile(r"([<>|=]?)(f[248]|c8|c16|[iu][1248]|b1)")
_VOID = re.compile(r"[<>|=]?(?:V([12])|g(2))")  # NumPy has no letter for bfloat16 and float8
_FLOAT8_E5M2 = re.compile(r"[<>|=]?f1")  # as ml_dtypes calls it, and nothing else
_LONG = re.compile(
    r"""('[^']*'|"[^"]*")|(?<=\d)[ \t\f]*L\b"""
)  # Python 2 wrote 2L, not within strings
_USUAL = re.compile(r"\{[^\t\f\r\n\\]*\} *\n?")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([^)]*)\)""")
_GROUPED = re.compile(r"[1-9][0-9]{0,2}(?:([,.'\s\xa0\u202f])[0-9]{3})(?:\1[0-9]{3})*")
_SIDE = r"(?:0|[1-9][0-9]{0,17})"
_SAVED = re.compile(  # what np.save writes, to the letter
    r"\{'descr': '([<>|=][a-z][0-9]{1,2})', 'fortran_order': (True|False), "
    rf"'shape': \(((?:{_SIDE},|{_SIDE}(?:, {_SIDE})+)?)\), \}} *\n"
)
_LETTERS = {"float": "f", "complex": "c", "boolean": "b", "integer": ""}
_KEYS = {"descr", "fortran_order", "shape"}


def recognised(head: bytes) -> bool:
    """Say whether a file that begins so is an `.npy` file."""
    return head.startswith(MAGIC)


def locate(front: Front, source: Source, name: str | None) -> tuple[Tensor, ...]:
    """Give the file's tensor.

    Raises `GradclipError` for a header that NumPy's own reader would not take without pickle, and
    for an array that holds no numbers.
    """
    label = source.label
    start = front.read(8)
    if len(start) < 8:
        raise _too_short(len(start), label)
    if not recognised(start):
        raise GradclipError(
            label,
            r"not an .npy file: it does not begin with \x93NUMPY",
            "the file is damaged, or its name has the wrong suffix",
        )
    version = start[6:8]
    if version not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise GradclipError(
            label,
            f".npy version {version[0]}.{version[1]} is not known (1.0, 2.0 and 3.0 are)",
            "load it with the NumPy that wrote it and save it again",
        )
    length_size = 2 if version[0] == 1 else 4
    length_bytes = front.read(length_size)
    length = int.from_bytes(length_bytes, "little")
    if len(length_bytes) < length_size:
        raise _too_short(8 + len(length_bytes), label)
    header = front.read(min(length, HEADER_LIMIT))
    if len(header) < min(length, HEADER_LIMIT):
        raise GradclipError(
            label,
            f"the .npy header is cut short: {len(header):,} of {length:,} bytes are there",
            "was the copy or download interrupted?",
        )
    if length > HEADER_LIMIT:
        raise GradclipError(
            label,
            f"the .npy header claims {length:,} bytes, more than the limit of {HEADER_LIMIT:,}",
            "a header of numbers is about 100 bytes long: the file is damaged or not an array",
        )
    if header.endswith(b"\r"):
        raise GradclipError(
            label,
            "the .npy header ends in a carriage return: line ends were converted",
            "copy the file again in binary mode",
        )
    offset = 8 + length_size + length
    try:
        text = header.decode("utf-8" if version[0] == 3 else "latin-1")
        descr, fortran, shape = _fields(text, version[0], label)
    except (UnicodeDecodeError, GradclipError) as error:
        _refuse_groups(header, None, offset, source)
        if isinstance(error, GradclipError):
            raise
        raise _no_dict(label, header) from error
    if not _USUAL.fullmatch(text):
        front.strays.append("the .npy header is not laid out as NumPy writes it")
    dtype = _dtype(descr, label, front)
    count = _count(shape, dtype, label)
    if source.size is not None and source.size != offset + dtype.size_of(count):
        _refuse_groups(header, dtype, offset, source)
    return (Tensor(name, dtype, shape, source, offset, dtype.size_of(count), fortran),)


def copied(file: DumpFile, tensors: Sequence[Tensor]) -> Layout:
    """Lay out a copy; where the dtype changes, with a header as NumPy writes it."""
    if are_alike(file.tensors, tensors):
        return unchanged(file.tensors)
    return dataclasses.replace(laid_out(tensors), given=file.tensors)


def laid_out(tensors: Sequence[Tensor]) -> Layout:
    """Lay out one array, as NumPy writes it."""
    check_written(tensors, ".npy")
    if len(tensors) != 1:
        raise GradclipError(
            tensors[0].source.label if tensors else "",
            f"an .npy file has one array, and there are {len(tensors):,} tensors",
            "write .npz or .safetensors",
        )
    header = header_of(tensors[0])
    return laid(tensors, [len(header)], ((0, header),))


def check_written(tensors: Sequence[Tensor], form: str) -> None:
    """Raise `GradclipError` for tensors of which NumPy has no word for the dtype."""
    check_held(tensors, lambda dtype: bool(_descr(dtype)), form)


def header_of(tensor: Tensor) -> bytes:
    """Give the header that NumPy writes for an array; `locate` finds the tensor by it."""
    literal = repr(
        {"descr": _descr(tensor.dtype), "fortran_order": tensor.fortran, "shape": tensor.shape}
    )
    text = literal[:-1] + ", }"
    start = MAGIC + b"\x01\x00"
    unpadded = len(start) + 2 + len(text) + 1
    text += " " * (-unpadded % 64) + "\n"
    return start + struct.pack("<H", len(text)) + text.encode("ascii")


def _descr(dtype: DType) -> str:
    """Give NumPy's word for a dtype; empty where it has none."""
    if without_letter(dtype.name) or dtype.kind not in _LETTERS:
        return ""
    letter = _LETTERS[dtype.kind] or dtype.words[1]
    size = dtype.bits // 8
    return f"{dtype.words[0] if size > 1 else '|'}{letter}{size}"


def _too_short(size: int, label: str) -> GradclipError:
    return GradclipError(
        label,
        f"too short for an .npy file: {size} bytes, the header alone needs more",
        "was the copy or download interrupted?",
    )


def _no_dict(label: str, header: bytes) -> GradclipError:
    problem = "the .npy header is not a plain Python dict of descr, fortran_order and shape"
    if b"\0" in header:
        return GradclipError(
            label,
            f"{problem}: it holds NUL bytes",
            "the file is damaged, or its writer pads with NUL, where NumPy pads with spaces",
        )
    return GradclipError(
        label, problem, "the file is damaged, or was changed by a transfer in text mode"
    )


def _refuse_groups(header: bytes, dtype: DType | None, offset: int, source: Source) -> None:
    """Raise `GradclipError` for a shape whose digits are grouped, as some locales do.

    With a dtype it is one only if that makes the file as long as it is.
    """
    found = _SHAPE.search(header.decode("latin-1"))
    sides = [side.strip().rstrip(",") for side in found[1].split(", ")] if found else []
    sides = [side for side in sides if side]
    if not any(map(_GROUPED.fullmatch, sides)):
        return
    if not all(_GROUPED.fullmatch(side) or side.isdecimal() for side in sides):
        return
    meant = (*(int(re.sub("[^0-9]", "", side)) for side in sides),)
    if dtype is not None and source.size != offset + dtype.size_of(math.prod(meant)):
        return
    said = f"({found[1]})" if found else ""
    raise GradclipError(
        source.label,
        f"the .npy header says the shape is {shortened(said)}: its digits look grouped by a "
        f"locale, and {meant} was meant",
        "its writer should write numbers without a locale: save the array again",
    )


def _fields(text: str, version: int, label: str) -> tuple[object, bool, Shape]:
    """Parse the header's literal and check keys and types."""
    try:
        pairs = _parsed(text, version)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise _no_dict(label, text.encode("utf-8", "replace")) from error
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise GradclipError(
                label,
                f"the .npy header says {_short(key)} twice",
                "no writer does that: save the array again",
            )
    if set(keys) != _KEYS:
        raise GradclipError(
            label,
            f"the .npy header has the keys {_short(keys)}; expected are descr, fortran_order and "
            "shape",
            "the file is damaged: save the array again",
        )
    found = dict(pairs)
    descr, fortran, shape = found["descr"], found["fortran_order"], found["shape"]
    if type(fortran) is not bool:
        raise GradclipError(
            label,
            f"the .npy header says fortran_order is {_short(fortran)}; it must be True or False",
            "the file is damaged: save the array again",
        )
    if (
        type(shape) is not tuple
        or not all(type(side) is int and side >= 0 for side in shape)
        or len(shape) > DIMENSION_LIMIT
    ):
        raise GradclipError(
            label,
            f"the .npy header says the shape is {_short(shape)}; it must be a tuple of at most "
            f"{DIMENSION_LIMIT} whole numbers, none negative",
            "the file is damaged: save the array again",
        )
    return descr, fortran, shape


def _parsed(text: str, version: int) -> list[tuple[object, object]]:
    """Read the literal of a dict whose keys are constants; raises what `ast` raises."""
    # Python's parser takes 40 us for a header, which adds up in a folder of 10,000 arrays.
    if saved := _SAVED.fullmatch(text):
        descr, fortran, sides = saved.groups()
        shape = tuple(int(side) for side in sides.split(",") if side)
        return [("descr", descr), ("fortran_order", fortran == "True"), ("shape", shape)]
    text = text.lstrip(" \t")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a damaged literal must not write to stderr
        try:
            body = ast.parse(text, mode="eval").body
        except SyntaxError:
            if version == 3 or not text.startswith("{"):
                raise
            text = _LONG.sub(lambda found: found[1] or "", text)
            body = ast.parse(text, mode="eval").body
    if not isinstance(body, ast.Dict):
        raise TypeError("not a dict")
    pairs: list[tuple[object, object]] = []
    for key, value in zip(body.keys, body.values, strict=True):
        if not isinstance(key, ast.Constant):
            raise TypeError("a key is not a constant")
        pairs.append((key.value, ast.literal_eval(value)))
    return pairs


def _dtype(descr: object, label: str, front: Front) -> DType:
    if isinstance(descr, str) and (found := _DESCR.fullmatch(descr)):
        order, code = found.groups()
        return numeric(code[0], int(code[1:]) * 8, ">" if order == ">" else "<")
    said = f"the array's dtype is {_short(descr)}"
    if isinstance(descr, str):
        code = descr.lstrip("<>|=")
        if code.startswith("O"):
            raise GradclipError(
                label,
                f"{said}: Python objects, which only pickle can read, and pickle can run code",
                "save the numbers as a numeric array: np.save(path, array.astype('float32'))",
            )
        if without := _VOID.fullmatch(descr):
            return void(descr, int(without[1] or without[2]))
        if named := _named(descr):
            said = f"the dtype is spelt {_short(descr)}"
            front.strays.append(f"{said} and read as {named.name}")
            return named
    raise GradclipError(
        label,
        f"{said}, which is not a number that gradclip reads",
        "gradclip reads float16 to float64, complex64, complex128, integers and booleans; "
        "save the array as one of these",
    )


def _named(word: str) -> DType | None:
    """Give the dtype that another word than NumPy's own means; None where it is no number's.

    NumPy is asked, as the reference does; but for those for which it has no words.
    """
    odd = "float8_e5m2" if _FLOAT8_E5M2.fullmatch(word) else word
    if found := without_letter(odd):
        return found
    import numpy as np

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asked = np.dtype(word)
    except (TypeError, ValueError, SyntaxError):
        return None
    if not _DESCR.fullmatch(f"{asked.kind}{asked.itemsize}"):
        return None
    return numeric(asked.kind, 8 * asked.itemsize, ">" if asked.str[0] == ">" else "<")


def _count(shape: Shape, dtype: DType, label: str) -> int:
    # As NumPy: the product over the sides that are not zero must fit a signed 64-bit size.
    if dtype.size_of(math.prod(side for side in shape if side)) >= 1 << 63:
        raise GradclipError(
            label,
            f"the shape {_short(shape)} of {dtype.name} is more than any machine can address",
            "the file is damaged: save the array again",
        )
    return math.prod(shape)


def _short(value: object) -> str:
    try:
        return shortened(repr(value))
    except ValueError:  # more than 4,300 digits
        return "a number of thousands of digits"


NPY = Format("npy", (".npy",), recognised, locate, copied, laid_out, is_named_by_file=True)
