"""Where the tensors of a `.safetensors` file lie.

The format, from the safetensors README and `safetensors/src/tensor.rs`: eight bytes of header
length (unsigned, little-endian), a JSON object in UTF-8 that maps each name to `dtype`, `shape` and
`data_offsets` (begin and end, counted from the end of the header), then the values. The tensors
cover the buffer without hole or overlap. `__metadata__` maps strings to strings.

The reference takes duplicate keys (the last wins), and shapes of more sides than any array has;
gradclip refuses both. Everything else that it refuses the reference refuses too, and the reference
is asked as well. What the reference takes although the format does not know it is said.
"""

import dataclasses
import json
import math
import operator
import struct
from collections.abc import Sequence
from typing import Any, NoReturn

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import Source
from gradclip_cli.files.streams import Front
from gradclip_cli.formats.counted import named_by_file
from gradclip_cli.formats.layouts import Layout, are_alike, check_held, check_names, laid
from gradclip_cli.formats.pieces import SHARDING, begins
from gradclip_cli.formats.registry import Format, ranges
from gradclip_cli.formats.strict_json import RepeatedKeyError, parsed
from gradclip_cli.tensors.dtypes import BFLOAT16, E8M0, DType, narrow, numeric
from gradclip_cli.tensors.dump import DumpFile, Tensor
from gradclip_cli.tensors.names import escape, listed, plural, quoted, shortened

HEADER_LIMIT = 100_000_000  # as the reference
DIMENSION_LIMIT = 64  # NumPy's own limit; no framework writes more

_DTYPES = {
    "BOOL": numeric("b", 8),
    **{f"U{bits}": numeric("u", bits) for bits in (8, 16, 32, 64)},
    **{f"I{bits}": numeric("i", bits) for bits in (8, 16, 32, 64)},
    **{f"F{bits}": numeric("f", bits) for bits in (16, 32, 64)},
    "C64": numeric("c", 64),
    "BF16": BFLOAT16,
    "F8_E4M3": narrow("float8_e4m3fn"),
    "F8_E5M2": narrow("float8_e5m2"),
    "F8_E8M0": E8M0,
    "F8_E4M3FNUZ": narrow("float8_e4m3fnuz"),
    "F8_E5M2FNUZ": narrow("float8_e5m2fnuz"),
    "F6_E2M3": narrow("float6_e2m3fn"),
    "F6_E3M2": narrow("float6_e3m2fn"),
    "F4": narrow("float4_e2m1fn"),
}
_WORDS = {dtype.name: code for code, dtype in _DTYPES.items()}
_FIELDS = {"dtype", "shape", "data_offsets"}
_DAMAGED = "the file is damaged or was written by a faulty program: save it again"
_APART = "write it as .npy, where each value has a byte of its own"
_INTERRUPTED = "was the copy or download interrupted, or is the file still being written?"


def recognised(head: bytes) -> bool:
    """Say whether a file that begins so can be safetensors: a plausible length, then JSON."""
    length = int.from_bytes(head[:8], "little")
    return length <= HEADER_LIMIT and head[8:].lstrip(b" \t\r\n")[:1] == b"{"


def locate(front: Front, source: Source, name: str | None = None) -> tuple[Tensor, ...]:
    """Give the file's tensors in the header's order.

    One that stands alone and is called no more than a gradient has the name that is given. Raises
    `GradclipError` with the tensor's name wherever the header breaks a rule of the format.
    """
    label = source.label
    prefix = front.read(8)
    if len(prefix) < 8:
        raise GradclipError(
            label,
            f"too short for a safetensors file: {len(prefix)} bytes, the header's length alone "
            "takes 8",
            _INTERRUPTED,
        )
    (length,) = struct.unpack("<Q", prefix)
    if length > HEADER_LIMIT:
        raise GradclipError(
            label,
            f"the safetensors header claims {length:,} bytes, more than the limit of "
            f"{HEADER_LIMIT:,}",
            "the file is damaged, or is not a safetensors file",
        )
    header = front.read(length)
    if len(header) < length:
        raise GradclipError(
            label,
            f"the safetensors header is cut short: {len(header):,} of {length:,} bytes are there",
            _INTERRUPTED,
        )
    entries = _header(header, label)
    metadata = entries.pop("__metadata__", {})
    if metadata is None:
        front.strays.append("__metadata__ is null, where the format has an object, or nothing")
    else:
        _check_metadata(metadata, label)
        if isinstance(metadata, dict) and metadata:
            what = plural(len(metadata), "entry", "entries")
            front.besides.append(f"{what} of __metadata__")
            if SHARDING in metadata:
                front.begins = begins(metadata[SHARDING], label)
    tensors = tuple([_tensor(key, entry, source, 8 + length) for key, entry in entries.items()])
    front.strays += _unknown_fields(entries)
    _check_cover(tensors, source, 8 + length)
    return named_by_file(front, tensors, name)


