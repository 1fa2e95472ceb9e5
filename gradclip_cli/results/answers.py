"""What can be read from a run, in words: one answer a paragraph, the worst first."""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from gradclip_cli.results.phrases import called, nonfinite, number, percent
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.departures import Departure
from gradclip_cli.series.findings import FirstNonfinite, Growth, Jump, Spike, Unchanged
from gradclip_cli.series.layers import Fading, layer_of
from gradclip_cli.series.shifts import Shift
from gradclip_cli.series.silence import Silence
from gradclip_cli.series.spikes import LEAST
from gradclip_cli.series.trajectory import Step
from gradclip_cli.tensors.dtypes import binary_of
from gradclip_cli.tensors.names import escape, plural, printable, shortened

_LISTED = 5  # names beyond these are counted
_SPIKES = 4
_INDENT = "  "
_ONE_VALUE = 0.99  # of a norm: the magnitude of a value that is to blame alone
_NEARLY_ALL = 0.999  # of the squared norm: named, whether or not it grew

# The dtypes in which gradients overflow: where an infinity comes from.
_NARROW = ("float16", "float8_e5m2")


def paragraphs(trend: Trend) -> Iterator[tuple[str, bool]]:
    """Say what there is to say; a paragraph that is bad news is told to be."""
    first = trend.first_nonfinite
    if first is None:
        yield "all values are finite", False
    else:
        yield _not_finite(first), True
        yield from ((said, False) for said in _around(first))
    beyond = sum(step.mark == "overflow" for step in trend.steps)
    if beyond:
        yield f"the norm of {plural(beyond, 'step')} is beyond float64", True
    yield from ((said, False) for said in _standing_out(trend))
    yield from ((said, False) for said in _gone(trend))
    for fading in trend.fading:
        yield _vanishing(fading), False
    yield from ((said, False) for said in (*_silent(trend), *_dead(trend), *_stale(trend)))


def notes(trend: Trend) -> str:
    """Say what a reader of the numbers must not miss."""
    read, bad = len(trend.steps), len(trend.unreadable)
    said = [f"{read:,} of {plural(read + bad, 'step')} read" if bad else plural(read, "step")]
    if not trend.seeks_shifts:
        said.append("with --spike no levels are looked for that do not come back")
    if trend.limited:
        said.append(trend.limited)
    return " · ".join([*said, *map(printable, trend.notes)])


def says(trend: Trend) -> str:
    """Say in a sentence what has to be known first."""
    worst = [said.strip() for said, bad in paragraphs(trend) if bad]
    standing = [said.strip(" :") for said in _standing_out(trend)]
    if trend.spikes and not trend.shifts:  # of spikes, which are told one by one, the first
        standing = [f"{standing[0]}, the first at step {step_name(trend.spikes[0].step)}"]
    elif not trend.shifts and worst:
        standing = []
    kinds = (standing, _gone(trend), _dead(trend), _stale(trend))
    found = (itertools.islice(some, 1) for some in kinds)
    return "; ".join([*worst, *itertools.chain(*found)])


def _not_finite(first: FirstNonfinite) -> str:
    found = first.found
    what = nonfinite((found.nan, found.posinf, found.neginf))
    return (
        f"not finite, first at step {step_name(first.step)}, likely in {called(first.tensor)} at "
        f"{list(found.first)} ({what}); in {first.tensors:,} of "
        f"{len(first.step.measured.layout.names):,} tensors"
    )


def _around(first: FirstNonfinite) -> Iterator[str]:
    if first.infinite:
        why = "the first to overflow"
        if first.dtype in _NARROW:
            why = f"{first.dtype} ends at {binary_of(first.dtype).largest:,.0f}"
        yield f"{_INDENT}infinities without NaN in {listed(first.infinite)}: {why}"
    if others := [name for name in first.with_nan if name != first.tensor]:
        yield f"{_INDENT}NaN in {listed(others)} as well"
    after = plural(first.behind, "step")
    if first.later:
        yield f"{_INDENT}so are {first.later:,} of the {after} after it"
    elif first.behind:
        yield f"{_INDENT}finite again in the {after} after it"
    if first.before is None:
        yield f"{_INDENT}there is no step before it"
    else:
        yield f"{_INDENT}{_looked(first.before)}"


def _looked(before: Step) -> str:
    """Say what the step before looked like."""
    parts = [f"the step before, {step_name(before)}: norm {number(before.global_norm)}"]
    if before.ratio is not None:
        parts.append(f"{number(before.ratio)} × the median before")
    largest = before.measured.size_of_all()
    if largest is not None:
        size, tensor = largest
        name = called(before.measured.layout.names[tensor])
        parts.append(f"largest |x| {number(size)} in {name}")
    if before.share is not None:
        parts.append(f"{percent(*before.worst_part)} of the squared norm in {called(before.worst)}")
    return ", ".join(parts)


