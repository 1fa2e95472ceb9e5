"""Values measured block by block.

`measure` gives the `Moments` of a block, a `Gauge` those of many, `measure_each` those of many
small tensors. Squares are summed in rows of 4,096 values, counted from the tensor's first, and the
sums of rows are kept without any rounding. The norm of a tensor therefore depends on its values
alone: not on blocks, spans, the number of workers or the order in which they finish.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.engine.scratch import scratch
from gradclip_cli.measure import rows, statistics
from gradclip_cli.measure.laws import Sums, exact, exact_sums
from gradclip_cli.measure.moments import Moments, knowing, merge
from gradclip_cli.measure.places import IN_ORDER, Places
from gradclip_cli.measure.rows import DOT, HIGHEST, LOWEST, ROW, widened
from gradclip_cli.measure.statistics import Asked, Further
from gradclip_cli.tensors.codecs import Floats, Values, magnitudes

_TINY, _HUGE = 2.0**LOWEST, 2.0 ** (HIGHEST - 1)

_WITHOUT_POWERS = (0.0, 2.0, math.inf)
_MANY = 1024  # blocks of which something is kept each, before it is merged


def measure(
    values: Values,
    lanes: int = 1,
    places: Places = IN_ORDER,
    norm_type: float = 2.0,
    asked: Asked = (),
) -> Moments:
    """Measure a block: float32 or float64, shape `(count * lanes,)`, lanes 2 for complex values.

    `places` say where in the tensor its values lie; the first has a position that is a multiple of
    `ROW`.
    """
    gauge = Gauge(lanes, places, norm_type, asked=asked)
    gauge.add(values)
    return gauge.moments()


class Gauge:
    """Measures a tensor block by block, in order; see `measure`.

    What is kept of a block is little and plain: moments of each, merged, took as long as a quarter
    of the measuring, and two threads a third of theirs waiting for each other's interpreter.
    """

    def __init__(
        self,
        lanes: int = 1,
        places: Places = IN_ORDER,
        norm_type: float = 2.0,
        first: int = 0,
        asked: Asked = (),
    ) -> None:
        self._asked = asked
        self._lanes = lanes
        self._places = places
        self._next = first
        self._norm_type = norm_type
        self._before: tuple[Moments, ...] = ()
        self._begin()

    def _begin(self) -> None:
        self._blocks = 0
        self._count = self._zeros = 0
        self._largest = -1.0
        self._largest_at = 0
        self._dots: list[Floats] = []
        self._last_rows: list[float] = []
        self._scaled: list[Sums] = []
        self._powers: list[Sums] = []
        self._with_nonfinite: list[Moments] = []
        self._further: list[Further] = []

    def add(self, values: Values, sizes: NDArray[Any] | None = None) -> None:
        """Measure the next block, a multiple of `ROW` values unless it is the last.

        `sizes` are the `magnitudes` of the words that the values were decoded from, where these
        are at hand: narrow ones take less time.
        """
        if values.size:
            if statistics.of_values(self._asked):
                self._further.append(statistics.measured(values, self._lanes, self._asked))
            self._add(values, sizes)
            self._blocks += 1
            if self._blocks == _MANY:
                self._before = (self.moments(),)
                self._begin()

    def _add(self, values: Values, sizes: NDArray[Any] | None) -> None:
        lanes, first, count = self._lanes, self._next, values.size // self._lanes
        self._next += count
        if sizes is None:
            sizes = magnitudes(values if lanes == 1 else _complex_sizes(values))
        top = int(sizes.argmax())  # NaN and infinities are larger than all else
        largest = abs(float(values[top])) if lanes == 1 else float(sizes.view(np.float64)[top])
        if not math.isfinite(largest):
            finite = np.all(np.isfinite(values.reshape(-1, lanes)), axis=1)
            if not finite.all():
                self._add_nonfinite(values, finite, first)
                return
        self._count += count
        if largest >= self._largest:
            places = self._places
            at = (
                places.at(first + top)
                if places.in_order
                else places.first(sizes == sizes[top], first)
            )
            if largest > self._largest or at < self._largest_at:
                self._largest, self._largest_at = largest, at
        # Nearly always there is no zero, which the smallest says in half the time.
        if not sizes.min():
            self._zeros += sizes.size - int(np.count_nonzero(sizes))
        if _TINY <= largest < _HUGE:
            self._add_squares(widened(values))
        elif largest:
            self._scaled.append(rows.squares(widened(values)))
        if self._norm_type not in _WITHOUT_POWERS:
            self._powers.append(rows.powers(values, lanes, self._norm_type))

    def _add_squares(self, wide: Floats) -> None:
        whole = wide.size // ROW * ROW
        if whole:
            parts = wide[:whole].reshape(-1, DOT)
            self._dots.append(np.vecdot(parts, parts))
        if whole < wide.size:
            self._last_rows.append(float(np.vecdot(wide[whole:], wide[whole:])))

    def _add_nonfinite(self, values: Values, finite: NDArray[np.bool_], first: int) -> None:
        """Measure a block with NaN or infinities: those apart, the rest as if zeros stood there."""
        lanes, places = self._lanes, self._places
        pairs = values.reshape(-1, lanes)
        nan = np.isnan(pairs).any(axis=1)
        posinf = (pairs == np.inf).any(axis=1) & ~nan
        bad = ~finite
        gauge = Gauge(lanes, places, self._norm_type, first)
        gauge._add(np.where(finite[:, None], pairs, 0).reshape(-1), None)
        rest = gauge.moments()
        nans, posinfs, bads = (int(np.count_nonzero(mask)) for mask in (nan, posinf, bad))
        largest = rest.largest
        if not rest.max_abs:  # the largest is a zero, the first of which must not be a stand-in
            largest = (0.0, places.first(finite, first)) if finite.any() else None
        self._with_nonfinite.append(
            dataclasses.replace(
                rest,
                largest=largest,
                zeros=rest.zeros - bads,
                nan=nans,
                posinf=posinfs,
                neginf=bads - nans - posinfs,
                first_nonfinite=places.first(bad, first),
            )
        )

    def moments(self) -> Moments:
        """Give the moments of all blocks."""
        sums = [*self._last_rows]
        if self._dots:
            sums += rows.of_quarters(np.concatenate(self._dots)).tolist()
        squares = exact_sums({0: sums})
        found = Moments(
            self._count,
            exact((squares, *self._scaled)) if self._scaled else squares,
            (self._largest, self._largest_at) if self._count else None,
            self._zeros,
            norm_type=self._norm_type,
            powers=exact(self._powers) if self._powers else (),
        )
        if self._with_nonfinite:
            found = merge((found, *self._with_nonfinite))
        if self._further:
            found = dataclasses.replace(found, further=statistics.together(self._further))
        return merge((*self._before, found)) if self._before else found


def _complex_sizes(values: Values) -> Floats:
    sizes: Floats = scratch("sizes", np.float64, values.size // 2)
    return np.hypot(values[0::2], values[1::2], out=sizes, dtype=np.float64)


def measure_each(
    values: Values,
    counts: Sequence[int],
    norm_type: float = 2.0,
    further: Sequence[Further] | None = None,
    asked: Asked = (),
) -> list[Moments]:
    """Measure many small tensors that lie next to each other, real, `counts` values each, none 0.

    Gives for each what `measure` gives, but for the last bits of the squares: NumPy's `reduceat`
    takes a tenth of a microsecond a tensor where a call of `measure` takes twenty. `further` is
    what else is known of each.
    """
    wide = widened(values)
    known = further or [()] * len(counts)
    is_plain = not statistics.of_values(asked)
    if len(counts) == 1 and norm_type == 2 and is_plain:
        return [_measure_alone(wide, *known)]
    lengths = np.asarray(counts)
    starts = np.cumsum(lengths) - lengths
    sizes = np.abs(wide, out=scratch("sizes", np.float64, wide.size))
    largest = np.maximum.reduceat(sizes, starts)
    exponents = np.frexp(largest)[1]
    plain = (largest == 0) | rows.ordinary(exponents)
    plain &= np.isfinite(largest)
    highest = np.flatnonzero(sizes == np.repeat(largest, lengths))
    at = _first_of_each(highest, starts) - starts
    zeros = np.add.reduceat(np.equal(wide, 0), starts, dtype=np.int64)
    if norm_type in _WITHOUT_POWERS:
        powers = np.zeros(lengths.size)
    else:
        plain &= rows.fits(exponents, norm_type)
        powers = np.add.reduceat(sizes**norm_type, starts)
    squares = np.add.reduceat(np.square(wide, out=sizes), starts)
    columns: list[list[Any]] = [
        column.tolist() for column in (plain, lengths, squares, largest, at, zeros, starts)
    ]
    more = [()] * len(counts) if is_plain else statistics.measured_each(values, counts, asked)
    found = [
        Moments(
            count, ((0, (square,)),) if square else (), (size, place), zero, further=(*own, *asks)
        )
        if ordinary
        else knowing(measure(wide[begin : begin + count], 1, IN_ORDER, norm_type, asked), own)
        for ordinary, count, square, size, place, zero, begin, own, asks in zip(
            *columns, known, more, strict=True
        )
    ]
    if norm_type != 2:
        found = [
            dataclasses.replace(part, norm_type=norm_type, powers=exact_sums({0: [power]}))
            if ordinary
            else part
            for part, ordinary, power in zip(found, columns[0], powers.tolist(), strict=True)
        ]
    return found


def _measure_alone(wide: Floats, further: Further) -> Moments:
    """Give what `measure_each` gives, to the bit, of a small tensor with no others beside it.

    Folders of small files are full of them, and this takes a quarter of the time.
    """
    sizes = np.abs(wide, out=scratch("sizes", np.float64, wide.size))
    at = int(sizes.argmax())
    size = float(sizes[at])  # NaN where there is one
    if not (size == 0 or (math.isfinite(size) and LOWEST < math.frexp(size)[1] < HIGHEST)):
        return knowing(measure(wide), further)
    zeros = wide.size - int(np.count_nonzero(wide))
    (square,) = np.add.reduceat(np.square(wide, out=sizes), _WHOLE).tolist()
    squares = ((0, (square,)),) if square else ()
    return Moments(wide.size, squares, (size, at), zeros, further=further)


_WHOLE = np.zeros(1, np.intp)  # a list, or a plain sum, would take longer or round otherwise


def _first_of_each(positions: NDArray[np.intp], starts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Give the first of the sorted positions at or after each start; any, where there is none."""
    found = np.searchsorted(positions, starts)
    return np.append(positions, 0)[found]