def copied(file: DumpFile, tensors: Sequence[Tensor]) -> Layout:
    """Lay out a copy; where dtypes change, with a header that says all else that it has said."""
    if are_alike(file.tensors, tensors):
        return ranges(file, tensors)
    front = bytearray(min(tensor.offset for tensor in tensors))
    with file.source.opened() as reader:
        reader.read_exactly(memoryview(front), 0)
    entries = json.loads(front[8:])
    if len(entries.keys() - {"__metadata__"}) > len(tensors):
        raise GradclipError(
            file.source.label,
            "holds integers, which would become float64, beside tensors that do not count",
            "take those out of the file, or save the gradients as floating numbers",
        )
    if file.is_named_by_file:
        (key,) = entries.keys() - {"__metadata__"}
        tensors = [dataclasses.replace(tensors[0], name=key)]
    in_order = sorted(tensors, key=operator.attrgetter("offset", "size"))
    return dataclasses.replace(_laid_out(tensors, in_order, entries), given=file.tensors)


def laid_out(tensors: Sequence[Tensor]) -> Layout:
    """Lay out tensors one after the other."""
    check_held(tensors, lambda dtype: dtype.name in _WORDS, "safetensors")
    check_names(tensors, _problem_of, "safetensors")
    for tensor in tensors:
        if tensor.count * tensor.dtype.bits % 8:
            _fail(
                tensor.source, tensor.name or "", _not_whole(tensor.dtype, [*tensor.shape]), _APART
            )
    return _laid_out(tensors, tensors, {})


def _problem_of(name: str) -> str:
    """Say why no tensor can be called so."""
    return "that is the name of what is said of the whole file" if name == "__metadata__" else ""


def _laid_out(
    tensors: Sequence[Tensor], in_order: Sequence[Tensor], entries: dict[str, Any]
) -> Layout:
    end = 0
    ends = {}
    for tensor in in_order:
        size = tensor.dtype.size_of(tensor.count)
        entry = entries.setdefault(tensor.name or "", {})
        entry |= {"dtype": _WORDS[tensor.dtype.name], "shape": [*tensor.shape]}
        entry["data_offsets"] = [end, end + size]
        ends[tensor.name] = end
        end += size
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > HEADER_LIMIT:
        said = f"a safetensors header has at most {HEADER_LIMIT:,} bytes, and this would have "
        raise GradclipError(tensors[0].source.label, f"{said}{len(text):,}", "write .npz")
    start = 8 + len(text)
    offsets = [start + ends[tensor.name] for tensor in tensors]
    return laid(tensors, offsets, ((0, struct.pack("<Q", len(text)) + text),))


def _header(raw: bytes, label: str) -> dict[str, object]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GradclipError(
            label,
            f"the safetensors header is not UTF-8 (byte {error.start + 8})",
            _DAMAGED,
        ) from error
    try:
        entries = parsed(text)
    except RepeatedKeyError as error:
        raise GradclipError(
            label,
            f"the safetensors header says {error} twice",
            "readers differ in which of the two they take: save the file again",
        ) from error
    except (ValueError, RecursionError) as error:
        if text.endswith("\0"):
            raise GradclipError(
                label,
                "the safetensors header ends in NUL bytes; the format pads with spaces",
                "save the file again with a writer that pads with spaces, as safetensors does",
            ) from error
        at = f" ({error.msg}, byte {error.pos + 8})" if type(error) is json.JSONDecodeError else ""
        raise GradclipError(label, f"the safetensors header is not JSON{at}", _DAMAGED) from error
    if not isinstance(entries, dict):
        raise GradclipError(
            label, "the safetensors header is JSON but not an object of tensors", _DAMAGED
        )
    return entries


def _check_metadata(metadata: object, label: str) -> None:
    problem = "__metadata__ must map strings to strings, and"
    if not isinstance(metadata, dict):
        raise GradclipError(label, f"{problem} is {_short(metadata)}", _DAMAGED)
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise GradclipError(
                label,
                f"{problem} {quoted(key)} is {_short(value)}",
                "write metadata as text: str(value), or json.dumps(value)",
            )


