"""Where bytes come from: a file that must not change while it is read, or a stream read once.

A `Source` says how many bytes there are and what shows that they have changed; opened, it gives a
`Reader`. Where bytes are no range of a file (members of archives, chunks), a format brings a source
of its own: that is all which the passes know.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import ClassVar

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.system import (
    NO_WAIT,
    kind_of_file,
    open_raw,
    read_into,
    read_on,
    waiting_for,
    write_at,
)
from gradclip_cli.frozen import frozen

_PIECE = 1 << 20  # a claim in a header must not make us allocate what may never come


class Reader:
    """Reads an open source; `descriptor` is that of its file, -1 where it is no whole file."""

    descriptor = -1

    def __init__(self, label: str) -> None:
        self.label = label

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill a buffer, or some of it, with the bytes at an offset; 0 only at the end."""
        raise NotImplementedError

    def expect(self, offset: int, size: int) -> None:
        """Be told what is read soon, in order: where each answer takes long, many are got."""

    def read_exactly(self, view: memoryview, offset: int) -> None:
        """Fill a buffer with the bytes at an offset; raises `GradclipError` if there are fewer."""
        done = 0
        while done < len(view):
            got = self.read_into(view[done:], offset + done)
            if not got:
                raise ended(self.label, offset + done)
            done += got


def ended(label: str, position: int) -> GradclipError:
    """Say that there are fewer bytes than tensors need."""
    return GradclipError(
        label,
        f"ends after {position:,} bytes, in the middle of its tensors",
        "was it cut off, or is it still being written?",
    )


class Source:
    """Where bytes come from. A source is frozen; all but streams survive pickling.

    `path` is where a worker opens it anew, `label` what messages call it; `size` is in bytes, None
    where only the end tells. `identity` is the same for two names of one file, None where nothing
    tells; `stamp` is another as soon as any byte may be. One that `seeks` is read from anywhere at
    the same price; another is best read by one worker, in order. One that is not `rereadable` is
    read but once; the bytes of one that is `apart` are no range of those in which they lie. Of one
    that is `sampled` readers do not each see every change, so that it is checked at the end.
    """

    __slots__ = ()

    path: str
    label: str
    size: int | None
    seeks: ClassVar[bool] = True
    rereadable: ClassVar[bool] = True
    apart: ClassVar[bool] = False
    sampled: ClassVar[bool] = False

    @property
    def identity(self) -> tuple[int | str, ...] | None:
        """What two names of one file have in common."""
        return None

    @property
    def stamp(self) -> tuple[int, ...]:
        """What shows any change."""
        raise NotImplementedError

    def opened(self) -> AbstractContextManager[Reader]:
        """Give a reader; raises `GradclipError` if the bytes are no longer the same."""
        raise NotImplementedError

    def over(self, reader: Reader) -> Reader:
        """Give a reader of the same bytes in a copy, from one of the file in which they lie."""
        return reader

    def check(self) -> None:
        """Raise `GradclipError` if the bytes are no longer the same."""
        with self.opened():
            pass

    def prove(self) -> None:
        """Raise `GradclipError` where bytes have a checksum, and it is wrong."""


# Files


class WholeSource(Source):
    """A file or an object; `modified_ns` and `changed_ns` say when, or number what it is now."""

    __slots__ = ()

    size: int
    modified_ns: int
    changed_ns: int


class _FileReader(Reader):
    def __init__(self, label: str, descriptor: int) -> None:
        super().__init__(label)
        self.descriptor = descriptor

    def read_into(self, view: memoryview, offset: int) -> int:
        return read_into(self.descriptor, view, offset)


@frozen
class FileSource(WholeSource):
    """A regular file, as it was when its header was read: opened anew by each worker.

    Device, inode, size and times are compared before and after the reading: that of modification,
    and that of the last change of anything, which nobody can put back. What a process changes that
    has the file mapped may show in none of them.
    """

    path: str
    label: str
    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, descriptor: int, path: str, label: str) -> "FileSource":
        """Describe an open regular file; raises `GradclipError` for anything else."""
        status = os.fstat(descriptor)
        check_regular(status.st_mode, label)
        return cls(path, label, *_stamp(status))

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return self.device, self.inode

    @property
    def stamp(self) -> tuple[int, ...]:
        """Device, inode, size in bytes, times of modification and change in nanoseconds."""
        return self.device, self.inode, self.size, self.modified_ns, self.changed_ns

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        """Give a reader; raises `GradclipError` if the file is no longer the same."""
        # What took its place may be a FIFO, whose writer would be waited for.
        descriptor = open_raw(self.path, os.O_RDONLY | NO_WAIT)
        try:
            self._compare(descriptor)
            yield _FileReader(self.label, descriptor)
            self._compare(descriptor)
        finally:
            os.close(descriptor)

    def _compare(self, descriptor: int) -> None:
        if _stamp(os.fstat(descriptor)) == self.stamp:
            return
        now = FileSource.of(descriptor, self.path, self.label)
        if now.size != self.size:
            change = f"its size went from {self.size:,} to {now.size:,} bytes"
        elif now.identity != self.identity:
            change = "another file took its place"
        elif now.modified_ns != self.modified_ns:
            change = "it was written to"
        else:
            change = "its times or attributes were changed, and perhaps more"
        raise GradclipError(
            self.label,
            f"changed while gradclip was reading it: {change}",
            "wait until the program that writes it has finished, then run gradclip again",
        )


