"""Whether a file may be written at a place: what is wrong is said before anything is made."""

import errno
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.marks import is_ours
from gradclip_cli.files.refusals import check_replaceable
from gradclip_cli.files.system import REPLACES, room

NEW_ONLY = "on Windows gradclip replaces no files: write to a new one with -o"


@dataclass(frozen=True, slots=True)
class Target:
    """A path that is to hold a result; `replace` allows it to exist already.

    With a `suffix` what stands there is kept beside it, under its name and that.
    """

    path: str
    replace: bool
    suffix: str = ""

    @property
    def backup(self) -> str:
        """Where what stands there is kept."""
        return self.path + self.suffix


def leads_out(place: str) -> bool:
    """Say whether a path that a file names may lead out of the folder of that, on any system.

    >>> leads_out("a/b"), leads_out("/a"), leads_out("a/../../b"), leads_out("C:/b")
    (False, True, True, True)
    """
    parts = re.split(r"[/\\]", place)
    return not parts[0] or ".." in parts or re.fullmatch("[A-Za-z]:", parts[0]) is not None


def target(label: str, top: str, force: bool) -> Target:
    """Give the target behind a path, through symbolic links; refuse what cannot be written.

    Folders below `top`, and `top` itself, may still have to be made; what holds it may not.
    """
    path = os.path.realpath(label)
    check_place(path, label, force)
    folder, least = os.path.dirname(path), os.path.dirname(os.path.realpath(top))
    while not os.path.lexists(folder) and len(folder) > len(least):
        folder = os.path.dirname(folder)
    check_folder(folder, label)
    return Target(path, force)


def check_place(path: str, label: str, force: bool) -> None:
    """Refuse a place that is taken, unless `force` allows to replace a file there."""
    check_name(path, label)
    if os.path.isdir(path):
        raise GradclipError(
            label, "a folder stands where the file should go", "name another file, or move it away"
        )
    if not os.path.lexists(path):
        return
    if not REPLACES:
        raise GradclipError(label, "already exists", NEW_ONLY)
    if not force:
        raise GradclipError(label, "already exists", "to replace it, add --force")
    check_replaceable(path, label)
    if not os.access(path, os.W_OK):
        raise GradclipError(label, "is read-only", "allow writing with: chmod u+w FILE")


def check_name(path: str, label: str) -> None:
    """Refuse what would be swept away as left behind."""
    if any(map(is_ours, path.split(os.sep))):
        raise GradclipError(
            label,
            "has a name that gradclip gives to results under way, and removes",
            "give it another name: mv FILE NEW",
        )


def check_folder(folder: str, label: str) -> None:
    """Check that new files can be made in a folder."""
    if not os.path.isdir(folder):
        raise GradclipError(label, "its folder does not exist", "make it first: mkdir -p FOLDER")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise GradclipError(label, "its folder cannot be written to", "choose another place")


def check_room(wanted: Iterable[tuple[str, int]]) -> None:
    """Check that files of these paths and sizes will all find room, each on its disk."""
    taken: dict[int, int] = {}
    for path, size in wanted:
        folder = os.path.dirname(path)
        while not os.path.isdir(folder):  # it is still to be made
            folder = os.path.dirname(folder)
        (free, block), device = room(folder), os.stat(folder).st_dev
        taken[device] = taken.get(device, 0) + -(-size // block) * block
        if taken[device] > free:
            raise no_room(path, size, errno.ENOSPC)


def no_room(path: str, size: int, number: int) -> GradclipError:
    """Say that there is no room for a file, and why: the number of the system's error."""
    return GradclipError(
        path,
        f"no room for its {size:,} bytes: {os.strerror(number).lower()}",
        "free some space on that disk, or write elsewhere with -o",
    )


def is_special(path: str) -> bool:
    """Say whether a path is something that is written through: a device, a FIFO, a socket.

    So is a file that is open and has no name any more, as `/dev/fd/3` may lead to.
    """
    try:
        status = os.stat(path)
    except OSError:
        return False
    if stat.S_ISREG(status.st_mode):
        return not _is_at(os.path.realpath(path), status)
    return not stat.S_ISDIR(status.st_mode)


def _is_at(path: str, status: os.stat_result) -> bool:
    """Say whether a real path is a name of a file; those of open files in /dev are none."""
    try:
        return not path.startswith("/dev/fd/") and os.path.samestat(os.stat(path), status)
    except OSError:
        return False
