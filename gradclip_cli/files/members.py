"""Members of archives as sources: stored ones are ranges of the file, packed ones are unpacked.

Of both it is proved that they are whole: by the checksum of their bytes, as they are read.
"""

import contextlib
import errno
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import field
from typing import ClassVar

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.checksums import Tally
from gradclip_cli.files.derived import DerivedSource
from gradclip_cli.files.source import Reader, Source, WholeSource, ended
from gradclip_cli.frozen import frozen

_PIECE = 1 << 20
_DICTIONARY = 1 << 26  # bytes, as `xz -9`
_DAMAGED = "the file is damaged: copy or save it again"


@frozen
class Member:
    """A member of an archive: its name, and where its bytes lie in the file.

    It takes `packed` bytes from `start` on, and `size` once it is unpacked by the method of ZIP;
    `checksum` is the CRC-32 of these, None where nobody has computed one.
    """

    name: str
    start: int
    packed: int
    size: int
    checksum: int | None
    method: int = zipfile.ZIP_STORED

    def check(self, found: int, label: str) -> None:
        """Raise `GradclipError` where the checksum is another than was found."""
        if self.checksum is not None and found != self.checksum:
            raise GradclipError(
                label,
                f"the checksum of {self.name} is wrong: {self.checksum:08x} is stored, and its "
                f"bytes have {found:08x}",
                _DAMAGED,
            )


class _CheckedReader(Reader):
    """Reads a file, and adds up the checksum of what is read of a member, in order."""

    def __init__(self, reader: Reader, member: Member, tally: Tally) -> None:
        super().__init__(reader.label)
        self.descriptor = reader.descriptor
        self._reader = reader
        self._member = member
        self._tally = tally
        self._begin = self._end = self._checksum = 0

    def read_into(self, view: memoryview, offset: int) -> int:
        got = self._reader.read_into(view, offset)
        if not self._tally.is_whole:
            self._take(view[:got], offset - self._member.start)
        return got

    def expect(self, offset: int, size: int) -> None:
        self._reader.expect(offset, size)

    def _take(self, data: memoryview, begin: int) -> None:
        size = self._member.size
        if begin != self._end or begin + len(data) > size:
            self.settle()
            known, checksum = self._tally.known
            self._begin, self._end, self._checksum = begin, begin, 0
            if known == begin:
                self._begin, self._checksum = 0, checksum
        if begin >= 0 and begin + len(data) <= size:
            self._end += len(data)
            self._checksum = zlib.crc32(data, self._checksum)

    def settle(self) -> None:
        """Take note of what has been read; raises `GradclipError` where it is not as it was."""
        if self._begin < self._end and self._tally.add(self._begin, self._end, self._checksum):
            self._member.check(self._tally.known[1], self.label)


@frozen
class StoredSource(DerivedSource):
    """A file of which a member is a range that has a checksum; offsets are those of the file."""

    base: WholeSource
    member: Member
    tally: Tally = field(compare=False, repr=False)

    @classmethod
    def within(cls, file: WholeSource, member: Member, head: bytes = b"") -> "StoredSource":
        """Give the source of a member, the first bytes of which have been read."""
        tally = Tally(member.size)
        tally.add(0, len(head), zlib.crc32(head))
        return cls(file, member, tally)

    @property
    def size(self) -> int:  # type: ignore[override]
        """Number of bytes of the file."""
        return self.base.size

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        """Give a reader; raises `GradclipError` if the file is no longer the same."""
        with self.base.opened() as reader:
            checked = _CheckedReader(reader, self.member, self.tally)
            yield checked
            checked.settle()

    def over(self, reader: Reader) -> Reader:
        """Give a reader of a copy, whose checksum may be another."""
        return self.base.over(reader)

    def prove(self) -> None:
        """Read what nobody has read; raises `GradclipError` where the checksum is wrong."""
        end = self.member.start + self.member.size
        if self.member.checksum is None:
            return
        if not self.tally.is_whole:
            _read_through(self, self.member.start + self.tally.known[0], end)
        if self.tally.is_whole:  # the last piece of it may have been read elsewhere
            self.member.check(self.tally.known[1], self.label)


@frozen
class PackedSource(DerivedSource):
    """A member of an archive that is compressed: unpacked from its begin on, as it is read.

    To read what lies before means to begin anew. Its checksum is known when its end is reached.
    """

    member: Member
    tally: Tally = field(compare=False, repr=False)

    seeks: ClassVar[bool] = False

    @classmethod
    def within(cls, file: WholeSource, member: Member) -> "PackedSource":
        """Give the source of a member."""
        return cls(file, member, Tally(member.size))

    @property
    def size(self) -> int:  # type: ignore[override]
        """Number of bytes when it is unpacked."""
        return self.member.size

    def made_from(self, reader: Reader) -> Reader:
        """Give a reader of the member from one of the archive."""
        return _PackedReader(reader, self)

    def prove(self) -> None:
        """Unpack what nobody has read; raises `GradclipError` where the checksum is wrong."""
        if not self.tally.is_whole:
            _read_through(self, 0, self.member.size)


