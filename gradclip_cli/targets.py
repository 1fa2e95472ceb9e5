"""Where clipped files go, and how they get there whole or not at all.

Everything that can be refused is refused before the first value is read. Results are staged under
hidden names beside their targets, flushed to disk, and only then renamed, one after the other;
whatever fails before the first rename leaves every target as it was.
"""

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gradclip_cli.dump import Companion, Dump, DumpFile
from gradclip_cli.errors import GradclipError
from gradclip_cli.names import escape
from gradclip_cli.source import reserve


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


def in_place(dump: Dump) -> Targets:
    """Let each file take its own place, or that of the file its symbolic link points to."""
    targets = []
    for file in dump.files:
        path = os.path.realpath(file.source.path)
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
    plain = output.rstrip(os.sep) or os.sep
    into_folder = (
        output.endswith(os.sep)
        or os.path.isdir(output)
        or len(operands) > 1
        or any(map(os.path.isdir, operands))
    )
    if not into_folder:
        return Targets((_checked(output, output, dump.files, force),))
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
        target = _checked(os.path.join(plain, relative), plain, dump.files, force)
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


def _checked(label: str, top: str, inputs: Iterable[DumpFile], force: bool) -> Target:
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


def _check_folder(folder: str, label: str) -> None:
    """Check that new files can be made in a folder."""
    if not os.path.isdir(folder):
        raise GradclipError(label, "its folder does not exist", "make it first: mkdir -p FOLDER")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise GradclipError(label, "its folder cannot be written to", "choose another place")


def write_whole(path: str, data: bytes, force: bool) -> None:
    """Write a small file whole or not at all; a device or a FIFO is written through."""
    if is_special(path):
        with open(path, "wb") as stream:
            stream.write(data)
        return
    with staging() as area:
        staged = area.file(_checked(path, path, (), force), len(data))
        with open(staged, "r+b") as stream:
            stream.write(data)
        area.commit()


def is_special(path: str) -> bool:
    """Say whether a path is something that is written through: a device, a FIFO, a socket."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


class Staging:
    """Results on their way: files with hidden names beside their targets, renamed at the end."""

    def __init__(self) -> None:
        self._staged: list[tuple[str, Target]] = []
        self._folders: list[str] = []
        self._new_folder: tuple[str, str] | None = None

    def new_folder(self, path: str) -> None:
        """Stage a whole new folder: files below it are written into a hidden one, renamed once."""
        # Here and below a path is noted before it is made: a signal may come in between.
        hidden = _hidden(path)
        self._new_folder = hidden, path
        os.mkdir(hidden)

    def file(self, target: Target, size: int) -> str:
        """Stage a file of so many bytes; gives the hidden path to write to.

        The space is reserved, so that a full disk is known now. What replaces a file keeps its
        mode and, where allowed, its owner; a new file obeys the umask.
        """
        path, end = target.path, target
        if self._new_folder is not None:
            hidden, folder = self._new_folder
            path = os.path.join(hidden, os.path.relpath(target.path, os.path.realpath(folder)))
            os.makedirs(os.path.dirname(path), exist_ok=True)
        else:
            self._make_folders(os.path.dirname(path))
            path = _hidden(path)
        self._staged.append((path, end))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with contextlib.suppress(FileNotFoundError):
                _keep_rights(descriptor, os.stat(target.path))
            reserve(descriptor, size)
        except OSError as error:
            raise GradclipError(
                target.path,
                f"no room for its {size:,} bytes: {(error.strerror or '').lower()}",
                "free some space on that disk, or write elsewhere with -o",
            ) from error
        finally:
            os.close(descriptor)
        return path

    def _make_folders(self, folder: str) -> None:
        if not os.path.isdir(folder):
            self._make_folders(os.path.dirname(folder))
            self._folders.append(folder)
            os.mkdir(folder)

    def copy(self, path: str, target: Target) -> None:
        """Stage a small file as it is."""
        with open(path, "rb") as source:
            staged = self.file(target, os.fstat(source.fileno()).st_size)
            with open(staged, "r+b") as stream:
                shutil.copyfileobj(source, stream)

    def drop(self, path: str) -> None:
        """Forget a staged file, whose target is to stay as it is."""
        self._staged = [pair for pair in self._staged if pair[0] != path]
        os.unlink(path)

    def commit(self) -> None:
        """Flush everything to disk, then let the results take their places."""
        for path, _ in self._staged:
            _flush(path, os.O_RDWR)
        if self._new_folder is not None:
            hidden, folder = self._new_folder
            for place, _, _ in os.walk(hidden):
                _flush(place, os.O_RDONLY)
            os.rename(hidden, folder)
            _flush(os.path.dirname(folder), os.O_RDONLY)
            self._staged, self._new_folder = [], None
            return
        folders = {os.path.dirname(target.path) for _, target in self._staged}
        while self._staged:
            path, target = self._staged[0]
            _rename(path, target)
            self._staged.pop(0)
            self._folders = []
        for folder in folders:
            _flush(folder, os.O_RDONLY)

    def discard(self) -> None:
        """Remove whatever is still under a hidden name."""
        for path, _ in self._staged:
            with contextlib.suppress(OSError):
                os.unlink(path)
        for folder in reversed(self._folders):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        if self._new_folder is not None:
            shutil.rmtree(self._new_folder[0], ignore_errors=True)


@contextlib.contextmanager
def staging() -> Iterator[Staging]:
    """Give a staging area that leaves nothing behind unless it was committed."""
    area = Staging()
    try:
        yield area
    finally:
        area.discard()


def _hidden(path: str) -> str:
    folder, name = os.path.split(path)
    # A name may be 255 bytes long, and a character up to four.
    return os.path.join(folder, f".{name[:40]}.gradclip-{secrets.token_hex(4)}.tmp")


def _keep_rights(descriptor: int, old: os.stat_result) -> None:
    with contextlib.suppress(OSError):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _flush(path: str, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(path: str, target: Target) -> None:
    """Let a staged file take its place; a file that appeared there meanwhile is never replaced."""
    if target.replace:
        os.replace(path, target.path)
        return
    try:
        os.link(path, target.path)
    except FileExistsError as error:
        raise GradclipError(
            target.path, "appeared while gradclip was at work", "to replace it, add --force"
        ) from error
    except OSError:  # a file system without hard links
        if os.path.lexists(target.path):
            raise
        os.rename(path, target.path)
    else:
        os.unlink(path)
