"""The containers in which PyTorch has saved: a ZIP archive, before that a stream, first a tar.

The layouts are those of `torch/serialization.py` (`_save`, `_legacy_save`, `_load`, `_legacy_load`)
and `caffe2/serialize/inline_container.cc`.
"""

import io
import struct
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.members import Member, Part, RangeStream, StoredSource
from gradclip_cli.files.source import Reader, WholeSource
from gradclip_cli.files.streams import Front
from gradclip_cli.formats.archives import members_of
from gradclip_cli.formats.pt.allowed import WAY_OUT, Allowed, Storage, View, shown
from gradclip_cli.formats.pt.opcodes import PickleError, read_pickle
from gradclip_cli.frozen import frozen

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
_DAMAGED = "was the copy or download interrupted? save the file again"
_PICKLE = "data.pkl"
_NEWEST = 10  # version: kMaxSupportedFileFormatVersion in caffe2/serialize/versions.h


@frozen
class Held:
    """What a file holds: a value, and where its storages lie: begin and end in the file, by key."""

    root: Any
    places: Mapping[str, tuple[int, int]]
    is_little: bool = True


def archive(
    source: WholeSource, reader: Reader, front: Front, within: tuple[int, int] | None = None
) -> Held:
    """Read a ZIP archive, perhaps a range of a file; members with a checksum are to be proved.

    Raises `PickleError` and `GradclipError`.
    """
    begin, end = within or (0, source.size)
    part = Part(source, begin, end)
    members: dict[str, Member] = {}
    for found in members_of(part, part.made_from(reader)):
        member = replace(found, start=found.start + begin)
        if members.setdefault(member.name, member) is not member:
            raise GradclipError(
                source.label,
                f"two members are called {shown(member.name)}",
                "readers differ in which of the two they take: save the file again",
            )
    pickles = [name for name in members if name.rpartition("/")[2] == _PICKLE]
    roots = [name for name in pickles if name.count("/") == 1] or pickles
    if len(roots) != 1:
        what = f"{len(roots):,} pickles" if roots else "no pickle"
        raise GradclipError(
            source.label, f"a ZIP archive with {what}, and no file of torch.save", WAY_OUT
        )
    root = roots[0].removesuffix(_PICKLE)
    if f"{root}constants.pkl" in members:
        raise GradclipError(
            source.label, "a TorchScript program, whose code would have to run", WAY_OUT
        )
    for member in members.values():
        if member.packed != member.size:
            raise GradclipError(
                source.label,
                f"the record {shown(member.name)} is compressed, which torch.save never does",
                "was the file packed again? save it with torch.save",
            )
        if member.checksum:
            front.proofs.append(StoredSource.within(source, member))
    order = members.get(f"{root}byteorder")
    said = _bytes(reader, order) if order else b"little"
    if said not in (b"little", b"big"):
        raise GradclipError(
            source.label, f"the record byteorder is {shown(said.decode('latin-1'))}", _DAMAGED
        )
    version = _bytes(reader, members[f"{root}version"]) if f"{root}version" in members else b"3"
    said_version = version.strip().decode("latin-1")
    if not said_version.isdecimal() or not 1 <= int(said_version) <= _NEWEST:
        raise GradclipError(
            source.label,
            f"the record version is {shown(said_version)}, and there are 1 to {_NEWEST}",
            "if it is newer than gradclip, update gradclip; else save the file again",
        )
    data = _stream(reader, members[roots[0]])
    value = read_pickle(data, Allowed())
    if left := members[roots[0]].size - data.tell():
        front.strays.append(f"{left:,} bytes follow the pickle")
    places = {
        name.removeprefix(f"{root}data/"): (member.start, member.start + member.size)
        for name, member in members.items()
        if name.startswith(f"{root}data/")
    }
    return Held(value, places, said == b"little")


def stream(source: WholeSource, reader: Reader, _front: Front) -> Held:
    """Read the older stream: pickles one after the other, then the storages."""
    assert source.size is not None, "a file"
    data = io.BufferedReader(RangeStream(reader, 0, source.size))
    if read_pickle(data, Allowed()) != MAGIC or read_pickle(data, Allowed()) != PROTOCOL:
        raise PickleError("not one of torch.save: it does not begin with its numbers", WAY_OUT)
    system = read_pickle(data, Allowed())
    calls = _Noted()
    root = read_pickle(data, calls)
    keys = read_pickle(data, Allowed())
    if not isinstance(system, dict) or type(keys) is not list:
        raise PickleError("the file does not say how it was written, or what it holds")
    places: dict[str, tuple[int, int]] = {}
    at = data.tell()
    for key in map(str, [one for one in keys if type(one) in (str, int)]):
        storage = calls.storages.get(key)
        if storage is None:
            raise PickleError(f"the storage {shown(key)} belongs to no tensor")
        size = storage.dtype.size_of(storage.count)
        head = bytearray(min(8, source.size - at))
        reader.read_exactly(memoryview(head), at)
        is_little = bool(system.get("little_endian", True))
        (count,) = struct.unpack("<q" if is_little else ">q", bytes(head).ljust(8, b"\0"))
        if count != storage.count or at + 8 + size > source.size:
            raise _short(source, at + 8 + size, f"the storage {shown(key)}")
        places[key] = at + 8, at + 8 + size
        at += 8 + size
    if at != source.size:
        raise GradclipError(
            source.label,
            f"{source.size - at:,} bytes follow the last tensor, which ends at byte {at:,}",
            "two files in one, or a copy padded with zeros?",
        )
    return Held(root, places, bool(system.get("little_endian", True)))


