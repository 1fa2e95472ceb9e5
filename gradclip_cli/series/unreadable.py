"""Steps that cannot be read: they have a row, and count in nothing."""

from dataclasses import dataclass
from typing import ClassVar

from gradclip_cli.errors import GradclipError, worded


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A step that cannot be read, and why; `place` is where it stands among all steps."""

    place: int
    step: int | str
    source: str
    problem: str
    hint: str

    mark: ClassVar[str] = "unreadable"

    @property
    def marked(self) -> str:
        """Its mark, as any step has one."""
        return self.mark

    @property
    def error(self) -> GradclipError:
        """What is said of it."""
        return GradclipError(self.source, self.problem, self.hint)


def unreadable(
    place: int, step: int | str, source: str, error: GradclipError | OSError
) -> Unreadable:
    """Give the row of a step that an error kept from being read."""
    said = error if isinstance(error, GradclipError) else worded(error)
    problem = said.problem if said.subject in ("", source) else str(said)
    return Unreadable(place, step, source, problem, said.hint)
