"""`python -m benchmarks`: run every row, print a table, exit with 1 if a bound is missed.

With `--curve` it measures instead how time falls with processors, which has no bound.

This process stays small (no NumPy), because what it starts is charged with its memory; and it draws
its progress only between runs, so that nothing but the command is at work while one is timed.
"""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import curve_table, table
from benchmarks.curve import CURVED, Curves
from benchmarks.files import SIZES, Size, files
from benchmarks.machine import describe
from benchmarks.results import Results
from benchmarks.rows import ROWS, Row
from benchmarks.session import curve_steps, curves, measured, steps
from benchmarks.sheet import Sheet, markdown, show

_DISK = 12 << 30  # bytes that the files of no moment exceed, at full size


class _Bar:
    """A progress bar on standard error, where that is a terminal."""

    def __init__(self, total: int) -> None:
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def doing(self, what: str) -> None:
        self._progress.update(self._task, description=what, refresh=True)

    def step(self) -> None:
        self._progress.update(self._task, advance=1, refresh=True)


def main() -> int:
    """Run the benchmarks and give the exit status."""
    parser = _parser()
    given = parser.parse_args()
    size: Size = given.size
    labels = {name: file.label for name, file in files(size).items()}
    known = CURVED if given.curve else ROWS
    rows = [row for row in known if given.only.casefold() in row.called(labels).casefold()]
    if not rows:
        names = "\n  ".join(row.called(labels) for row in known)
        parser.error(f"no row's name contains {given.only!r}; there are:\n  {names}")
    if size == "full" and shutil.disk_usage(given.folder).free < _DISK:
        parser.error(f"--folder {given.folder}: less than {_DISK >> 30} GiB are free")
    _end_in_order()
    run = _curves if given.curve else _rows
    with tempfile.TemporaryDirectory(prefix="gradclip-benchmarks-", dir=given.folder) as folder:
        good, sheet, document = run(rows, size, Path(folder).resolve(), given.torch_python)
    if given.json is not None:
        given.json.write_text(document + "\n")
    if given.markdown:
        sys.stdout.write(markdown(sheet))
    else:
        show(sheet, table.style)
    return 0 if good else 1


def _rows(rows: Sequence[Row], size: Size, folder: Path, torch: str) -> tuple[bool, Sheet, str]:
    with _Bar(steps(rows, size)) as bar:
        machine = describe(torch, folder)
        results = Results(size, machine, tuple(measured(rows, size, folder, torch, bar)))
    return results.good, table.sheet(results), table.document(results)


def _curves(rows: Sequence[Row], size: Size, folder: Path, torch: str) -> tuple[bool, Sheet, str]:
    with _Bar(curve_steps(rows, size)) as bar:
        machine = describe(torch, folder)
        found = Curves(size, machine, tuple(curves(rows, size, folder, bar)))
    return found.good, curve_table.sheet(found), curve_table.document(found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Measure gradclip's time and memory against its bounds.",
    )
    parser.add_argument(
        "--size", choices=SIZES, default="full", help="small: one run each, bounds do not count"
    )
    parser.add_argument(
        "--curve",
        action="store_true",
        help="measure, instead of the rows, how time falls with processors",
    )
    parser.add_argument(
        "--only", metavar="SUBSTRING", default="", help="only rows whose name contains this"
    )
    parser.add_argument(
        "--folder",
        metavar="DIR",
        default=tempfile.gettempdir(),
        help="where the files go for a while, up to 12 GiB of them",
    )
    parser.add_argument(
        "--torch-python", metavar="PATH", default=sys.executable, help="a Python that has torch"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all that was measured")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    return parser


def _end_in_order() -> None:
    """Let a signal to end take the gigabytes along, as an interrupt does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))


if __name__ == "__main__":
    sys.exit(main())