def _stamp(status: os.stat_result) -> tuple[int, int, int, int, int]:
    times = status.st_mtime_ns, status.st_ctime_ns
    return status.st_dev, status.st_ino, status.st_size, *times


def check_regular(mode: int, label: str) -> None:
    """Raise `GradclipError` unless `st_mode` describes a regular file."""
    if not stat.S_ISREG(mode):
        raise GradclipError(
            label,
            f"a {kind_of_file(mode)}, not a regular file",
            "gradclip reads files, folders of files, and standard input",
        )


# What is read from the front


class Front:
    """The beginning of a file or stream: looked at in advance, then read in order.

    `more(n, position)` gives at most n bytes from a position on, none only at the end; `ahead` are
    the first, where they have been read. `position` is the number of bytes consumed. A reader puts
    into `strays` what it takes all the same, though no writer should write it so; into `uncounted`
    the names of tensors that are none of the gradient's, by what they are; and into `proofs` what
    else has a checksum than the sources of tensors. `is_named_by_file` says that the one tensor has
    the name that the reader was given, and `besides` what else the file holds, in words. `begins`
    are the indices at which tensors begin that are pieces of larger ones, by name.
    """

    def __init__(self, more: Callable[[int, int], bytes], ahead: bytes = b"") -> None:
        self._more = more
        self._ahead = ahead
        self.position = 0
        self.strays: list[str] = []
        self.uncounted: dict[str, list[str]] = {}
        self.proofs: list[Source] = []
        self.is_named_by_file = False
        self.besides: list[str] = []
        self.begins: dict[str, tuple[int, ...]] = {}

    def peek(self, count: int) -> bytes:
        """Give the next bytes without consuming them; fewer than `count` only at the end."""
        parts, size = [self._ahead], len(self._ahead)
        while size < count:
            piece = self._more(min(count - size, _PIECE), self.position + size)
            if not piece:
                break
            parts.append(piece)
            size += len(piece)
        self._ahead = b"".join(parts)
        return self._ahead[:count]

    def read(self, count: int) -> bytes:
        """Consume the next bytes; fewer than `count` only at the end."""
        data = self.peek(count)
        self._ahead = self._ahead[len(data) :]
        self.position += len(data)
        return data


class Stream(Front):
    """Standard input or a FIFO: read once, from the front; where asked, kept in a spool file.

    `header` is what `read` consumed.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(self._more_of_it)
        self.header = b""
        self._descriptor = descriptor
        self._wait = waiting_for(descriptor)
        self._spool: int | None = None

    def read(self, count: int) -> bytes:
        """Consume the next bytes; fewer than `count` only at the end."""
        data = super().read(count)
        self.header += data
        return data

    def _more_of_it(self, count: int, _position: int) -> bytes:
        self._wait()
        return os.read(self._descriptor, count)

    def keep_in(self, spool: int) -> None:
        """Write everything to a file as well, from the header on."""
        write_at(spool, self.header, 0, "$TMPDIR")
        self._spool = spool

    def read_into(self, view: memoryview) -> int:
        """Consume bytes into a buffer; give their number, 0 only at the end."""
        if self._ahead:
            got = min(len(view), len(self._ahead))
            view[:got] = self._ahead[:got]
            self._ahead = self._ahead[got:]
        else:
            self._wait()
            got = read_on(self._descriptor, view)
        if self._spool is not None and got:
            write_at(self._spool, view[:got], self.position, "$TMPDIR")
        self.position += got
        return got


class _StreamReader(Reader):
    """Reads a stream, which is skipped forward to each offset."""

    def __init__(self, label: str, stream: Stream) -> None:
        super().__init__(label)
        self._stream = stream

    def read_into(self, view: memoryview, offset: int) -> int:
        self.skip_to(offset)
        return self._stream.read_into(view)

    def skip_to(self, offset: int) -> None:
        while self._stream.position < offset:
            piece = bytearray(min(offset - self._stream.position, _PIECE))
            if not self._stream.read_into(memoryview(piece)):
                raise ended(self.label, self._stream.position)


@frozen
class StreamSource(Source):
    """A stream: it has no path and no size, and is read by one worker, in order."""

    label: str
    stream: Stream
    path: str = ""
    size: int | None = None
    rereadable: ClassVar[bool] = False

    @property
    def stamp(self) -> tuple[int, ...]:
        """How much of it has been read."""
        return (self.stream.position,)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        """Give a reader."""
        yield _StreamReader(self.label, self.stream)

    def finish(self, end: int) -> None:
        """Read to the end, which is to be at an offset; raises `GradclipError` where it is not."""
        _StreamReader(self.label, self.stream).skip_to(end)
        if self.stream.peek(1):
            raise GradclipError(
                self.label,
                f"more bytes follow the last tensor, which ends at byte {self.stream.position:,}",
                "two dumps in one stream? send one at a time",
            )
