"""What a file is besides its bytes: kept by what takes its place, which never allows more.

Owner, group, mode, access list and other attributes; what the system does not let be kept is named.
"""

import contextlib
import os
import stat
import struct
from collections.abc import Iterator

from gradclip_cli.files.system import (
    allow,
    attribute,
    attributes,
    give,
    remove_attribute,
    set_attribute,
)

Lost = dict[str, list[str]]
"""What could not be kept, and the paths that have lost it."""

_LIST = "system.posix_acl_access"
# They say something of the very bytes, and the kernel gives or takes them itself.
_OF_THE_BYTES = ("security.capability", "security.evm", "security.ima")

# Entries of an access list, as the kernel has them: tag, rights, number; see acl(5).
_HEAD = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_OWNER, _GROUP, _MASK, _OTHER = 0x01, 0x04, 0x10, 0x20


def keep_attributes(descriptor: int, path: str, lost: Lost) -> None:
    """Give an open file what the file at a path is besides its bytes, and note what is lost.

    Raises `FileNotFoundError` where there is none.
    """
    old = os.stat(path)
    mode = stat.S_IMODE(old.st_mode)
    found, gone = {}, []
    for name in attributes(path):
        try:
            found[name] = attribute(path, name)
        except OSError:
            gone.append(name)
    listed = found.pop(_LIST, None)
    for what in _strangers(descriptor, old):
        gone.append(what)
        mode = _without_strangers(mode, what)
        listed = _narrowed(listed, mode) if listed and what == "group" else listed
    _allow(descriptor, mode, listed, gone)
    for name, value in found.items():
        if name in _OF_THE_BYTES or not _is_set(descriptor, name, value):
            gone.append(name)
    for what in gone:
        lost.setdefault(what, []).append(path)


def allow_again(file: str | int, mode: int) -> None:
    """Give a file that was written to the bits of its mode back that writing takes away."""
    if mode & (stat.S_ISUID | stat.S_ISGID):
        os.chmod(file, stat.S_IMODE(mode))


def forget(lost: Lost, path: str) -> None:
    """Take back what was noted of a file, which stays as it is."""
    for what, paths in [*lost.items()]:
        lost[what] = [other for other in paths if other != path]
        if not lost[what]:
            del lost[what]


def _strangers(descriptor: int, old: os.stat_result) -> Iterator[str]:
    """Give a file its owner and its group, and name those of them that it cannot have."""
    for what, owner, group in (("owner", old.st_uid, -1), ("group", -1, old.st_gid)):
        now = os.fstat(descriptor)
        if (owner, group) in ((now.st_uid, -1), (-1, now.st_gid)):
            continue
        try:
            give(descriptor, owner, group)
        except OSError:
            yield what


def _without_strangers(mode: int, what: str) -> int:
    """Take rights away that were meant for another: who is in either has those of both."""
    if what == "owner":
        return mode & ~stat.S_ISUID
    both = mode >> 3 & mode & stat.S_IRWXO
    return mode & ~(stat.S_ISGID | stat.S_IRWXG | stat.S_IRWXO) | both << 3 | both


def _allow(descriptor: int, mode: int, listed: bytes | None, gone: list[str]) -> None:
    """Give a file its mode and its access list; without it, only what all of the list may."""
    remove_attribute(descriptor, _LIST)  # which its folder may have given it
    allow(descriptor, _least(mode, listed) if listed else mode)
    if listed and not _is_set(descriptor, _LIST, listed):
        gone.append(_LIST)


def _is_set(descriptor: int, name: str, value: bytes) -> bool:
    with contextlib.suppress(OSError):
        if attribute(descriptor, name) == value:  # as a label that all files of a folder have
            return True
    try:
        set_attribute(descriptor, name, value)
    except OSError:
        return False
    return True


def _entries(listed: bytes) -> Iterator[tuple[int, int, int]]:
    return _ENTRY.iter_unpack(listed[_HEAD.size :])


def _narrowed(listed: bytes, mode: int) -> bytes:
    """Give an access list whose group, and all others, may no more than both, and a mode says."""
    both = mode & 7
    for tag, rights, _ in _entries(listed):
        both &= rights if tag == _GROUP else 7
    entries = (
        (tag, both if tag in (_GROUP, _OTHER) else rights, number)
        for tag, rights, number in _entries(listed)
    )
    return listed[: _HEAD.size] + b"".join(_ENTRY.pack(*entry) for entry in entries)


def _least(mode: int, listed: bytes) -> int:
    """Give a mode that allows nobody more than an access list does."""
    entries = [*_entries(listed)]
    mask = next((rights for tag, rights, _ in entries if tag == _MASK), 7)
    everyone = 7
    for tag, rights, _ in entries:
        if tag not in (_OWNER, _MASK, _OTHER):
            everyone &= rights & mask
    return mode & ~0o077 | (mode >> 3 & everyone) << 3 | mode & 7 & everyone