def _standing_out(trend: Trend) -> Iterator[str]:
    """Say which steps stand out: new levels, and spikes."""
    where = trend.rule.words
    jump = trend.largest_jump
    if not trend.judged:
        yield "too few steps to call a spike" + (f"; {_jump(jump)}" if jump else "")
        return
    yield from map(_shift, trend.shifts)
    if not trend.spikes and not trend.shifts:
        few = all(step.usual.few for step in trend.steps)
        rest = " (few steps: a spike may pass for usual)" if few else ""
        if trend.unjudged_jump is not None:
            yield f"no spikes among the {trend.judged:,} steps that are judged{rest}"
        else:
            yield f"no spikes: no norm is above {where}{rest}"
    elif trend.spikes:
        few = all(spike.step.few_steps for spike in trend.spikes)
        by = ", by few steps" if few else ""
        yield f"{plural(len(trend.spikes), 'spike')} above {where}{by}{_beside(trend)}:"
    if trend.unjudged_jump is not None:
        yield f"{_INDENT}the first {LEAST} steps are not judged; {_jump(trend.unjudged_jump)}"
    # The first says since when, and the largest matter most; all are told in their order.
    largest = sorted(trend.spikes[1:], key=_excess, reverse=True)[: _SPIKES - 1]
    shown = [*trend.spikes[:1], *largest]
    for spike in (spike for spike in trend.spikes if spike in shown):
        yield f"{_INDENT}step {step_name(spike.step)}: {_spike(spike)}"
    if len(trend.spikes) > _SPIKES:
        more = plural(len(trend.spikes) - _SPIKES, "smaller one")
        yield f"{_INDENT}… and {more}"


def _beside(trend: Trend) -> str:
    """Say where the other marks belong: rows are marked before it is known that they stay."""
    marks = sum(step.mark == "spike" for step in trend.steps) - len(trend.spikes)
    return f", beside {plural(marks, 'mark')} of the new level" if marks else ""


def _excess(spike: Spike) -> float:
    return spike.step.global_norm / (spike.step.threshold or 5e-324)


def _jump(jump: Jump) -> str:
    step = jump.step
    said = f"largest jump: step {step_name(step)}, {number(jump.times)} times the step before"
    if step.share is None:
        return said
    return f"{said}, {called(step.worst)} {percent(*step.worst_part)}"


def leaving(shift: Shift, where: str = "") -> str:
    """Say which tensors left their ranges with a new level, or first of all."""
    names = ", ".join(map(called, shift.first))
    more = shift.leaving - len(shift.first)
    names += f" and {plural(more, 'more tensor')}" if more else ""
    leaves = "leaves its range" if shift.leaving == 1 else "leave their ranges"
    back = "does not come back" if shift.leaving == 1 else "do not come back"
    return f"{names} {leaves}{where} and {back}"


def _shift(shift: Shift) -> str:
    began, since = step_name(shift.began), step_name(shift.step)
    said = f"{leaving(shift, f' at step {began}')}: " if shift.first else ""
    moves = "rises" if shift.rises else "falls"
    said += (
        f"from step {since} on the global norm {moves} from {number(shift.before)} to "
        f"{number(shift.after)}, the median of {plural(shift.count, 'step')}"
    )
    if shift.step.usual.few:
        said += " (few steps before it)"
    if shift.anew is not None:
        said += f"; after step {step_name(shift.anew)} that is the level to compare with"
    return said


def departing(trend: Trend) -> list[list[Departure]]:
    """Give the tensors that left their ranges for good, those of a step together.

    Those that left with a new level of the norm of all are told with it.
    """
    told = {(id(step), shift.rises) for shift in trend.shifts for step in (shift.step, shift.began)}
    together: dict[tuple[int, bool], list[Departure]] = {}
    for one in trend.departures:
        if (key := (id(one.step), one.rises)) not in told:
            together.setdefault(key, []).append(one)
    return list(together.values())


def _gone(trend: Trend) -> Iterator[str]:
    together = departing(trend)
    yield from map(_departed, together[:_LISTED])
    if len(together) > _LISTED:
        yield f"{_INDENT}… and others at {plural(len(together) - _LISTED, 'later step')}"


def _departed(some: Sequence[Departure]) -> str:
    one, step = some[0], step_name(some[0].step)
    moves = "rise" if one.rises else "fall"
    few = " (by few steps)" if all(each.few for each in some) else ""
    if len(some) == 1:
        return (
            f"{called(one.tensor)} leaves its range at step {step} and does not come back: its "
            f"norm {moves}s from {number(one.before)} to {number(one.after)}{few}"
        )
    ends = [sorted((each.before, each.after)) for each in some]
    fold = statistics.median(high / low if low else math.inf for low, high in ends)
    by = f"{number(fold, 3)}-fold" if math.isfinite(fold) else ("from 0" if one.rises else "to 0")
    return (
        f"{len(some):,} tensors leave their ranges at step {step} and do not come back, norms "
        f"{moves} {by}{few}: {listed([each.tensor for each in some])}"
    )


