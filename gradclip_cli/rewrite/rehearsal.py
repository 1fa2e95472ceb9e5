"""What edits would make of a dump: measured, but not written."""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradclip_cli.engine.crew import Crew
from gradclip_cli.engine.scratch import scratch
from gradclip_cli.measure.meter import Meter, Progress
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.measure.spans import Work, batches, blocks, cut
from gradclip_cli.rewrite.edits import Scale
from gradclip_cli.tensors.dtypes import DType, Stored, decode, encode, sparse
from gradclip_cli.tensors.dump import Span, Tensor


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What an edit of all tensors would come to: the moments after, and counts of values.

    `flushed` would become zero, `subnormal` would become so, `saturated` be cut to the largest.
    """

    after: Moments
    flushed: int
    subnormal: int
    saturated: int


def rehearse(
    tensors: Sequence[Tensor],
    chosen: Sequence[int],
    edits: Sequence[Scale],
    dtype: DType | None,
    crew: Crew,
    progress: Progress,
    norm_type: float = 2.0,
) -> list[Rehearsal]:
    """Give what each edit would make of the chosen tensors, stored as `dtype` if not as they are.

    Nothing is written. Every block is read once for all edits.
    """
    found: list[list[Rehearsal]] = [[] for _ in edits]
    work = functools.partial(_rehearse_batch, tuple(edits), dtype, norm_type)
    progress.begin("rehearsing", sum(tensors[index].size for index in chosen))
    for batch, results in crew.in_order(work, batches(cut(tensors, chosen))):
        for some, result in zip(found, results, strict=True):
            some.append(result)
        progress.advance(sum(item.size for item in batch), batch[-1].span.source.label)
    return [_together(some) for some in found]


def _rehearse_batch(
    edits: Sequence[Scale], dtype: DType | None, norm_type: float, batch: tuple[Work, ...]
) -> list[Rehearsal]:
    found: list[list[Rehearsal]] = [[] for _ in edits]
    with np.errstate(all="ignore"):
        for source, group in itertools.groupby(batch, key=lambda work: work.span.source):
            with source.opened() as descriptor:
                for work in group:
                    span = work.span
                    for first, stored in blocks(descriptor, span):
                        for some, edit in zip(found, edits, strict=True):
                            target = dtype or span.dtype
                            some.append(_tried(edit, stored, span, first, target, norm_type))
    return [_together(some) for some in found]


def _tried(
    edit: Scale, stored: Stored, span: Span, first: int, dtype: DType, norm_type: float
) -> Rehearsal:
    """Give what an edit makes of a block: what `rewrite` would write is measured and dropped."""
    lanes = span.dtype.lanes
    results = edit.apply(decode(stored, span.dtype), span.start + first, lanes)
    data: Stored = scratch("encoded", np.uint8, results.size // lanes * dtype.itemsize)
    saturated = encode(results, dtype, data)
    was_zero, was_subnormal = (mask.reshape(-1, lanes) for mask in sparse(stored, span.dtype))
    zero, subnormal = (mask.reshape(-1, lanes) for mask in sparse(data, dtype))
    meter = Meter(span, dtype, norm_type, first)
    meter.add(data)
    return Rehearsal(
        merge(meter.moments()),
        int(np.count_nonzero(zero.all(axis=1) & ~was_zero.all(axis=1))),
        int(np.count_nonzero((subnormal & ~was_subnormal).any(axis=1))),
        saturated,
    )


def _together(parts: Sequence[Rehearsal]) -> Rehearsal:
    return Rehearsal(
        merge(part.after for part in parts),
        sum(part.flushed for part in parts),
        sum(part.subnormal for part in parts),
        sum(part.saturated for part in parts),
    )