def _tensor(name: str, entry: object, source: Source, data_start: int) -> Tensor:
    """Check one entry by itself: its fields, their types, and that shape and offsets agree."""
    if not name.isprintable():
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            _fail(source, name, "the name holds half a surrogate pair, which is no character")
    if not isinstance(entry, dict):
        _fail(
            source,
            name,
            f"expected an object with dtype, shape and data_offsets, found {_short(entry)}",
        )
    if entry.keys() != _FIELDS:
        for field in sorted(_FIELDS - entry.keys()):
            _fail(source, name, f"the field {field!r} is missing")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _DTYPES:
        _fail(
            source,
            name,
            f"the dtype {_short(code)} is not one of the format",
            f"gradclip knows those of safetensors 0.8: {', '.join(_DTYPES)}",
        )
    if not isinstance(shape, list) or not _are_sizes(shape):
        _fail(source, name, f"the shape {_short(shape)} is not a list of whole numbers below 2**64")
    if len(shape) > DIMENSION_LIMIT:
        _fail(
            source, name, f"{len(shape):,} dimensions are more than the limit of {DIMENSION_LIMIT}"
        )
    if not isinstance(offsets, list) or len(offsets) != 2 or not _are_sizes(offsets):
        _fail(source, name, f"data_offsets {_short(offsets)} are not two whole numbers below 2**64")
    dtype = _DTYPES[code]
    begin, end = offsets
    bits = _checked_product(shape, dtype.bits)
    if bits is None:
        _fail(source, name, f"the shape {_short(shape)} of {dtype.name} overflows 64 bits")
    if bits % 8:
        _fail(source, name, _not_whole(dtype, shape))
    if end - begin != bits // 8:
        _fail(
            source,
            name,
            f"data_offsets {begin:,} to {end:,} span {end - begin:,} bytes, "
            f"but {dtype.name} {_short(shape)} takes {bits // 8:,}",
        )
    return Tensor(name, dtype, tuple(shape), source, data_start + begin, end - begin)


def _not_whole(dtype: DType, shape: list[int]) -> str:
    return f"the shape {_short(shape)} of {dtype.name} does not fill whole bytes"


def _unknown_fields(entries: dict[str, object]) -> list[str]:
    """Say which fields of tensors the format does not know; the reference passes them over."""
    found: dict[str, list[str]] = {}
    for name, entry in entries.items():
        if isinstance(entry, dict) and len(entry) > len(_FIELDS):
            for field in entry.keys() - _FIELDS:
                found.setdefault(field, []).append(name)
    return [
        f"the field {_short(field)} of {listed(names)} is not one of the format"
        for field, names in sorted(found.items())
    ]


def _fail(source: Source, name: str, problem: str, hint: str = _DAMAGED) -> NoReturn:
    raise GradclipError(source.label, f"tensor {quoted(name)}: {problem}", hint)


def _are_sizes(values: list[object]) -> bool:
    for value in values:  # noqa: SIM110 (a generator takes twice as long)
        if type(value) is not int or not 0 <= value <= _LARGEST:
            return False
    return True


_LARGEST = (1 << 64) - 1


def _checked_product(shape: list[int], bits: int) -> int | None:
    """Give the tensor's size in bits, or None where a factor takes the product past 64 bits."""
    product = math.prod(shape) * bits
    if 0 < product <= _LARGEST:
        return product
    product = 1  # a zero may follow what is too large
    for factor in (*shape, bits):
        product *= factor
        if product > _LARGEST:
            return None
    return product


def _check_cover(tensors: tuple[Tensor, ...], source: Source, data_start: int) -> None:
    """Check that the tensors cover the rest of the file: no overlap, no hole."""
    end = data_start
    for tensor in sorted(tensors, key=operator.attrgetter("offset", "size")):
        if tensor.offset != end:
            overlap = tensor.offset < end
            between = f"overlaps the tensor before it by {end - tensor.offset:,} bytes"
            hole = f"{tensor.offset - end:,} bytes before it belong to no tensor"
            raise GradclipError(
                source.label,
                f"tensor {quoted(tensor.name)}: {between if overlap else hole}",
                _DAMAGED,
            )
        end += tensor.size


def _short(value: object) -> str:
    return shortened(json.dumps(value))


def confirm(path: str, label: str) -> None:
    """Refuse whatever the safetensors library refuses, should gradclip's own rules have a gap."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        raise GradclipError(
            label,
            f"the safetensors library refuses the file: {shortened(escape(str(error)), 200)}",
            "the file is damaged or was written by a faulty program: save it again",
        ) from error


SAFETENSORS = Format(
    "safetensors", (".safetensors",), recognised, locate, copied, laid_out, confirm=confirm
)
