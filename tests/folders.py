"""What is in a folder of arrays, and that nothing in it changes."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np

State = dict[str, tuple[object, ...]]


def state(folder: Path) -> State:
    """Give all that is in a folder: kind, mode, inode, time and content of each file."""
    found: State = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = ("folder", stat.S_IMODE(status.st_mode))
        elif path.is_file():
            rights = stat.S_IMODE(status.st_mode), status.st_nlink
            found[name] = (status.st_ino, status.st_mtime_ns, *rights, path.read_bytes())
        else:
            found[name] = (status.st_ino, status.st_mode)
    return found


@contextlib.contextmanager
def untouched(folder: Path) -> Iterator[None]:
    """Check that nothing in a folder changes, and that nothing is added."""
    before = state(folder)
    yield
    assert state(folder) == before


def names(folder: Path) -> set[str]:
    """Give the names of all files in a folder, those in its folders too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def array(path: Path, *values: float) -> Path:
    """Write an array of float32; 3 and 4 if nothing is given, of norm 5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(values or (3.0, 4.0), "f4"))
    return path


def values(path: Path) -> list[float]:
    """Read an array with NumPy's own reader."""
    return [float(value) for value in np.load(path)]
