"""What can be read from the steps of a run: when it went wrong, where, and how it looked before."""

import itertools
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from gradclip_cli.measure.statistics import FINGERPRINT
from gradclip_cli.series.shifts import Shift
from gradclip_cli.series.trajectory import Nonfinite, Step
from gradclip_cli.series.unreadable import Unreadable

LEAST_GROWTH = 0.01  # of the squared norm: a share that grew by less is not to blame
_MOST_GROWN = 3
_STALE = 3  # steps: two may be alike where a run was saved again
_ABOVE = 4.0  # times a new level: what is a spike even there


@dataclass(frozen=True, slots=True)
class FirstNonfinite:
    """The first step with a value that is not finite, and the one before it.

    `infinite` are its tensors with infinities and no NaN: where a value overflows there is an
    infinity first, and NaN follow from it. `with_nan` are all others. Of the steps `behind` it so
    many `later` ones have such values, too.
    """

    step: Step
    tensor: str | None
    dtype: str
    found: Nonfinite
    tensors: int
    infinite: tuple[str | None, ...]
    with_nan: tuple[str | None, ...]
    before: Step | None
    behind: int
    later: int


@dataclass(frozen=True, slots=True)
class Growth:
    """How a tensor's share of the squared norm changed; None where it had none."""

    tensor: str | None
    before: float | None
    after: float


@dataclass(frozen=True, slots=True)
class Spike:
    """A step whose norm stands out, and the tensors whose share grew most there, at most three."""

    step: Step
    grown: tuple[Growth, ...]


def first_nonfinite(steps: Sequence[Step]) -> FirstNonfinite | None:
    """Give the first step with a value that is not finite."""
    for place, step in enumerate(steps):
        bad = step.measured.nonfinite
        first = step.measured.worst
        if bad and first is not None:
            layout = step.measured.layout
            return FirstNonfinite(
                step,
                layout.names[first],
                layout.dtypes[first],
                bad[first],
                len(bad),
                tuple(layout.names[tensor] for tensor in sorted(bad) if not bad[tensor].nan),
                tuple(layout.names[tensor] for tensor in sorted(bad) if bad[tensor].nan),
                steps[place - 1] if place else None,
                len(steps) - place - 1,
                sum(bool(other.measured.nonfinite) for other in steps[place + 1 :]),
            )
    return None


@dataclass(frozen=True, slots=True)
class Jump:
    """A step and how many times the norm of the one before it its norm is."""

    step: Step
    times: float


def largest_jump(steps: Sequence[Step]) -> Jump | None:
    """Give the step whose norm is most times that of the finite one before it, if any grew."""
    known = [step for step in steps if 0 < step.global_norm < math.inf]
    jumps = [
        Jump(after, after.global_norm / before.global_norm)
        for before, after in itertools.pairwise(known)
        if after.global_norm > before.global_norm
    ]
    return max(jumps, key=lambda jump: jump.times, default=None)


def spikes(steps: Sequence[Step], shifts: Collection[Shift] = ()) -> Iterable[Spike]:
    """Give the steps that are marked as spikes, but for new levels, and whose shares grew."""
    level = {place: shift.after for shift in shifts for place in shift.places}
    before: Step | None = None
    for place, step in enumerate(steps):
        if step.mark == "spike" and step.global_norm > _ABOVE * level.get(place, 0.0):
            yield Spike(step, _grown(before, step))
        if math.isfinite(step.global_norm):
            before = step


def _grown(before: Step | None, step: Step) -> tuple[Growth, ...]:
    """Give the tensors whose share grew by a hundredth or more, those that grew most first."""
    earlier: dict[str | None, float | None] = {}
    if before is not None:
        names = before.measured.layout.names
        earlier = {name: before.measured.share(tensor) for tensor, name in enumerate(names)}
    found = []
    for tensor, name in enumerate(step.measured.layout.names):
        share = step.measured.share(tensor) or 0.0
        grown = share - (earlier.get(name) or 0.0)
        if grown >= LEAST_GROWTH:
            found.append((-grown, tensor, Growth(name, earlier.get(name), share)))
    return tuple(growth for _, _, growth in sorted(found, key=lambda item: item[:2])[:_MOST_GROWN])


def always_zero(steps: Sequence[Step]) -> list[str | None]:
    """Give the tensors that are in every step and have no other value in any."""
    common: dict[str | None, None] | None = None
    for step in steps:
        measured = step.measured
        zero = {
            name: None
            for tensor, name in enumerate(measured.layout.names)
            if not measured.norms[tensor]
            and measured.layout.counts[tensor]
            and tensor not in measured.nonfinite
        }
        common = zero if common is None else {name: None for name in common if name in zero}
        if not common:
            break
    return list(common or ())


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A tensor with the same bits in `count` steps one after the other."""

    tensor: str | None
    first: Step
    last: Step
    count: int


def unchanged(rows: Sequence[Step | Unreadable]) -> Iterable[Unchanged]:
    """Give the tensors that stay as they are in three steps or more, or all in two.

    Zeros are none, nor what is not finite, nor what has no fingerprint. What cannot be read ends
    what stays: nobody knows how it was there.
    """
    steps = [None if isinstance(row, Unreadable) else row for row in rows]
    least = min(_STALE, max(sum(step is not None for step in steps), 2))
    runs: dict[str | None, tuple[str, Step, Step, int]] = {}
    earlier: dict[str | None, str] = {}
    again: set[int] = set()  # steps in which all is as in the one before
    for step in [*steps, None]:
        prints = {} if step is None else _prints(step)
        if step is not None and len(prints) > 1 and prints == earlier:
            again.add(id(step))
        earlier = prints
        for name, (known, first, last, count) in list(runs.items()):
            if prints.get(name) != known:
                del runs[name]
                if count >= least or id(last) in again:
                    yield Unchanged(name, first, last, count)
        if step is not None:
            for name, found in prints.items():
                _, first, _, count = runs.get(name, (found, step, step, 0))
                runs[name] = found, first, step, count + 1


def _prints(step: Step) -> dict[str | None, str]:
    measured = step.measured
    known = measured.further.get(FINGERPRINT.name, ())
    if not any(known):
        return {}
    return {
        name: found
        for tensor, (name, found) in enumerate(zip(measured.layout.names, known, strict=True))
        if found and measured.norms[tensor] and tensor not in measured.nonfinite
    }


def notes(steps: Sequence[Step]) -> Iterable[str]:
    """Give each note once, and in how many steps it holds where it is not all of them."""
    counted: dict[str, int] = {}
    for step in steps:
        for note in step.measured.notes:
            counted[note] = counted.get(note, 0) + 1
    for note, count in counted.items():
        yield note if count == len(steps) else f"{note} (in {count:,} of {len(steps):,} steps)"
    if len({frozenset(layout.names) for layout in {s.measured.layout for s in steps}}) > 1:
        yield "not all steps have the same tensors"
