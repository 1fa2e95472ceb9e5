"""How far a pass is, on a terminal: after one second, and gone when the pass is over."""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from gradclip_cli.engine.crew import CrewProgress
from gradclip_cli.render.words import elided
from gradclip_cli.tensors.names import escape, plural

_PATIENCE = 1.0  # seconds: what is over by then needs no bar


class Bar(CrewProgress):
    """Draws bytes done, rate, time left, workers and the file at hand on stderr."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._doing, self._size, self._done, self._since = "", 0, 0, time.monotonic()
        self._workers = ""

    def begin(self, doing: str, size: int) -> None:
        """Start a pass over so many bytes."""
        self.end()
        self._doing, self._size, self._done, self._since = doing, size, 0, time.monotonic()

    def advance(self, size: int, label: str) -> None:
        """Take note of so many bytes more, of the file called `label`."""
        self._done += size
        bar = self._bar
        if bar is None:
            if time.monotonic() - self._since < _PATIENCE:
                return
            bar = self._made()
        name = elided(escape(label), 30)
        bar.update(self._task, completed=self._done, file=name, workers=self._workers)
        if bar is self._bar:
            self.move(bar)
        else:
            self._bar = bar
            self.show(bar)

    def staffed(self, workers: int) -> None:
        """Take note of how many workers of a cluster there are now."""
        self._workers = plural(workers, "worker") if workers else "no worker now"

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self.hide(self._bar)
            self._bar = None

    def show(self, bar: Progress) -> None:
        """Draw it for the first time; a terminal's then moves by itself."""
        bar.start()

    def move(self, bar: Progress) -> None:
        """Draw it again, where it does not move by itself."""

    def hide(self, bar: Progress) -> None:
        """Take away what was drawn."""
        bar.stop()

    def _made(self) -> Progress:
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(20),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[workers]}", markup=False),
            TextColumn("{task.fields[file]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._task = bar.add_task(self._doing, total=self._size, file="", workers="")
        return bar
