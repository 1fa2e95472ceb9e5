"""Renames that are taken back where the system refuses one of them: all are done, or none.

Until the last rename is done, what the first ones replaced keeps a hidden name. Where a file can
have no second name, nothing can be taken back, and the next run does the rest.
"""

import contextlib
import errno
import os
from collections.abc import Sequence

from gradclip_cli.files.marks import remove
from gradclip_cli.files.moves import Move, stamp
from gradclip_cli.files.refusals import may_remove

# Refused now and later, and by no accident.
REFUSALS = (errno.EPERM, errno.EACCES, errno.EBUSY, errno.EROFS)


def hold(moves: Sequence[Move]) -> None:
    """Give what the moves are about to replace a hidden name, where that can be had."""
    for move in moves:
        if move.old is not None and not move.suffix:
            with contextlib.suppress(OSError):
                if may_remove(move.path):  # or the name would stay
                    os.link(move.path, _held(move))


def release(moves: Sequence[Move]) -> None:
    """Take the hidden names away."""
    for move in moves:
        if move.old is not None and not move.suffix:
            remove(_held(move))


def roll_back(moves: Sequence[Move], since_ns: int | None = None) -> bool:
    """Take back the moves that are done, and give up the others; False where that cannot be.

    It cannot where what was replaced has no other name, or where a file that took its place was
    written to after `since_ns`, so that more would be lost than gradclip has made.
    """
    done = [move for move in moves if not os.path.lexists(move.source)]
    for move in done:
        now = stamp(move.path)
        if move.old is not None and stamp(_held(move)) != move.old:
            return False
        if since_ns is not None and (now is None or now[2] > since_ns):
            return False
    try:
        for move in done:
            if move.old is None:
                os.unlink(move.path)
            else:
                os.replace(_held(move), move.path)
    except OSError:
        return False
    for move in moves:
        remove(move.source)
    release(moves)
    return True


def _held(move: Move) -> str:
    """Give the name under which what a move replaces is held; none is staged under it."""
    if move.suffix:
        return move.backup
    start, dash, number = move.source.rpartition("-")
    return f"{start}{dash}0{number}"
