"""The members of ZIP archives, read by the standard library and held to what it lets pass.

The format is PKWARE's APPNOTE. The library takes any bytes behind the archive, and any number of
members that the end says; both are how damage shows, and refused.
"""

import contextlib
import io
import os
import struct
import zipfile
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import IO, Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.members import Member, OutsideError, RangeStream, checksum
from gradclip_cli.files.source import FileSource, Reader, Source
from gradclip_cli.files.strided import StridedSource
from gradclip_cli.files.system import open_raw, write_at
from gradclip_cli.formats.layouts import Write
from gradclip_cli.tensors.dump import Tensor
from gradclip_cli.tensors.names import quoted, shortened

_LOCAL = struct.Struct("<4s5H3L2H")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LENGTHS = struct.Struct("<3H")  # of a name, of what is extra and of the comment
_DIRECTORY_ENTRY = 46  # bytes, without these
_DESCRIBED_BEHIND = 0x8
_LARGE = 1 << 31  # bytes
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_PATCHED = 0x20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_DAMAGED = "was the copy or download interrupted? copy the file again"


def members_of(source: Source, reader: Reader) -> Iterator[Member]:
    """Give the members of an archive, in the order of its directory.

    Raises `GradclipError` for an archive that is damaged or encrypted, and where bytes belong to
    two members.
    """
    archive = _opened(source, reader)
    found = archive.infolist()
    _check_end(source, reader, len(archive.comment), len(found))
    begins = sorted(one.header_offset for one in found)
    ends = dict(pairwise([*begins, archive.start_dir]))
    if len(ends) < len(found):
        raise _damaged(source, "two members lie in the same place")
    for one in found:
        yield _member(one, source, reader, ends[one.header_offset])
    if min(begins, default=archive.start_dir):
        raise _damaged(source, "its directory does not list the member that it begins with")


def _opened(source: Source, reader: Reader) -> zipfile.ZipFile:
    assert source.size is not None, "an archive is a file"
    stream = io.BufferedReader(RangeStream(reader, 0, source.size))
    try:
        return zipfile.ZipFile(stream)
    except (
        *(zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError),
        OutsideError,
    ) as error:
        raise _damaged(source, shortened(str(error)) or "its directory cannot be read") from error


def _member(about: zipfile.ZipInfo, source: Source, reader: Reader, end: int) -> Member:
    """Find a member, which is to end where the next begins."""
    called = quoted(about.filename)
    if about.flag_bits & _ENCRYPTED:
        raise GradclipError(
            source.label, f"the member {called} is encrypted", "unpack it and save it without"
        )
    if about.compress_type not in _METHODS or about.flag_bits & _PATCHED:
        raise GradclipError(
            source.label,
            f"the member {called} is compressed by a method that Python does not know "
            f"(method {about.compress_type}, flags {about.flag_bits:#x})",
            "save the file again without compression",
        )
    if not 0 <= about.header_offset <= end - _LOCAL.size:
        raise _damaged(source, f"the member {called} lies beyond the archive's directory")
    signature, *_, name_length, extra_length = _read(_LOCAL, reader, about.header_offset)
    start = about.header_offset + _LOCAL.size + name_length + extra_length
    if signature != b"PK\x03\x04":
        raise _damaged(source, f"no member begins where {called} should")
    if start + about.compress_size > end:
        raise _damaged(source, f"the member {called} is not all there, or overlaps the next")
    if about.compress_type == zipfile.ZIP_STORED and about.compress_size != about.file_size:
        raise _damaged(source, f"the member {called} has two sizes")
    (name,) = _read(struct.Struct(f"{name_length}s"), reader, start - extra_length - name_length)
    encoding = "utf-8" if about.flag_bits & 0x800 else "cp437"
    if name != about.orig_filename.encode(encoding, "replace"):
        raise _damaged(source, f"the member {called} has two names")
    return Member(
        about.filename,
        start,
        about.compress_size,
        about.file_size,
        about.CRC,
        about.compress_type,
    )


def _check_end(source: Source, reader: Reader, comment: int, count: int) -> None:
    """Check that the archive ends with the file, and counts the members that there are."""
    size = source.size or 0
    at = size - _END.size - comment
    if at < 0:
        raise _damaged(source, "its end is missing")
    signature, _, _, _, said, *_ = _read(_END, reader, at)
    if signature != b"PK\x05\x06":
        raise GradclipError(
            source.label,
            "bytes follow the end of the ZIP archive",
            "two archives in one file, or a copy padded with zeros? copy the file again",
        )
    if said == 0xFFFF and at >= 20 + _END_64.size:
        found = _read(_END_64, reader, at - 20 - _END_64.size)
        if found[0] == b"PK\x06\x06":
            said = found[7]
    if said != count:
        raise _damaged(source, f"its end counts {said:,} members, and there are {count:,}")


