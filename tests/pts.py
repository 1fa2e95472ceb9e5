"""Files as torch.save writes them, put together opcode by opcode: no torch is needed for it."""

import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {
    "<f2": "HalfStorage",
    "<f4": "FloatStorage",
    "<f8": "DoubleStorage",
    "<i8": "LongStorage",
    "|u1": "ByteStorage",
    "|b1": "BoolStorage",
    "<c8": "ComplexFloatStorage",
}


@dataclass(frozen=True)
class Global:
    """What a pickle would import."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """A call of a global: `REDUCE`."""

    what: Global
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Persistent:
    """Something that is stored outside: `BINPERSID`."""

    said: Any


@dataclass(frozen=True)
class Raw:
    """Opcodes as they are."""

    code: bytes


def opcodes(value: Any) -> bytes:
    """Give the opcodes that put a value on the stack."""
    if isinstance(value, Raw):
        return value.code
    if isinstance(value, Global):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        return opcodes(value.what) + opcodes(value.arguments) + b"R"
    if isinstance(value, Persistent):
        return opcodes(value.said) + b"Q"
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        size = max(value.bit_length() // 8 + 1, 1)
        return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode()
        return b"X" + struct.pack("<I", len(data)) + data
    if isinstance(value, tuple):
        return b"(" + b"".join(map(opcodes, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(opcodes, value)) + b"e"
    assert isinstance(value, dict), value
    pairs = (part for pair in value.items() for part in pair)
    return b"}(" + b"".join(map(opcodes, pairs)) + b"u"


def pickled(value: Any) -> bytes:
    """Give a pickle of protocol 2."""
    return b"\x80\x02" + opcodes(value) + b"."


@dataclass(frozen=True)
class Stored:
    """A storage, and what is saved of it."""

    key: str
    kind: str
    data: bytes
    count: int

    @classmethod
    def of(cls, key: str, values: Any) -> "Stored":
        """Store an array."""
        return cls(key, STORAGES[values.dtype.str], values.tobytes(), values.size)

    def view(self, offset: int, shape: Sequence[int], strides: Sequence[int]) -> Call:
        """Give a tensor over it."""
        said = ("storage", Global("torch", self.kind), self.key, "cpu", self.count)
        hooks = Call(Global("collections", "OrderedDict"), ())
        return Call(
            Global("torch._utils", "_rebuild_tensor_v2"),
            (Persistent(said), offset, (*shape,), (*strides,), False, hooks),
        )


def tensor(key: str, values: Any) -> tuple[Stored, Call]:
    """Give a storage and the tensor that is all of it, in C order."""
    strides = [step // values.itemsize for step in np.ascontiguousarray(values).strides]
    stored = Stored.of(key, np.ascontiguousarray(values))
    return stored, stored.view(0, values.shape, strides[: values.ndim])


def archive(
    root: Any, storages: Sequence[Stored], order: str | None = "little", name: str = "archive"
) -> bytes:
    """Give the ZIP archive of `torch.save`."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as file:
        for path, data in (
            ("data.pkl", pickled(root)),
            *((("byteorder", order.encode()),) if order else ()),
            *((f"data/{one.key}", one.data) for one in storages),
            ("version", b"3\n"),
        ):
            file.writestr(zipfile.ZipInfo(f"{name}/{path}"), data)
    return whole.getvalue()


def stream(root: Any, storages: Sequence[Stored], little: bool = True) -> bytes:
    """Give the stream that `torch.save` wrote before."""
    system = {"protocol_version": 1001, "little_endian": little, "type_sizes": {"long": 4}}
    form = "<q" if little else ">q"
    return b"".join(
        (
            *map(pickled, (MAGIC, 1001, system, root, [one.key for one in storages])),
            *(struct.pack(form, one.count) + one.data for one in storages),
        )
    )


def tar(storages: Sequence[Stored], tensors: Mapping[str, tuple[str, Any]]) -> bytes:
    """Give the tar of the first versions: tensors by name, each with its storage and its place."""
    parts = [pickled(len(storages))]
    for one in storages:
        parts.append(pickled((one.key, "cpu", Global("torch", one.kind))))
        parts.append(struct.pack("<q", one.count) + one.data)
    parts.append(pickled([]))
    rows = [pickled(len(tensors))]
    for number, (key, (offset, shape, strides)) in enumerate(tensors.values()):
        rows.append(pickled((f"t{number}", key, Global("torch", "FloatTensor"))))
        rows.append(struct.pack("<i4x", len(shape)))
        rows.append(struct.pack(f"<{2 * len(shape) + 1}q", *shape, *strides, offset))
    root = {name: Persistent(f"t{number}") for number, name in enumerate(tensors)}
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as file:
        for name, data in (
            ("sys_info", pickled({"protocol_version": 1000, "little_endian": True})),
            ("pickle", pickled(root)),
            ("storages", b"".join(parts)),
            ("tensors", b"".join(rows)),
        ):
            about = tarfile.TarInfo(name)
            about.size = len(data)
            file.addfile(about, io.BytesIO(data))
    return whole.getvalue()
