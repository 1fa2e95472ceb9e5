"""Originals that are kept beside the files that take their places, all of them before the first.

A link takes no space and keeps everything that a file has. Where there can be none, as of another
owner's file or where the file system has none, the file is cloned or copied, and its new name is
seen once that is whole.
"""

import errno
import os
from collections.abc import Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.attributes import Lost, keep_attributes
from gradclip_cli.files.holes import between, holes_of
from gradclip_cli.files.marks import remove, staged_path, token_of
from gradclip_cli.files.moves import Move, appeared, move_into_place, stamp
from gradclip_cli.files.system import flush, naming, open_raw, read_at, write_at
from gradclip_cli.files.writing import cloned

_PIECE = 1 << 20

# Where another name for a file cannot be had, but perhaps another file.
_NO_LINK = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


def keep(moves: Sequence[Move], lost: Lost) -> None:
    """Keep what the moves are about to replace, where they have a suffix; on the disk, too.

    What is kept already stays; what a copy cannot have is put into `lost`.

    Raises `GradclipError` where something else has taken a name.
    """
    due = [move for move in moves if move.suffix and stamp(move.path) == move.old]
    for move in due:
        if not _is_kept(move):
            _keep(move, lost)
    for folder in {move.folder for move in due}:
        flush(folder)


def take_back(moves: Sequence[Move]) -> None:
    """Take away what was kept of files that are still in their places."""
    for move in moves:
        if move.suffix and _is_kept(move):
            remove(move.backup)


def _is_kept(move: Move) -> bool:
    """Say whether a move's backup is the file in its place, by another name or as a copy."""
    mine, other = stamp(move.path), stamp(move.backup)
    if mine is None or other is None or mine[1:] != other[1:]:
        return False
    if mine == other:
        return True
    import filecmp

    return filecmp.cmp(move.path, move.backup, shallow=False)


def _keep(move: Move, lost: Lost) -> None:
    with naming(move.backup):
        try:
            os.link(move.path, move.backup)
        except FileExistsError as error:
            raise _taken(move) from error
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            _copy(move, lost)


def _copy(move: Move, lost: Lost) -> None:
    hidden = staged_path(move.backup, token_of(move.staged) or "")
    remove(hidden)  # of a run that was killed
    try:
        descriptor = open_raw(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(move.path, "rb") as source, open(descriptor, "wb"):
            if not cloned(source.fileno(), hidden, move.backup):
                _copy_data(source.fileno(), descriptor, hidden)
            status = os.fstat(source.fileno())
            keep_attributes(descriptor, move.path, lost)
        os.utime(hidden, ns=(status.st_atime_ns, status.st_mtime_ns))
        flush(hidden)
        folder, name = os.path.split(move.backup)
        move_into_place(Move(folder, os.path.basename(hidden), name, replace=False))
    except GradclipError as error:
        raise _taken(move) from error
    finally:
        remove(hidden)


def _copy_data(source: int, copy: int, label: str) -> None:
    """Copy an open file, but for its holes."""
    size = os.fstat(source).st_size
    os.ftruncate(copy, size)
    for start, end in between(holes_of(source), 0, size):
        for offset in range(start, end, _PIECE):
            write_at(copy, read_at(source, min(_PIECE, end - offset), offset), offset, label)


def _taken(move: Move) -> GradclipError:
    return GradclipError(
        move.backup,
        appeared(move.backup).problem,
        "a backup is never replaced: move it away, or give another --backup SUFFIX",
    )
