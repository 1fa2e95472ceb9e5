"""Tensors that fall silent: their gradient becomes zero and stays so.

Units that saturate, or that nothing reaches any more, have a gradient of exactly zero; what goes
wrong in the steps after may follow from it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradclip_cli.series.departures import blocks
from gradclip_cli.series.trajectory import Step

BEFORE = 3  # steps in which the tensor had a gradient: of fewer, who knows what it was
AFTER = 2  # steps without: one may be an accident


@dataclass(frozen=True, slots=True)
class Silence:
    """A tensor that is zero from `step` on, in all `count` steps that tell of it, never before.

    The `last` of these is not the last of the run where a value is not finite after it; where one
    is between them, or there is no such tensor, it is so with `gaps`.
    """

    tensor: str | None
    step: Step
    last: Step
    count: int
    gaps: bool


def silences(steps: Sequence[Step]) -> Iterator[Silence]:
    """Give the tensors that fell silent, in the order of their steps.

    A step in which the tensor has a value that is not finite does not count. A tensor that was zero
    and came back once, as experts and rows of embeddings do, has not fallen silent.
    """
    found: list[tuple[int, Silence]] = []
    for names, norms in blocks(steps) if len(steps) >= BEFORE + AFTER else ():
        zero, above = norms == 0, norms > 0
        first = np.argmax(zero, axis=0)
        last = len(steps) - 1 - np.argmax(above[::-1], axis=0)
        silent = (above.sum(axis=0) >= BEFORE) & (zero.sum(axis=0) >= AFTER) & (first > last)
        for column in np.flatnonzero(silent).tolist():
            place = int(first[column])
            count = int(zero[:, column].sum())
            end = int(np.flatnonzero(zero[:, column])[-1])
            gaps = count < end + 1 - place
            found.append((place, Silence(names[column], steps[place], steps[end], count, gaps)))
    yield from (one for _, one in sorted(found, key=lambda pair: pair[0]))
