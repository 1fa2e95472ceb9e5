"""Rows run one after the other, each file there only from its first reader to its last.

At full size the files of all rows together would take more disk than anyone wants to lend.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.curve import Curve, Point, Setting, settings
from benchmarks.files import Size, files
from benchmarks.machine import answers, installed
from benchmarks.results import Result
from benchmarks.rows import Row
from benchmarks.timing import CommandFailedError, compare, in_turns

_ROOT = Path(__file__).parents[1]
_WORKERS = "import sys, gradclip_cli.executors as e; sys.stdout.write(str(e.workers_here()))"


class Watcher(Protocol):
    """Told what is being done, and after each step that it is done."""

    def doing(self, what: str) -> None:
        """Take note of what is begun."""

    def step(self) -> None:
        """Take note of a process that has ended."""


def steps(rows: Sequence[Row], size: Size) -> int:
    """Give how many processes the rows will have timed, those to warm up among them."""
    return sum(2 * (1 + _runs(row, size)) for row in rows)


def measured(
    rows: Sequence[Row], size: Size, folder: Path, torch_python: str, watcher: Watcher
) -> Iterator[Result]:
    """Run rows in a folder and give the result of each."""
    words = {**_words(size, folder), "torch_python": torch_python}
    for row, name in _with_files(rows, size, words, watcher):
        yield _result(row, name, words, size, watcher)


def curve_steps(rows: Sequence[Row], size: Size) -> int:
    """Give how many processes the curves of these rows will have timed."""
    return sum(len(settings(_processors())) * (1 + _runs(row, size)) for row in rows)


def curves(rows: Sequence[Row], size: Size, folder: Path, watcher: Watcher) -> Iterator[Curve]:
    """Run the commands of rows in a folder, in every setting, and give the curve of each."""
    words = _words(size, folder)
    for row, name in _with_files(rows, size, words, watcher):
        yield _curve(row, name, words, size, watcher)


def _words(size: Size, folder: Path) -> Mapping[str, str]:
    """Give what stands for the names in braces."""
    return {
        "python": sys.executable,
        "output": str(folder / "output.safetensors"),
        **{name: str(folder / f"{name}{file.suffix}") for name, file in files(size).items()},
    }


def _with_files(
    rows: Sequence[Row], size: Size, words: Mapping[str, str], watcher: Watcher
) -> Iterator[tuple[Row, str]]:
    """Give each row and its name while its files are there."""
    known = files(size)
    labels = {name: file.label for name, file in known.items()}
    for index, row in enumerate(rows):
        name = row.called(labels)
        for file in sorted(row.files):
            if not Path(words[file]).exists():
                watcher.doing(f"making {known[file].label}")
                _make(size, file, words[file])
        watcher.doing(name)
        yield row, name
        later = frozenset[str]().union(*(other.files for other in rows[index + 1 :]))
        for file in row.files - later:
            _remove(Path(words[file]))


def _curve(row: Row, name: str, words: Mapping[str, str], size: Size, watcher: Watcher) -> Curve:
    weight = sum(known.size for file, known in files(size).items() if file in row.files)
    some = settings(_processors())
    commands = [setting.put_on(row.command) for setting in some]
    try:
        found = in_turns(commands, words, _runs(row, size), watcher.step)
    except CommandFailedError as error:
        sys.stderr.write(f"{error}\n")
        return Curve(row, name, weight, (), error.reason)
    points = [
        Point(setting, _workers(setting), runs) for setting, runs in zip(some, found, strict=True)
    ]
    return Curve(row, name, weight, points)


def _processors() -> Sequence[int]:
    return sorted(os.sched_getaffinity(0))


def _workers(setting: Setting) -> int:
    """Give the number of workers of a setting; where none is given, what gradclip makes of it."""
    if setting.workers is not None:
        return setting.workers
    command = setting.put_on((sys.executable, "-c", _WORKERS))
    asked = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return int(asked.stdout)


def _result(row: Row, name: str, words: Mapping[str, str], size: Size, watcher: Watcher) -> Result:
    if row.probe is not None and not answers(row.probe):
        return Result(row, name, None, "not installed", absent=True)
    interpreter = row.competitor[0].format_map(words)
    if row.needs is not None and installed(interpreter, row.needs) is None:
        return Result(row, name, None, f"{row.needs} is not installed")
    try:
        return Result(row, name, compare(row, words, _runs(row, size), watcher.step))
    except CommandFailedError as error:
        sys.stderr.write(f"{error}\n")
        return Result(row, name, None, error.reason)


def _runs(row: Row, size: Size) -> int:
    return row.runs if size == "full" else 1


def _make(size: Size, file: str, path: str) -> None:
    # In a process of its own: what this one holds would count as memory of what it measures.
    command = [sys.executable, "-m", "benchmarks.making", size, file, path]
    subprocess.run(command, cwd=_ROOT, check=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
