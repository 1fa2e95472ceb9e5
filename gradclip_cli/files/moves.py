"""A result that takes its place: the one step that others see."""

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from gradclip_cli.errors import GradclipError, SystemRefusedError
from gradclip_cli.files.marks import remove
from gradclip_cli.files.system import flush, naming

Stamp = list[int]  # inode, size, modification time: a list, as JSON has it


@dataclass(frozen=True, slots=True)
class Move:
    """A result under its hidden name, and the target in the same folder that it is to become.

    Unless it may `replace` what is there, it takes only a place that is free. `old` is what stood
    there when the moves began; with a `suffix` that is kept beside it, under its name and that.
    """

    folder: str
    staged: str
    target: str
    replace: bool
    old: Stamp | None = None
    suffix: str = ""

    @property
    def source(self) -> str:
        """Where the result lies."""
        return os.path.join(self.folder, self.staged)

    @property
    def path(self) -> str:
        """Where it belongs."""
        return os.path.join(self.folder, self.target)

    @property
    def backup(self) -> str:
        """Where what it replaces is kept, if it has a suffix."""
        return self.path + self.suffix


def move_into_place(move: Move) -> None:
    """Let a result take its place; a file that appeared there meanwhile is never replaced."""
    with naming(move.path):
        if move.replace:
            os.replace(move.source, move.path)
            return
        try:
            os.link(move.source, move.path)
        except FileExistsError as error:
            raise appeared(move.path) from error
        except OSError:  # a file system without hard links
            if os.path.lexists(move.path):
                raise
            os.rename(move.source, move.path)
        else:
            remove(move.source)


def check_old(move: Move) -> None:
    """Raise `GradclipError` where what a move is to replace was written to since they began."""
    if move.old is not None and stamp(move.path) != move.old:
        problem = "it was written to while gradclip was at work"
        hint = "wait until the program that writes it has finished, then run gradclip again"
        busy = OSError(errno.EBUSY, problem, move.path)
        raise SystemRefusedError(move.path, problem, hint).refused(busy)


def flush_places(folders: Iterable[str]) -> None:
    """Wait until folders where results have taken their places are on the disk."""
    for folder in folders:
        try:
            flush(folder)
        except OSError as error:
            raise GradclipError(
                folder,
                "the results are in their places here, but may not be on the disk: "
                f"{(error.strerror or str(error)).lower()}",
                "the disk or the network may have a fault: look at them again",
            ) from error


def appeared(path: str) -> GradclipError:
    """Say that somebody else took a place that was free."""
    return GradclipError(path, "appeared while gradclip was at work", "to replace it, add --force")


def stamp(path: str) -> Stamp | None:
    """Give what tells a file from another that takes its place; None where there is none."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return None
    return [status.st_ino, status.st_size, status.st_mtime_ns]
