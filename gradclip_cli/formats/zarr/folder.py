"""A folder as one source: none of its files may change while it is read, and none leads out."""

import contextlib
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import field, fields
from typing import Any, ClassVar

from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.files.source import Reader, Source
from gradclip_cli.files.streams import Front
from gradclip_cli.files.urls import is_url
from gradclip_cli.formats.foreign import listing
from gradclip_cli.frozen import frozen
from gradclip_cli.tensors.dump import Tensor
from gradclip_cli.tensors.names import quoted

_MOST = 10_000_000  # files
_DEEPEST = 250  # folders in folders
_OFTEN = 1000  # files are looked at again by every reader, more by every so manieth


def located(front: Front, source: Source, name: str | None) -> tuple[Tensor, ...]:
    """Give the arrays of a folder that count, which `source` marks."""
    folder = FolderSource(source.path, source.label, seen(source.path, source.label), _Turns())
    front.proofs.append(folder)
    own = _name(tree.absolute(source.path), name)
    return listing.located("gradclip_cli.formats.zarr.reader:library", front, folder, own)


def _name(path: str, name: str | None) -> str:
    """Give the name for an array that is the whole folder: that of the folder."""
    above, mark = os.path.split(path)
    is_below = name is not None and name.endswith(f".{mark}")
    called = str(name).removesuffix(f".{mark}") if is_below else os.path.basename(above)
    return called.removesuffix(".zarr")


class _Turns:
    """Counts readers; in another process it begins anew."""

    def __init__(self) -> None:
        self.number = 0

    def __reduce__(self) -> tuple[type["_Turns"], tuple[()]]:
        return _Turns, ()


@frozen
class FolderSource(Source):
    """All files of a folder, as they were when it was listed; `path` is that of one that marks it.

    What each of many readers would take long to look at is looked at now and then, and at the end.
    """

    path: str
    label: str
    was: tuple[int, ...]
    turns: _Turns = field(compare=False, repr=False)
    size: int | None = None

    sampled: ClassVar[bool] = True

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        """Give what a copy knows: another process may work in another folder."""
        state = {one.name: getattr(self, one.name) for one in fields(self)}
        return None, {**state, "path": tree.absolute(self.path)}

    @property
    def stamp(self) -> tuple[int, ...]:
        """Number of files, of their bytes, and what shows any change of their times and places."""
        return self.was

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        """Give nothing that reads; raises `GradclipError` if a file is no longer the same."""
        self.turns.number += 1
        if is_url(self.path) or self.turns.number % (self.was[0] // _OFTEN + 1):
            yield Reader(self.label)
            return
        self.check()
        yield Reader(self.label)
        self.check()

    def check(self) -> None:
        """Raise `GradclipError` if a file is no longer the same."""
        if seen(self.path, self.label) != self.stamp:
            raise GradclipError(
                self.label,
                "changed while gradclip was reading it",
                "wait until the program that writes it has finished, then run gradclip again",
            )

    def prove(self) -> None:
        """Do as `check`."""
        self.check()


def seen(path: str, label: str) -> tuple[int, ...]:
    """Give what shows a change of any file of a folder.

    Raises `GradclipError` for links that lead out of it, and for what is neither file nor folder.
    """
    folder = os.path.dirname(path) or os.curdir
    if is_url(folder):
        from gradclip_cli.files.stores import below

        listed = below(f"{folder}/")
        data = repr(listed).encode()
        sizes = sum(one.size for _, one in listed)
        return len(listed), sizes, zlib.crc32(data), zlib.adler32(data)
    home = os.path.realpath(folder)
    found = sorted(_files(folder, home, label))
    size = sum(status[1] for _, status in found)
    data = repr(found).encode("utf-8", "surrogateescape")
    return len(found), size, zlib.crc32(data), zlib.adler32(data)


def _files(folder: str, home: str, label: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    due = [(folder, 0)]
    number = 0
    while due:
        place, depth = due.pop()
        if depth > _DEEPEST:
            raise GradclipError(
                label,
                f"it holds folders in folders, more than {_DEEPEST} deep",
                "give the folder that the arrays are in",
            )
        with os.scandir(place) as entries:
            for entry in entries:
                number += 1
                if number > _MOST:
                    raise GradclipError(
                        label, f"it holds more than {_MOST:,} files", "give a folder of it"
                    )
                if entry.is_symlink():
                    _check_link(entry.path, home, label)
                status = entry.stat()
                if stat.S_ISDIR(status.st_mode) and not entry.is_symlink():
                    due.append((entry.path, depth + 1))
                elif stat.S_ISREG(status.st_mode):
                    times = status.st_mtime_ns, status.st_ctime_ns
                    # Another process may know the folder by another path, the disk by a number.
                    yield entry.path[len(folder) :], (status.st_ino, status.st_size, *times)
                else:
                    raise GradclipError(
                        label,
                        f"{quoted(entry.name)} in it is neither a file nor a folder of its own",
                        "copy what it stands for into the folder: cp -rL FOLDER NEW",
                    )


def _check_link(path: str, home: str, label: str) -> None:
    if not os.path.realpath(path).startswith(home + os.sep) or not os.path.exists(path):
        raise GradclipError(
            label,
            f"{quoted(os.path.basename(path))} in it is a link that leads out of the folder",
            "copy what it stands for into the folder: cp -rL FOLDER NEW",
        )
