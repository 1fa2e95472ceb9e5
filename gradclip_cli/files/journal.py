"""Which renames are due, written down before the first, and how they are brought to their end.

If a run dies between its renames, the next one that meets its journal does the rest: clipping a set
that is half old and half new would clip by a wrong norm.
"""

import contextlib
import json
import os
import stat
from collections.abc import Iterable, Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.backups import keep, take_back
from gradclip_cli.files.marks import JOURNAL, is_still, lock, remove, run_of, token_of
from gradclip_cli.files.moves import Move, move_into_place, stamp
from gradclip_cli.files.rollback import REFUSALS, release, roll_back
from gradclip_cli.files.system import FOLDER, NO_LINK, NO_WAIT, flush, open_raw, read_at, user

LIMIT = 1 << 26  # bytes of a journal: half a million files
_READ = os.O_RDONLY | NO_LINK | NO_WAIT


def settle(folder: str) -> bool:
    """Finish what an interrupted run left half done in a folder; says whether there was anything.

    One that is just at it is waited for. `folder` is a real path, without links. Raises
    `GradclipError` where the renames cannot be done.
    """
    found = False
    while (run := run_of(folder)) is not None:
        if _ended(run, folder) and run_of(folder) == run:
            break  # a read-only folder keeps the mark, but nothing is left to do
        found = True
    return found


def _ended(run: str, folder: str) -> bool:
    """Wait for a run, and finish what it left; False if another did so meanwhile."""
    try:
        descriptor = open_raw(run, _READ)
    except FileNotFoundError:
        _unmark(folder, run)
        return True
    except PermissionError as error:
        raise GradclipError(
            folder,
            "another user's gradclip is replacing the files here, or was stopped while it did",
            "if it has ended, let that user run any gradclip command on them",
        ) from error
    try:
        lock(descriptor, wait=True)
        if not is_still(descriptor, run):
            return False
        _finish_dead(descriptor, run, folder)
    finally:
        os.close(descriptor)
    return True


def _finish_dead(descriptor: int, run: str, folder: str) -> None:
    """Do the renames of a run that is no more, and take its marks away."""
    status = os.fstat(descriptor)
    moves = _read(descriptor, status, os.path.dirname(run)) or []
    due = [move for move in moves if os.path.lexists(move.source)]
    if due and status.st_uid != user():
        raise GradclipError(
            folder,
            "another user's gradclip was stopped while it replaced the files here",
            "some may be clipped and some not: let that user run any gradclip command on them",
        )
    try:
        kept = finish(due)
        release(moves)
    except OSError as error:
        if error.errno in REFUSALS and roll_back(moves, status.st_mtime_ns):
            take_back(moves)
            kept = []
        else:
            raise GradclipError(
                folder,
                "a gradclip that was stopped left some files replaced and others not: "
                f"{reason(error)}",
                "run gradclip on them where it may write, and it replaces the rest",
            ) from error
    marked = {folder, *(move.folder for move in moves)} - {os.path.dirname(run)}
    for each in (*marked, os.path.dirname(run)):
        remove(os.path.join(each, os.path.basename(run)))  # first: a mark leading nowhere is swept
        _unmark(each, run)
    if kept:
        raise mixed(kept, len(moves), "after a gradclip that was replacing it was stopped")


def mixed(kept: Sequence[str], count: int, when: str) -> GradclipError:
    """Say that of so many files some were not replaced, since others had written to them."""
    return GradclipError(
        kept[0],
        f"was written to {when}; it stays so, and {count - len(kept):,} of {count:,} files are as "
        "that gradclip wrote them",
        "make sure that they belong together, then run gradclip again",
    )


def finish(moves: Iterable[Move]) -> list[str]:
    """Do the moves that are not done yet.

    What they replace is kept first, if it is to be. A target that somebody else wrote to since they
    began stays; gives the paths of those.
    """
    folders = set()
    kept = []
    due = [move for move in moves if os.path.lexists(move.source)]
    keep(due, {})
    for move in due:
        # A result that took a free place by a link may still have its hidden name as well.
        if stamp(move.path) not in (None, move.old, stamp(move.source)):
            kept.append(move.path)
            take_back([move])  # a link to what is no longer the original
        else:
            with contextlib.suppress(GradclipError):  # the free place is taken
                move_into_place(move)
        remove(move.source)
        folders.add(move.folder)
    for folder in folders:
        flush(folder)
    return kept


def written(moves: Sequence[Move], top: str) -> bytes:
    """Write down moves for a journal in the folder `top`.

    Raises `GradclipError` for more than a journal is allowed to hold.
    """
    entries = [
        [
            *(os.path.relpath(move.folder, top), move.staged, move.target, move.replace, move.old),
            *([move.suffix] if move.suffix else []),
        ]
        for move in moves
    ]
    text = json.dumps(entries).encode("ascii")
    if len(text) > LIMIT:
        raise GradclipError(
            top,
            f"{len(moves):,} files are too many to change together",
            "clip them into a new folder with -o FOLDER/",
        )
    return text


def _read(descriptor: int, status: os.stat_result, top: str) -> list[Move] | None:
    """Read a journal; None where none was finished, or where it is not one of ours.

    It is as untrusted as any file: a move never leaves its folder, and takes only what is staged.
    """
    if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= LIMIT:
        return None
    try:
        entries = json.loads(read_at(descriptor, status.st_size, 0))
        moves = [
            Move(os.path.normpath(os.path.join(top, folder)), staged, target, replace, old, *suffix)
            for folder, staged, target, replace, old, *suffix in entries
        ]
        return moves if all(map(_is_sound, moves)) else None
    except (ValueError, TypeError, RecursionError):
        return None


def _is_sound(move: Move) -> bool:
    return (
        token_of(move.staged) is not None
        and move.target not in ("", ".", "..")
        and os.sep not in move.staged + move.target + move.suffix
        and b"\0" not in os.fsencode(move.source + move.backup)
        and isinstance(move.replace, bool)
    )


def _unmark(folder: str, run: str) -> None:
    """Take away a folder's mark that leads to a run, where that is possible."""
    with contextlib.suppress(OSError):
        descriptor = open_raw(folder, FOLDER | _READ)
        try:
            lock(descriptor, wait=True)  # or another run's mark may have come between
            if run_of(folder) == run:
                remove(os.path.join(folder, JOURNAL))
        finally:
            os.close(descriptor)


def reason(error: BaseException) -> str:
    """Give an error's own words."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
