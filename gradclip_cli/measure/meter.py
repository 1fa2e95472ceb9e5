"""Pass 1: measure the tensors of a dump.

Memory depends on workers and block size, not on files: what is kept of a tensor are its moments.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from gradclip_cli.engine.crew import Crew
from gradclip_cli.engine.sweep import swept
from gradclip_cli.files.source import Reader
from gradclip_cli.measure.fingerprint import written_each
from gradclip_cli.measure.gauge import Gauge, measure_each
from gradclip_cli.measure.laws import gathered
from gradclip_cli.measure.moments import Moments, knowing
from gradclip_cli.measure.prints import Prints
from gradclip_cli.measure.spans import Span, Work, blocks, cut
from gradclip_cli.measure.statistics import EXPONENTS, FINGERPRINT, Asked, Further
from gradclip_cli.tensors.codecs import Stored, decode, magnitudes
from gradclip_cli.tensors.dtypes import DType
from gradclip_cli.tensors.dump import Tensor


def measure_tensors(
    tensors: Sequence[Tensor],
    chosen: Sequence[int],
    crew: Crew,
    norm_type: float = 2.0,
    asked: Asked = (),
) -> dict[int, Moments]:
    """Measure the chosen tensors (pass 1); gives the moments of each by its index.

    These have the statistics that are `asked` for, such as fingerprints.
    """
    size = sum([tensors[index].size for index in chosen])
    visitor = partial(_measured, norm_type, asked)
    found = gathered(Moments, swept(crew, visitor, cut(tensors, chosen), "measuring", size))
    nothing = of_nothing(norm_type, asked)
    return {index: found.get(index, nothing) for index in chosen}


def of_nothing(norm_type: float, asked: Asked) -> Moments:
    """Give the moments of a tensor without values."""
    further = _further([0])[0] if FINGERPRINT.name in asked else ()
    if EXPONENTS.name in asked:
        further = (*further, (EXPONENTS.name, ()))
    return Moments(norm_type=norm_type, further=further)


def _measured(
    norm_type: float, asked: Asked, work: Work, reader: Reader
) -> Iterable[tuple[int, Moments]]:
    meter = Meter(work.span, work.span.dtype, norm_type, asked=asked)
    for _, stored in blocks(reader, work.span):
        meter.add(stored)
    return zip(work.indices, meter.moments(), strict=True)


class Meter:
    """Measures a span block by block, its values stored as a dtype: `Moments` of each tensor.

    `first` is the number of the first block's first value in the span. Where it is `asked` for
    fingerprints it takes those of what is stored, which is of the span's own dtype.
    """

    def __init__(
        self, span: Span, dtype: DType, norm_type: float, first: int = 0, asked: Asked = ()
    ) -> None:
        self._asked = asked
        self._counts = span.counts if span.small else None
        self._dtype = dtype
        self._norm_type = norm_type
        self._each: list[Moments] = []
        self._prints = Prints(span, first) if FINGERPRINT.name in asked else None
        places = span.places_from(first)
        self._gauge = Gauge(span.dtype.lanes, places, norm_type, asked=asked)

    def add(self, stored: Stored) -> None:
        """Measure the next block; a span of small tensors has only one."""
        if self._prints is not None:
            self._prints.add(stored)
        values = decode(stored, self._dtype)
        if self._counts is not None:
            further = None if self._prints is None else _further(self._prints.totals())
            self._each = measure_each(values, self._counts, self._norm_type, further, self._asked)
        else:
            narrow = self._dtype.is_narrow
            self._gauge.add(values, magnitudes(stored.view(self._dtype.words)) if narrow else None)

    def moments(self) -> list[Moments]:
        """Give the moments of each tensor."""
        if self._counts is not None:
            return self._each
        found = self._gauge.moments()
        if self._prints is None:
            return [found]
        return [knowing(found, *_further(self._prints.totals()))]


def _further(totals: Sequence[int]) -> list[Further]:
    return [((FINGERPRINT.name, one),) for one in written_each(totals)]
