"""What the system will not let be replaced, though it can be written to: known before a rename.

See rename(2), inode(7) on the sticky bit, ioctl_iflags(2), and proc_pid_mountinfo(5).
"""

import array
import contextlib
import os
import stat
from functools import lru_cache

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.system import NO_WAIT, control, is_read_only, open_raw, user

_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS of linux/fs.h
_IMMUTABLE, _APPEND = 0x10, 0x20


def check_replaceable(path: str, label: str) -> None:
    """Raise `GradclipError` where nothing can take the place of the file at a real path."""
    folder = os.path.dirname(path)
    if is_read_only(path):
        raise _refusal(label, "is on a file system that is mounted read-only")
    if user() and not may_remove(path):
        raise _refusal(label, "belongs to another user; in this folder only owners replace files")
    if path in _mounts(folder):
        raise _refusal(label, "is a mount of its own, which no other file can take the place of")
    for place, what in ((path, "the file"), (folder, "its folder")):
        flags = _flags(place)
        if flags & (_IMMUTABLE | _APPEND):
            letter = "i" if flags & _IMMUTABLE else "a"
            may = "must not be changed" if flags & _IMMUTABLE else "may only be added to"
            hint = f"allow it with: chattr -{letter} FILE"
            raise GradclipError(label, f"{what} {may} (chattr +{letter})", hint)


def may_remove(path: str) -> bool:
    """Say whether an ordinary user owns what has to be owned to remove a file, or replace it."""
    status, above = os.stat(path), os.stat(os.path.dirname(path))
    return not above.st_mode & stat.S_ISVTX or user() in (status.st_uid, above.st_uid)


def _refusal(label: str, problem: str) -> GradclipError:
    return GradclipError(label, problem, "write to another folder with -o")


@lru_cache(maxsize=1)
def _mounts(_folder: str) -> frozenset[str]:
    """Give where something is mounted, as the system says it; nothing where it does not.

    It is asked once a folder; what is mounted later is refused by the system when it comes to that.
    """
    found = set()
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", "rb") as stream:
        for line in stream:
            path = line.split()[4]
            for code in (b"\\040", b"\\011", b"\\012", b"\\134"):
                path = path.replace(code, bytes([int(code[1:], 8)]))
            found.add(os.fsdecode(path))
    return frozenset(found)


def _flags(path: str) -> int:
    """Give the attributes that chattr(1) sets; none where the file system has none."""
    flags = array.array("l", [0])
    with contextlib.suppress(OSError):
        descriptor = open_raw(path, os.O_RDONLY | NO_WAIT)
        try:
            control(descriptor, _GET_FLAGS, flags)
        finally:
            os.close(descriptor)
    return flags[0]
