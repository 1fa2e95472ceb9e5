"""Whole processes, run in turns: how long each took, and its peak memory.

A noisy neighbour disturbs both commands of a row alike where they take turns, and the median
forgets the run that it disturbed most.
"""

import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Command, Quantity, Row

_PATIENCE = 60.0  # seconds; whatever takes longer has missed its bound and is not waited for


class CommandFailedError(Exception):
    """A command of a row did not do its work, so there is nothing to compare.

    `reason` says so in a few words; the message has what the command itself said.
    """

    def __init__(self, reason: str, said: str = "") -> None:
        super().__init__(f"{reason}\n{said}".rstrip())
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Run:
    """One process: seconds from its start to its end, and the most bytes it held in memory."""

    seconds: float
    peak: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The runs of a row's command and of its competitor, in the order in which they took turns."""

    ours: tuple[Run, ...]
    theirs: tuple[Run, ...]


def median(runs: Iterable[Run], quantity: Quantity) -> float:
    """Give the median seconds, or bytes.

    >>> median([Run(0.1, 7), Run(0.9, 9), Run(0.2, 8)], "time")
    0.2
    """
    return statistics.median(run.seconds if quantity == "time" else run.peak for run in runs)


def compare(
    row: Row, words: Mapping[str, str], runs: int, done: Callable[[], object]
) -> Comparison:
    """Run a row's two commands in turns, after one run each to warm up.

    `words` are what stands for the names in braces; `done` is called after each run. Raises
    `CommandFailedError` for a command that ends with another status than 0.
    """
    cold = [Path(words[name]) for name in row.files] if row.cache == "cold" else []
    return Comparison(*in_turns((row.command, row.competitor), words, runs, done, cold))


def in_turns(
    commands: Sequence[Command],
    words: Mapping[str, str],
    runs: int,
    done: Callable[[], object],
    cold: Sequence[Path] = (),
) -> list[tuple[Run, ...]]:
    """Run commands one after the other, again and again; gives the runs of each.

    Files that are `cold` are taken out of the page cache before each run. Otherwise as `compare`.
    """
    found: list[list[Run]] = [[] for _ in commands]
    for _ in range(1 + runs):
        for command, some in zip(commands, found, strict=True):
            some.append(_run(command, words, cold))
            done()
    return [tuple(some[1:]) for some in found]


def _run(command: Command, words: Mapping[str, str], cold: Sequence[Path]) -> Run:
    os.sync()  # nobody shall wait for what an earlier run left to be written
    for path in cold:
        _forget(path)
    try:
        return _timed([word.format_map(words) for word in command])
    finally:
        Path(words["output"]).unlink(missing_ok=True)


def _forget(path: Path) -> None:
    """Take a file out of the page cache."""
    with path.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# An installed package is compiled once; the run that warms up does it here.
_ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}


def _timed(arguments: Sequence[str]) -> Run:
    """Run one process. Its peak memory is at least what this process, its parent, ever held."""
    program = Path(arguments[0]).name
    if shutil.which(arguments[0]) is None:
        raise CommandFailedError(f"{program} is not installed")
    with tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd=Path(__file__).parents[1],
            env=_ENVIRONMENT,
        )
        end = threading.Timer(_PATIENCE, child.kill)
        end.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - begin
            child.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            child.kill()
            child.wait()
            raise
        finally:
            end.cancel()
        if seconds > _PATIENCE:
            raise CommandFailedError(f"{program} took more than {_PATIENCE:g} s")
        if child.returncode:
            errors.seek(0)
            raise CommandFailedError(
                f"{program} ended with status {child.returncode}",
                errors.read().decode(errors="replace"),
            )
    return Run(seconds, usage.ru_maxrss * 1024)
