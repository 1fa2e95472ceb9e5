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
_ROOT, _AFTER, _BESIDE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Event:
    """What happened at a step, which stands at `place` among the steps.

    Its `kind` is that of what others may follow from, of what may follow, or of what only has to be
    known beside.
    """

    place: int
    step: str
    says: tuple[str, ...]
    kind: int


@dataclass(frozen=True, slots=True)
class Story:
    """Events in their order, and what follows from that order; `left` are too small to tell.

    The `gaps` are the places of steps before which others are missing.
    """

    events: tuple[Event, ...]
    moral: str = ""
    left: int = 0
    gaps: tuple[int, ...] = ()


def story(trend: Trend) -> Story:
    """Tell a run, the events of a step together."""
    place_of = {id(step): place for place, step in enumerate(trend.steps)}
    told = sorted(
        ((place_of[id(step)], kind, words) for step, kind, words in _told(trend)),
        key=lambda one: (one[0], one[1] != _BESIDE, one[1]),
    )
    events = []
    for place, some in itertools.groupby(told, key=lambda one: one[0]):
        kinds, says = zip(*((kind, words) for _, kind, words in some), strict=True)
        events.append(Event(place, step_name(trend.steps[place]), says, min(kinds)))
    kept = sorted(sorted(events, key=lambda one: (one.kind, one.place))[:_MOST], key=_place)
    gaps = tuple(place_of[id(step)] for step, _, _ in _missing(trend.steps))
    return Story(tuple(kept), _moral(kept), len(events) - len(kept), gaps)


def _place(event: Event) -> int:
    return event.place


def _moral(events: Sequence[Event]) -> str:
    """Say where to look first, where something came before what is worst."""
    root = next((event for event in events if event.kind == _ROOT), None)
    if root is None or not any(
        event.kind == _AFTER and event.place > root.place for event in events
    ):
        return ""
    return f"Look at step {root.step} first: {root.says[0]}. What comes after may follow from it."


def _told(trend: Trend) -> Iterator[tuple[Step, int, str]]:
    yield from _moved(trend)
    yield from _loudest(trend)
    for silent in falling_silent(trend):
        are = plural(len(silent), "tensor is", "tensors are")
        names = listed([one.tensor for one in silent])
        end = until(trend, silent[0])
        yield silent[0].step, _AFTER, f"{are} exactly zero from here{end}: {names}"
    for before, step in itertools.pairwise(trend.steps):
        if changed := _dtypes(before.measured, step.measured):
            yield step, _BESIDE, changed
    yield from _missing(trend.steps)
    if (first := trend.first_nonfinite) is not None:
        found = first.found
        what = nonfinite((found.nan, found.posinf, found.neginf))
        yield (
            first.step,
            _AFTER,
            f"the first values that are not finite, in {plural(first.tensors, 'tensor')}; likely "
            f"the first of all in {called(first.tensor)}: {what}",
        )


def _moved(trend: Trend) -> Iterator[tuple[Step, int, str]]:
    """Tell new levels of the norm, and tensors that left their ranges."""
    for shift in trend.shifts:
        moves = "rises" if shift.rises else "falls"
        if shift.first:
            yield shift.began, _ROOT, leaving(shift)
        if shift.step is not shift.began or not shift.first:
            yield shift.step, _ROOT, f"the global norm {moves} to a new level"
    for some in departing(trend):
        move = "rises" if some[0].rises else "falls"
        if len(some) > 1:
            move = move.removesuffix("s")
        names = listed([one.tensor for one in some])
        yield some[0].step, _ROOT, f"the norm of {names} {move} for good"


def _loudest(trend: Trend) -> Iterator[tuple[Step, int, str]]:
    """Tell the first spike, and the largest norm, where norms stand out at all."""
    if trend.spikes:
        step = trend.spikes[0].step
        if not trend.shifts:
            yield step, _ROOT, "the first spike"
    if trend.spikes or any(shift.rises for shift in trend.shifts):
        finite = [step for step in trend.steps if not step.measured.nonfinite]
        step = max(finite, key=lambda step: step.global_norm)
        said = f"the largest norm, {number(step.global_norm)}"
        if step.share is not None:
            said += f"; {called(step.worst)} has {percent(*step.worst_part)} of the squared norm"
        yield step, _AFTER, said


def _dtypes(before: Measured, after: Measured) -> str:
    """Say which dtype took another's place, where most tensors changed theirs."""
    if before.layout is after.layout or before.layout.dtypes == after.layout.dtypes:
        return ""
    dtypes = dict(zip(before.layout.names, before.layout.dtypes, strict=True))
    pairs = zip(after.layout.names, after.layout.dtypes, strict=True)
    changed = Counter(
        (dtypes[name], dtype) for name, dtype in pairs if dtypes.get(name, dtype) != dtype
    )
    if sum(changed.values()) * 2 < len(after.layout.names):
        return ""
    ((old, new), _), *_ = changed.most_common(1)
    return f"{new} instead of {old}"


def _missing(steps: Sequence[Step]) -> Iterator[tuple[Step, int, str]]:
    """Tell where steps are missing, by their usual distance."""
    numbered = [(step.step, step) for step in steps if isinstance(step.step, int)]
    pairs = [*itertools.pairwise(numbered)]
    distances = Counter(later - earlier for (earlier, _), (later, _) in pairs)
    if len(numbered) < len(steps) or not distances:
        return
    usual, often = distances.most_common(1)[0]
    if often * 2 <= len(numbered):
        return
    for (earlier, _), (later, step) in pairs:
        many = (later - earlier) // usual - 1
        if many == 1:
            yield step, _BESIDE, f"step {earlier + usual} is missing before it"
        elif many > 1:
            yield step, _BESIDE, f"{many:,} steps are missing before it"
