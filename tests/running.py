"""How the tests run gradclip: in this process, forked by a server, really started, on a terminal.

What needs no process runs here. What needs pipes, descriptors or a terminal of its own is forked by
`tests.server`. What is about the start, or is sent signals, starts Python really.
"""

import atexit
import contextlib
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import pexpect
import pyte
import pytest

import gradclip_cli
from gradclip_cli.cli import app as cli
from tests import client
from tests.faulty import LOG, Fault

TOP = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "gradclip_cli")
PATIENCE = 60.0  # seconds: only a command that hangs takes so long
HEIGHT = 24
ALLOWED = 96
"""MiB that a run may take above the imports."""

_LOOKS = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", *client.AT_START}


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of a plain shell, changed as asked."""
    plain = {name: value for name, value in os.environ.items() if name not in _LOOKS}
    return {**plain, "TERM": "xterm-256color", "PYTHONPATH": str(TOP), **changes}


@dataclass(frozen=True, slots=True)
class Said:
    """How a run ended."""

    status: int
    out: str
    err: str


Run = Callable[..., Said]
"""What takes arguments and runs the command line with them."""


# In this process


def run_here(
    capfd: pytest.CaptureFixture[str],
    *arguments: str | Path,
    cwd: Path | None = None,
    **changes: str,
) -> Said:
    """Run a command line in this process, where nothing depends on one of its own."""
    capfd.readouterr()
    ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in ours}
    try:
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(cwd or "."):
            patch.setattr(sys, "argv", ["gradclip", *map(str, arguments)])
            for name in _LOOKS:
                patch.delenv(name, raising=False)
            for name, value in changes.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                cli.main()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    out, err = capfd.readouterr()
    return Said(int(ended.value.code or 0), out, err)


# Forked by the server


@cache
def server() -> str:
    """Start the server; gives the path of its socket, where it goes on as long as this process."""
    path = f"{tempfile.mkdtemp(prefix='gradclip-')}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.server", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=TOP,
        env=environment({}),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"

    @atexit.register
    def end() -> None:
        process.communicate(timeout=PATIENCE)
        shutil.rmtree(Path(path).parent)

    return path


def forked() -> list[str]:
    """Give what stands in place of `COMMAND` where a fork will do."""
    return [sys.executable, "-I", "-S", client.__file__, server()]


def gradclip(
    *arguments: str,
    stdin: bytes | int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    cwd: Path | None = None,
    **changes: str,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end; bytes for stdin go through a pipe."""
    piped: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    return subprocess.run(
        [*forked(), *arguments],
        **piped,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment(changes),
        timeout=PATIENCE,
        check=False,
    )


def in_shell(
    script: str, cwd: Path, stdin: bytes = b"", **changes: str
) -> subprocess.CompletedProcess[bytes]:
    """Run lines of bash that call `gradclip`; the status is that of the first failure."""
    prelude = f'set -o pipefail\ngradclip() {{ {shlex.join(forked())} "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", prelude + script],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env=environment(changes),
        timeout=PATIENCE,
        check=False,
    )


@dataclass(frozen=True, slots=True)
class Ended(Said):
    """How a run with a fault ended, and the counted calls that it made, each with its kind."""

    calls: tuple[str, ...]


class Faulty:
    """A run with faults, while it goes on."""

    def __init__(self, folder: Path, arguments: Sequence[str | Path], *faults: Fault) -> None:
        self._files = [tempfile.TemporaryFile() for _ in range(3)]  # noqa: SIM115 - until __exit__
        with open(os.devnull) as nothing:
            out, err, log = (file.fileno() for file in self._files)
            self._connection = client.ask(
                server(),
                [*map(str, arguments)],
                str(folder),
                environment({}),
                {0: nothing.fileno(), 1: out, 2: err, LOG: log},
                json.dumps([asdict(fault) for fault in faults or [Fault()]]),
            )
        self._connection.settimeout(PATIENCE)
        self._pid = client.word(self._connection) or 0
        self._is_stopped = False

    def __enter__(self) -> "Faulty":
        """Give it as it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, if it has not ended."""
        self._connection.close()
        for file in self._files:
            file.close()

    def until_stopped(self) -> None:
        """Wait until a signal has stopped it."""
        self._is_stopped = os.WIFSTOPPED(client.word(self._connection) or 0)
        assert self._is_stopped

    def end(self) -> Ended:
        """Let it go on to its end; a negative status is the signal that ended it."""
        if self._is_stopped:
            os.kill(self._pid, signal.SIGCONT)
        status = client.word(self._connection)
        assert status is not None
        texts = []
        for file in self._files:
            file.seek(0)
            texts.append(file.read().decode("utf-8"))
        out, err, calls = texts
        return Ended(os.waitstatus_to_exitcode(status), out, err, (*calls.splitlines(),))


