"""Where bytes come from: a file that must not change while it is read, or a stream read once."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from gradclip_cli.errors import GradclipError
from gradclip_cli.frozen import frozen

_PIECE = 1 << 20  # a claim in a header must not make us allocate what may never come


class Stream:
    """Standard input or a FIFO: read once, from the front; where asked, kept in a spool file.

    What was looked at in advance is given again. `position` is the number of bytes consumed, and
    `header` what `read` consumed of them.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.position = 0
        self.header = b""
        self._spool: int | None = None
        self._pending = b""

    def peek(self, count: int) -> bytes:
        """Give the next bytes without consuming them; fewer than `count` only at the end."""
        while len(self._pending) < count:
            more = os.read(self.descriptor, count - len(self._pending))
            if not more:
                break
            self._pending += more
        return self._pending[:count]

    def read(self, count: int) -> bytes:
        """Consume the next bytes; fewer than `count` only at the end."""
        data = b""
        while len(data) < count:
            piece = bytearray(min(count - len(data), _PIECE))
            got = self.read_into(memoryview(piece))
            if not got:
                break
            data += piece[:got]
        self.header += data
        return data

    def keep_in(self, spool: int) -> None:
        """Write everything to a file as well, from the header on."""
        write_at(spool, self.header, 0, "$TMPDIR")
        self._spool = spool

    def read_into(self, view: memoryview) -> int:
        """Consume bytes into a buffer; give their number, 0 only at the end."""
        if self._pending:
            got = min(len(view), len(self._pending))
            view[:got] = self._pending[:got]
            self._pending = self._pending[got:]
        else:
            got = os.readv(self.descriptor, [view])
        if self._spool is not None and got:
            write_at(self._spool, view[:got], self.position, "$TMPDIR")
        self.position += got
        return got


@frozen
class Source:
    """Where a file's bytes come from, as it was when its header was read.

    A regular file is opened anew by each worker, and any change of it is noticed. A stream has no
    size; it is read by one worker, in order.
    """

    path: str
    label: str
    device: int = 0
    inode: int = 0
    size: int = 0
    modified_ns: int = 0
    stream: Stream | None = None

    @classmethod
    def of(cls, descriptor: int, path: str, label: str) -> "Source":
        """Describe an open regular file; raises `GradclipError` for anything else."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise GradclipError(
                label,
                f"a {kind_of_file(status.st_mode)}, not a regular file",
                "gradclip reads files, folders of files, and standard input",
            )
        return cls(path, label, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """Give a descriptor to read from; raises `GradclipError` if the file is no longer the same.

        Compared are device, inode, size and modification time, before and after the reading.
        """
        if self.stream is not None:
            yield self.stream.descriptor
            return
        # What took its place may be a FIFO, whose writer would be waited for.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._check(descriptor)
            yield descriptor
            self._check(descriptor)
        finally:
            os.close(descriptor)

    def check(self) -> None:
        """Raise `GradclipError` if the file is no longer the same."""
        with self.opened():
            pass

    def read_exactly(self, descriptor: int, view: memoryview, offset: int) -> None:
        """Fill a buffer with the bytes at an offset; raises `GradclipError` if there are fewer.

        A stream is skipped forward to the offset.
        """
        if self.stream is not None:
            self.skip_to(offset)
        done = 0
        while done < len(view):
            if self.stream is not None:
                got = self.stream.read_into(view[done:])
            else:
                got = os.preadv(descriptor, [view[done:]], offset + done)
            if not got:
                raise self._ended(offset + done)
            done += got

    def skip_to(self, offset: int) -> None:
        """Consume a stream up to an offset."""
        assert self.stream is not None
        while self.stream.position < offset:
            piece = bytearray(min(offset - self.stream.position, _PIECE))
            if not self.stream.read_into(memoryview(piece)):
                raise self._ended(self.stream.position)

    def _ended(self, position: int) -> GradclipError:
        return GradclipError(
            self.label,
            f"ends after {position:,} bytes, in the middle of its tensors",
            "was it cut off, or is it still being written?",
        )

    def _check(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if stamp == (self.device, self.inode, self.size, self.modified_ns):
            return
        now = Source.of(descriptor, self.path, self.label)
        if now.size != self.size:
            change = f"its size went from {self.size:,} to {now.size:,} bytes"
        elif (now.device, now.inode) != (self.device, self.inode):
            change = "another file took its place"
        else:
            change = "it was written to"
        raise GradclipError(
            self.label,
            f"changed while gradclip was reading it: {change}",
            "wait until the program that writes it has finished, then run gradclip again",
        )


def reserve(descriptor: int, size: int) -> None:
    """Give a file its size and its space on the disk; a full disk is known at once."""
    try:
        if size:
            os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV):
            raise
        os.ftruncate(descriptor, size)


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Let an `OSError` name a path that its reader knows, where its own would be a hidden one."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise


def flush(path: str) -> None:
    """Wait until a file or folder is on the disk; an `OSError` names it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with naming(path):
            os.fsync(descriptor)
    except OSError as error:  # some file systems cannot do it for a folder
        if not (error.errno == errno.EINVAL and stat.S_ISDIR(os.fstat(descriptor).st_mode)):
            raise
    finally:
        os.close(descriptor)


def write_at(descriptor: int, data: bytes | memoryview, offset: int, label: str) -> None:
    """Write all of the bytes at an offset; an `OSError` names the file as `label`."""
    view = memoryview(data)
    done = 0
    with naming(label):
        while done < len(view):
            done += os.pwrite(descriptor, view[done:], offset + done)


def kind_of_file(mode: int) -> str:
    """Say in a word what `st_mode` describes, for messages."""
    kinds = {
        stat.S_IFDIR: "folder",
        stat.S_IFIFO: "FIFO",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "character device",
        stat.S_IFBLK: "block device",
    }
    return kinds.get(stat.S_IFMT(mode), "file of an unknown kind")
