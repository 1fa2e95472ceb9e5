"""Damaged dump files without end: the mutant of a seed and an iteration is always the same bytes.

A mutant is a valid file in which a few things are changed: bytes, the length that stands before the
header, words of the header, or what the header says with all that follows from it made to fit.
"""

import copy
import json
import math
import random
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.dumps import ITEM_BITS, MAGIC, Stored, safetensors_bytes


def npy_with(text: str, data: bytes, version: int = 1) -> bytes:
    """Put an npy file together whose header is any text."""
    header = text.encode("utf-8" if version == 3 else "latin-1", "replace")
    width = "<H" if version == 1 else "<I"
    return MAGIC + bytes((version, 0)) + struct.pack(width, len(header)) + header + data


def safetensors_with(text: str, data: bytes) -> bytes:
    """Put a safetensors file together whose header is any text."""
    header = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(header)) + header + data


def mutant(form: str, seed: int, iteration: int) -> bytes:
    """Give a damaged file of a format; some are damaged so little that they are sound."""
    return _MAKERS[form](random.Random(f"{form} {seed} {iteration}"))


# npy

HUGE = "0x" + "f" * 5_000
NPY_MODELS = [
    ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }          \n", 8),
    ("{'descr': '>f8', 'fortran_order': True, 'shape': (2, 2), }\n", 32),
    ("{'descr': '|b1', 'fortran_order': False, 'shape': (), }\n", 1),
    ("{'descr': '<c16', 'fortran_order': False, 'shape': (3L, 0L), }   \n", 0),
]
NPY_WORDS = [
    *"'\"{}[]():,01238#~\\\0\r\t\f\x0b\xa0\né -+",
    *("None", "True", "False", "-1", "-0", "1L", "0L", "2l", "1.0", "2e0", "1j", "0x2", "1_0"),
    *("02", "9223372036854775807", "18446744073709551616", "4611686018427387904", HUGE, "1+1"),
    *("'descr'", "'fortran_order'", "'shape'", "'x'", "''", "'<f4'", "'>f4'", "'=f4'", "'|f4'"),
    *("'f4'", "'<f2'", "'<f8'", "'<f16'", "'float32'", "'f'", "'|O'", "'|V4'", "'|V2'", "'|S4'"),
    *("'<U1'", "'<M8[s]'", "'?'", "'>b1'", "'|u1'", "'<i4'", "'<c8'", "'f4,f4'", "'<f4L'"),
    *("b'<f4'", "u'x'", "f'x'", "'\\ud800'", "'\\x1b[31m'", "**{}", "...", "set()", "{}", "[]"),
    *("()", "{1}", "[('a','<f4')]", "('<f4',(2,))", "'shape':(2,),", "[]:1,", "#x\n", "\\\n"),
    *("(" * 100, ")" * 100, "not ", "lambda:", "1, " * 65, " " * 10_000, "\u200b", "\U0001f600"),
]
NPY_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|[0-9]+L?|\w+|\s+|.", re.DOTALL)
NPY_DTYPES = [
    *("<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<c8", ">c8", "<c16", ">c16", "|b1", "|i1", "|u1"),
    *("<i2", ">i4", "<i8", ">u2", "<u4", ">u8", "=f4", "f8", "<f16", "<c32", "|V2", "|S3", "<U2"),
    *("<M8[s]", "<m8", "|O"),
]


def _npy(rng: random.Random) -> bytes:
    text, size = rng.choice(NPY_MODELS) if rng.random() < 0.5 else _npy_model(rng)
    version = rng.choice((1, 1, 2, 3))
    match rng.randrange(8):
        case 0 | 1:
            return with_other_bytes(rng, npy_with(text, rng.randbytes(size), version))
        case 2:
            raw = npy_with(text, rng.randbytes(size), version)
            width = 2 if version == 1 else 4
            return raw[:8] + with_other_length(rng, raw[8 : 8 + width]) + raw[8 + width :]
        case 3:
            return npy_with(text, rng.randbytes(size), version)
    text = with_other_words(rng, text, NPY_TOKEN, NPY_WORDS)
    size = size if rng.random() < 0.8 else rng.randrange(40)
    return npy_with(text, rng.randbytes(size), version)


def _npy_model(rng: random.Random) -> tuple[str, int]:
    """Give a sound header and the number of bytes that its values take."""
    descr, shape = rng.choice(NPY_DTYPES), _shape(rng)
    fields = {"descr": descr, "fortran_order": rng.random() < 0.5, "shape": shape}
    width = int(re.sub(r"[^0-9]", "", descr) or 8) * (4 if "U" in descr else 1)
    return f"{fields!r}".ljust(rng.choice((0, 117))) + "\n", math.prod(shape) * width


# safetensors

