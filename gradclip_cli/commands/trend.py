"""What `gradclip trend` does, as a function that returns the report that the command prints.

Steps are measured one after the other, in order, each as `inspect` measures it, and told of as soon
as they are known.
"""

import contextlib
import dataclasses
import os
import stat
from array import array
from collections.abc import Callable, Sequence

from gradclip_cli.commands.measuring import Path, notes
from gradclip_cli.commands.opening import found, opened
from gradclip_cli.commands.spooling import finish, has_stream
from gradclip_cli.engine.crew import Crew, Progress, crew
from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import FileSource
from gradclip_cli.formats.folders import Found, RepeatedNameError
from gradclip_cli.formats.opening import STDIN
from gradclip_cli.measure.meter import measure_tensors
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.measure.statistics import STATISTICS
from gradclip_cli.results.following import trend_of
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.cache import Cache, FileKey, Key
from gradclip_cli.series.cache import cache as opened_cache
from gradclip_cli.series.order import Operand, ordered
from gradclip_cli.series.ranges import RangeRule
from gradclip_cli.series.recorded import is_report, read_report
from gradclip_cli.series.spikes import SpikeRule
from gradclip_cli.series.trajectory import Layout, Measured, Nonfinite, Step, Watch
from gradclip_cli.tensors.dump import Dump, multi_index
from gradclip_cli.tensors.gradients import gradients
from gradclip_cli.tensors.selection import Selection


class Audience:
    """Told of the steps as they become known. This one, which others extend, does not listen."""

    def begin(self, steps: Sequence[int | str]) -> None:
        """Take note of all steps that are to come, in order."""

    def step(self, step: Step) -> None:
        """Take note of the next step."""


def trend(
    *steps: Path,
    step_from: str | None = None,
    spike: SpikeRule | RangeRule | None = None,
    cache: Path | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress | None = None,
    audience: Audience | None = None,
) -> Trend:
    """Follow a run: each of `steps` is a file, a folder or a report of `inspect` in JSON Lines.

    They are put in order by the number in their names, or by what the regular expression
    `step_from` finds. A spike is a norm above the range of those before, unless a `SpikeRule` as
    `spike` says otherwise. `cache` names a file that keeps what was measured, so that only new
    steps are measured the next time. Raises `GradclipError` for a step that is no sound dump.
    """
    paths = [os.fspath(path) for path in steps]
    if not paths:
        raise GradclipError("", "no step is named", "name files or folders, one for each step")
    if paths.count(STDIN) > 1:
        raise GradclipError(STDIN, "standard input can be read only once", "give - once")
    if cache is not None:
        paths = _without(paths, os.fspath(cache))
    rule = spike or RangeRule()
    selection = Selection(include, exclude)
    operands = ordered(paths, step_from)
    places = [_Place(operand, found([operand.path]), selection) for operand in operands]
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(opened_cache(os.fspath(cache))) if cache is not None else None
        told = progress or Progress()
        hands = stack.enter_context(crew(workers, _Passed(told.advance)))
        return _followed(places, rule, kept, hands, told, audience or Audience())


def _followed(
    places: Sequence["_Place"],
    rule: SpikeRule | RangeRule,
    kept: Cache | None,
    hands: Crew,
    progress: Progress,
    audience: Audience,
) -> Trend:
    new = [place for place in places if kept is None or kept.known(place.key) is None]
    progress.begin("measuring", sum(place.size for place in new))
    audience.begin([place.operand.step for place in places])
    layouts: dict[Layout, Layout] = {}
    watch = Watch(rule)
    rows = []
    for place in places:
        measured = None if kept is None else kept.known(place.key)
        if measured is None:
            key, measured = place.measure(hands)
            layout = layouts.setdefault(measured.layout, measured.layout)
            measured = dataclasses.replace(measured, layout=layout)
            if kept is not None and key is not None:
                kept.keep(key, place.operand.step, measured)
        row = watch.step(place.operand.step, place.operand.path, measured)
        audience.step(row)
        rows.append(row)
    return trend_of(rows, rule)