class _PackedReader(Reader):
    def __init__(self, reader: Reader, source: PackedSource) -> None:
        super().__init__(source.label)
        self._reader = reader
        self._raw = RangeStream(reader, source.member.start, source.member.packed)
        self._is_expected = False
        self._member = source.member
        self._tally = source.tally
        self._stream: io.BufferedIOBase | None = None
        self._at = 0

    def expect(self, offset: int, size: int) -> None:
        self._is_expected = True

    def read_into(self, view: memoryview, offset: int) -> int:
        if self._stream is None or offset < self._at:
            self._begin()
        while self._at < offset:
            if not self._read(memoryview(bytearray(min(offset - self._at, _PIECE)))):
                return 0
        return self._read(view)

    def _begin(self) -> None:
        member = self._member
        about = zipfile.ZipInfo(member.name)
        about.compress_type, about.CRC = member.method, member.checksum or 0
        about.compress_size, about.file_size = member.packed, member.size
        self._raw.seek(0)
        if self._is_expected:
            self._reader.expect(member.start, member.packed)
        if member.method == zipfile.ZIP_LZMA:
            self._check_dictionary()
        self._stream = zipfile.ZipExtFile(self._raw, "r", about)
        self._at = 0

    def _check_dictionary(self) -> None:
        """Refuse a member that asks for more memory than any program gives it."""
        head = self._raw.read(9) or b""  # version, number of properties, and these
        self._raw.seek(0)
        wanted = int.from_bytes(head[5:9], "little")
        if len(head) < 9 or wanted > _DICTIONARY:
            raise GradclipError(
                self.label,
                f"{self._member.name} cannot be unpacked: it asks for {wanted:,} bytes of memory",
                _DAMAGED,
            )

    def _read(self, view: memoryview) -> int:
        assert self._stream is not None, "it has begun"
        view = view[: self._member.size - self._at]
        try:
            got = self._stream.readinto(view) if view else 0
        except zipfile.BadZipFile as error:
            raise GradclipError(
                self.label, f"the checksum of {self._member.name} is wrong", _DAMAGED
            ) from error
        except (zlib.error, lzma.LZMAError, EOFError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise GradclipError(
                self.label, f"{self._member.name} cannot be unpacked: {error}", _DAMAGED
            ) from error
        if view and not got:
            raise ended(f"{self.label}: {self._member.name}", self._at)
        self._at += got
        if self._at == self._member.size:
            self._tally.add(0, self._at, 0)
        return got


class OutsideError(OSError):
    """A place before the first byte."""


class RangeStream(io.RawIOBase):
    """A range of bytes of a reader, as the standard library takes it."""

    def __init__(self, reader: Reader, start: int, size: int) -> None:
        self._reader, self._start, self._size = reader, start, size
        self._at = 0

    def readable(self) -> bool:
        """Say that it is read."""
        return True

    def seekable(self) -> bool:
        """Say that it is read from anywhere."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset; raises `OutsideError` before the first byte, as a file does."""
        at = (0, self._at, self._size)[whence] + offset
        if at < 0:
            raise OutsideError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = at
        return at

    def tell(self) -> int:
        """Give the offset of what is read next."""
        return self._at

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fill a buffer, or some of it."""
        view = memoryview(buffer)[: max(self._size - self._at, 0)]
        got = self._reader.read_into(view, self._start + self._at) if view else 0
        self._at += got
        return got


class _PartReader(Reader):
    def __init__(self, reader: Reader, begin: int, end: int) -> None:
        super().__init__(reader.label)
        self._reader, self._begin, self._end = reader, begin, end

    def read_into(self, view: memoryview, offset: int) -> int:
        view = view[: max(self._end - self._begin - offset, 0)]
        return self._reader.read_into(view, self._begin + offset) if view else 0

    def expect(self, offset: int, size: int) -> None:
        self._reader.expect(self._begin + offset, min(size, self._end - self._begin - offset))


@frozen
class Part(DerivedSource):
    """A range of a file that is an archive of its own; offsets begin with it."""

    begin: int
    end: int

    @property
    def size(self) -> int:  # type: ignore[override]
        """Number of bytes."""
        return self.end - self.begin

    def made_from(self, reader: Reader) -> Reader:
        """Give a reader of the range from one of the file."""
        return _PartReader(reader, self.begin, self.end)


def _read_through(source: Source, begin: int, end: int) -> None:
    """Read a range of a source for the sake of its checksum alone."""
    piece = memoryview(bytearray(_PIECE))
    with source.opened() as reader:
        reader.expect(begin, end - begin)
        while begin < end:
            view = piece[: end - begin]
            reader.read_exactly(view, begin)
            begin += len(view)


def checksum(reader: Reader, member: Member) -> int:
    """Give the checksum that the bytes of a stored member have now."""
    found, end = 0, member.start + member.size
    piece = memoryview(bytearray(_PIECE))
    for begin in range(member.start, end, _PIECE):
        view = piece[: end - begin]
        reader.read_exactly(view, begin)
        found = zlib.crc32(view, found)
    return found
