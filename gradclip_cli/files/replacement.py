"""One run that writes several files: its mark in their folders, and how they change together.

It marks each folder with a name that leads to one file that it holds locked. When all results lie
on the disk it writes its journal there, and only then begins to rename.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.attributes import Lost
from gradclip_cli.files.backups import keep, take_back
from gradclip_cli.files.journal import finish, mixed, reason, settle, written
from gradclip_cli.files.marks import JOURNAL, make, new_token, remove, run_name, run_of
from gradclip_cli.files.moves import Move, check_old, flush_places, move_into_place, stamp
from gradclip_cli.files.rollback import REFUSALS, hold, release, roll_back
from gradclip_cli.files.system import REPLACES, flush, naming, sync, write_at


class Replacement:
    """One run's mark in the folders where it writes; the first has the file, the others lead there.

    The mark is a symbolic link, which is made and seen whole or not at all. `stuck` says that some
    moves are done and the others cannot be: everything then stays for the next run. What backups
    cannot keep is put into `lost`.
    """

    def __init__(self, lost: Lost) -> None:
        self._lost = lost
        self.token = new_token()
        self.stuck = False
        self._folders: dict[str, str] = {}
        self._descriptor = -1
        self._held: Sequence[Move] = ()

    def join(self, folder: str) -> None:
        """Mark a folder, so that what is staged there is known to be under way."""
        if folder in self._folders:
            return
        mark = os.path.join(folder, run_name(self.token))
        self._folders[folder] = mark  # noted before it is made: a signal may come in between
        if self._descriptor < 0:
            self._descriptor = make(mark, 0o600)
        else:
            _link(self._file, mark)

    @property
    def _file(self) -> str:
        return next(iter(self._folders.values()))

    def commit(self, moves: Sequence[Move], check: Callable[[], object]) -> None:
        """Do all moves; from the first on they are sure to be done, by this run or the next.

        An error that comes before the first move leaves every target as it was; `check` may raise
        one, when nothing but the moves is left to do. What is to be kept is kept just before them.
        Where the system refuses one of several moves, those before it are taken back.
        """
        several = len(moves) > 1 or any(move.suffix for move in moves)
        # In one order, so that no two wait for each other.
        for folder in sorted(self._folders) if several else ():
            self._claim(folder)
        moves = [dataclasses.replace(move, old=stamp(move.path)) for move in moves]
        if several:
            check()  # the next run knows what is to be replaced by its stamp alone
            top = os.path.dirname(self._file)
            write_at(self._descriptor, written(moves, top), 0, top)
            with naming(top):
                sync(self._descriptor)
            for folder in self._folders:
                flush(folder)
        check()
        done = 0
        try:
            keep(moves, self._lost)
        except BaseException:
            take_back(moves)
            raise
        try:
            if several:
                self._held = moves
                hold(moves)
                for move in moves:  # to have nothing to take back
                    check_old(move)
            for move in moves:
                check_old(move)
                move_into_place(move)
                done += 1
        except (OSError, GradclipError) as error:
            if not done:  # nobody has seen a new file yet: all of it can still be called off
                take_back(moves)
                raise
            if getattr(error, "errno", None) in REFUSALS and roll_back(moves):
                take_back(moves)
                raise GradclipError(
                    moves[done].path,
                    f"cannot be replaced: {reason(error)}; no file was changed",
                    getattr(error, "hint", "write to a new folder with -o FOLDER/"),
                ) from error
            try:
                kept = self._finish(moves)
            except OSError:
                raise GradclipError(
                    moves[done].path,
                    f"{reason(error)}; {done:,} of {len(moves):,} files have been replaced",
                    "gradclip replaces the rest when it is next used on these files",
                ) from error
            if kept:
                raise mixed(kept, len(moves), "while a gradclip was replacing it") from error
            if isinstance(error, GradclipError):
                raise
        except BaseException:  # a signal: what was begun is brought to its end
            self._finish(moves)
            raise
        flush_places(self._folders)

    def _finish(self, moves: Iterable[Move]) -> list[str]:
        self.stuck = True  # a signal, too, may keep this from its end
        kept = finish(moves)
        self.stuck = False
        return kept

    def void(self) -> None:
        """Let the journal say nothing: what is staged is not to be used."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            sync(self._descriptor)

    def close(self) -> None:
        """Take the marks away, unless the next run needs them."""
        if not self.stuck:
            release(self._held)
            with contextlib.suppress(OSError):
                self.void()
            for folder in self._folders:
                if run_of(folder) == self._file:
                    remove(os.path.join(folder, JOURNAL))
            if not REPLACES:  # nor can an open file lose its name
                self._unlock()
            for mark in reversed(self._folders.values()):  # the file itself last
                remove(mark)
        self._unlock()

    def _unlock(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _claim(self, folder: str) -> None:
        """Let the folder's journal be ours; finishes one that stands there, or waits for it."""
        journal = os.path.join(folder, JOURNAL)
        while True:
            taken = run_of(folder)
            try:
                _link(self._file, journal)
            except FileExistsError:
                settle(folder)
                if os.path.lexists(journal) and run_of(folder) == taken:
                    raise GradclipError(
                        journal, "is in the way, and leads nowhere", "remove it: rm FILE"
                    ) from None
            else:
                return


def _link(run: str, path: str) -> None:
    """Make a mark that leads to a run's file; raises `FileExistsError` where one stands."""
    try:
        os.symlink(os.path.relpath(run, os.path.dirname(path)), path)
    except FileExistsError:
        raise
    except OSError as error:
        raise GradclipError(
            os.path.dirname(path),
            f"a symbolic link cannot be made here: {reason(error)}; without, several files cannot "
            "change together",
            "write to a new folder with -o FOLDER/",
        ) from error
