"""Pass 1: measure the tensors of a dump.

Memory depends on workers and block size, not on files: what is kept of a tensor are its moments.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from functools import partial

from gradclip_cli.engine.crew import Crew
from gradclip_cli.engine.sweep import swept
from gradclip_cli.files.source import Reader
from gradclip_cli.measure.fingerprint import Fingerprint, of_each, written
from gradclip_cli.measure.gauge import Gauge, measure_each
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.measure.spans import Span, Work, blocks, cut
from gradclip_cli.measure.statistics import FINGERPRINT
from gradclip_cli.tensors.codecs import Stored, decode, magnitudes
from gradclip_cli.tensors.dtypes import DType
from gradclip_cli.tensors.dump import Tensor


def measure_tensors(
    tensors: Sequence[Tensor],
    chosen: Sequence[int],
    crew: Crew,
    norm_type: float = 2.0,
    prints: bool = False,
) -> dict[int, Moments]:
    """Measure the chosen tensors (pass 1); gives the moments of each by its index.

    With `prints` these have fingerprints.
    """
    found: dict[int, Moments] = {}
    parts: dict[int, list[Moments]] = {}  # of tensors that have several
    size = sum([tensors[index].size for index in chosen])
    visitor = partial(_measured, norm_type, prints)
    for index, part in swept(crew, visitor, cut(tensors, chosen), "measuring", size):
        if index in found:
            parts.setdefault(index, [found[index]]).append(part)
        else:
            found[index] = part
    found |= {index: merge(some) for index, some in parts.items()}
    nothing = of_nothing(norm_type, prints)
    return {index: found.get(index, nothing) for index in chosen}


def of_nothing(norm_type: float, prints: bool) -> Moments:
    """Give the moments of a tensor without values."""
    nothing = Moments(norm_type=norm_type)
    return _printed(nothing, 0) if prints else nothing


def _measured(
    norm_type: float, prints: bool, work: Work, reader: Reader
) -> Iterable[tuple[int, Moments]]:
    meter = Meter(work.span, work.span.dtype, norm_type, prints=prints)
    for _, stored in blocks(reader, work.span):
        meter.add(stored)
    return zip(work.indices, meter.moments(), strict=True)


class Meter:
    """Measures a span block by block, its values stored as a dtype: `Moments` of each tensor.

    `first` is the number of the first block's first value in the span. With `prints` it takes
    fingerprints of what is stored.
    """

    def __init__(
        self, span: Span, dtype: DType, norm_type: float, first: int = 0, prints: bool = False
    ) -> None:
        self._counts = span.counts if span.small else None
        self._dtype = dtype
        self._norm_type = norm_type
        self._each: list[Moments] = []
        self._prints: list[int] = []
        self._print = Fingerprint(dtype, span.fortran_shape, span.start + first) if prints else None
        self._gauge = Gauge(span.dtype.lanes, span.places_from(first), norm_type)

    def add(self, stored: Stored) -> None:
        """Measure the next block; a span of small tensors has only one."""
        if self._print is not None:
            if self._counts is not None:
                self._prints = of_each(stored, self._dtype, self._counts)
            else:
                self._print.add(stored)
        values = decode(stored, self._dtype)
        if self._counts is not None:
            self._each = measure_each(values, self._counts, self._norm_type)
        else:
            narrow = self._dtype.is_narrow
            self._gauge.add(values, magnitudes(stored.view(self._dtype.words)) if narrow else None)

    def moments(self) -> list[Moments]:
        """Give the moments of each tensor."""
        found = self._each if self._counts is not None else [self._gauge.moments()]
        if self._print is None:
            return found
        totals = self._prints if self._counts is not None else [self._print.total()]
        return list(map(_printed, found, totals))


def _printed(moments: Moments, total: int) -> Moments:
    further = (*moments.further, (FINGERPRINT.name, written(total)))
    return dataclasses.replace(moments, further=further)
