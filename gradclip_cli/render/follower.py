"""Who follows a run while it is measured: the writer of the format that was asked for."""

from collections.abc import Callable, Sequence
from typing import BinaryIO, Protocol

from gradclip_cli.choices import Format
from gradclip_cli.render import screen
from gradclip_cli.render.trend import printer
from gradclip_cli.series.findings import Trend
from gradclip_cli.series.trajectory import Step


class Follower(Protocol):
    """Told of the steps as they become known, and of the run when all are."""

    def begin(self, steps: Sequence[int | str], /) -> None:
        """Take note of all steps that are to come, in order."""

    def step(self, step: Step) -> None:
        """Take note of the next step."""

    def end(self, trend: Trend) -> None:
        """Take note of the whole run."""


def follower(
    form: Format | None,
    stream: BinaryIO,
    write: Callable[[str], None],
    everything: bool,
    suggesting: bool,
) -> Follower:
    """Give what writes a run for a stream; no format means a table on a terminal, TSV elsewhere.

    A table shows as many rows as the terminal has room for, unless `everything` is wanted. With
    `suggesting` only what limits would have done is written, when all is known.
    """
    wants_table = form == "table" or (form is None and stream.isatty())
    if suggesting:
        return _Suggesting("table" if wants_table else form or "tsv", stream, write)
    if not wants_table:
        return printer(form, write)
    # Rich takes 40 milliseconds to import, which a pipe need not pay for.
    from gradclip_cli.render.steps import Table

    return Table(screen.of(stream, everything), write)


class _Suggesting:
    """Waits for the end, and says what limits would have done."""

    def __init__(self, form: Format, stream: BinaryIO, write: Callable[[str], None]) -> None:
        self._form: Format = form
        self._stream = stream
        self._write = write

    def begin(self, steps: Sequence[int | str]) -> None:
        """Do nothing."""

    def step(self, step: Step) -> None:
        """Do nothing."""

    def end(self, trend: Trend) -> None:
        """Write what limits would have done."""
        from gradclip_cli.render import suggestion
        from gradclip_cli.series.limits import suggest

        found = suggest(trend)
        if self._form == "table":
            self._write(suggestion.table(found, screen.of(self._stream)))
        else:
            self._write(suggestion.text(found, self._form))
