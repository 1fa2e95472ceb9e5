"""Readers that stand for a library which does its worst: in a process of their own, as all do."""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from gradclip_cli.formats.foreign.child import Alive, Opened
from gradclip_cli.formats.foreign.listing import located, not_written
from gradclip_cli.formats.registry import Format


class _Toy:
    """Holds one tensor of float32: 3, -4, 12."""

    def __init__(self, path: str) -> None:
        self.data = b"\0\0@@\0\0\x80\xc0\0\0@A"

    def listing(self, alive: Alive) -> dict[str, Any]:
        entry = {"path": ["w"], "key": "w", "dtype": "float32", "shape": [3]}
        return {"tensors": [entry], "strays": [], "besides": []}

    def read(self, key: str, start: int, count: int) -> bytes:
        return self.data[start : start + count]

    def close(self) -> None:
        """Nothing is open."""


class _Talking(_Toy):
    def listing(self, alive: Alive) -> dict[str, Any]:
        print("a library that talks", flush=True)  # noqa: T201
        os.write(2, b"and complains\n")
        return super().listing(alive)


class _Dying(_Toy):
    def listing(self, alive: Alive) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(60)
        return {}


class _DyingLater(_Toy):
    def read(self, key: str, start: int, count: int) -> bytes:
        sys.exit(7)


class _Hanging(_Toy):
    def listing(self, alive: Alive) -> dict[str, Any]:
        time.sleep(60)
        return {}


class _Busy(_Toy):
    def listing(self, alive: Alive) -> dict[str, Any]:
        for _ in range(2000):
            time.sleep(0.0005)
            alive()
        return super().listing(alive)


class _Hungry(_Toy):
    def listing(self, alive: Alive) -> dict[str, Any]:
        bytearray(5 << 30)
        return {}


class _Slow(_Toy):
    """Takes a minute to read, and makes a file beside its own when it begins."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def read(self, key: str, start: int, count: int) -> bytes:
        os.mkdir(f"{self.path}.read")
        time.sleep(60)
        return b""


class _Raising(_Toy):
    def listing(self, alive: Alive) -> dict[str, Any]:
        raise ValueError(f"many words\nin \x1b[31m two lines {'x' * 1000}")


def _made(kind: type[_Toy]) -> Callable[[], tuple[str, Callable[[str], Opened]]]:
    return lambda: ("toy 1.0", kind)


toy = _made(_Toy)
talking = _made(_Talking)
dying = _made(_Dying)
dying_later = _made(_DyingLater)
hanging = _made(_Hanging)
busy = _made(_Busy)
hungry = _made(_Hungry)
raising = _made(_Raising)
slow = _made(_Slow)


def missing() -> tuple[str, Callable[[str], Opened]]:
    """Want a library that nobody has."""
    import no_such_library  # type: ignore[import-not-found]  # noqa: F401

    raise AssertionError


def _form(reader: str) -> Format:
    return Format(
        "toy",
        (".toy",),
        lambda head: head == b"toy",
        partial(located, f"tests.foreign:{reader}"),
        not_written,
        anywhere=True,
        extra="toys",
    )


TOY, TALKING, BUSY, SLOW = map(_form, ("toy", "talking", "busy", "slow"))
DYING, DYING_LATER, HANGING, HUNGRY = map(_form, ("dying", "dying_later", "hanging", "hungry"))
RAISING, MISSING = map(_form, ("raising", "missing"))