def with_fault(folder: Path, *arguments: str | Path, fault: Fault | Sequence[Fault] = ()) -> Ended:
    """Run a command line in a folder to its end, with a fault or several, or only counting."""
    faults = [fault] if isinstance(fault, Fault) else fault
    with Faulty(folder, arguments, *faults) as run:
        return run.end()


# Really started


def real(*arguments: str | Path, before: Sequence[str] = (), cwd: Path | None = None) -> Said:
    """Start the command anew and wait for its end; `before` is a command that runs it."""
    return _said([*before, *COMMAND, *arguments], cwd)


def program(text: str, *arguments: str | Path, cwd: Path | None = None) -> Said:
    """Run a program in Python that does something to gradclip, or runs it in another way."""
    return _said([sys.executable, "-c", text, *arguments], cwd)


def _said(command: Sequence[str | Path], cwd: Path | None) -> Said:
    done = subprocess.run(
        command,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        env=environment({}),
        timeout=2 * PATIENCE,
        check=False,
    )
    return Said(done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8"))


def ordinary_user() -> list[str]:
    """Give what to put before a command so that modes of files count, for root too."""
    if os.geteuid() != 0:
        return []
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    if shutil.which("setpriv") is None or subprocess.run([*drop, "true"], check=False).returncode:
        pytest.skip("root is stopped by no mode, and cannot drop its powers here")
    return drop


@contextlib.contextmanager
def running(
    *arguments: str,
    before: Sequence[str] = (),
    stdin: int = subprocess.DEVNULL,
    cwd: Path | None = None,
    **changes: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """Give the command while it runs; stdout and stderr are pipes, `before` is as with `real`."""
    with subprocess.Popen(
        [*before, *COMMAND, *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment(changes),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(happened: Callable[[], bool], ended: Callable[[], object]) -> None:
    """Wait until something has happened; fails if the command ends before that."""
    last = time.monotonic() + PATIENCE
    while not happened():
        assert not ended(), "it ended too early"
        assert time.monotonic() < last, "nothing happened"
        time.sleep(0.001)


def feeding(path: Path, ended: Callable[[], object]) -> IO[bytes]:
    """Open a FIFO for writing as soon as the command has opened it for reading."""
    opened: list[int] = []

    def try_to_open() -> bool:
        with contextlib.suppress(OSError):
            opened.append(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        return bool(opened)

    until(try_to_open, ended)
    os.set_blocking(opened[0], True)
    return open(opened[0], "wb", buffering=0)


def end_of(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Wait for the end; give the status and what was said on stderr."""
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, said


# A small process of its own starts the command: a child's peak begins with its parent's.
_MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(status, peak // 1024, file=sys.stderr)
"""


def measured(arguments: Sequence[str | Path]) -> tuple[int, str, int]:
    """Run Python; give its status, what it said and its peak in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, sys.executable, *arguments],
        capture_output=True,
        encoding="utf-8",
        env=environment({}),
        timeout=300,
        check=True,
    )
    *said, figures = done.stderr.splitlines()
    status, peak = map(int, figures.split())
    return status, done.stdout + "\n".join(said), peak


# What is imported by name leaves no trace in `-X importtime`.
_IMPORTED = """
import atexit, sys
atexit.register(lambda: print("imported", *sys.modules, file=sys.stderr))
from gradclip_cli.__main__ import main
main()
"""


@cache
def asked(*arguments: str, **changes: str) -> tuple[str, frozenset[str]]:
    """Give what is answered, and the modules that were imported for it."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTED, *arguments],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=environment({"COLUMNS": "80", **changes}),
        timeout=PATIENCE,
        check=True,
    )
    (said,) = done.stderr.decode().splitlines()
    first, *imported = said.split()
    assert first == "imported", "nothing else is said"
    return done.stdout.decode(), frozenset(imported)


def loaded_by(*arguments: str) -> frozenset[str]:
    """Give the modules that a run of the real command imports."""
    return asked(*arguments)[1]


def one_error(said: bytes | str) -> str:
    """Give the one line of an error; fails if more is said than that and a hint."""
    text = said if isinstance(said, str) else said.decode()
    first, *rest = text.splitlines()
    assert first.startswith("gradclip: ")
    assert [line[:6] for line in rest] in ([], ["hint: "]), text
    return first


# On a terminal


SGR = re.compile("\x1b\\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Shown:
    """What came out of a command on a terminal of so many columns, and its status."""

    raw: str
    status: int
    columns: int

    @property
    def lines(self) -> list[str]:
        """The lines without colours, and without the spaces that a colour ends in."""
        return [line.rstrip() for line in SGR.sub("", self.raw).split("\n")[:-1]]

    @property
    def rows(self) -> list[str]:
        """The lines of the table itself, of a row the first."""
        rest = self.lines[
            next(at for at, line in enumerate(self.lines) if set(line) == {"─"}) + 1 :
        ]
        rest = rest[: rest.index("")]
        return [line for line in rest if not line.startswith(("… ", "  "))]

    def screen(self, height: int) -> "pyte.Screen":
        """Give a terminal of this height that has shown it."""
        screen = pyte.Screen(self.columns, height)
        pyte.Stream(screen).feed(self.raw)
        return screen


def on_terminal(
    *arguments: str, columns: int = 80, cwd: Path | None = None, **changes: str
) -> Shown:
    """Run gradclip on a pseudo-terminal to its end."""
    size = HEIGHT, columns
    return shown_by([*forked(), *arguments], size, cwd, environment(changes))


def shown_by(
    command: Sequence[str], size: tuple[int, int], cwd: Path | None, surroundings: Mapping[str, str]
) -> Shown:
    """Run any command on a pseudo-terminal of so many lines and columns, to its end."""
    here, there = pty.openpty()
    with open(here, "rb", buffering=0) as screen:
        try:
            termios.tcsetwinsize(there, size)
            process = subprocess.Popen(
                command, stdin=there, stdout=there, stderr=there, cwd=cwd, env=surroundings
            )
        finally:
            os.close(there)
        raw = bytearray()
        with contextlib.suppress(OSError):  # as Linux says the end of a terminal
            while data := screen.read(1 << 16):
                raw += data
    return Shown(raw.decode("utf-8"), process.wait(PATIENCE), size[1])


@contextlib.contextmanager
def terminal(
    *arguments: str, columns: int = 80, cwd: Path | None = None, **changes: str
) -> Iterator["pexpect.spawn[str]"]:
    """Really start gradclip on a pseudo-terminal, which a test can listen to and type on."""
    child = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], *arguments],
        env=environment(changes),
        cwd=None if cwd is None else str(cwd),
        dimensions=(HEIGHT, columns),
        encoding="utf-8",
        timeout=PATIENCE,
        echo=False,
    )
    without_delay(child)
    try:
        yield child
    finally:
        child.close(force=True)


def without_delay(child: "pexpect.spawn[str]") -> None:
    """Spare a terminal the rests that pexpect takes for slow ones."""
    child.delaybeforesend = None
    child.ptyproc.delayafterclose = child.ptyproc.delayafterterminate = 0


def end_on(child: "pexpect.spawn[str]") -> tuple[str, int]:
    """Wait for the end; give what was said since, and the status."""
    child.expect(pexpect.EOF)
    child.wait()
    return child.before, child.exitstatus


def frames(raw: str) -> list[str]:
    """Give the lines that were drawn one over the other, without colours."""
    return re.split("\r(?:\x1b\\[2K)?", SGR.sub("", raw))


def norms(path: str | Path) -> dict[str | None, float | None]:
    """Give the norms of a dump's tensors by name."""
    return {row.name: row.norm for row in gradclip_cli.inspect(path).tensors if row.measured}
