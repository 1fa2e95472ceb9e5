"""The one pass that compares two dumps: every pair of tensors, and those that stand alone.

Batches of work go to an executor and no tensor is ever held, as in the passes over a single dump.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from gradclip_cli.compare import difference
from gradclip_cli.compare.difference import (
    Difference,
    Rounding,
    compare,
    compare_each,
    rounding,
    unchanged,
)
from gradclip_cli.compare.pairs import Both, Box, Pair, Spans, cut_alike, read
from gradclip_cli.engine.crew import Crew
from gradclip_cli.measure.gauge import measure, measure_each
from gradclip_cli.measure.meter import Progress
from gradclip_cli.measure.moments import Moments
from gradclip_cli.measure.spans import batches
from gradclip_cli.tensors.dump import Shape, multi_index

_Results = list[tuple[int, Difference]]


def compare_tensors(
    pairs: Sequence[Pair], b_leads: bool, crew: Crew, progress: Progress
) -> list[Difference]:
    """Compare pairs of tensors of one shape: give the difference of each.

    A stream can be read only in order; if B is one, it leads.
    """
    parts: list[list[Difference]] = [[] for _ in pairs]
    progress.begin("comparing", sum(a.size + b.size for a, b in pairs))
    for batch, results in crew.in_order(_compare_batch, batches(cut_alike(pairs, b_leads))):
        for index, part in results:
            parts[index].append(part)
        progress.advance(sum(work.size for work in batch), batch[-1].sources[b_leads].label)
    nothing = unchanged(Moments(), Rounding(0, 0))
    return [difference.merge(some) if some else nothing for some in parts]


def _compare_batch(batch: tuple[Spans | Box, ...]) -> _Results:
    found: _Results = []
    with np.errstate(all="ignore"):
        for (a, b), group in itertools.groupby(batch, key=lambda work: work.sources):
            with a.opened() as descriptor_a, b.opened() as descriptor_b:
                for work in group:
                    for first, both in read(work, descriptor_a, descriptor_b):
                        if isinstance(work, Box):
                            found.append((work.index, _compare_box(work, both)))
                        else:
                            differences = _compare_spans(work, first, both)
                            found += zip(work.indices, differences, strict=True)
    return found


def _compare_spans(work: Spans, first: int, both: Both) -> list[Difference]:
    span = work.a[0]
    around = rounding(span.dtype, work.b[0].dtype)
    if span.small:
        counts = [count for part in work.a for count in part.counts]
        if both.b is None or both.changed is None:
            return [unchanged(one, around) for one in measure_each(both.a, counts)]
        return compare_each(both.a, both.b, both.changed, around, counts)
    return [_compared(both, around, span.start + first, span.fortran_shape)]


def _compare_box(box: Box, both: Both) -> Difference:
    """Compare a box, and say where in the whole tensor its values lie."""

    def moved(position: int | None) -> int | None:
        if position is None:
            return None
        place = multi_index(position, box.sides)
        whole = 0
        for at, low, side in zip(place, box.low, box.a.shape, strict=True):
            whole = whole * side + low + at
        return whole

    found = _compared(both, rounding(box.a.dtype, box.b.dtype))
    a, b, gap = (_moved(part, moved) for part in (found.a, found.b, found.gap))
    return dataclasses.replace(found, a=a, b=b, gap=gap, first_newly=moved(found.first_newly))


def _moved(moments: Moments, moved: Callable[[int | None], int | None]) -> Moments:
    return dataclasses.replace(
        moments,
        max_abs_at=moved(moments.max_abs_at),
        first_nonfinite=moved(moments.first_nonfinite),
    )


def _compared(
    both: Both, around: Rounding, start: int = 0, fortran_shape: Shape | None = None
) -> Difference:
    if both.b is None or both.changed is None:
        return unchanged(measure(both.a, both.lanes, start, fortran_shape), around)
    return compare(both.a, both.b, both.changed, around, both.lanes, start, fortran_shape)
