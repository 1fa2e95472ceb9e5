"""Pass 1: measure a dump.

Batches of spans go to an executor, and no tensor is ever held: memory depends on workers and block
size, not on files.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from gradclip_cli.engine.crew import Crew
from gradclip_cli.measure.gauge import Gauge, measure_each
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.measure.spans import Work, batches, blocks, cut
from gradclip_cli.tensors.dtypes import DType, Stored, decode, magnitudes
from gradclip_cli.tensors.dump import Span, Tensor


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
    found: dict[int, Moments] = {}
    parts: dict[int, list[Moments]] = {}  # of tensors that have several
    progress.begin("measuring", sum(tensors[index].size for index in chosen))
    for batch, results in crew.in_order(work, batches(cut(tensors, chosen))):
        for index, part in results:
            if index in found:
                parts.setdefault(index, [found[index]]).append(part)
            else:
                found[index] = part
        progress.advance(sum(work.size for work in batch), batch[-1].span.source.label)
    found |= {index: merge(some) for index, some in parts.items()}
    nothing = Moments(norm_type=norm_type)
    return {index: found.get(index, nothing) for index in chosen}


def _measure_batch(norm_type: float, batch: tuple[Work, ...]) -> list[tuple[int, Moments]]:
    results: list[tuple[int, Moments]] = []
    with np.errstate(all="ignore"):
        for source, group in itertools.groupby(batch, key=lambda work: work.span.source):
            with source.opened() as descriptor:
                for work in group:
                    meter = Meter(work.span, work.span.dtype, norm_type)
                    for _, stored in blocks(descriptor, work.span):
                        meter.add(stored)
                    results += zip(work.indices, meter.moments(), strict=True)
    return results


class Meter:
    """Measures a span block by block, its values stored as a dtype: `Moments` of each tensor.

    `first` is the number of the first block's first value in the span.
    """

    def __init__(self, span: Span, dtype: DType, norm_type: float, first: int = 0) -> None:
        self._counts = span.counts if span.small else None
        self._dtype = dtype
        self._norm_type = norm_type
        self._each: list[Moments] = []
        self._gauge = Gauge(span.dtype.lanes, span.start + first, span.fortran_shape, norm_type)

    def add(self, stored: Stored) -> None:
        """Measure the next block; a span of small tensors has only one."""
        values = decode(stored, self._dtype)
        if self._counts is not None:
            self._each = measure_each(values, self._counts, self._norm_type)
        else:
            narrow = self._dtype.is_narrow
            self._gauge.add(values, magnitudes(stored.view(self._dtype.words)) if narrow else None)

    def moments(self) -> list[Moments]:
        """Give the moments of each tensor."""
        return self._each if self._counts is not None else [self._gauge.moments()]
