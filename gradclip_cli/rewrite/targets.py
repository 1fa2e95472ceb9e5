"""Where clipped files go. Everything that can be refused is refused before a value is read."""

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.marks import is_ours
from gradclip_cli.tensors.dump import Companion, Dump, DumpFile
from gradclip_cli.tensors.names import escape


@dataclass(frozen=True, slots=True)
class Target:
    """A path that is to hold a result; `replace` allows it to exist already."""

    path: str
    replace: bool


@dataclass(frozen=True, slots=True)
class Targets:
    """Where each file of a dump goes, in the dump's order, and what is copied along.

    `folder` is a folder that does not exist yet and is to hold them all, or None.
    """

    files: tuple[Target, ...]
    companions: tuple[tuple[Companion, Target], ...] = ()
    folder: str | None = None

    @property
    def all(self) -> tuple[Target, ...]:
        """Every target."""
        return (*self.files, *(target for _, target in self.companions))


def in_place(dump: Dump) -> Targets:
    """Let each file take its own place, or that of the file its symbolic link points to."""
    targets = []
    for file in dump.files:
        path = os.path.realpath(file.source.path)
        _check_name(path, file.source.label)
        links = os.stat(path).st_nlink
        if links > 1:
            raise GradclipError(
                file.source.label,
                f"the file has {links} hard links; replacing it would leave the others as they are",
                "write to another file with -o, or make it a file of its own first: cp FILE NEW",
            )
        if not os.access(path, os.W_OK):
            raise GradclipError(
                file.source.label, "the file is read-only", "allow writing with: chmod u+w FILE"
            )
        _check_folder(os.path.dirname(path), file.source.label)
        targets.append(Target(path, True))
    return Targets(tuple(targets))


def beside(dump: Dump, operands: Sequence[str], output: str, force: bool) -> Targets:
    """Put the results where `-o OUTPUT` says: one file, or a folder.

    It is a folder where it exists as one, ends in a slash, or has more than one file to hold.
    """
    for file in dump.files:
        if file.relative:  # standard input has no name
            _check_name(os.path.realpath(file.source.path), file.source.label)
    plain = output.rstrip(os.sep) or os.sep
    into_folder = (
        output.endswith(os.sep)
        or os.path.isdir(output)
        or len(operands) > 1
        or any(map(os.path.isdir, operands))
    )
    if not into_folder:
        return Targets((checked(output, output, dump.files, force),))
    if os.path.lexists(plain) and not os.path.isdir(plain):
        raise GradclipError(
            output, "a file stands where a folder is needed", "name another folder with -o"
        )
    if not all(file.relative for file in dump.files):
        raise GradclipError(
            output, "standard input has no file name to use in a folder", "name a file with -o"
        )
    places: dict[str, str] = {}
    found = []
    for relative, label in (
        *((file.relative, file.source.label) for file in dump.files),
        *((companion.relative, companion.path) for companion in dump.companions),
    ):
        target = checked(os.path.join(plain, relative), plain, dump.files, force)
        if target.path in places:
            raise GradclipError(
                os.path.join(plain, relative),
                f"both {escape(places[target.path])} and {escape(label)} would be written here",
                "clip them in two runs, into two folders",
            )
        places[target.path] = label
        found.append(target)
    files, others = found[: len(dump.files)], found[len(dump.files) :]
    folder = None if os.path.isdir(plain) else os.path.realpath(plain)
    return Targets(tuple(files), tuple(zip(dump.companions, others, strict=True)), folder)


def checked(label: str, top: str, inputs: Iterable[DumpFile], force: bool) -> Target:
    """Give the target behind a path, through symbolic links; refuse what cannot be written.

    Folders below `top`, and `top` itself, may still have to be made; what holds it may not.
    """
    path = os.path.realpath(label)
    for file in inputs:
        with contextlib.suppress(OSError):
            status = os.stat(path)
            if (file.source.device, file.source.inode) == (status.st_dev, status.st_ino):
                raise GradclipError(
                    label,
                    "the output is the input itself",
                    "to replace the input, say --in-place instead of -o",
                )
    check_place(path, label, force)
    folder, least = os.path.dirname(path), os.path.dirname(os.path.realpath(top))
    while not os.path.lexists(folder) and len(folder) > len(least):
        folder = os.path.dirname(folder)
    _check_folder(folder, label)
    return Target(path, force)


def check_place(path: str, label: str, force: bool) -> None:
    """Refuse a place that is taken, unless `force` allows to replace a file there."""
    _check_name(path, label)
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


def _check_name(path: str, label: str) -> None:
    """Refuse what would be swept away as left behind."""
    if any(map(is_ours, path.split(os.sep))):
        raise GradclipError(
            label,
            "has a name that gradclip gives to results under way, and removes",
            "give it another name: mv FILE NEW",
        )


def _check_folder(folder: str, label: str) -> None:
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
