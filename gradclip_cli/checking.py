"""Whether files are sound: everything that can be known of a dump without its values."""

import os
from dataclasses import dataclass

from gradclip_cli.dump import Dump
from gradclip_cli.errors import GradclipError, worded
from gradclip_cli.formats import Place, find
from gradclip_cli.spooling import finish


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

    The values of a file are not read; a stream is read to its end. Raises `GradclipError` only
    where a folder holds no dumps.
    """
    return tuple(_checked(place) for place in find([os.fspath(path) for path in paths]).files)


def _checked(place: Place) -> Checked:
    try:
        file = place.open()
        finish(Dump((file,)))
    except GradclipError as error:
        return Checked(error.subject, problem=error.problem, hint=error.hint)
    except OSError as error:
        said = worded(error)
        return Checked(place.path, problem=said.problem, hint=said.hint)
    stream = file.source.stream
    size = file.source.size if stream is None else stream.position
    return Checked(file.source.label, file.format, len(file.tensors), size)