def _spike(spike: Spike) -> str:
    step = spike.step
    said = f"norm {number(step.global_norm)}"
    if step.ratio is not None:
        said += f", {number(step.ratio)} × the median before"
    if (size := step.largest) is not None and size >= _ONE_VALUE * step.global_norm:
        said += ", nearly all of it in one value"
    if spike.grown:
        said += f"; share of {', '.join(map(_growth, spike.grown))}"
    is_told = step.worst in [growth.tensor for growth in spike.grown]
    if step.share is not None and not is_told and (not spike.grown or step.share >= _NEARLY_ALL):
        said += f"; {called(step.worst)} has {percent(*step.worst_part)} of the squared norm"
    return said


def _growth(growth: Growth) -> str:
    before = "nothing" if growth.before is None else percent(growth.before)
    return f"{called(growth.tensor)} grew from {before} to {percent(growth.after)}"


def falling_silent(trend: Trend) -> list[list[Silence]]:
    """Give the tensors that fell silent, those of the same steps together, none told to fall."""
    told = {one.tensor for one in trend.departures if not one.rises}
    together: dict[tuple[int, int, bool], list[Silence]] = {}
    for one in trend.silent:
        if one.tensor not in told:
            together.setdefault((id(one.step), id(one.last), one.gaps), []).append(one)
    return list(together.values())


def until(trend: Trend, one: Silence) -> str:
    """Say to which step a tensor is silent, or that it goes on to the end of the run."""
    end = " on" if one.last is trend.steps[-1] else f" to step {step_name(one.last)}"
    return f"{end}, where they are there and finite" if one.gaps else end


def _silent(trend: Trend) -> Iterator[str]:
    together = falling_silent(trend)
    for some in together[:_LISTED]:
        tensors = plural(len(some), "tensor is", "tensors are")
        names = listed([each.tensor for each in some])
        yield f"{tensors} zero from step {step_name(some[0].step)}{until(trend, some[0])}: {names}"
    if len(together) > _LISTED:
        yield f"{_INDENT}… and others from {plural(len(together) - _LISTED, 'later step')} on"


def _dead(trend: Trend) -> Iterator[str]:
    if trend.always_zero:
        zero = plural(len(trend.always_zero), "tensor is", "tensors are")
        yield f"{zero} zero in every step: {listed(trend.always_zero)}"


def _stale(trend: Trend) -> Iterator[str]:
    """Say what does not change, the tensors of the same steps together."""
    together: dict[tuple[int, int], list[Unchanged]] = {}
    for one in trend.unchanged:
        together.setdefault((id(one.first), id(one.last)), []).append(one)
    for some in sorted(together.values(), key=lambda some: -some[0].count)[:_LISTED]:
        one = some[0]
        where = f"from step {step_name(one.first)} to {step_name(one.last)}, in {one.count:,} steps"
        if one.count == len(trend.steps):
            where = f"in all {one.count:,} steps"
        if 1 < len(some) == sum(map(bool, one.last.measured.norms)):
            yield f"all tensors have the same values {where}: one gradient, saved again"
            continue
        tensors = plural(len(some), "tensor has", "tensors have")
        yield f"{tensors} the same values {where}: {listed([each.tensor for each in some])}"
    if len(together) > _LISTED:
        yield f"{_INDENT}… and {len(together) - _LISTED:,} more spans of steps"


def _vanishing(fading: Fading) -> str:
    return (
        f"vanishing: from {called(fading.high)} to {called(fading.low)} the norm becomes "
        f"{number(fading.rate)} of itself with each layer, {number(fading.whole)} over all "
        f"{fading.layers:,}"
    )


def step_name(step: Step) -> str:
    """Write what a step is called."""
    return shortened(escape(str(step.step)))


def listed(names: Sequence[str | None]) -> str:
    """List names, or the layers that have them where that is shorter, the rest counted."""
    layers = Counter(map(layer_of, names))
    if len(names) > _LISTED and 2 * len(layers) <= len(names):
        each = [f"{called(layer)} ({count:,})" for layer, count in layers.items()]
        rest = sum(list(layers.values())[_LISTED:])
    else:
        each = list(map(called, names))
        rest = len(names) - _LISTED
    shown = ", ".join(each[:_LISTED])
    return f"{shown} … and {rest:,} more" if rest > 0 else shown
