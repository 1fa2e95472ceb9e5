"""Whether a file may be written at a place: what is wrong is said before anything is made."""

import os
import stat
from dataclasses import dataclass

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.marks import is_ours


@dataclass(frozen=True, slots=True)
class Target:
    """A path that is to hold a result; `replace` allows it to exist already."""

    path: str
    replace: bool


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
    if not force:
        raise GradclipError(label, "already exists", "to replace it, add --force")
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


def is_special(path: str) -> bool:
    """Say whether a path is something that is written through: a device, a FIFO, a socket."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
