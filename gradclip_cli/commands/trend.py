"""What `gradclip trend` does, as a function that returns the report that the command prints.

Steps are measured one after the other, in order, each as `inspect` measures it, and told of as soon
as they are known.
"""

import contextlib
import dataclasses
import math
import os
from array import array
from collections import Counter
from collections.abc import Sequence

from gradclip_cli.commands.measuring import able, listed
from gradclip_cli.commands.measuring import notes as notes_of
from gradclip_cli.commands.opening import found, opened
from gradclip_cli.commands.spooling import finish, has_stream
from gradclip_cli.commands.stepping import steps_of
from gradclip_cli.engine.crew import Crew, CrewProgress, Progress
from gradclip_cli.engine.hiring import crew
from gradclip_cli.errors import GradclipError, together
from gradclip_cli.files import tree
from gradclip_cli.files.source import WholeSource
from gradclip_cli.formats.folders import Found
from gradclip_cli.formats.opening import STDIN
from gradclip_cli.formats.relating import RepeatedNameError
from gradclip_cli.frozen import frozen
from gradclip_cli.measure.meter import measure_tensors
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.measure.statistics import EXPONENTS, PRINTS, STATISTICS, Asked
from gradclip_cli.options import Count, Path
from gradclip_cli.results import limiting
from gradclip_cli.results.following import trend_of
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.cache import Cache, FileKey, Key
from gradclip_cli.series.cache import cache as opened_cache
from gradclip_cli.series.order import Operand, are_ranks
from gradclip_cli.series.ranges import RangeRule
from gradclip_cli.series.recorded import is_report, read_report
from gradclip_cli.series.spikes import LEAST, SpikeRule
from gradclip_cli.series.trajectory import Layout, Measured, Nonfinite, Step, Watch
from gradclip_cli.series.unreadable import Unreadable, unreadable
from gradclip_cli.tensors.dtypes import VoidAs
from gradclip_cli.tensors.dump import Dump, multi_index
from gradclip_cli.tensors.gradients import gradients, undecodable
from gradclip_cli.tensors.names import listed as listed_names
from gradclip_cli.tensors.names import plural
from gradclip_cli.tensors.renaming import Renaming, all_renamed, renaming
from gradclip_cli.tensors.selection import NothingSelectedError, Selection


class Audience:
    """Told of the steps as they become known. This one, which others extend, does not listen."""

    def begin(self, steps: Sequence[int | str]) -> None:
        """Take note of all steps that are to come, in order."""

    def step(self, step: Step | Unreadable) -> None:
        """Take note of the next step."""


def trend(
    *steps: Path | Sequence[Path],
    step_from: str | None = None,
    spike: SpikeRule | RangeRule | None = None,
    cache: Path | None = None,
    trust_mtime: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    one_gradient: bool = False,
    combine: Sequence[str] = (),
    strip_prefix: Sequence[str] = (),
    rename: Sequence[str] = (),
    void_as: VoidAs | None = None,
    exponents: bool = False,
    clip_norm: float | None = None,
    workers: Count | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
    audience: Audience | None = None,
) -> Trend:
    """Follow a run: each of `steps` is a file, a folder or a report of `inspect` in JSON Lines.

    A folder that holds steps stands for them, unless `one_gradient` says otherwise. They are put in
    order by the number in their names, or by what the regular expression `step_from` finds. A spike
    is a norm above the range of those before, unless a `SpikeRule` as `spike` says otherwise.
    `cache` names a file that keeps what was measured, so that only new steps are measured the next
    time; with `trust_mtime` what was copied or restored with its times is not new. What tensors of
    one name in several files of a step are to each other `combine` says, as in `inspect`.
    `strip_prefix` and `rename`, texts of the form `REGEX=NEW`, align names first, in all steps;
    `include` and `exclude` match aligned names. `void_as` is the dtype of arrays whose files say no
    more than the size of their values. With `exponents` it is measured, and kept in the cache, how
    many values have which exponent. Of a limit `clip_norm` it is said what share of the steps it
    clips. `scheduler` is that of `inspect`. What cannot be read is
    `unreadable` in the result. Raises `GradclipError` where nothing can be.
    """
    paths = listed(steps, "step", ", one for each step")
    if paths.count(STDIN) > 1:
        raise GradclipError(STDIN, "standard input can be read only once", "give - once")
    if cache is not None:
        paths = _without(paths, os.fspath(cache))
    rule = spike or RangeRule()
    if not 0 < rule.deviations < math.inf or rule.window < LEAST:
        raise GradclipError(
            "--spike",
            f"{rule!r} is not a rule for spikes",
            f"give deviations above 0, and a window of {LEAST} or more",
        )
    limiting.check(clip_norm)
    selection = Selection(include, exclude)
    aligned = renaming(strip_prefix, rename)
    operands, said = steps_of(paths, step_from, one_gradient, void_as, aligned)
    asked = (*PRINTS, *((EXPONENTS.name,) if exponents else ()))
    wish = _Wish(selection, void_as or "", (*combine,), aligned, asked)
    places = [_Place(operand, wish) for operand in operands]
    with contextlib.ExitStack() as stack:
        kept = None
        if cache is not None:
            kept = stack.enter_context(opened_cache(os.fspath(cache), trust_mtime, asked))
        told = progress or Progress()
        hands = stack.enter_context(crew(workers, _Passed(told), scheduler))
        run = _followed(places, rule, kept, hands, told, audience or Audience())
    limit = None if clip_norm is None else limiting.limit_of(clip_norm, run.finite_norms)
    notes = (*run.notes, *said, *hands.notes, *_fewer(places))
    return dataclasses.replace(run, notes=notes, limit=limit)


