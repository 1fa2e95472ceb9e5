r"""What gradclip puts beside its targets while it works: hidden names, and who they belong to.

A result under way is called `.NAME.gradclip-TOKEN.tmp`; the run that made it holds a lock on it, or
on the file `.gradclip-TOKEN.run` of its folder. The kernel gives a lock back when its process ends,
however it ends, so what nobody holds was left behind by a run that was killed.
"""

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator

from gradclip_cli.files import system

JOURNAL = ".gradclip.journal"

_STAGED = re.compile(r"\..*\.gradclip-([0-9a-f]{16})(?:-\d+)?\.tmp", re.DOTALL)
_RUN = re.compile(r"\.gradclip-([0-9a-f]{16})\.run")


def new_token() -> str:
    """Give a name for a run that no other has."""
    return os.urandom(8).hex()


def run_name(token: str) -> str:
    """Give the name of the file that says whether a run lives."""
    return f".gradclip-{token}.run"


def staged_path(path: str, token: str, number: int | None = None) -> str:
    """Give the hidden path beside a target where its result is written."""
    folder, name = os.path.split(path)
    ending = token if number is None else f"{token}-{number}"
    # A name may be 255 bytes long, and a character up to four.
    return os.path.join(folder, f".{name[:40]}.gradclip-{ending}.tmp")


def token_of(name: str) -> str | None:
    """Give the token of the run that a name in a folder belongs to; None where it is not ours.

    >>> token_of(".a.npy.gradclip-0123456789abcdef.tmp"), token_of("a.npy")
    ('0123456789abcdef', None)
    """
    found = _STAGED.fullmatch(name) or _RUN.fullmatch(name)
    return found[1] if found else None


def is_run(name: str) -> bool:
    """Say whether a name is that of a run's own file."""
    return _RUN.fullmatch(name) is not None


def run_of(folder: str) -> str | None:
    """Give the path of the run that a folder's journal leads to."""
    try:
        there = os.readlink(os.path.join(folder, JOURNAL))
    except OSError:
        return None
    run = os.path.normpath(os.path.join(folder, there))
    return run if is_run(os.path.basename(run)) else None


def is_ours(name: str) -> bool:
    """Say whether gradclip put a file of this name into a folder, and not for its owner to keep."""
    return name.startswith(".") and (name == JOURNAL or token_of(name) is not None)


def lock(descriptor: int, wait: bool = False) -> bool:
    """Lock a file for as long as it is open; False where another run may hold it.

    A file system without locks does not say, so there it is always False.
    """
    return locked(descriptor, wait) is True


def locked(descriptor: int, wait: bool = False) -> bool | None:
    """Lock a file as `lock` does; None where the file system has no locks."""
    return system.lock(descriptor, wait)


def make(path: str, mode: int) -> int:
    """Make a file that was not there, and lock it; gives its descriptor.

    Until it is locked another run may take it for left behind, and sweep it away.
    """
    while True:
        descriptor = system.open_raw(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        lock(descriptor, wait=True)
        if is_still(descriptor, path):
            return descriptor
        os.close(descriptor)


def is_still(descriptor: int, path: str) -> bool:
    """Say whether a path leads to an open file, and not to another that took its place."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


def sweep(folders: Iterable[str]) -> None:
    """Remove what runs that were killed left in these folders; what a living run holds stays."""
    for folder in folders:
        left: dict[str, list[str]] = {}
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                if token := token_of(name):
                    left.setdefault(token, []).append(name)
        for token, names in left.items():
            with contextlib.suppress(OSError):
                _remove(folder, token, sorted(names, key=is_run))


def _remove(folder: str, token: str, names: Iterable[str]) -> None:
    run = os.path.join(folder, run_name(token))
    if os.path.lexists(run):
        with _abandoned(os.path.realpath(run)) as size:
            for name in names if size == 0 else ():  # else its journal is still to be finished
                _unlink(os.path.join(folder, name))
        return
    for name in names:
        with _abandoned(os.path.join(folder, name)) as size:
            if size is not None:
                _unlink(os.path.join(folder, name))


@contextlib.contextmanager
def _abandoned(path: str) -> Iterator[int | None]:
    """Give the size of what no run holds, 0 if it is gone, and lock it; None if one may hold it."""
    try:
        descriptor = system.open_raw(path, os.O_RDONLY | system.NO_LINK | system.NO_WAIT)
    except FileNotFoundError:
        yield 0
        return
    try:
        yield os.fstat(descriptor).st_size if lock(descriptor) else None
    finally:
        os.close(descriptor)


def _unlink(path: str) -> None:
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.rmtree(path, ignore_errors=True)
    else:
        os.unlink(path)


def remove(path: str) -> None:
    """Take a file away, where that is possible."""
    with contextlib.suppress(OSError):
        os.unlink(path)