ENTRY = '{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
SAFETENSORS_MODELS: list[tuple[dict[str, Stored], dict[str, str] | None, list[str] | None]] = [
    ({"a": ("F32", (2,), b"\0\0\x40\x40\0\0\x80\x40")}, None, None),
    (
        {
            "a": ("F32", (2, 2), b"abcdefghijklmnop"),
            "b": ("BF16", (3,), b"123456"),
            "": ("F8_E4M3", (2,), b"78"),
        },
        {"format": "pt"},
        None,
    ),
    (
        {"x": ("F64", (), b"12345678"), "y": ("I64", (0, 3), b""), "z": ("F4", (4,), b"..")},
        {},
        None,
    ),
    (
        {
            "é\n": ("C64", (1,), b"12345678"),
            "s": ("BOOL", (1, 1), b"\1"),
            "u": ("U8", (2,), b"12"),
        },
        None,
        ["u", "é\n", "s"],
    ),
]
SAFETENSORS_WORDS = [
    *'"{}[],: \n\t\r\0\x7f\x0b\f\xa0\ufeff\u2028',
    *("null", "true", "NaN", "Infinity", "-Infinity", "-1", "-0", "0", "1", "2", "3", "4", "8"),
    *("16", "1e0", "1E2", "1.0", "01", "+1", "0x1", "1_0", "18446744073709551615", "4294967296"),
    *("18446744073709551616", "9223372036854775808", '"F32"', '"F16"', '"BF16"', '"F64"'),
    *('"U8"', '"F4"', '"F6_E2M3"', '"F8_E8M0"', '"C64"', '"BOOL"', '"I8"', '"f32"', '"F128"'),
    *('"a"', '""', '"dtype"', '"shape"', '"data_offsets"', '"__metadata__"', '"extra"'),
    *('"\\ud800"', '"\\ud83d\\ude00"', '"\\u0061"', '"\\x"', '"\\u00"', '"\\/"', '"\\u0000"'),
    *("//", "/**/", '"\x1f"', "[]", "{}", "[0,0]", '"x":1,', '{"k":"v"}', "[" * 150 + "]" * 150),
    *(f'"a":{ENTRY},', "1," * 65, "9" * 5_000, '"__metadata__":null,', "\U0001f600", " " * 10_000),
]
SAFETENSORS_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9.eE+]+|\s+|.', re.DOTALL)
NAMES = [
    "a",
    "b",
    "layer.0.weight",
    "",
    " ",
    "é",
    "\x1b[31m",
    "__metadata__",
    "dtype",
    "\U0001f600",
]
FIELDS = ["extra", "a", "b", "dtype", "__metadata__", "é", "\ud800"]
LEAVES: list[Any] = [
    *(None, True, 0, 1, 2, 3, 4, 8, 1 << 32, 1 << 63, (1 << 64) - 1, 1 << 64, -1, 1.0, 1.5),
    *("F32", "F16", "F4", "F64", "C64", "U8", "x", "", [], {}, [0], [1, 2], [0, 0], {"a": "b"}),
]


def _safetensors(rng: random.Random) -> bytes:
    raw = _safetensors_model(rng)
    length = int.from_bytes(raw[:8], "little")
    text, data = raw[8 : 8 + length].decode(), raw[8 + length :]
    match rng.randrange(9):
        case 0 | 1:
            return with_other_bytes(rng, raw)
        case 2:
            return with_other_length(rng, raw[:8]) + raw[8:]
        case 3:
            return raw
        case 4 | 5:
            text = with_other_words(rng, text, SAFETENSORS_TOKEN, SAFETENSORS_WORDS)
        case 6 | 7:
            text = with_other_leaves(rng, text)
        case _:
            text, data = _laid_out_anew(rng, text, data)
    return safetensors_with(text, data)


