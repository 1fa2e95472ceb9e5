"""The one pass that compares two dumps: every pair of tensors, block by block."""

from collections.abc import Iterable, Sequence

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
from gradclip_cli.compare.sides import Readers
from gradclip_cli.engine.crew import Crew
from gradclip_cli.engine.sweep import swept
from gradclip_cli.measure.gauge import measure, measure_each
from gradclip_cli.measure.moments import Moments
from gradclip_cli.measure.places import Places


def compare_tensors(pairs: Sequence[Pair], b_leads: bool, crew: Crew) -> list[Difference]:
    """Compare pairs of tensors of one shape: give the difference of each.

    A stream can be read only in order; if B is one, it leads.
    """
    parts: list[list[Difference]] = [[] for _ in pairs]
    size = sum(a.size + b.size for a, b in pairs)
    for index, part in swept(crew, _compared, cut_alike(pairs, b_leads), "comparing", size):
        parts[index].append(part)
    nothing = unchanged(Moments(), Rounding(0, 0))
    return [difference.merge(some) if some else nothing for some in parts]


def _compared(work: Spans | Box, readers: Readers) -> Iterable[tuple[int, Difference]]:
    found: list[tuple[int, Difference]] = []
    for first, both in read(work, readers):
        if isinstance(work, Box):
            around = rounding(work.a.dtype, work.b.dtype)
            found.append((work.index, _block(both, around, work.places)))
        else:
            found += zip(work.indices, _spans(work, first, both), strict=True)
    return found


def _spans(work: Spans, first: int, both: Both) -> list[Difference]:
    span = work.a[0]
    around = rounding(span.dtype, work.b[0].dtype)
    if not span.small:
        return [_block(both, around, span.places_from(first))]
    counts = [count for part in work.a for count in part.counts]
    if both.b is None or both.changed is None:
        return [unchanged(one, around) for one in measure_each(both.a, counts)]
    return compare_each(both.a, both.b, both.changed, around, counts)


def _block(both: Both, around: Rounding, places: Places) -> Difference:
    if both.b is None or both.changed is None:
        return unchanged(measure(both.a, both.lanes, places), around)
    return compare(both.a, both.b, both.changed, around, both.lanes, places)
