"""What not every system has, each with a plain way beside it; nothing else asks for it.

Linux has all of it. macOS lacks some calls, and Windows most: no locks, no links that anyone may
make, no name that is free while its file is open. An error names the file that it is about.
"""

import contextlib
import errno
import math
import os
import select
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any

_fcntl: Any = None
with contextlib.suppress(ImportError):
    import fcntl

    _fcntl = fcntl

REPLACES = sys.platform != "win32"
"""Whether a file can take the place of another that may be open: else none is replaced."""

HANGUP: int | None = getattr(signal, "SIGHUP", None)
"""The signal of a terminal that is gone."""

NO_WAIT: int = getattr(os, "O_NONBLOCK", 0)
"""Opens a FIFO without waiting for its other end."""

NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)
"""Opens what has a name, never what a symbolic link of that name leads to."""

AT_ONCE: int = getattr(os, "O_DSYNC", 0)
"""Writes to the disk, and not to a cache that is written there later."""

FOLDER: int = getattr(os, "O_DIRECTORY", 0)
"""Opens folders alone."""

SEEK_HOLE: int = getattr(os, "SEEK_HOLE", -1)
"""Finds the next hole of a file; -1 where nothing does."""

SEEK_DATA: int = getattr(os, "SEEK_DATA", -1)
"""Finds the next data of a file."""

_HAS_WRITERS = sys.platform == "linux"  # where a FIFO that nobody has written to has not ended

_ALWAYS: int = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_FORGET: int = getattr(os, "POSIX_FADV_DONTNEED", 0)
_BYTES: int = getattr(select, "POLLIN", 0)
_NAP_MS = 100
_PIPE = 1 << 20  # bytes
_SEEKING = Lock()  # where a place in a file is sought before it is read, one thread may do so


# Opening


def open_raw(path: str, flags: int, mode: int = 0o666) -> int:
    """Open a file for its bytes as they are; gives the descriptor."""
    return os.open(path, flags | _ALWAYS, mode)


def open_folder(path: str) -> int:
    """Open a folder, to lock it or to flush it; -1 where folders cannot be opened."""
    return open_raw(path, os.O_RDONLY) if REPLACES else -1


def open_unnamed(folder: str) -> int:
    """Make a file without a name in a folder, which can have one later; -1 where none can be."""
    flag = getattr(os, "O_TMPFILE", 0)
    if not flag or not os.path.isdir("/proc/self/fd"):
        return -1
    try:
        return open_raw(folder, os.O_RDWR | flag)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
            return -1
        raise


def open_fifo(path: str) -> int:
    """Open a FIFO for reading; gives the descriptor.

    On Linux its writer is waited for where its bytes are: a signal that comes just before a call
    that waits would not end it.
    """
    if not (_HAS_WRITERS and hasattr(os, "set_blocking")):
        return open_raw(path, os.O_RDONLY)
    descriptor = open_raw(path, os.O_RDONLY | NO_WAIT)
    os.set_blocking(descriptor, True)
    return descriptor


def open_direct(descriptor: int) -> int:
    """Open an open file once more, for writing past the page cache; -1 where that cannot be."""
    flag = getattr(os, "O_DIRECT", 0)
    if flag:
        with contextlib.suppress(OSError):
            return open_raw(f"/proc/self/fd/{descriptor}", os.O_WRONLY | flag)
    return -1


def path_of(descriptor: int) -> str | None:
    """Give a path that leads to an open file, whether it has a name or none."""
    return f"/dev/fd/{descriptor}" if REPLACES and os.path.isdir("/dev/fd") else None


# Reading and writing


