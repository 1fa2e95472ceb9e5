"""Levels that do not come back: since when norms stay outside their range, and which went first.

Rows are marked as they come; what is said here looks back on all of them.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradclip_cli.series.ranges import AGAIN, FEW, MOST_INSIDE, RangeRule, expected
from gradclip_cli.series.trajectory import Step

LEAST = 3  # steps outside to the end of a run: fewer may yet come back
_EARLIER = 5  # steps before the norm of all in which a tensor may have left its own range
_LATER = 3  # steps in which it has to stay outside
_LOOKED_AT = 1000  # tensors: those that changed most
_NAMED = 3  # of those that left first


@dataclass(frozen=True, slots=True)
class Shift:
    """A level that does not come back: its first step, and the norms before and after.

    `before` is the median norm of the steps before, `after` that of the `count` steps outside.
    `anew` is the step with which the window began anew, None where the run ends before it. Of the
    tensors that left their own range first, at the step `began`, `leaving` in number, `first` are
    those with the largest norms there, three at most.
    """

    step: Step
    before: float
    after: float
    count: int
    anew: Step | None
    began: Step
    first: tuple[str | None, ...]
    leaving: int
    places: range

    @property
    def rises(self) -> bool:
        """Whether the new level is the higher one."""
        return self.after > self.before


def shifts(steps: Sequence[Step]) -> Iterator[Shift]:
    """Give the levels that were reached anew, and the one that the run ends outside of."""
    for place, step in enumerate(steps):
        begin = step.outside
        if begin is None:
            continue
        is_last = place == len(steps) - 1
        outside = [at for at in range(begin, place + 1) if steps[at].strays]
        if step.anew or (is_last and len(outside) >= LEAST and _stays(steps, outside, place)):
            yield _shift(steps, begin, outside, step if step.anew else None)


def _stays(steps: Sequence[Step], outside: Sequence[int], last: int) -> bool:
    """Say whether hardly any norm came back between the first outside and the last of all."""
    inside = sum(steps[at].global_norm < math.inf for at in range(outside[0], last + 1))
    return outside[-1] >= last - 1 and (inside - len(outside)) * MOST_INSIDE <= len(outside)


def _shift(steps: Sequence[Step], begin: int, outside: Sequence[int], anew: Step | None) -> Shift:
    step = steps[begin]
    before = step.global_norm / step.ratio if step.ratio else 0.0
    after = statistics.median(steps[at].global_norm for at in outside[-AGAIN:])
    began, leaving = _left_first(steps, begin, after > before)
    return Shift(
        step,
        before,
        after,
        len(outside),
        anew,
        steps[began],
        tuple(leaving[:_NAMED]),
        len(leaving),
        range(begin, outside[-1] + 1),
    )


def _left_first(steps: Sequence[Step], begin: int, rises: bool) -> tuple[int, list[str | None]]:
    """Give the step with which the first tensors left their ranges; those that changed most first.

    A tensor has a range of its own, told by its norms in the steps that kept to theirs.
    """
    inside = [at for at in range(begin) if 0 < steps[at].global_norm < math.inf]
    inside = [at for at in inside if not steps[at].strays]
    rule = RangeRule()
    early = [at for at in inside if at < begin - _EARLIER]
    known = (early if len(early) >= FEW else inside)[-rule.window :]
    span = range(known[-1] + 1, min(begin + _LATER, len(steps)))
    found: dict[int, list[str | None]] = {}
    for name in _most_changed(steps[known[-1]], steps[begin], rises):
        points = [(at, math.log(norm)) for at in known if (norm := _norm(steps[at], name))]
        usual = expected(points, span.start, rule)
        began = None
        for at in span:
            norm = _norm(steps[at], name)
            if not norm or not usual.is_outside(norm):
                began = None
            elif began is None:
                began = at
        if began is not None:
            found.setdefault(began, []).append(name)
    first = min(found, default=begin)
    return first, found.get(first, [])


def _most_changed(before: Step, after: Step, rises: bool) -> list[str | None]:
    """Give the tensors whose norms rose, or fell, to the most times what they were."""
    changes = []
    for name in after.measured.layout.names:
        old, new = _norm(before, name), _norm(after, name)
        if old and new and (new > old) == rises:
            changes.append((new / old if rises else old / new, name))
    changes.sort(key=lambda change: -change[0])
    return [name for _, name in changes[:_LOOKED_AT]]


def _norm(step: Step, name: str | None) -> float | None:
    """Give the finite norm of a tensor in a step; None where there is none, or it is not finite."""
    at = step.measured.layout.place_of.get(name)
    if at is None or at in step.measured.nonfinite:
        return None
    norm = step.measured.norms[at]
    return norm if norm < math.inf else None
