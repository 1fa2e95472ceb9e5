"""Rows run one after the other, each file there only from its first reader to its last.

At full size the files of all rows together would take more disk than anyone wants to lend.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.files import Size, files
from benchmarks.machine import installed
from benchmarks.results import Result
from benchmarks.rows import Row
from benchmarks.timing import CommandFailedError, compare


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
    known = files(size)
    labels = {name: file.label for name, file in known.items()}
    words = {
        "python": sys.executable,
        "torch_python": torch_python,
        "output": str(folder / "output.safetensors"),
        **{name: str(folder / name) for name in known},
    }
    for index, row in enumerate(rows):
        name = row.called(labels)
        for file in sorted(row.files):
            if not (folder / file).exists():
                watcher.doing(f"making {known[file].label}")
                _make(size, file, folder)
        watcher.doing(name)
        yield _result(row, name, words, size, watcher)
        later = frozenset[str]().union(*(other.files for other in rows[index + 1 :]))
        for file in row.files - later:
            _remove(folder / file)


def _result(row: Row, name: str, words: Mapping[str, str], size: Size, watcher: Watcher) -> Result:
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


def _make(size: Size, file: str, folder: Path) -> None:
    # In a process of its own: what this one holds would count as memory of what it measures.
    command = [sys.executable, "-m", "benchmarks.making", size, file, str(folder / file)]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
