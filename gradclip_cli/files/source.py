"""Where bytes come from: a file that must not change while it is read, or a stream read once.

A `Source` says how many bytes there are and what shows that they have changed; opened, it gives a
`Reader`. Where bytes are no range of a file (members of archives, chunks), a format brings a source
of its own: that is all which the passes know.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import fields
from typing import Any, ClassVar

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.system import (
    NO_WAIT,
    open_raw,
    read_into,
)
from gradclip_cli.frozen import frozen

_OWN = ("/dev/fd/", "/dev/std", "/proc/")  # what is there is not the same for each process
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
    def is_here(self) -> bool:
        """Whether this process alone can open it."""
        return False

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

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        """Give what a copy knows: another process may work in another folder."""
        state = {one.name: getattr(self, one.name) for one in fields(self)}
        return None, {**state, "path": os.path.abspath(self.path)}

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return self.device, self.inode

    @property
    def is_here(self) -> bool:
        """Whether its path is that of an open file of this process."""
        return is_own(self.path)

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
        # The number of a device is not the same on all machines that have it.
        if _stamp(os.fstat(descriptor))[1:] == self.stamp[1:]:
            return
        now = FileSource.of(descriptor, self.path, self.label)
        if now.size != self.size:
            change = f"its size went from {self.size:,} to {now.size:,} bytes"
        elif now.inode != self.inode:
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


def is_own(path: str) -> bool:
    """Say whether a path leads to what this process has open, and in others to something else."""
    return path.startswith(_OWN)


def check_regular(mode: int, label: str) -> None:
    """Raise `GradclipError` unless `st_mode` describes a regular file."""
    if not stat.S_ISREG(mode):
        raise GradclipError(
            label,
            f"a {_kind_of(mode)}, not a regular file",
            "gradclip reads files, folders of files, and standard input",
        )


def _kind_of(mode: int) -> str:
    """Say in a word what `st_mode` describes, for messages."""
    kinds = {
        stat.S_IFDIR: "folder",
        stat.S_IFIFO: "FIFO",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "character device",
        stat.S_IFBLK: "block device",
    }
    return kinds.get(stat.S_IFMT(mode), "file of an unknown kind")
