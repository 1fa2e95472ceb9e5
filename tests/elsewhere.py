"""Another system, for gradclip's eyes alone: what it lacks is hidden, and some calls do as they do.

`python -m tests.elsewhere` reads a `Errand` as JSON from standard input, and does it: in a fork for
each place gradclip is imported anew and runs all commands one after the other. The libraries and
Python itself see the system as it is.
"""

import builtins
import dataclasses
import errno
import importlib
import json
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

LIBRARIES = ("numpy", "regex", "rich.console", "rich.progress", "rich.table", "safetensors.numpy")
FULL_SYNC = 51
BINARY = 0o100000  # Linux has it for itself, and always


@dataclasses.dataclass(frozen=True)
class Place:
    """A system: its name, what of which module it lacks, and modules that it has not at all."""

    platform: str = sys.platform
    lacks: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    without: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Errand:
    """Places by their folders, and what is run in each: arguments, and what is sent to stdin."""

    places: Mapping[str, Place]
    commands: Sequence[tuple[Sequence[str], str]]


class _Seen(ModuleType):
    """A module as another system has it."""

    def __init__(self, module: ModuleType, lacks: Sequence[str], has: Mapping[str, Any]) -> None:
        super().__init__(module.__name__)
        self._module, self._lacks, self._has = module, lacks, has

    def __getattr__(self, name: str) -> Any:
        if name in self._lacks:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return self._has[name] if name in self._has else getattr(self._module, name)


def see(place: Place) -> None:
    """Let gradclip, which is imported after this, see the system as it is there."""
    ways = {"darwin": _MACOS, "win32": _WINDOWS}.get(place.platform, {})
    names = {"sys", *place.lacks, *ways} - {*place.without}
    seen = {
        name: _Seen(importlib.import_module(name), place.lacks.get(name, ()), ways.get(name, {}))
        for name in names
    }
    seen["sys"] = _Seen(sys, (), {"platform": place.platform})
    real = builtins.__import__

    def imported(
        name: str,
        variables: Mapping[str, Any] | None = None,
        *rest: Any,
        **named: Any,
    ) -> ModuleType:
        if str((variables or {}).get("__name__", "")).startswith("gradclip_cli"):
            if name in place.without:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in seen:
                return seen[name]
        return real(name, variables, *rest, **named)

    builtins.__import__ = imported  # type: ignore[assignment]


# macOS


def _open_there(path: str, flags: int, mode: int = 0o777) -> int:
    found = re.fullmatch(r"/dev/fd/(\d+)", str(path))
    return os.dup(int(found[1])) if found else os.open(path, flags, mode)


def _fcntl_there(descriptor: int, request: int) -> int:
    assert request == FULL_SYNC
    os.fsync(descriptor)
    return 0


def _no_sync(_: int) -> NoReturn:
    raise AssertionError("what fsync of macOS wrote may still be lost")


_MACOS: dict[str, dict[str, Any]] = {
    "os": {"open": _open_there, "fsync": _no_sync},
    "fcntl": {"F_FULLFSYNC": FULL_SYNC, "fcntl": _fcntl_there},
}


# Windows


def _open_binary(path: str, flags: int, mode: int = 0o777) -> int:
    assert flags & BINARY, "or lines are changed"
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return os.open(path, flags, mode)


def _unlink(path: str) -> None:
    _check_closed(path)
    os.unlink(path)


def _rename(old: str, new: str) -> None:
    _check_closed(old)
    if os.path.lexists(new):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
    os.rename(old, new)


def _replace(old: str, new: str) -> None:
    raise AssertionError("nothing is replaced on Windows")


def _symlink(old: str, new: str) -> None:
    raise OSError(errno.EPERM, "A required privilege is not held by the client", new)


def _sync(descriptor: int) -> None:
    os.write(descriptor, b"")  # which has to be open for writing
    os.fsync(descriptor)


def _check_closed(path: str) -> None:
    """Raise an error for a file that is open, or a folder that holds one."""
    real = os.path.realpath(path)
    for number in os.listdir("/proc/self/fd"):
        there = f"/proc/self/fd/{number}"
        if os.path.lexists(there) and f"{os.readlink(there)}/".startswith(f"{real}/"):
            raise PermissionError(errno.EACCES, "The file is used by a process", path)


_WINDOWS: dict[str, dict[str, Any]] = {
    "os": {
        "O_BINARY": BINARY,
        "open": _open_binary,
        "unlink": _unlink,
        "rename": _rename,
        "replace": _replace,
        "symlink": _symlink,
        "fsync": _sync,
    },
}


# Errands


def main() -> None:
    """Do the errand."""
    found = json.load(sys.stdin)
    for library in LIBRARIES:
        importlib.import_module(library)
    for folder, place in found["places"].items():
        child = os.fork()
        if not child:
            _run_all(folder, Place(**place), found["commands"])
        os.waitpid(child, 0)


def _run_all(folder: str, place: Place, commands: Sequence[tuple[Sequence[str], str]]) -> NoReturn:
    """Run all commands in a folder; what each says comes into a file beside it."""
    try:
        os.chdir(folder)
        said = Path(f"{folder}.said")
        said.mkdir()
        see(place)
        from gradclip_cli.cli import app

        for number, (arguments, stdin) in enumerate(commands):
            _stdin(stdin)
            for descriptor, name in ((1, "out"), (2, "err")):
                path = said / f"{number}.{name}"
                _become(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
            status = app.run([*arguments])
            sys.stdout.flush()
            (said / f"{number}.status").write_text(str(status))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


def _stdin(given: str) -> None:
    """Send a file to standard input: `<NAME` is the file itself, `|NAME` a pipe of its bytes."""
    if given.startswith("|"):
        reading, writing = os.pipe()
        os.write(writing, Path(given[1:]).read_bytes())  # fewer than a pipe holds
        os.close(writing)
        _become(reading, 0)
    else:
        _become(os.open(given[1:] or os.devnull, os.O_RDONLY), 0)


def _become(descriptor: int, number: int) -> None:
    os.dup2(descriptor, number)
    os.close(descriptor)


if __name__ == "__main__":
    main()
