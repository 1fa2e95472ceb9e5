"""Tensors that left their own range for good, however little the norm of all shows of it.

One tensor of a hundred can grow tenfold, or die, while the global norm stays where it was.
"""

import math
import statistics
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradclip_cli.series.trajectory import Layout, Step, names_of

LEAST = 5  # steps on either side: fewer are hardly a range, or may yet come back
FEWEST = 2  # of fewer than these nothing is said
_FAR = 10.0  # times, where there are few steps on a side
_FOLD = 3.0  # times, between the two ranges: of less a person would not ask
_MUCH = 0.1  # of the squared norm
_AT_ONCE = 2**16  # norms that are looked at together

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Departure:
    """A tensor whose norms from `step` on are all above those before, or all below.

    `before` and `after` are the median norms on either side. Between the two ranges lies a factor
    of three or more, and at least what the range before spans. By `few` steps, four or fewer on a
    side, it is a factor of ten.
    """

    tensor: str | None
    step: Step
    before: float
    after: float
    few: bool = False

    @property
    def rises(self) -> bool:
        """Whether the new range is the higher one."""
        return self.after > self.before

    @property
    def lifts_all(self) -> bool:
        """Whether it rises, and the norm of all tensors with it."""
        measured = self.step.measured
        share = measured.share(measured.layout.place_of[self.tensor])
        return self.rises and share is not None and share >= _MUCH


def departures(steps: Sequence[Step], apart: Collection[Step] = ()) -> Iterator[Departure]:
    """Give the tensors that left, in the order of their steps; steps `apart` count in nothing.

    Nor does a norm in a step where the tensor has a value that is not finite.
    """
    aside = set(map(id, apart))
    steps = [step for step in steps if id(step) not in aside]
    found: list[tuple[int, Departure]] = []
    for some, norms in blocks(steps) if len(steps) >= FEWEST + LEAST else ():
        for column, place in _left(norms):
            sides = [side[~np.isnan(side)] for side in np.split(norms[:, column], [place])]
            before, after = (statistics.median_low(side.tolist()) for side in sides)
            few = min(side.size for side in sides) < LEAST
            found.append((place, Departure(some[column], steps[place], before, after, few)))
    yield from (one for _, one in sorted(found, key=lambda pair: pair[0]))


def blocks(steps: Sequence[Step]) -> Iterator[tuple[list[str | None], Array]]:
    """Give the norms of all tensors, so many at a time as fit, with their names.

    Norms have a row a step and a column a name; NaN stands where a step has no such tensor, and
    where it has a value that is not finite.
    """
    names = names_of(steps)
    width = max(_AT_ONCE // max(len(steps), 1), 1)
    for begin in range(0, len(names), width):
        some = names[begin : begin + width]
        yield some, _norms(steps, some)


def _norms(steps: Sequence[Step], names: Sequence[str | None]) -> Array:
    norms = np.full((len(steps), len(names)), math.nan)
    places: dict[int, tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = {}
    for row, step in zip(norms, steps, strict=True):
        measured = step.measured
        if id(measured.layout) not in places:
            places[id(measured.layout)] = _places(measured.layout, names)
        columns, tensors = places[id(measured.layout)]
        row[columns] = np.asarray(measured.norms)[tensors]
        if measured.nonfinite:
            row[columns[np.isin(tensors, list(measured.nonfinite))]] = math.nan
    return norms


def _places(
    layout: Layout, names: Sequence[str | None]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Give which of the names a layout has, and where."""
    pairs = [(column, layout.place_of.get(name)) for column, name in enumerate(names)]
    known = np.array([pair for pair in pairs if pair[1] is not None], dtype=np.intp).reshape(-1, 2)
    return known[:, 0], known[:, 1]


def _left(norms: Array) -> Iterator[tuple[int, int]]:
    """Give the columns whose values left their range for good, and the row with which they did."""
    with np.errstate(all="ignore"):
        high, low = np.fmax.accumulate(norms)[:-1], np.fmin.accumulate(norms)[:-1]
        floor = np.fmin.accumulate(norms[:0:-1])[::-1]
        roof = np.fmax.accumulate(norms[:0:-1])[::-1]
        times = np.fmax(floor / high, low / roof)  # 0 / 0 is no number, and no step of this kind
        enough = times >= np.fmax(high / low, _FOLD)
    known = ~np.isnan(norms)
    for column in np.flatnonzero(enough.any(axis=0)):
        count = np.cumsum(known[:, column])
        least = np.minimum(count[:-1], count[-1] - count[:-1])
        sides = (least >= LEAST) | ((least >= FEWEST) & (times[:, column] >= _FAR))
        sides &= count[-1] >= FEWEST + LEAST
        places = np.flatnonzero(enough[:, column] & sides & known[1:, column])
        if places.size:
            yield int(column), int(places[np.argmax(times[places, column])]) + 1