def _followed(
    places: Sequence["_Place"],
    rule: SpikeRule | RangeRule,
    kept: Cache | None,
    hands: Crew,
    progress: Progress,
    audience: Audience,
) -> Trend:
    new = [place for place in places if kept is None or kept.known(place.key) is None]
    why = Counter(kept.anew(place.key) for place in new) if kept is not None else Counter()
    progress.begin("measuring", sum(place.size for place in new))
    layouts: dict[Layout, Layout] = {}
    watch = Watch(rule)
    steps: list[Step] = []
    bad: list[Unreadable] = []
    for number, place in enumerate(places):
        measured = None if kept is None else kept.known(place.key)
        if measured is None:
            try:
                key, measured = place.measure(hands)
            except (GradclipError, OSError) as error:
                if isinstance(error, NothingSelectedError):
                    raise
                if isinstance(error, RepeatedNameError) and not steps:  # so are all, most likely
                    raise
                bad.append(unreadable(number, place.operand.step, str(place.operand.path), error))
                if steps:
                    audience.step(bad[-1])
                continue
            layout = layouts.setdefault(measured.layout, measured.layout)
            measured = dataclasses.replace(measured, layout=layout)
            if kept is not None and key is not None:
                kept.keep(key, place.operand.step, measured)
        row = watch.step(place.operand.step, str(place.operand.path), measured)
        if not steps:
            audience.begin([place.operand.step for place in places])
            for one in bad:
                audience.step(one)
        audience.step(row)
        steps.append(row)
    if not steps:
        raise together([one.error for one in bad])
    run = trend_of(steps, rule, bad)
    anew = [
        f"{plural(count, 'step')} measured anew: {reason}"
        for reason, count in why.items()
        if reason
    ]
    return dataclasses.replace(run, notes=(*run.notes, *anew))


def _fewer(places: Sequence["_Place"]) -> list[str]:
    """Say which steps have fewer files than most, as where that of a rank is missing."""
    ((usual, most),) = Counter(place.files for place in places).most_common(1)
    fewer = [place for place in places if 0 < place.files < usual]
    if not fewer or most <= len(fewer):
        return []
    steps = listed_names([str(place.operand.step) for place in fewer])
    which = "step" if len(fewer) == 1 else "steps"
    return [f"{which} {steps}: fewer files than the {usual:,} of others; is one missing?"]


def _without(paths: Sequence[str], cache: str) -> list[str]:
    """Leave the cache out where a pattern such as `run/*` has named it among the steps."""
    here = tree.real(cache)
    rest = [path for path in paths if tree.real(path) != here]
    if not rest:
        raise GradclipError(cache, "is the cache, not a step", "name the steps as well")
    return rest


@frozen
class _Wish:
    """What of a step is asked for, and how its files are read."""

    selection: Selection
    void_as: str
    combine: tuple[str, ...]
    aligned: Renaming
    asked: Asked