def tar(source: WholeSource, reader: Reader, _front: Front) -> Held:
    """Read the oldest tar: storages, then tensors over them, then what refers to these."""
    assert source.size is not None, "a file"
    file = io.BufferedReader(RangeStream(reader, 0, source.size))
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            members = {one.name: (one.offset_data, one.size) for one in archive.getmembers()}
    except (tarfile.TarError, ValueError, EOFError, struct.error) as error:
        raise GradclipError(source.label, f"a damaged tar archive: {error}", _DAMAGED) from error
    if missing := {"sys_info", "storages", "tensors", "pickle"} - members.keys():
        raise GradclipError(
            source.label,
            f"a tar archive without {' and '.join(sorted(missing))}, and no file of torch.save",
            "unpack it: tar -xf FILE",
        )
    if any(start + size > source.size for start, size in members.values()):
        raise _short(source, max(map(sum, members.values())), "the archive")

    def part(name: str) -> io.BufferedReader:
        return io.BufferedReader(RangeStream(reader, *members[name]))

    system = read_pickle(part("sys_info"), Allowed())
    is_little = not isinstance(system, dict) or bool(system.get("little_endian", True))
    storages, places = _storages(part("storages"), members["storages"][0], source)
    tensors = _tensors(part("tensors"), storages)
    root = read_pickle(part("pickle"), Allowed({**storages, **tensors}))
    return Held(root, places, is_little)


def _storages(
    data: io.BufferedReader, start: int, source: WholeSource
) -> tuple[dict[str, Storage], dict[str, tuple[int, int]]]:
    """Read what the member says of storages, and find their bytes in the file."""
    storages: dict[str, Storage] = {}
    places: dict[str, tuple[int, int]] = {}
    for _ in range(_count(read_pickle(data, Allowed()))):
        said = read_pickle(data, Allowed())
        if type(said) is not tuple or len(said) != 3:
            raise PickleError("a storage of the file is not described")
        key, _place, kind = said
        count = _number(data)
        found = Allowed().persistent(("storage", kind, key, "cpu", count))
        at, size = data.tell(), found.dtype.size_of(count)
        if start + at + size > (source.size or 0):
            raise _short(source, start + at + size, f"the storage {shown(key)}")
        data.seek(at + size)
        storages[found.key] = found
        places[found.key] = start + at, start + at + size
    views = read_pickle(data, Allowed())
    for view in views if type(views) is list else ():
        if type(view) is not tuple or len(view) != 4 or str(view[1]) not in storages:
            raise PickleError("a view of a storage is not described")
        target, root, offset, count = view
        storage = storages[str(root)]
        if not 0 <= int(offset) <= int(offset) + int(count) <= storage.count:
            raise PickleError(f"a view lies beyond the storage {shown(root)}")
        storages[str(target)] = replace(storage, start=storage.start + int(offset))
    return storages, places


def _tensors(data: io.BufferedReader, storages: Mapping[str, Storage]) -> dict[str, View]:
    """Read what the member says of tensors."""
    found: dict[str, View] = {}
    for _ in range(_count(read_pickle(data, Allowed()))):
        said = read_pickle(data, Allowed())
        if type(said) is not tuple or len(said) != 3 or str(said[1]) not in storages:
            raise PickleError("a tensor of the file is not described")
        key, storage = str(said[0]), storages[str(said[1])]
        sides = struct.unpack("<i4x", _exactly(data, 8))[0]
        if not 0 <= sides <= 64:
            raise PickleError(f"the tensor {shown(key)} has {sides:,} dimensions")
        shape = struct.unpack(f"<{sides}q", _exactly(data, 8 * sides))
        strides = struct.unpack(f"<{sides}q", _exactly(data, 8 * sides))
        offset = _number(data)
        if min((0, offset, *shape, *strides)) < 0:
            raise PickleError(f"the tensor {shown(key)} has a size below zero")
        found[key] = View(storage, storage.dtype, storage.start + offset, shape, strides)
    return found


class _Noted(Allowed):
    """Notes the storages that are referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[str, Storage] = {}

    def persistent(self, said: Any) -> Any:
        """Give a storage."""
        found = super().persistent(said)
        known = self.storages.setdefault(found.key, replace(found, start=0))
        if known != replace(found, start=0):
            raise PickleError(f"the storage {shown(found.key)} is described in two ways")
        return found


def _stream(reader: Reader, member: Member) -> io.BufferedReader:
    return io.BufferedReader(RangeStream(reader, member.start, member.size))


def _bytes(reader: Reader, member: Member) -> bytes:
    data = bytearray(min(member.size, 64))
    reader.read_exactly(memoryview(data), member.start)
    return bytes(data)


def _exactly(data: io.BufferedReader, size: int) -> bytes:
    found = data.read(size)
    if len(found) < size:
        raise PickleError("the file is cut short")
    return found


def _number(data: io.BufferedReader) -> int:
    return int.from_bytes(_exactly(data, 8), "little", signed=True)


def _count(said: Any) -> int:
    if type(said) is not int or not 0 <= said <= 10_000_000:
        raise PickleError("the file does not say how many tensors it holds")
    return said


def _short(source: WholeSource, end: int, what: str) -> GradclipError:
    missing = max(end - (source.size or 0), 0)
    return GradclipError(
        source.label,
        f"{what} is cut short or of another size than was said"
        + (f": {missing:,} bytes are missing" if missing else ""),
        _DAMAGED,
    )
