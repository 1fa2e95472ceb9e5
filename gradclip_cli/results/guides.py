"""Which steps of a run are a guide to a limit: those before it explodes, or stays higher."""

from collections.abc import Sequence
from dataclasses import dataclass

from gradclip_cli.results.trend import Trend
from gradclip_cli.series.trajectory import Step

_NAMED = 3  # tensors: more are not few


@dataclass(frozen=True, slots=True)
class Risen:
    """A level that is higher for good, with its first step, and the few tensors that began it.

    It is `hidden` where the norm of all kept to its range.
    """

    step: Step
    tensors: tuple[str | None, ...]
    hidden: bool = False


def risen(trend: Trend) -> Risen | None:
    """Give the last level that is higher for good, if at most half of the tensors began it.

    No more began it than are named.
    """
    shift = trend.shifts[-1] if trend.shifts else None
    if shift is None:
        lifting = [one for one in trend.departures if one.lifts_all]
        together = [one.tensor for one in lifting if one.step is lifting[-1].step]
        found = None
        if 0 < len(together) <= _NAMED:
            found = Risen(lifting[-1].step, tuple(together), hidden=True)
    else:
        is_few = shift.rises and 0 < shift.leaving == len(shift.first)
        found = Risen(shift.step, shift.first) if is_few else None
    if found is None or 2 * len(found.tensors) > len(found.step.measured.layout.names):
        return None
    return found


def healthy(trend: Trend, steps: Sequence[Step]) -> range:
    """Give the places of the steps before the first that explodes, since the norm last fell."""
    rises = [shift.step for shift in trend.shifts if shift.rises]
    rises += [one.step for one in trend.departures if one.lifts_all]
    exploded = [*rises, *(spike.step for spike in trend.spikes)]
    end = min((steps.index(step) for step in exploded), default=len(steps))
    falls = [steps.index(shift.step) for shift in trend.shifts if not shift.rises]
    return range(max((at for at in falls if at < end), default=0), end)