def _without(paths: Sequence[str], cache: str) -> list[str]:
    """Leave the cache out where a pattern such as `run/*` has named it among the steps."""
    here = os.path.realpath(cache)
    rest = [path for path in paths if os.path.realpath(path) != here]
    if not rest:
        raise GradclipError(cache, "is the cache, not a step", "name the steps as well")
    return rest


class _Place:
    """A step before it is measured: where its files lie, as they were when the run was begun."""

    def __init__(self, operand: Operand, files: Found, selection: Selection) -> None:
        self.operand = operand
        self._found = files
        self._selection = selection
        status = [_status(place.path) for place in files.files if place.path != STDIN]
        self.size = sum(size for _, size, _ in status)
        self.key = Key.of(operand.path, tuple(status), selection)

    def measure(self, hands: Crew) -> tuple[Key | None, Measured]:
        """Measure it; gives also what it is to be known by, None if it cannot come again."""
        if is_report(self.operand.path):
            return self.key, read_report(self.operand.path, self._selection)
        try:
            dump = opened(self._found)
        except RepeatedNameError as error:
            raise GradclipError(
                error.subject,
                error.problem,
                f"each operand is one step; if each file is one, give them all: "
                f"{self.operand.path.rstrip(os.sep)}/*",
            ) from error
        if not os.path.isdir(self.operand.path):
            dump = _unnamed(dump)
        chosen = gradients(dump, self._selection)
        if has_stream(dump):  # which can be read only in order, so by one worker
            with crew(1, hands.progress) as alone:
                moments = measure_tensors(dump.tensors, chosen, alone)
            finish(dump)
            return None, _measured(dump, moments)
        moments = measure_tensors(dump.tensors, chosen, hands)
        files = tuple(
            (source.path, source.size, source.modified_ns)
            for file in dump.files
            if isinstance(source := file.source, FileSource)
        )
        key = Key.of(self.operand.path, files, self._selection)
        return None if self.operand.path == STDIN else key, _measured(dump, moments)


class _Passed(Progress):
    """Progress of one step, passed on as progress of the run, which has begun already."""

    def __init__(self, advance: Callable[[int, str], None]) -> None:
        self._advance = advance

    def advance(self, size: int, label: str) -> None:
        self._advance(size, label)


def _status(path: str) -> FileKey:
    status = os.stat(path)
    regular = stat.S_ISREG(status.st_mode)
    return path, status.st_size if regular else 0, status.st_mtime_ns


def _unnamed(dump: Dump) -> Dump:
    """Take away the name that a file gave its one tensor: in the next step it is another."""
    files = [
        dataclasses.replace(
            file, tensors=tuple(dataclasses.replace(t, name=None) for t in file.tensors)
        )
        if file.is_named_by_file
        else file
        for file in dump.files
    ]
    return dataclasses.replace(dump, files=tuple(files))


def _measured(dump: Dump, moments: dict[int, Moments]) -> Measured:
    tensors = dump.tensors
    parts = list(moments.values())
    return Measured(
        Layout(
            tuple(tensors[index].name for index in moments),
            tuple(tensors[index].dtype.name for index in moments),
            tuple(part.count for part in parts),
        ),
        array("d", [part.finite_norm for part in parts]),
        array("d", [float("nan") if part.max_abs is None else part.max_abs for part in parts]),
        {
            position: Nonfinite(
                part.nan, part.posinf, part.neginf, multi_index(part.first_nonfinite or 0, shape)
            )
            for position, (index, part) in enumerate(moments.items())
            if part.nonfinite and (shape := tensors[index].shape) is not None
        },
        merge(parts).finite_norm,
        tuple(notes(dump, list(moments))),
        {one.name: [dict(part.further).get(one.name) for part in parts] for one in STATISTICS},
    )
