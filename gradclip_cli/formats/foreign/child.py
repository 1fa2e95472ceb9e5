"""The process in which a library reads: it answers requests until nobody can ask any more.

A frame is the size of a JSON object, the size of what follows it, and both. A library may kill this
process, want all memory or never end: whoever asks says so in a line.
"""

import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.urls import named
from gradclip_cli.registry import load

FRAME = struct.Struct("<IQ")
MEMORY = 4 << 30  # bytes, of data
SECONDS = 120  # of a processor, for one request
_OBJECTS = 1000  # are looked at between two signs of life

Alive = Callable[[], None]
"""Says that one is at work; to be called again and again where there is much to do."""


class RefusedError(Exception):
    """What is not read, and the way out."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem, hint)
        self.problem, self.hint = problem, hint


class Opened(Protocol):
    """A file or folder that a library has open."""

    def listing(self, alive: Alive) -> dict[str, Any]:
        """Give what is in it, as `listing.Listing` takes it."""

    def read(self, key: str, start: int, count: int) -> "memoryview | bytes":
        """Give at most so many bytes of a tensor, from a place on; none only at the end."""

    def close(self) -> None:
        """Let go of it."""


def main() -> None:
    """Answer requests: what is in a file, and bytes of what is in it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with who asks
    asked, told = _alone()
    answer = _Answers(told)
    try:
        library, opener = load(sys.argv[2])()
    except ImportError as error:
        answer({"missing": error.name or "a library"})
        return
    answer({"library": library})
    opened: Opened | None = None
    with open(asked, "rb") as requests:
        for line in requests:
            request = json.loads(line)
            _limit()
            try:
                if "path" in request:
                    if opened is not None:
                        opened.close()
                    opened = opener(named(request["path"]))
                    answer({})
                elif opened is not None and "key" in request:
                    answer({}, opened.read(request["key"], request["start"], request["count"]))
                elif opened is not None:
                    answer(opened.listing(answer.alive))
            except (GradclipError, RefusedError) as error:
                answer({"problem": error.problem, "hint": error.hint})
            except MemoryError:
                answer({"error": f"it needs more than {MEMORY >> 30} GiB of memory"})
            except Exception as error:
                answer({"error": _said(error)})


def _said(error: Exception) -> str:
    """Give what an error says; that of a key says it in quotes."""
    return str(error.args[0] if isinstance(error, KeyError) else error) or type(error).__name__


class _Answers:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._objects = 0

    def __call__(self, said: dict[str, Any], data: "memoryview | bytes" = b"") -> None:
        text = json.dumps(said).encode()
        _write(self._descriptor, FRAME.pack(len(text), len(data)) + text)
        _write(self._descriptor, data)

    def alive(self) -> None:
        self._objects += 1
        if self._objects % _OBJECTS == 0:
            self({"busy": True})


def _write(descriptor: int, data: "memoryview | bytes") -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _alone() -> tuple[int, int]:
    """Keep the standard streams to oneself, whatever a library prints; give what they were."""
    asked, told = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    if sys.platform != "win32":  # which has no such limits
        import resource

        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            _, most = resource.getrlimit(resource.RLIMIT_DATA)
            own = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
            resource.setrlimit(resource.RLIMIT_DATA, (own, most))
    return asked, told


def _limit() -> None:
    """Let the next request take so much time of a processor, and no more."""
    if sys.platform != "win32":
        import resource

        with suppress(ValueError, OSError):
            used = resource.getrusage(resource.RUSAGE_SELF)
            _, most = resource.getrlimit(resource.RLIMIT_CPU)
            soon = int(used.ru_utime + used.ru_stime) + SECONDS
            resource.setrlimit(resource.RLIMIT_CPU, (soon, most))
