"""Calls of the system whose errors name the file that they are about."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator


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
