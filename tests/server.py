"""A process that has imported gradclip, and becomes the command in a fork for each who asks.

`python -m tests.server PATH` listens on a socket at PATH until its standard input ends. The fork
gets the descriptors, folder and environment of whoever asks (`tests.client`), and the faults
that are wished for (`tests.faulty`). The start of Python itself cannot be tested so.
"""

import contextlib
import fcntl
import functools
import gc
import importlib
import json
import os
import pkgutil
import re
import selectors
import signal
import socket
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import NoReturn

import numpy
import typer.main

import gradclip_cli
from gradclip_cli.cli import app as cli
from tests.client import WORD
from tests.faulty import LOG, Fault, arm

ROOM = 128  # descriptors that can be handed over, and numbers that they can have
LIBRARIES = ("numpy", "rich.console", "rich.progress", "rich.table", "safetensors.numpy", "typer")


def main() -> None:
    """Listen, fork, and tell those who asked how their runs fare."""
    gc.disable()  # as the command does
    preload()
    warm_up()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ticks, bell = socket.socketpair()
    bell.setblocking(False)
    signal.set_wakeup_fd(bell.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    asking: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen(ROOM)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for source in (sys.stdin, listener, ticks):
            selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    child = _start(connection)
                    asking[child] = connection
                    selector.register(connection, selectors.EVENT_READ, child)
                elif key.fileobj is ticks:
                    ticks.recv(1 << 12)
                    for ended in _look_after(asking):
                        connection = asking.pop(ended)
                        if connection in selector.get_map():
                            selector.unregister(connection)
                        connection.close()
                elif key.data in asking:  # whoever asked is gone
                    selector.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)


def preload() -> None:
    """Import what a run may need, but for Matplotlib, for which few runs wait.

    What reads by a library runs in a process of its own.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does
    # What Typer builds of the options is always the same, and takes half the time of a small run.
    typer.main.get_command = functools.cache(typer.main.get_command)
    for library in LIBRARIES:
        importlib.import_module(library)
    top = Path(gradclip_cli.__path__[0])
    for module in pkgutil.walk_packages([str(top)], "gradclip_cli."):
        path = top.joinpath(*module.name.split(".")[1:]).with_suffix(".py")
        if module.ispkg or not (path.stem == "reader" or _is_left_out(path)):
            importlib.import_module(module.name)


def warm_up() -> None:
    """Run a little of each command, for what Typer and gradclip import only when they need it."""
    out, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/x.npy"
        numpy.save(path, numpy.ones(2))
        for command in (
            ("inspect", path, "--workers", "1", "--format", "table"),
            ("apply", path, "--workers", "1", "--clip-norm", "1", "--in-place"),
            ("diff", path, path, "--workers", "1", "--json"),
            ("check", path),
            ("trend", path, "--workers", "1", "--format", "table"),
        ):
            assert cli.run(command) == 0
    os.dup2(out, 1)
    for descriptor in (out, nothing):
        os.close(descriptor)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    assert threading.active_count() == 1, "only that may be forked"


def _is_left_out(module: Path) -> bool:
    draws = re.search("^(import|from) matplotlib", module.read_text("utf-8"), re.MULTILINE)
    return bool(draws) or module.name == "__main__.py"


def _start(connection: socket.socket) -> int:
    """Fork for one who asks, and tell the number of the fork."""
    body, rights = _asked(connection)
    child = os.fork()
    if not child:
        _become_the_command(body, rights)
    for right in rights:
        os.close(right)
    _tell(connection, child)
    return child


def _tell(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(number.to_bytes(WORD, "little", signed=True))


def _look_after(asking: dict[int, socket.socket]) -> list[int]:
    """Tell of each run that ended or was stopped; gives those that ended."""
    over = []
    for child, connection in asking.items():
        found, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if found:
            _tell(connection, status)
            if not os.WIFSTOPPED(status):
                over.append(child)
    return over


def _asked(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Give what `tests.client.ask` says, and the descriptors that it hands over."""
    head, rights, _, _ = socket.recv_fds(connection, WORD, ROOM)
    size, body = int.from_bytes(head, "little"), b""
    while len(body) < size:
        body += connection.recv(size - len(body))
    return body, rights


def _become_the_command(body: bytes, rights: list[int]) -> NoReturn:
    status = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        folder, faults, numbers, count, *rest = map(os.fsdecode, body.split(b"\0"))
        _take_over(rights, [*map(int, numbers.split())])
        arguments, variables = rest[: int(count)], rest[int(count) :]
        os.environ.clear()
        for variable in variables:
            name, _, value = variable.partition("=")
            os.environ[name] = value
        os.chdir(folder)
        sys.argv = ["gradclip", *arguments]
        if faults:
            arm([Fault(**one) for one in json.loads(faults)], LOG)
        status = cli.run(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(status)


def _take_over(rights: list[int], numbers: list[int]) -> None:
    """Have these descriptors, under these numbers, and no others."""
    aside = [fcntl.fcntl(right, fcntl.F_DUPFD, ROOM) for right in rights]
    os.closerange(0, ROOM)
    for descriptor, number in zip(aside, numbers, strict=True):
        os.dup2(descriptor, number)
    os.closerange(ROOM, max(aside) + 1)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