def _safetensors_model(rng: random.Random) -> bytes:
    """Give a sound file."""
    if rng.random() < 0.5:
        return safetensors_bytes(*rng.choice(SAFETENSORS_MODELS))
    stored: dict[str, Stored] = {}
    for name in rng.sample(NAMES, rng.randrange(5)):
        code, shape = rng.choice(list(ITEM_BITS)), _shape(rng)
        bits = math.prod(shape) * ITEM_BITS[code]
        if bits % 8 == 0 and name != "__metadata__":
            stored[name] = code, shape, rng.randbytes(bits // 8)
    metadata = rng.choice((None, {}, {"format": "pt"}, {name: name for name in NAMES}))
    return safetensors_bytes(stored, metadata, rng.sample(list(stored), len(stored)))


def _laid_out_anew(rng: random.Random, text: str, data: bytes) -> tuple[str, bytes]:
    """Change dtypes and shapes and let the offsets follow, so that only what follows is odd."""
    entries = json.loads(text)
    end = 0
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        if rng.random() < 0.5:
            entry["dtype"] = rng.choice(list(ITEM_BITS))
        if rng.random() < 0.5:
            entry["shape"] = [*_shape(rng), *[1] * rng.choice((0, 0, 0, 61, 64))]
        size = math.prod(entry["shape"]) * ITEM_BITS[entry["dtype"]] // 8
        begin = end + rng.choice((0,) * 20 + (-1, 1))
        end = begin + size
        entry["data_offsets"] = [begin, end]
    return json.dumps(entries), rng.randbytes(max(end, 0) + rng.choice((0,) * 20 + (1,)))


# What is changed


def few(rng: random.Random) -> range:
    """Give how many changes a mutant has."""
    return range(rng.choice((1, 1, 1, 2, 2, 3)))


def with_other_words(
    rng: random.Random, text: str, token: re.Pattern[str], words: Sequence[str]
) -> str:
    """Change a few words of a text."""
    found = token.findall(text)
    for _ in few(rng):
        if not found:
            break
        here, there = rng.randrange(len(found)), rng.randrange(len(found))
        match rng.randrange(10):
            case 0:
                del found[here]
            case 1:
                found.insert(here, found[there])
            case 2 | 3:
                found[here] = rng.choice(words)
            case 4:
                found.insert(here, rng.choice(words))
            case 5:
                found[here], found[there] = found[there], found[here]
            case 6:
                found[here:here] = found[min(here, there) : max(here, there)]
            case 7:
                found[here] = _escaped(rng, found[here])
            case 8:
                found[here] = f"{rng.choice('[({')}{found[here]}{rng.choice('])}')}"
            case _:
                numbers = [at for at, word in enumerate(found) if word.isdecimal()]
                for at in numbers and [rng.choice(numbers)]:
                    found[at] = str(int(found[at][:20]) + rng.choice((-8, -1, 1, 4, 1 << 62)))
    return "".join(found)


def _escaped(rng: random.Random, word: str) -> str:
    """Write a character of a word as an escape, which means the same only within quotes."""
    at = rng.randrange(len(word))
    form = rng.choice(("\\u{:04x}", "\\u{:04X}", "\\x{:02x}", "\\{:03o}", "\\U{:08x}"))
    return word[:at] + form.format(ord(word[at])) + word[at + 1 :]


def with_other_bytes(rng: random.Random, raw: bytes) -> bytes:
    """Change a few bytes of a file, its end among them."""
    data = bytearray(raw)
    for _ in few(rng):
        if not data:
            break
        here = rng.randrange(len(data))
        match rng.randrange(7):
            case 0:
                data[here] ^= 1 << rng.randrange(8)
            case 1:
                data[here] = rng.randrange(256)
            case 2:
                del data[here]
            case 3:
                data.insert(here, rng.randrange(256))
            case 4:
                del data[here:]
            case 5:
                data[here:here] = data[rng.randrange(len(data)) :]
            case _:
                data += bytes(rng.randrange(1, 20))
    return bytes(data)


def with_other_length(rng: random.Random, prefix: bytes) -> bytes:
    """Change a length that stands before a header, as many bytes as it has."""
    length, top = int.from_bytes(prefix, "little"), (1 << 8 * len(prefix)) - 1
    near = length + rng.choice((-64, -8, -2, -1, 1, 2, 8, 64))
    far = rng.choice((0, 1, 2, 9_999, 10_001, 1 << 16, 100_000_000, 100_000_001, 1 << 63, top))
    return (near if rng.random() < 0.5 else far).to_bytes(16, "little", signed=True)[: len(prefix)]


def with_other_leaves(
    rng: random.Random, text: str, leaves: Sequence[Any] = LEAVES, names: Sequence[str] = FIELDS
) -> str:
    """Change a few values of a JSON object to leaves, and what they are called to names."""
    tree = json.loads(text)
    for _ in few(rng):
        places = list(_places(tree))
        if not places:
            break
        place, key = rng.choice(places)
        match rng.randrange(4):
            case 0 if isinstance(place[key], int):
                place[key] += rng.choice((-8, -4, -1, 1, 2, 4, 8))
            case 1:
                del place[key]
            case 2 if isinstance(place, dict):
                name = rng.choice(names)
                place[name] = copy.deepcopy(rng.choice([*leaves, place[key]]))
            case _:
                place[key] = copy.deepcopy(rng.choice(leaves))
    return json.dumps(tree, ensure_ascii=rng.random() < 0.5)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in list(keys):
        yield tree, key
        yield from _places(tree[key])


def _shape(rng: random.Random) -> tuple[int, ...]:
    return tuple(rng.choice((0, 1, 1, 2, 3, 5)) for _ in range(rng.randrange(4)))


_MAKERS: dict[str, Callable[[random.Random], bytes]] = {"npy": _npy, "safetensors": _safetensors}
