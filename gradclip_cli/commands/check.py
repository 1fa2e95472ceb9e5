"""Whether files are sound: everything that can be known of a dump without its values."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from gradclip_cli.commands.spooling import finish
from gradclip_cli.errors import GradclipError, worded
from gradclip_cli.formats.opening import Place, find
from gradclip_cli.tensors.dump import Dump


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that was looked at: what it holds, or what is wrong with it and what to do.

    `size` is in bytes. Of an unsound file only `label`, `problem` and `hint` are known.
    """

    label: str
    format: str | None = None
    tensors: int | None = None
    size: int | None = None
    problem: str | None = None
    hint: str | None = None

    @property
    def sound(self) -> bool:
        """Whether the file is what its format says it must be."""
        return self.problem is None


def check(*paths: str | os.PathLike[str]) -> tuple[Checked, ...]:
    """Check files, and those of folders, each by itself: header, names, shapes, sizes.

    The values of a file are not read; a stream is read to its end.
    """
    return tuple(found for path in paths for found in _checked_all(os.fspath(path)))


def _checked_all(operand: str) -> Iterator[Checked]:
    try:
        places = find([operand]).files
    except (GradclipError, OSError) as error:
        yield _unsound(operand, error)
    else:
        yield from map(_checked, places)


def _checked(place: Place) -> Checked:
    try:
        file = place.open()
        finish(Dump((file,)))
    except (GradclipError, OSError) as error:
        return _unsound(place.path, error)
    stream = file.source.stream
    size = file.source.size if stream is None else stream.position
    return Checked(file.source.label, file.format, len(file.tensors), size)


def _unsound(path: str, error: GradclipError | OSError) -> Checked:
    said = error if isinstance(error, GradclipError) else worded(error)
    return Checked(said.subject or path, problem=said.problem, hint=said.hint)
