"""Steps that cannot be read: they have a row, and count in nothing."""

from dataclasses import dataclass
from typing import ClassVar

from gradclip_cli.errors import GradclipError, worded


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A step that cannot be read, and the error; `place` is where it stands among all steps."""

    place: int
    step: int | str
    source: str
    error: GradclipError

    mark: ClassVar[str] = "unreadable"

    @property
    def marked(self) -> str:
        """Its mark, as any step has one."""
        return self.mark

    @property
    def problem(self) -> str:
        """What is wrong, and with which of its files."""
        return self.error.problem if self.error.subject == self.source else self.error.said


def unreadable(
    place: int, step: int | str, source: str, error: GradclipError | OSError
) -> Unreadable:
    """Give the row of a step that an error kept from being read."""
    said = error if isinstance(error, GradclipError) else worded(error)
    about = GradclipError(said.subject or source, said.problem, said.hint)
    return Unreadable(place, step, source, about)