class _Place:
    """A step before it is measured: where its files lie, as they were when the run was begun.

    What is wrong with a folder is told when it is to be measured; another path has to be there.
    """

    def __init__(self, operand: Operand, wish: _Wish) -> None:
        self.operand = operand
        self._found: Found | GradclipError | OSError
        self._wish = wish
        status: list[tuple[FileKey, int]] = []
        try:
            self._found = found(operand.all, wish.void_as, wish.combine, wish.aligned)
            status += [_status(place.path) for place in self._found.files if place.path != STDIN]
            status += [*map(_status, _besides(self._found))]
        except (GradclipError, OSError) as error:
            if not any(map(tree.is_folder, operand.all)):
                raise
            self._found = error
        self.files = 0 if isinstance(self._found, Exception) else len(self._found.files)
        files, changed = zip(*status, strict=True) if status else ((), ())
        self.size = sum(size for _, size, _ in files)
        self.key = self._key(files, changed)

    def _key(self, files: tuple[FileKey, ...], changed: tuple[int, ...]) -> Key:
        wish = self._wish
        more = changed, wish.void_as, wish.combine, wish.aligned
        return Key.of(self.operand.path, files, wish.selection, *more)

    def measure(self, hands: Crew) -> tuple[Key | None, Measured]:
        """Measure it; gives also what it is to be known by, None if it cannot come again."""
        wish, selection = self._wish, self._wish.selection
        if is_report(self.operand.path):
            return self.key, read_report(self.operand.path, selection, wish.aligned)
        if isinstance(self._found, Exception):
            raise self._found
        try:
            dump = opened(self._found)
        except RepeatedNameError as error:
            raise _explained(error, self.operand) from error
        dump = all_renamed(dump, wish.aligned)
        if not (self.operand.paths or tree.is_folder(self.operand.path)):
            dump = _unnamed(dump)
        chosen = gradients(dump, selection)
        if has_stream(dump):  # which can be read only in order, so by one worker
            moments = measure_tensors(dump.tensors, chosen, hands.alone, asked=wish.asked)
            finish(dump)
            return None, _measured(dump, moments, selection)
        moments = measure_tensors(dump.tensors, chosen, able(hands, dump), asked=wish.asked)
        sources = [file.source for file in dump.files if isinstance(file.source, WholeSource)]
        files = [(source.path, source.size, source.modified_ns) for source in sources]
        changed = [source.changed_ns for source in sources]
        for path in _besides(self._found):
            file, at = _status(path)
            files.append(file)
            changed.append(at)
        key = self._key((*files,), (*changed,))
        measured = _measured(dump, moments, selection)
        return None if self.operand.path == STDIN else key, measured


def _besides(found: Found) -> list[str]:
    """Give the paths of what a step depends on besides its dumps."""
    return [*(one.path for one in found.companions), *found.parts]


def _explained(error: RepeatedNameError, operand: Operand) -> RepeatedNameError:
    """Say what to do about files of one step that have the same tensors."""
    hint = error.hint
    if are_ranks(error.subject, error.other):
        hint = (
            "ranks hold parts of a step: say what they are to each other, --combine pieces, "
            "copies, sum or mean; or give the files of one rank alone, with rank0 for rank*"
        )
    elif not operand.paths:
        path = operand.path.rstrip(os.sep)
        hint = f"each is one step; if each file is one, give them all: {path}/*"
    return RepeatedNameError(error.subject, error.other, error.problem, hint)


class _Passed(CrewProgress):
    """Progress of one step, passed on as progress of the run, which has begun already."""

    def __init__(self, run: Progress) -> None:
        self._run = run

    def advance(self, size: int, label: str) -> None:
        self._run.advance(size, label)

    def staffed(self, workers: int) -> None:
        if isinstance(self._run, CrewProgress):
            self._run.staffed(workers)


def _status(path: str) -> tuple[FileKey, int]:
    """Give what a file is known by, and when anything of it changed last."""
    size, modified, changed = tree.known_by(path)
    return (path, size, modified), changed


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


def _measured(dump: Dump, moments: dict[int, Moments], selection: Selection) -> Measured:
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
        tuple(notes_of(dump, list(moments), selection)),
        {
            one.name: [dict(part.further).get(one.name) for part in parts]
            for one in STATISTICS
            if not parts or one.name in dict(parts[0].further)
        },
        tuple(tensor.name for tensor in undecodable(dump, selection)),
    )
