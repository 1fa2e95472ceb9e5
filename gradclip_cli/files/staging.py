"""How results reach their targets: each is at every moment the old file or the whole new one.

A result is written where nobody looks, flushed to the disk, and only then takes its place. A single
one has no name until then, where the file system can do that; a new folder is written under a
hidden name and renamed once; several files go through a `Replacement`. A run that is killed leaves
at most hidden names, which the next run there removes.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from gradclip_cli.files.attributes import Lost, allow_again, forget, keep_attributes
from gradclip_cli.files.holes import Holes, reserve
from gradclip_cli.files.journal import settle
from gradclip_cli.files.marks import is_still, lock, new_token, remove, staged_path, sweep
from gradclip_cli.files.moves import Move, appeared, flush_places, move_into_place
from gradclip_cli.files.places import Target, is_special, no_room, target
from gradclip_cli.files.replacement import Replacement
from gradclip_cli.files.system import (
    flush,
    naming,
    open_folder,
    open_raw,
    open_unnamed,
    sync,
)


class Staging(Protocol):
    """Results on their way: made one by one, then all of them committed or all discarded.

    `lost` is what the files that they replace have, and they cannot.
    """

    lost: Lost

    def file(self, target: Target, size: int, holes: Holes = ()) -> str:
        """Make a file of so many bytes for a target; gives the path to write to.

        The space is reserved, but for holes, so that a full disk is known now. What replaces a file
        keeps its mode and, where allowed, its owner and attributes; a new one obeys the umask.
        """

    def drop(self, path: str, /) -> None:
        """Forget a file, whose target is to stay as it is."""

    def commit(self, check: Callable[[], object]) -> None:
        """Flush everything to the disk, then let the results take their places.

        `check` is called when only that is left to do, and may raise an error to call it off.
        """

    def discard(self) -> None:
        """Remove what has not taken its place."""


@contextlib.contextmanager
def staging(
    targets: Sequence[Target], new_folder: str | None = None, is_shared: bool = False
) -> Iterator[Staging]:
    """Give a place to write the results that leaves nothing behind unless it was committed.

    `new_folder` is a folder that does not exist yet and is to hold them all. What earlier runs left
    unfinished beside the targets is finished, or removed, first. Files that are shared with other
    processes have names, which nobody finds who comes too late.
    """
    places = [target.path for target in targets]
    folders = {os.path.dirname(path) for path in (*places, *filter(None, [new_folder]))}
    standing = {folder for folder in folders if os.path.isdir(folder)}
    for folder in standing:
        settle(folder)
    sweep(standing)
    area: Staging
    if new_folder is not None:
        area = _NewFolder(new_folder)
    elif (
        len(places) == 1
        and standing
        and not (is_shared or targets[0].suffix)
        and (descriptor := open_unnamed(os.path.dirname(places[0]))) >= 0
    ):
        area = _Unnamed(descriptor, targets[0])
    else:
        area = _Named()
    try:
        try:
            yield area
        finally:
            area.discard()
    except BaseException:
        area.discard()  # once more: a signal may have come in the midst of it
        raise


def write_whole(path: str, data: bytes, force: bool) -> None:
    """Write a small file whole or not at all; a device or a FIFO is written through."""
    if is_special(path):
        with open(path, "wb") as stream:
            stream.write(data)
        return
    place = target(path, path, force)
    with staging([place]) as area:
        with naming(path), open(open_raw(area.file(place, len(data)), os.O_WRONLY), "wb") as stream:
            stream.write(data)
        area.commit(lambda: None)


def write_into(area: Staging, data: bytes, target: Target) -> None:
    """Stage a small file that has these bytes."""
    with open(area.file(target, len(data)), "r+b") as stream:
        stream.write(data)


class _Unnamed:
    """A single file that has no name until it is whole."""

    def __init__(self, descriptor: int, target: Target) -> None:
        self._descriptor = descriptor
        self._target = target
        self.lost: Lost = {}
        self._hidden: str | None = None
        self._is_used = False
        self._mode = 0

    def file(self, target: Target, size: int, holes: Holes = ()) -> str:
        self._is_used = True
        self._mode = _prepare(self._descriptor, target, size, holes, self.lost)
        return f"/proc/self/fd/{self._descriptor}"

    def drop(self, _path: str) -> None:
        self.lost = {}
        self.discard()

    def commit(self, check: Callable[[], object]) -> None:
        if not self._is_used or self._descriptor < 0:
            return
        path = self._target.path
        folder, name = os.path.split(path)
        with naming(path):
            allow_again(self._descriptor, self._mode)
            sync(self._descriptor)
            if not self._target.replace:
                check()
                try:
                    _give_name(self._descriptor, path)
                except FileExistsError as error:
                    raise appeared(path) from error
            else:  # a link cannot replace what is there, a rename can
                lock(self._descriptor)
                self._hidden = staged_path(path, new_token())
                _give_name(self._descriptor, self._hidden)
                check()
                move_into_place(Move(folder, os.path.basename(self._hidden), name, True))
        flush_places([folder])

    def discard(self) -> None:
        if self._hidden is not None:
            remove(self._hidden)
            self._hidden = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _NewFolder:
    """A folder that does not exist yet: written whole under a hidden name."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.lost: Lost = {}
        # Here and below a path is noted before it is made: a signal may come in between.
        self._hidden = staged_path(path, new_token())
        self._lock = -1
        self._is_made = False

    def file(self, target: Target, size: int, holes: Holes = ()) -> str:
        if not self._is_made:
            self._make()
        path = os.path.join(self._hidden, os.path.relpath(target.path, self._path))
        with naming(target.path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        _make(path, target, size, holes, self.lost)
        return path

    def _make(self) -> None:
        while not self._is_made:
            self._close()
            with naming(self._path):
                os.mkdir(self._hidden)
                with contextlib.suppress(FileNotFoundError):  # swept away before it was locked
                    self._lock = open_folder(self._hidden)
                    self._is_made = self._lock < 0 or self._is_locked()

    def _is_locked(self) -> bool:
        lock(self._lock, wait=True)
        return is_still(self._lock, self._hidden)

    def drop(self, path: str) -> None:
        os.unlink(path)

    def commit(self, check: Callable[[], object]) -> None:
        if not self._is_made:
            return
        for place, _, names in os.walk(self._hidden):
            for path in (*(os.path.join(place, name) for name in names), place):
                with naming(os.path.join(self._path, os.path.relpath(path, self._hidden))):
                    flush(path)
        check()
        with naming(self._path):
            os.rename(self._hidden, self._path)
        flush_places([os.path.dirname(self._path)])

    def discard(self) -> None:
        shutil.rmtree(self._hidden, ignore_errors=True)
        with contextlib.suppress(OSError):  # one that the umask lets nobody read
            os.rmdir(self._hidden)
        self._close()

    def _close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class _Named:
    """Files that have hidden names beside their targets, under the mark of a run."""

    def __init__(self) -> None:
        self.lost: Lost = {}
        self._run = Replacement(self.lost)
        self._moves: dict[str, Move] = {}
        self._modes: dict[str, int] = {}
        self._new_folders: list[str] = []

    def file(self, target: Target, size: int, holes: Holes = ()) -> str:
        folder, name = os.path.split(target.path)
        with naming(target.path):
            self._make_folders(folder)
            self._run.join(folder)
        path = staged_path(target.path, self._run.token, len(self._moves))
        move = Move(folder, os.path.basename(path), name, target.replace, suffix=target.suffix)
        self._moves[path] = move
        self._modes[path] = _make(path, target, size, holes, self.lost)
        return path

    def _make_folders(self, folder: str) -> None:
        if not os.path.isdir(folder):
            self._make_folders(os.path.dirname(folder))
            self._new_folders.append(folder)
            os.mkdir(folder)

    def drop(self, path: str) -> None:
        os.unlink(path)
        forget(self.lost, self._moves.pop(path).path)

    def commit(self, check: Callable[[], object]) -> None:
        for path, move in self._moves.items():
            with naming(move.path):
                allow_again(path, self._modes[path])
                flush(path)
        self._run.commit(list(self._moves.values()), check)
        self._moves = {}

    def discard(self) -> None:
        if not self._run.stuck:
            with contextlib.suppress(OSError):
                self._run.void()
            for path in self._moves:
                remove(path)
        self._run.close()
        for folder in reversed(self._new_folders):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def _give_name(descriptor: int, path: str) -> None:
    """Give an unnamed file its name; raises `FileExistsError` where that is taken."""
    # Only with a folder's descriptor does Python follow the link that leads to the open file.
    folder = open_folder(os.path.dirname(path))
    try:
        os.link(
            f"/proc/self/fd/{descriptor}",
            os.path.basename(path),
            src_dir_fd=folder,
            dst_dir_fd=folder,
            follow_symlinks=True,
        )
    finally:
        os.close(folder)


def _make(path: str, target: Target, size: int, holes: Holes, lost: Lost) -> int:
    mode = 0o600 if os.path.lexists(target.path) else 0o666  # until it has the rights of that
    with naming(target.path):
        descriptor = open_raw(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
    try:
        return _prepare(descriptor, target, size, holes, lost)
    finally:
        os.close(descriptor)


def _prepare(descriptor: int, target: Target, size: int, holes: Holes, lost: Lost) -> int:
    """Give a new file what the one is that it replaces, and its space on the disk.

    Gives the mode that it has then.
    """
    with naming(target.path):
        with contextlib.suppress(FileNotFoundError):
            keep_attributes(descriptor, target.path, lost)
        mode = os.fstat(descriptor).st_mode
        try:
            reserve(descriptor, size, holes)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise no_room(target.path, size, error.errno) from error
    return mode
