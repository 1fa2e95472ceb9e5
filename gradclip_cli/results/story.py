"""What happened in a run, in the order of its steps, as a person tells it.

The verdict says the worst first; whoever looks for a cause wants to know what came before what.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradclip_cli.results.answers import (
    departing,
    falling_silent,
    leaving,
    listed,
    step_name,
    until,
)
from gradclip_cli.results.phrases import called, nonfinite, number, percent
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.trajectory import Measured, Step
from gradclip_cli.tensors.names import plural

_MOST = 12
# What was worst is never left out; of all else that is at hand the first.
_WORST, _ROOT, _MOVED, _SILENT, _BESIDE = range(5)
_CAUSES = (_ROOT, _MOVED)
_IN_A_STEP = (_BESIDE, _ROOT, _MOVED, _SILENT, _WORST)


@dataclass(frozen=True, slots=True)
class _Told:
    step: Step
    kind: int
    says: str
    tensor: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """What happened at a step, which stands at `place` among the steps.

    The `cause` is that of it from which others may follow; `tensor` the one that it is said of, or
    the first of them. The smaller its `rank`, the less it can be left out.
    """

    place: int
    step: str
    says: tuple[str, ...]
    cause: str
    tensor: str | None
    rank: int


@dataclass(frozen=True, slots=True)
class Story:
    """Events in their order, and what follows from that order; so many others are `left` out.

    The `gaps` are the places of steps before which others are missing.
    """

    events: tuple[Event, ...]
    moral: str = ""
    left: int = 0
    gaps: tuple[int, ...] = ()

    @property
    def numbered(self) -> tuple[Event, ...]:
        """The events as they are listed: one alone is what the verdict says."""
        return self.events if len(self.events) > 1 else ()

    @property
    def culprit(self) -> str | None:
        """The tensor of the first cause, if there is one."""
        return next((event.tensor for event in self.events if event.cause), None)


def story(trend: Trend) -> Story:
    """Tell a run, the events of a step together."""
    place_of = {id(step): place for place, step in enumerate(trend.steps)}
    told = [*_told(trend)]
    told.sort(key=lambda one: (place_of[id(one.step)], _IN_A_STEP.index(one.kind)))
    events = []
    for place, group in itertools.groupby(told, key=lambda one: place_of[id(one.step)]):
        some = [*group]
        cause = next((one.says for one in some if one.kind in _CAUSES), "")
        tensor = next((one.tensor for one in some if one.tensor is not None), None)
        says = tuple(one.says for one in some)
        name = step_name(trend.steps[place])
        events.append(Event(place, name, says, cause, tensor, min(one.kind for one in some)))
    kept = sorted(events, key=lambda one: (one.rank, one.place))[:_MOST]
    kept.sort(key=lambda one: one.place)
    gaps = tuple(place_of[id(one.step)] for one in _missing(trend))
    return Story(tuple(kept), _moral(kept), len(events) - len(kept), gaps)


def _moral(events: Sequence[Event]) -> str:
    """Say where to look first, where something came before what is worst."""
    root = next((event for event in events if event.cause), None)
    if root is None:
        return ""
    if not any(event.rank in (_WORST, _SILENT) and event.place > root.place for event in events):
        return ""
    return f"Look at step {root.step} first: {root.cause}. What comes after may follow from it."


def _told(trend: Trend) -> Iterator[_Told]:
    yield from _moved(trend)
    yield from _loudest(trend)
    for silent in falling_silent(trend):
        are = plural(len(silent), "tensor is", "tensors are")
        names = listed([one.tensor for one in silent])
        said = f"{are} exactly zero from here{until(trend, silent[0])}: {names}"
        yield _Told(silent[0].step, _SILENT, said, silent[0].tensor)
    for before, step in itertools.pairwise(trend.steps):
        if changed := _dtypes(before.measured, step.measured):
            yield _Told(step, _BESIDE, changed)
    yield from _missing(trend)
    beyond = next((step for step in trend.steps if step.mark == "overflow"), None)
    if beyond is not None:
        yield _Told(beyond, _WORST, "the first norm that is beyond float64", beyond.worst)
    if (first := trend.first_nonfinite) is not None:
        found = first.found
        what = nonfinite((found.nan, found.posinf, found.neginf))
        said = (
            f"the first values that are not finite, in {plural(first.tensors, 'tensor')}; likely "
            f"the first of all in {called(first.tensor)}: {what}"
        )
        yield _Told(first.step, _WORST, said, first.tensor)


def _moved(trend: Trend) -> Iterator[_Told]:
    """Tell new levels of the norm, and tensors that left their ranges."""
    for shift in trend.shifts:
        moves = "rises" if shift.rises else "falls"
        if shift.first:
            norms = "norm" if shift.leaving == 1 else "norms"
            said = f"the {norms} of {leaving(shift)}"
            yield _Told(shift.began, _ROOT, said, shift.first[0])
        if shift.step is not shift.began or not shift.first:
            yield _Told(shift.step, _ROOT, f"the global norm {moves} to a new level")
    for some in departing(trend):
        move = "rise" if some[0].rises else "fall"
        norms, s = ("norms", "") if len(some) > 1 else ("norm", "s")
        names = listed([one.tensor for one in some])
        said = f"the {norms} of {names} {move}{s} for good"
        yield _Told(some[0].step, _MOVED, said, some[0].tensor)


def _loudest(trend: Trend) -> Iterator[_Told]:
    """Tell the first spike, and the largest norm, where norms stand out at all."""
    if trend.spikes and not trend.shifts:
        first = trend.spikes[0].step
        yield _Told(first, _ROOT, "the first spike", first.worst)
    if trend.spikes or any(shift.rises for shift in trend.shifts):
        if (step := trend.loudest) is None:
            return
        said = f"the largest norm, {number(step.global_norm)}"
        if step.share is not None:
            said += f"; {called(step.worst)} has {percent(*step.worst_part)} of the squared norm"
        yield _Told(step, _WORST, said, step.worst)


def _dtypes(before: Measured, after: Measured) -> str:
    """Say which dtype took another's place, where most tensors changed theirs."""
    if before.layout is after.layout or before.layout.dtypes == after.layout.dtypes:
        return ""
    dtypes = dict(zip(before.layout.names, before.layout.dtypes, strict=True))
    pairs = zip(after.layout.names, after.layout.dtypes, strict=True)
    changed = Counter(
        (dtypes[name], dtype) for name, dtype in pairs if dtypes.get(name, dtype) != dtype
    )
    if not changed or sum(changed.values()) * 2 < len(after.layout.names):
        return ""
    ((old, new), _), *_ = changed.most_common(1)
    return f"{new} instead of {old}"


def _missing(trend: Trend) -> Iterator[_Told]:
    """Tell where steps are missing, by their usual distance; what cannot be read is there."""
    numbered = [(step.step, step) for step in trend.steps if isinstance(step.step, int)]
    pairs = [*itertools.pairwise(numbered)]
    distances = Counter(later - earlier for (earlier, _), (later, _) in pairs)
    if len(numbered) < len(trend.steps) or not distances:
        return
    usual, often = distances.most_common(1)[0]
    if often * 2 <= len(numbered):
        return
    unreadable = [bad.step for bad in trend.unreadable if isinstance(bad.step, int)]
    for (earlier, _), (later, step) in pairs:
        there = sum(earlier < one < later for one in unreadable)
        many = (later - earlier) // usual - 1 - there
        if many == 1 and not there:
            yield _Told(step, _BESIDE, f"step {earlier + usual} is missing before it")
        elif many > 0:
            said = f"{plural(many, 'step is', 'steps are')} missing before it"
            yield _Told(step, _BESIDE, said)
