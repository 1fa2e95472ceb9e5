"""What can go wrong, in words, and the status that the process ends with.

The wording lives in the exception, its presentation at one boundary (`cli`). Whatever a user can
mend is a `GradclipError`; anything else that is raised is a bug and keeps its traceback.
"""

import enum


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


class GradclipError(Exception):
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

    def __str__(self) -> str:
        return f"{self.subject}: {self.problem}" if self.subject else self.problem


class RefusedError(GradclipError):
    """A verdict on the gradients themselves: clipping them would give wrong numbers."""

    status = Status.VERDICT
