"""Pass 1: measure a dump.

Batches of spans go to an executor, and no tensor is ever held: memory depends on workers and block
size, not on files.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from gradclip_cli.crew import Crew
from gradclip_cli.dtypes import DType, Stored, decode, magnitudes
from gradclip_cli.dump import Span, Tensor
from gradclip_cli.moments import Moments, measure, measure_each, merge
from gradclip_cli.spans import Work, batches, blocks, cut


class Progress(Protocol):
    """Told how far a pass is: once what it does and how many bytes, then each step."""

    def begin(self, doing: str, size: int) -> None:
        """Start a pass over so many bytes."""

    def advance(self, size: int, label: str) -> None:
        """Take note of so many bytes more, of the file called `label`."""


class Silent:
    """Progress that nobody watches."""

    def begin(self, doing: str, size: int) -> None:
        """Do nothing."""

    def advance(self, size: int, label: str) -> None:
        """Do nothing."""


def measure_tensors(
    tensors: Sequence[Tensor],
    chosen: Sequence[int],
    crew: Crew,
    progress: Progress,
    norm_type: float = 2.0,
) -> dict[int, Moments]:
    """Measure the chosen tensors (pass 1); gives the moments of each by its index."""
    work = functools.partial(_measure_batch, norm_type)
    parts: dict[int, list[Moments]] = {index: [] for index in chosen}
    progress.begin("measuring", sum(tensors[index].size for index in chosen))
    for batch, results in crew.in_order(work, batches(cut(tensors, chosen))):
        for index, part in results:
            parts[index].append(part)
        progress.advance(sum(work.size for work in batch), batch[-1].span.source.label)
    nothing = Moments(norm_type=norm_type)
    return {
        index: some[0] if len(some) == 1 else merge(some) if some else nothing
        for index, some in parts.items()
    }


def _measure_batch(norm_type: float, batch: tuple[Work, ...]) -> list[tuple[int, Moments]]:
    results: list[tuple[int, Moments]] = []
    with np.errstate(all="ignore"):
        for source, group in itertools.groupby(batch, key=lambda work: work.span.source):
            with source.opened() as descriptor:
                for work in group:
                    found = [
                        measure_stored(stored, work.span.dtype, work.span, first, norm_type)
                        for first, stored in blocks(descriptor, work.span)
                    ]
                    whole = found[0] if len(found) == 1 else map(merge, zip(*found, strict=True))
                    results += zip(work.indices, whole, strict=True)
    return results


def measure_stored(
    stored: Stored, dtype: DType, span: Span, first: int, norm_type: float
) -> list[Moments]:
    """Measure a block of a span, stored as a dtype: one `Moments` for each of its tensors."""
    values = decode(stored, dtype)
    if span.small:
        return measure_each(values, span.counts, norm_type)
    sizes = magnitudes(stored.view(dtype.words)) if dtype.is_narrow else None
    start = span.start + first
    return [measure(values, span.dtype.lanes, start, span.fortran_shape, sizes, norm_type)]
