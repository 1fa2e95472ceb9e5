"""What can go wrong, in words, and the status that the process ends with.

The wording lives in the exception, its presentation at one boundary (`cli`). Whatever a user can
mend is a `GradclipError`; anything else that is raised is a bug and keeps its traceback.
"""

import enum
import errno
from collections.abc import Sequence
from typing import Any, Self

_LISTED = 5


class Status(enum.IntEnum):
    """How a gradclip process ends; 128 + N means that signal N ended it."""

    OK = 0
    VERDICT = 1
    TROUBLE = 2
    BUG = 70
    HANGUP = 129
    INTERRUPTED = 130
    READER_GONE = 141
    TERMINATED = 143


class GradclipError(ValueError):
    """Something that the user can mend: what it is about, what was found, and the way out.

    `subject` is a path or an option, `details` are further lines. All three survive pickling, so
    that an error crosses from a worker process unharmed.
    """

    status = Status.TROUBLE

    def __init__(
        self, subject: str, problem: str, hint: str = "", details: tuple[str, ...] = ()
    ) -> None:
        super().__init__(subject, problem, hint, details)
        self.subject = subject
        self.problem = problem
        self.hint = hint
        self.details = details

    @property
    def said(self) -> str:
        """What it is about and what was found, in a line."""
        return f"{self.subject}: {self.problem}" if self.subject else self.problem

    def __str__(self) -> str:
        hint = [f"hint: {self.hint}"] if self.hint else []
        return "\n".join([self.said, *(f"  {detail}" for detail in self.details), *hint])


def together(errors: Sequence[GradclipError]) -> GradclipError:
    """Put errors about paths into one: the first, and the others as further lines."""
    first, *others = errors
    details = [f"{error.subject}: {error.problem}" for error in others[:_LISTED]]
    if len(others) > _LISTED:
        details.append(f"… and {len(others) - _LISTED:,} more")
    return GradclipError(first.subject, first.problem, first.hint, tuple(details))


class RefusedError(GradclipError):
    """A verdict on the gradients themselves: clipping them would give wrong numbers."""

    status = Status.VERDICT


class SystemRefusedError(GradclipError, OSError):
    """What the system refused, in words; an `OSError` as well, for whoever waits for one."""

    def refused(self, error: OSError) -> Self:
        """Take over what an `OSError` says of itself."""
        self.errno, self.filename, self.strerror = error.errno, error.filename, error.strerror
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, OSError(self.errno, self.strerror, self.filename))


def _again(
    kind: type[SystemRefusedError], said: tuple[Any, ...], error: OSError
) -> SystemRefusedError:
    return kind(*said).refused(error)


class MissingFileError(SystemRefusedError, FileNotFoundError):
    """A file or a folder that is not there."""


class NotAllowedError(SystemRefusedError, PermissionError):
    """A file or a folder that one has no right to."""


def worded(error: OSError) -> GradclipError:
    """Put what the system refused into words: what it was about, why, and a way out."""
    path = error.filename if isinstance(error.filename, str) else ""
    problem = (error.strerror or str(error)).lower()
    kinds = (MissingFileError, FileNotFoundError), (NotAllowedError, PermissionError)
    kind = next((own for own, known in kinds if isinstance(error, known)), SystemRefusedError)
    return kind(path, problem, _WAYS_OUT.get(error.errno or 0, "")).refused(error)


def unimported(error: ImportError) -> GradclipError:
    """Put into words that a part of the installation is missing, or must not be read."""
    first = error
    while isinstance(first.__cause__, ImportError):  # libraries say much around what happened
        first = first.__cause__
    said = next(filter(None, map(str.strip, str(first).splitlines())), type(first).__name__)
    return GradclipError(
        "",
        f"the installation is not whole: {said[0].lower()}{said[1:]}",
        "may you read all of it? else install it anew: pip uninstall gradclip-cli, and pip install",
    )


_WAYS_OUT = {
    errno.ENOENT: "is the name right? ls shows what is there",
    errno.ENOTDIR: "a part of that path is a file, not a folder",
    errno.EACCES: "ask its owner for the right to it, or change its mode with chmod",
    errno.EPERM: "ask its owner for the right to it, or change its mode with chmod",
    errno.ENOSPC: "free some space on that disk, or write elsewhere with -o",
    errno.EDQUOT: "free some of your quota, or write elsewhere with -o",
    errno.EMFILE: "let a process open more files: ulimit -n 4096",
    errno.EROFS: "that file system is read-only: write elsewhere with -o",
    errno.ENAMETOOLONG: "a name has at most 255 bytes and a path 4,095: give a shorter one, or cd "
    "into a folder on its way",
    errno.EIO: "the disk or the network has a fault: copy the file elsewhere and look again",
}