def after_forks(call: Callable[[], object]) -> None:
    """Let something be called in each process that is forked from this one."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """Read at most so many bytes at an offset; none only at the end."""
    if hasattr(os, "pread"):
        return bytes(os.pread(descriptor, count, offset))
    with _SEEKING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, count)


def read_into(descriptor: int, view: memoryview, offset: int) -> int:
    """Fill a buffer, or some of it, with the bytes at an offset; 0 only at the end."""
    if hasattr(os, "preadv"):
        return int(os.preadv(descriptor, [view], offset))
    return _put(view, read_at(descriptor, len(view), offset))


def read_on(descriptor: int, view: memoryview) -> int:
    """Fill a buffer, or some of it, with the next bytes of a stream; 0 only at the end."""
    if hasattr(os, "readv"):
        return int(os.readv(descriptor, [view]))
    return _put(view, os.read(descriptor, len(view)))


def _put(view: memoryview, data: bytes) -> int:
    view[: len(data)] = data
    return len(data)


def waiting_for(descriptor: int, seconds: float = math.inf) -> Callable[[], bool]:
    """Give what waits until a stream has bytes, or has ended; False if it does not for so long.

    It wakes now and then: a signal that comes just before a read would not end it.
    """
    if not hasattr(select, "poll"):
        return lambda: True
    poll = select.poll()
    poll.register(descriptor, _BYTES)

    def wait() -> bool:
        waited = 0.0
        while not poll.poll(_NAP_MS):
            waited += _NAP_MS / 1000
            if waited >= seconds:
                return False
        return True

    return wait


def widen(pipe: int) -> None:
    """Let a pipe hold more bytes at once, where it can be told to."""
    size = getattr(_fcntl, "F_SETPIPE_SZ", None)
    if size is not None:
        with contextlib.suppress(OSError):  # a user may have so many pages of pipes in all
            _fcntl.fcntl(pipe, size, _PIPE)


def write_some(descriptor: int, data: memoryview, offset: int) -> int:
    """Write bytes at an offset, perhaps not all; gives how many."""
    if hasattr(os, "pwrite"):
        return int(os.pwrite(descriptor, data, offset))
    with _SEEKING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)


def write_at(descriptor: int, data: bytes | memoryview, offset: int, label: str) -> None:
    """Write all of the bytes at an offset; an `OSError` names the file as `label`."""
    view = memoryview(data)
    done = 0
    with naming(label):
        while done < len(view):
            done += write_some(descriptor, view[done:], offset + done)


# The disk


def allocate(descriptor: int, start: int, size: int) -> bool:
    """Reserve the space of a range of a file, which grows to it; False where that cannot be."""
    if not hasattr(os, "posix_fallocate"):
        return False
    try:
        os.posix_fallocate(descriptor, start, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV):
            raise
        return False
    return True


def room(folder: str) -> tuple[int, int]:
    """Give the bytes that are free on a folder's disk, and how many it gives out at once."""
    if hasattr(os, "statvfs"):
        disk = os.statvfs(folder)
        return (disk.f_bavail if user() != 0 else disk.f_bfree) * disk.f_frsize, disk.f_frsize
    import shutil

    return shutil.disk_usage(folder).free, 1


def is_read_only(path: str) -> bool:
    """Say whether a file lies where nothing may be written, whatever its mode."""
    flag: int = getattr(os, "ST_RDONLY", 0)
    return hasattr(os, "statvfs") and bool(os.statvfs(path).f_flag & flag)


def sync(descriptor: int) -> None:
    """Wait until an open file is on the disk."""
    full = getattr(_fcntl, "F_FULLFSYNC", None)  # of macOS, whose fsync ends at the disk's cache
    if full is not None:
        with contextlib.suppress(OSError):
            _fcntl.fcntl(descriptor, full)
            return
    os.fsync(descriptor)


def flush(path: str) -> None:
    """Wait until a file or folder is on the disk; an `OSError` names it."""
    if not REPLACES and os.path.isdir(path):
        return
    descriptor = open_raw(path, os.O_RDONLY if REPLACES else os.O_RDWR)
    try:
        with naming(path):
            sync(descriptor)
    except OSError as error:  # some file systems cannot do it for a folder
        if not (error.errno == errno.EINVAL and stat.S_ISDIR(os.fstat(descriptor).st_mode)):
            raise
    finally:
        os.close(descriptor)


def write_back(descriptor: int, offset: int, size: int) -> None:
    """Let the kernel begin to write what has just been written, which `sync` would only do later.

    Asking it to forget the range has that effect, and keeps what is not on the disk yet.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, offset, size, _FORGET)


# Files and who they belong to


def user() -> int | None:
    """Give the number of the user whose rights count: 0 for root, None where there are none."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def give(descriptor: int, owner: int, group: int) -> None:
    """Give an open file to an owner and a group; -1 leaves one as it is."""
    if not hasattr(os, "fchown"):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    os.fchown(descriptor, owner, group)


def allow(descriptor: int, mode: int) -> None:
    """Set an open file's mode."""
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, mode)


def attributes(path: str) -> list[str]:
    """Give the names of a file's extended attributes, its access list among them."""
    if sys.platform == "linux" and hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):
            return os.listxattr(path)
    return []


def attribute(file: str | int, name: str) -> bytes:
    """Give the value of one of `attributes`."""
    return bytes(os.getxattr(file, name)) if hasattr(os, "getxattr") else b""


def set_attribute(descriptor: int, name: str, value: bytes) -> None:
    """Give an open file one of the `attributes` of another."""
    if sys.platform == "linux":
        os.setxattr(descriptor, name, value)


def remove_attribute(descriptor: int, name: str) -> None:
    """Take an attribute away, where there is one."""
    if sys.platform == "linux" and hasattr(os, "removexattr"):
        with contextlib.suppress(OSError):
            os.removexattr(descriptor, name)


def lock(descriptor: int, wait: bool) -> bool | None:
    """Lock an open file; False where another holds it, None where there are no locks."""
    if not hasattr(_fcntl, "flock"):
        return None
    try:
        _fcntl.flock(descriptor, _fcntl.LOCK_EX | (0 if wait else _fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def control(descriptor: int, request: int, argument: Any) -> bool:
    """Ask a file system of Linux for something; False where it cannot do it."""
    if sys.platform == "linux" and hasattr(_fcntl, "ioctl"):
        with contextlib.suppress(OSError):
            _fcntl.ioctl(descriptor, request, argument)
            return True
    return False


# Words


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Let an `OSError` name a path that its reader knows, where its own would be a hidden one."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise
