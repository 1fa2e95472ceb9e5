"""Steps that cannot be read: they have a row, and count in nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from gradclip_cli.errors import GradclipError, worded
from gradclip_cli.tensors.names import plural

_LISTED = 5


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


def unreadable(
    place: int, step: int | str, source: str, error: GradclipError | OSError
) -> Unreadable:
    """Give the row of a step that an error kept from being read."""
    said = error if isinstance(error, GradclipError) else worded(error)
    problem = said.problem if said.subject in ("", source) else str(said)
    return Unreadable(place, step, source, problem, said.hint)


def complaint(found: Sequence[Unreadable]) -> GradclipError:
    """Put what is wrong with steps, one or more, into one error."""
    first, *others = found
    details = [f"{one.source}: {one.problem}" for one in others[:_LISTED]]
    if len(others) > _LISTED:
        details.append(f"… and {plural(len(others) - _LISTED, 'more step')}")
    return GradclipError(first.source, first.problem, first.hint, tuple(details))
