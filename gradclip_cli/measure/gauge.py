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
from gradclip_cli.measure.moments import Moments, Sums, add, exact_sums, merge
from gradclip_cli.tensors.dtypes import Values, magnitudes
from gradclip_cli.tensors.dump import Shape

# A dot product of 1,024 float64 stays in the first-level cache, is too short for BLAS to share out
# among threads (which would change its last bits), and errs by less than 1e-13. `vecdot` lets other
# threads run only while it does more than 500 of them, so a block of 128 rows takes 512.
ROW = 4096
_DOT = ROW // 4

# Rows whose largest exponent lies outside are scaled by a power of two before they are squared:
# between these bounds no sum of squares overflows, and what underflows does not count.
_LOWEST, _HIGHEST = -450, 480

_TINY, _HUGE = 2.0**_LOWEST, 2.0 ** (_HIGHEST - 1)

# The same for another power.
_WITHIN = 480


def measure(
    values: Values,
    lanes: int = 1,
    start: int = 0,
    fortran_shape: Shape | None = None,
    norm_type: float = 2.0,
) -> Moments:
    """Measure a block: float32 or float64, shape `(count * lanes,)`, lanes 2 for complex values.

    The block's first value has position `start` of the tensor, a multiple of `ROW`; positions are
    in memory order, which `fortran_shape` turns into C order.
    """
    gauge = Gauge(lanes, start, fortran_shape, norm_type)
    gauge.add(values)
    return gauge.moments()


class Gauge:
    """Measures a tensor block by block, in order, from position `start` on; see `measure`.

    What is kept of a block is little and plain: moments of each, merged, took as long as a quarter
    of the measuring, and two threads a third of theirs waiting for each other's interpreter.
    """

    def __init__(
        self,
        lanes: int = 1,
        start: int = 0,
        fortran_shape: Shape | None = None,
        norm_type: float = 2.0,
    ) -> None:
        self._lanes = lanes
        self._next = start
        self._fortran_shape = fortran_shape
        self._norm_type = norm_type
        self._count = self._zeros = 0
        self._largest = -1.0
        self._largest_at = 0
        self._dots: list[NDArray[np.float64]] = []
        self._last_rows: list[float] = []
        self._scaled: list[Sums] = []
        self._powers: list[Sums] = []
        self._with_nonfinite: list[Moments] = []

    def add(self, values: Values, sizes: NDArray[Any] | None = None) -> None:
        """Measure the next block, a multiple of `ROW` values unless it is the last.

        `sizes` are the `magnitudes` of the words that the values were decoded from, where these
        are at hand: narrow ones take less time.
        """
        if not values.size:
            return
        lanes, start, count = self._lanes, self._next, values.size // self._lanes
        self._next += count
        if sizes is None:
            sizes = magnitudes(values if lanes == 1 else _complex_sizes(values))
        top = int(sizes.argmax())  # NaN and infinities are larger than all else
        largest = abs(float(values[top])) if lanes == 1 else float(sizes.view(np.float64)[top])
        if not math.isfinite(largest):
            finite = np.all(np.isfinite(values.reshape(-1, lanes)), axis=1)
            if not finite.all():
                found = _measure_nonfinite(
                    values, lanes, start, self._fortran_shape, finite, self._norm_type
                )
                self._with_nonfinite.append(found)
                return
        self._count += count
        if largest >= self._largest:
            at = start + top
            if self._fortran_shape is not None:
                at = _first_true(sizes == sizes[top], start, self._fortran_shape)
            if largest > self._largest or at < self._largest_at:
                self._largest, self._largest_at = largest, at
        # Nearly always there is no zero, which the smallest says in half the time.
        if not sizes.min():
            self._zeros += sizes.size - int(np.count_nonzero(sizes))
        if _TINY <= largest < _HUGE:
            self._add_squares(_widened(values))
        elif largest:
            self._scaled.append(_scaled_squares(_widened(values)))
        if self._norm_type not in _WITHOUT_POWERS:
            self._powers.append(_powers(values, lanes, self._norm_type))

    def _add_squares(self, wide: NDArray[np.float64]) -> None:
        whole = wide.size // ROW * ROW
        if whole:
            parts = wide[:whole].reshape(-1, _DOT)
            self._dots.append(np.vecdot(parts, parts))
        if whole < wide.size:
            self._last_rows.append(float(np.vecdot(wide[whole:], wide[whole:])))

    def moments(self) -> Moments:
        """Give the moments of all blocks."""
        rows = [*self._last_rows]
        if self._dots:
            rows += _rows_of(np.concatenate(self._dots)).tolist()
        squares = exact_sums({0: rows})
        found = Moments(
            self._count,
            add((squares, *self._scaled)) if self._scaled else squares,
            self._largest if self._count else None,
            self._largest_at if self._count else None,
            self._zeros,
            norm_type=self._norm_type,
            powers=add(self._powers) if self._powers else (),
        )
        return merge((found, *self._with_nonfinite)) if self._with_nonfinite else found


