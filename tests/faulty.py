"""The real command with faults: a system call that fails, a signal, a file changed by another.

`python -m tests.faulty` reads a wish a line (JSON), runs the command line in a fork of itself and
answers with a line; `python -m tests.faulty WISH` runs it once, as the process itself. Each counted
call is written to a log before it is made, so that a test can show where its fault landed.
"""

import contextlib
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
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
CHANGING = tuple(kind for kind in KINDS if kind != "read")


@dataclass(frozen=True)
class Fault:
    """What goes wrong at the call number `number` (from 1) among those of these kinds.

    `deed` is the name of an error, as `EIO`; of a signal, as `SIGKILL`; or `truncate`, `append`,
    `overwrite` or `fifo` (one takes its place), done to the file at `path`. It comes before the
    call, or `after` it. `named` takes unnamed files away, `lockless`
    locks.
    """

    number: int = 0
    kinds: tuple[str, ...] = CHANGING
    deed: str = "EIO"
    path: str = ""
    named: bool = False
    after: bool = False
    lockless: bool = False


@dataclass(frozen=True)
class Ended:
    """How a run ended, and the counted calls that it made, each with its kind."""

    status: int
    out: str
    err: str
    calls: tuple[str, ...]


class Commands:
    """A process that runs command lines with faults, as many as asked for."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faulty"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            cwd=Path(__file__).parents[1],
        )

    def run(self, folder: Path, *arguments: str | Path, fault: Fault | None = None) -> Ended:
        """Run a command line in a folder; a negative status is the signal that ended it."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(wish(folder, arguments, fault), file=self._server.stdin, flush=True)
        ended = json.loads(self._server.stdout.readline())
        return Ended(ended["status"], ended["out"], ended["err"], tuple(ended["calls"]))

    def close(self) -> None:
        """End the process."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=60)
        assert self._server.stdout is not None
        self._server.stdout.close()


def wish(folder: Path, arguments: Sequence[str | Path], fault: Fault | None) -> str:
    """Write down what is to be run."""
    return json.dumps(
        {
            "folder": str(folder),
            "arguments": [str(argument) for argument in arguments],
            "fault": asdict(fault or Fault()),
        }
    )


def main() -> None:
    """Run the one wish that is given, or those that come in."""
    if len(sys.argv) == 2:
        _run(json.loads(sys.argv[1]), os.devnull)
    import gradclip_cli.applying
    import gradclip_cli.cli
    import gradclip_cli.render.text  # noqa: F401, so that a fork need not import them

    for line in sys.stdin:
        scratch = Path(os.environ.get("TMPDIR", "/tmp"), f"faulty-{os.getpid()}")
        out, err, log = (Path(f"{scratch}.{name}") for name in ("out", "err", "log"))
        log.write_text("")
        child = os.fork()
        if not child:
            for descriptor, path in ((1, out), (2, err)):
                opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.dup2(opened, descriptor)
                os.close(opened)
            os.close(0)
            os.open(os.devnull, os.O_RDONLY)
            _run(json.loads(line), str(log))
        _, status = os.waitpid(child, 0)
        answer = {
            "status": os.waitstatus_to_exitcode(status),
            "out": out.read_text("utf-8"),
            "err": err.read_text("utf-8"),
            "calls": log.read_text("utf-8").splitlines(),
        }
        for path in (out, err, log):
            path.unlink()
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


def _run(wished: dict[str, Any], log: str) -> None:
    """Become the command, with its fault; does not return."""
    status = 70
    try:
        os.chdir(wished["folder"])
        signal.alarm(60)  # a hang is a failure of its own
        _arm(Fault(**wished["fault"]), log)
        sys.argv = ["gradclip", *wished["arguments"]]
        from gradclip_cli import cli

        status = cli.run(wished["arguments"])
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(status)


def _arm(fault: Fault, log: str) -> None:
    """Put a counter, and the fault, before the calls of all kinds."""
    lock = threading.Lock()
    count = 0
    calls = os.open(log, os.O_WRONLY | os.O_APPEND)
    write = os.write
    if fault.named and hasattr(os, "O_TMPFILE"):
        del os.O_TMPFILE
    if fault.lockless:
        fcntl.flock = _no_locks

    def counted(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            with lock:
                write(calls, f"{kind}\n".encode())
                count += kind in fault.kinds
                due = kind in fault.kinds and count == fault.number
            if due and not fault.after:
                _do(fault)
            try:
                return call(*arguments, **named)
            finally:  # also where the call itself fails, as that of a file that is gone
                if due and fault.after:
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
        "fifo": lambda: _replaced_by_fifo(fault.path),
    }
    if fault.deed in deeds:
        deeds[fault.deed]()
    elif fault.deed.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, fault.deed))
    else:
        number = getattr(errno, fault.deed)
        raise OSError(number, os.strerror(number))


def _replaced_by_fifo(path: str) -> None:
    os.unlink(path)
    os.mkfifo(path)


def _no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def _changed(path: str, mode: str) -> None:
    before = os.stat(path).st_mtime_ns
    with open(path, mode) as stream:
        stream.write(b"changed!" * 8)
    if os.stat(path).st_mtime_ns == before:  # a clock that ticks too slowly to show it
        os.utime(path, ns=(before, before + 1))


if __name__ == "__main__":
    main()
