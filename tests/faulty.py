"""Faults for a run of gradclip: a call that fails, a signal, a file changed by another.

The server of `tests.server` arms them. Each counted call is written to a log before it is made, so
that a test can show where its fault landed.
"""

import errno
import fcntl
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

KINDS = {
    "read": ("pread", "preadv"),
    "write": ("pwrite", "copy_file_range"),
    "fsync": ("fsync",),
    "rename": ("rename", "replace"),
    "link": ("link", "symlink"),
    "fallocate": ("posix_fallocate",),
    "make": ("mkdir",),
    "unlink": ("unlink",),
}
LOG = 3
"""The descriptor of the log."""

CHANGING = tuple(kind for kind in KINDS if kind != "read")


@dataclass(frozen=True)
class Fault:
    """What goes wrong at the call number `number` (from 1) among those of these kinds.

    `deed` is the name of an error, as `EIO`; of a signal, as `SIGKILL`; or `truncate`, `append`,
    `overwrite`, `fifo` or `folder` (one takes its place), done to the file at `path`. It comes
    before the call, or `after` it. `named` takes unnamed files away, `lockless` locks.
    """

    number: int = 0
    kinds: tuple[str, ...] = CHANGING
    deed: str = "EIO"
    path: str = ""
    named: bool = False
    after: bool = False
    lockless: bool = False


def arm(faults: Sequence[Fault], log: int) -> None:
    """Put a counter, and the faults, before the calls of all kinds; each is noted in `log`."""
    lock = threading.Lock()
    counts = [0] * len(faults)
    write = os.write
    if any(fault.named for fault in faults) and hasattr(os, "O_TMPFILE"):
        del os.O_TMPFILE
    if any(fault.lockless for fault in faults):
        fcntl.flock = _no_locks

    def due_at(kind: str) -> list[Fault]:
        due = []
        with lock:
            write(log, f"{kind}\n".encode())
            for place, fault in enumerate(faults):
                counts[place] += kind in fault.kinds
                if kind in fault.kinds and counts[place] == fault.number:
                    due.append(fault)
        return due

    def counted(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            due = due_at(kind)
            for fault in due:
                if not fault.after:
                    _do(fault)
            try:
                return call(*arguments, **named)
            finally:  # also where the call itself fails, as that of a file that is gone
                for fault in due:
                    if fault.after:
                        _do(fault)

        return wrapper

    for kind, names in KINDS.items():
        for name in names:
            setattr(os, name, counted(kind, getattr(os, name)))


def _do(fault: Fault) -> None:
    deeds: dict[str, Callable[[], object]] = {
        "truncate": lambda: os.truncate(fault.path, os.path.getsize(fault.path) // 2),
        "append": lambda: _changed(fault.path, "ab"),
        "overwrite": lambda: _changed(fault.path, "r+b"),
        "fifo": lambda: _replaced(fault.path, os.mkfifo),
        "folder": lambda: _replaced(fault.path, os.mkdir),
    }
    if fault.deed in deeds:
        deeds[fault.deed]()
    elif fault.deed.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, fault.deed))
    else:
        number = getattr(errno, fault.deed)
        raise OSError(number, os.strerror(number))


def _replaced(path: str, make: Callable[[str], object]) -> None:
    os.unlink(path)
    make(path)


def _no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def _changed(path: str, mode: str) -> None:
    before = os.stat(path).st_mtime_ns
    with open(path, mode) as stream:
        stream.write(b"changed!" * 8)
    if os.stat(path).st_mtime_ns == before:  # a clock that ticks too slowly to show it
        os.utime(path, ns=(before, before + 1))
