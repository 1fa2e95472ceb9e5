"""What edits would make of a dump: measured, but not written."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from gradclip_cli.engine.crew import Crew
from gradclip_cli.engine.scratch import scratch
from gradclip_cli.engine.sweep import swept
from gradclip_cli.files.source import Reader
from gradclip_cli.frozen import frozen
from gradclip_cli.measure.laws import by, merged
from gradclip_cli.measure.meter import Meter
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.measure.spans import Span, Work, blocks, cut
from gradclip_cli.rewrite.edits import Edit
from gradclip_cli.tensors.codecs import Stored, decode, encode, sparse
from gradclip_cli.tensors.dtypes import DType
from gradclip_cli.tensors.dump import Tensor


@frozen
class Rehearsal:
    """What an edit of all tensors would come to: the moments after, and counts of values.

    `flushed` would become zero, `subnormal` would become so, `saturated` be cut to the largest.
    """

    after: Moments = by(merge)
    flushed: int = by(sum)
    subnormal: int = by(sum)
    saturated: int = by(sum)


def rehearse(
    tensors: Sequence[Tensor],
    chosen: Sequence[int],
    edits: Sequence[Edit],
    dtype: DType | None,
    crew: Crew,
    norm_type: float = 2.0,
) -> list[Rehearsal]:
    """Give what each edit would make of the chosen tensors, stored as `dtype` if not as they are.

    Nothing is written. Every block is read once for all edits.
    """
    found: list[list[Rehearsal]] = [[] for _ in edits]
    visitor = partial(_rehearsed, tuple(edits), dtype, norm_type)
    size = sum(tensors[index].size for index in chosen)
    for parts in swept(crew, visitor, cut(tensors, chosen), "rehearsing", size):
        for some, part in zip(found, parts, strict=True):
            some.append(part)
    return [merged(Rehearsal, some) for some in found]


def _rehearsed(
    edits: Sequence[Edit], dtype: DType | None, norm_type: float, work: Work, reader: Reader
) -> Iterator[list[Rehearsal]]:
    """Give what each edit makes of a span."""
    found: list[list[Rehearsal]] = [[] for _ in edits]
    target = dtype or work.span.dtype
    for first, stored in blocks(reader, work.span):
        for some, edit in zip(found, edits, strict=True):
            some.append(_tried(edit, stored, work.span, first, target, norm_type))
    yield [merged(Rehearsal, some) for some in found]


def _tried(
    edit: Edit, stored: Stored, span: Span, first: int, dtype: DType, norm_type: float
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