def _measure_nonfinite(
    values: Values,
    lanes: int,
    start: int,
    fortran_shape: Shape | None,
    finite: NDArray[np.bool_],
    norm_type: float,
) -> Moments:
    """Measure a block with NaN or infinities: those apart, the rest as if zeros stood there."""
    pairs = values.reshape(-1, lanes)
    nan = np.isnan(pairs).any(axis=1)
    posinf = (pairs == np.inf).any(axis=1) & ~nan
    bad = ~finite
    filled = np.where(finite[:, None], pairs, 0).reshape(-1)
    rest = measure(filled, lanes, start, fortran_shape, norm_type)
    nans, posinfs, bads = (int(np.count_nonzero(mask)) for mask in (nan, posinf, bad))
    largest, at = rest.max_abs, rest.max_abs_at
    if not largest:  # the largest is a zero, and the first of those must not be a stand-in
        largest, at = None, None
        if finite.any():
            largest, at = 0.0, _first_true(finite, start, fortran_shape)
    return dataclasses.replace(
        rest,
        max_abs=largest,
        max_abs_at=at,
        zeros=rest.zeros - bads,
        nan=nans,
        posinf=posinfs,
        neginf=bads - nans - posinfs,
        first_nonfinite=_first_true(bad, start, fortran_shape),
    )


def _first_true(mask: NDArray[np.bool_], start: int, fortran_shape: Shape | None) -> int:
    """Give the first position, in C order, where a mask that begins at `start` is true."""
    if fortran_shape is None:
        return start + int(mask.argmax())
    index = np.unravel_index(np.flatnonzero(mask) + start, fortran_shape, order="F")
    return int(np.ravel_multi_index(index, fortran_shape).min())