def _damaged(source: Source, what: str) -> GradclipError:
    return GradclipError(source.label, f"a damaged ZIP archive: {what}", _DAMAGED)


# Writing


def sealed(path: str, changed: Sequence[Tensor], only_known: bool = False) -> None:
    """Make the checksums true of an archive at a path whose members with these tensors changed.

    With `only_known` those that are 0 stay so, as nobody has computed them.
    """
    descriptor = open_raw(path, os.O_RDWR)
    try:
        source = FileSource.of(descriptor, path, path)
        with source.opened() as reader:
            offsets = sorted(map(_begin_of, changed))
            found = [*_checksums(source, reader, offsets, only_known)]
        for place, value in found:
            write_at(descriptor, value.to_bytes(4, "little"), place, path)
    finally:
        os.close(descriptor)


def _checksums(
    source: Source, reader: Reader, offsets: Sequence[int], only_known: bool
) -> Iterator[tuple[int, int]]:
    """Give the checksums of the members in which offsets lie, and the places that hold them."""
    archive = _opened(source, reader)
    entry = archive.start_dir
    for about in archive.infolist():
        member = _member(about, source, reader, archive.start_dir)
        at = bisect_left(offsets, member.start)
        is_changed = at < len(offsets) and offsets[at] < member.start + member.size
        if is_changed and (member.checksum or not only_known):
            found = checksum(reader, member)
            yield entry + 16, found
            yield _place_of_checksum(about, member, reader), found
        entry += _DIRECTORY_ENTRY + sum(_read(_LENGTHS, reader, entry + 28))


def _begin_of(tensor: Tensor) -> int:
    """Give where a tensor begins in the file."""
    source = tensor.source
    return tensor.offset + source.start if isinstance(source, StridedSource) else tensor.offset


def _place_of_checksum(about: zipfile.ZipInfo, member: Member, reader: Reader) -> int:
    """Give where a member has its checksum besides the directory: before its bytes or behind."""
    if not about.flag_bits & _DESCRIBED_BEHIND:
        return about.header_offset + 14
    end = member.start + member.size
    (signature,) = _read(struct.Struct("<4s"), reader, end)
    return end + 4 if signature == b"PK\x07\x08" else end


def _read(form: struct.Struct, reader: Reader, offset: int) -> tuple[Any, ...]:
    data = bytearray(form.size)
    reader.read_exactly(memoryview(data), offset)
    return form.unpack(data)


@contextlib.contextmanager
def packing(path: str, members: Sequence[tuple[zipfile.ZipInfo, int]]) -> Iterator[Write]:
    """Write an archive at a path: give what takes the bytes of its members, in their order.

    Each member has so many bytes, and is called, dated and compressed as it says.
    """
    archive = zipfile.ZipFile(path, "w")
    packer = _Packer(archive, members)
    try:
        yield packer.write
        packer.finish()
        archive.close()
    except BaseException:  # the file is to be forgotten, and the library not to complain of it
        for end in (packer.finish, archive.close):
            with contextlib.suppress(Exception):
                end()
        if archive.fp is not None:
            archive.fp.close()
            archive.fp = None
        raise


class _Packer:
    """Cuts a flow of bytes into the members of an archive."""

    def __init__(
        self, archive: zipfile.ZipFile, members: Sequence[tuple[zipfile.ZipInfo, int]]
    ) -> None:
        self._archive = archive
        self._members = iter(members)
        self._member: IO[bytes] | None = None
        self._left = 0

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        while view:
            if not self._left:
                self._next()
            assert self._member is not None, "there are as many bytes as members have"
            self._member.write(view[: self._left])
            taken = min(len(view), self._left)
            self._left -= taken
            view = view[taken:]

    def _next(self) -> None:
        self.finish()
        about, self._left = next(self._members)
        # What is larger needs the longer fields, of which the library must know in time.
        self._member = self._archive.open(about, "w", force_zip64=self._left >= _LARGE)

    def finish(self) -> None:
        """End the member that is written."""
        if self._member is not None:
            self._member.close()
            self._member = None


def like(about: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Give what a member that is written anew has of another: name, date, method, rights."""
    found = zipfile.ZipInfo(about.filename, about.date_time)
    found.compress_type = about.compress_type
    found.external_attr = about.external_attr
    found.create_system = about.create_system
    found.comment = about.comment
    return found


def abouts_of(source: Source, reader: Reader) -> list[zipfile.ZipInfo]:
    """Give what the directory says of each member."""
    return _opened(source, reader).infolist()