def _complex_sizes(values: Values) -> NDArray[np.float64]:
    sizes: NDArray[np.float64] = scratch("sizes", np.float64, values.size // 2)
    return np.hypot(values[0::2], values[1::2], out=sizes, dtype=np.float64)


def _scaled_squares(wide: NDArray[np.float64]) -> Sums:
    """Give the sums of squares of rows, each scaled where a square might leave float64."""
    terms: dict[int, list[float]] = {}
    for part in _rows(wide):
        exponents = np.frexp(np.abs(part).max(axis=1))[1]
        shifts = np.where((exponents > _LOWEST) & (exponents < _HIGHEST), 0, -exponents)
        scaled = np.ldexp(part, shifts[:, None])
        if part.shape[1] == ROW:
            parts = scaled.reshape(-1, _DOT)
            totals = _rows_of(np.vecdot(parts, parts))
        else:
            totals = np.vecdot(scaled, scaled)
        for shift, total in zip(shifts.tolist(), totals.tolist(), strict=True):
            terms.setdefault(shift, []).append(total)
    return exact_sums(terms)


def _rows(wide: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Give whole rows, and what is left as a last one."""
    whole = len(wide) // ROW * ROW
    return [part for part in (wide[:whole].reshape(-1, ROW), wide[None, whole:]) if part.size]


def _rows_of(dots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the sum of each row from those of its quarters, added in a fixed order."""
    first, second, third, fourth = dots.reshape(-1, ROW // _DOT).T
    rows: NDArray[np.float64] = (first + second) + (third + fourth)
    return rows


_WITHOUT_POWERS = (0.0, 2.0, math.inf)


def _powers(values: Values, lanes: int, p: float) -> Sums:
    """Give the sums of `|x|**p`, row by row, scaled where a power might leave float64."""
    terms: dict[int, list[float]] = {}
    for part in _rows(_widened(values)):
        exponents = np.frexp(np.abs(part).max(axis=1))[1]
        # Halves, because a complex size can overflow although its parts do not.
        shifts = np.where(np.abs(exponents + 1) * p < _WITHIN, 0, -exponents - 1)
        scaled = np.ldexp(part, shifts[:, None]) if shifts.any() else part
        sizes = np.abs(scaled) if lanes == 1 else np.hypot(scaled[:, 0::2], scaled[:, 1::2])
        totals = (sizes if p == 1 else sizes**p).sum(axis=1)
        for shift, total in zip(shifts.tolist(), totals.tolist(), strict=True):
            terms.setdefault(shift, []).append(total)
    return exact_sums(terms)


def _widened(values: Values) -> NDArray[np.float64]:
    if values.dtype == np.float64:
        return values
    wide: NDArray[np.float64] = scratch("wide", np.float64, values.size)
    np.copyto(wide, values)
    return wide


def measure_each(values: Values, counts: Sequence[int], norm_type: float = 2.0) -> list[Moments]:
    """Measure many small tensors that lie next to each other, real, `counts` values each, none 0.

    Gives for each what `measure` gives, but for the last bits of the squares: NumPy's `reduceat`
    takes a tenth of a microsecond a tensor where a call of `measure` takes twenty.
    """
    wide = _widened(values)
    if len(counts) == 1 and norm_type == 2:
        return [_measure_alone(wide)]
    lengths = np.asarray(counts)
    starts = np.cumsum(lengths) - lengths
    sizes = np.abs(wide, out=scratch("sizes", np.float64, wide.size))
    largest = np.maximum.reduceat(sizes, starts)
    exponents = np.frexp(largest)[1]
    plain = (largest == 0) | (exponents > _LOWEST) & (exponents < _HIGHEST)
    plain &= np.isfinite(largest)
    highest = np.flatnonzero(sizes == np.repeat(largest, lengths))
    at = _first_of_each(highest, starts) - starts
    zeros = np.add.reduceat(np.equal(wide, 0), starts, dtype=np.int64)
    if norm_type in _WITHOUT_POWERS:
        powers = np.zeros(lengths.size)
    else:
        plain &= np.abs(exponents + 1) * norm_type < _WITHIN
        powers = np.add.reduceat(sizes**norm_type, starts)
    squares = np.add.reduceat(np.square(wide, out=sizes), starts)
    columns: list[list[Any]] = [
        column.tolist() for column in (plain, lengths, squares, largest, at, zeros, starts)
    ]
    found = [
        Moments(count, ((0, (square,)),) if square else (), size, place, zero)
        if ordinary
        else measure(wide[begin : begin + count], norm_type=norm_type)
        for ordinary, count, square, size, place, zero, begin in zip(*columns, strict=True)
    ]
    if norm_type == 2:
        return found
    return [
        dataclasses.replace(part, norm_type=norm_type, powers=exact_sums({0: [power]}))
        if ordinary
        else part
        for part, ordinary, power in zip(found, columns[0], powers.tolist(), strict=True)
    ]


def _measure_alone(wide: NDArray[np.float64]) -> Moments:
    """Give what `measure_each` gives, to the bit, of a small tensor with no others beside it.

    Folders of small files are full of them, and this takes a quarter of the time.
    """
    sizes = np.abs(wide, out=scratch("sizes", np.float64, wide.size))
    at = int(sizes.argmax())
    size = float(sizes[at])  # NaN where there is one
    if not (size == 0 or (math.isfinite(size) and _LOWEST < math.frexp(size)[1] < _HIGHEST)):
        return measure(wide)
    zeros = wide.size - int(np.count_nonzero(wide))
    (square,) = np.add.reduceat(np.square(wide, out=sizes), _WHOLE).tolist()
    return Moments(wide.size, ((0, (square,)),) if square else (), size, at, zeros)


_WHOLE = np.zeros(1, np.intp)  # a list, or a plain sum, would take longer or round otherwise


def _first_of_each(positions: NDArray[np.intp], starts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Give the first of the sorted positions at or after each start; any, where there is none."""
    found = np.searchsorted(positions, starts)
    return np.append(positions, 0)[found]
