"""Tensors as layers: rows of a heat map, and whether the gradient fades along them.

A layer is what its tensors' names have in common up to the first number: `model.layers.10`.
"""

import itertools
import math
import re
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gradclip_cli.series.trajectory import Step, names_of
from gradclip_cli.tensors.names import natural

Array = npt.NDArray[np.float64]

_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})", re.DOTALL)

LEAST_LAYERS = 4
LEAST_FALL = 100.0  # from the first layer to the last: less is how networks are
LEAST_FIT = 0.9  # R² of a straight line through the logarithms


@dataclass(frozen=True, slots=True)
class Heat:
    """The RMS of each row in each step, as its decimal logarithm.

    A cell is -inf where all values are zero, NaN where one is not finite, and None where the step
    has no such tensor or no value in it. A row is a tensor, a layer, or neighbouring layers: then
    it has the first name and the last.
    """

    rows: tuple[tuple[str | None, str | None], ...]
    cells: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Fading:
    """Layers along which the norm falls geometrically, from the layer `high` to the layer `low`.

    From one layer to the next it becomes `rate` of what it was, `whole` of it over all `layers`.
    """

    high: str
    low: str
    layers: int
    rate: float
    whole: float


def heat(steps: Sequence[Step], most: int) -> Heat:
    """Give a heat map of at most so many rows: of tensors, else of layers, else of several."""
    names = sorted(names_of(steps), key=_order)
    groups = [[name] for name in names]
    if len(groups) > most:
        groups = [list(some) for _, some in itertools.groupby(names, layer_of)]
    labels = [(group[0], group[0]) if len(group) == 1 else _both(group) for group in groups]
    if len(groups) > most:
        bounds = [len(groups) * row // most for row in range(most + 1)]
        pieces = list(itertools.pairwise(bounds))
        labels = [(labels[begin][0], labels[end - 1][1]) for begin, end in pieces]
        groups = [list(itertools.chain(*groups[begin:end])) for begin, end in pieces]
    row_of = {name: row for row, group in enumerate(groups) for name in group}
    columns = [
        _log_rms(norms, counts, bad) for norms, counts, bad in _joint(steps, row_of, len(groups))
    ]
    return Heat(tuple(labels), tuple(zip(*columns, strict=True)))


def layer_of(name: str | None) -> str | None:
    """Give the layer that a tensor belongs to: its name to the first number, or its first part.

    >>> layer_of("model.layers.10.mlp.weight"), layer_of("head.weight")
    ('model.layers.10', 'head')
    """
    if name is None:
        return None
    found = _NUMBERED.match(name)
    return found[0] if found else name.split(".")[0]


def _order(name: str | None) -> tuple[object, object]:
    return natural(layer_of(name) or ""), natural(name or "")


def _both(group: Sequence[str | None]) -> tuple[str | None, str | None]:
    layer = layer_of(group[0])
    return layer, layer


def _joint(
    steps: Sequence[Step], group_of: Mapping[str | None, int], count: int
) -> Iterator[tuple[Array, Array, set[int]]]:
    """Give of each step the norms of `count` groups, their numbers of values, and the bad ones.

    A group is bad in which a value is not finite. The largest double stands for a norm beyond it,
    so that its logarithm can be drawn. A name without a group is left out.
    """
    known: dict[int, tuple[npt.NDArray[np.intp], npt.NDArray[Any]]] = {}
    for step in steps:
        layout = step.measured.layout
        if id(layout) not in known:
            groups = np.array([group_of.get(name, count) for name in layout.names], dtype=np.intp)
            known[id(layout)] = groups, np.bincount(groups, layout.counts, count + 1)
        groups, counts = known[id(layout)]
        norms = np.minimum(step.measured.norms, sys.float_info.max)
        largest = np.zeros(count + 1)
        np.maximum.at(largest, groups, norms)
        # By the largest of its own group, so that no square is too large or too small.
        unit = np.where(largest > 0, largest, 1.0)
        squares = np.bincount(groups, np.square(norms / unit[groups]), count + 1)
        with np.errstate(over="ignore"):
            joint = np.minimum(np.sqrt(squares) * unit, sys.float_info.max)
        bad = {int(groups[tensor]) for tensor in step.measured.nonfinite} - {count}
        yield joint[:count], counts[:count], bad


def _log_rms(norms: Array, counts: Array, bad: set[int]) -> list[float | None]:
    with np.errstate(divide="ignore", invalid="ignore"):
        cells: list[float | None] = (np.log10(norms) - np.log10(counts) / 2).tolist()
    for row in np.flatnonzero(counts == 0).tolist():
        cells[row] = None
    for row in bad:
        cells[row] = math.nan
    return cells


def fading(steps: Sequence[Step]) -> tuple[Fading, ...]:
    """Find the series of numbered layers along which the norm falls geometrically.

    A layer's norm is the median over the steps where everything is finite; layers that are zero do
    not count. The series must have four layers or more, fall a hundredfold or more, and lie near a
    line on a logarithmic scale.
    """
    place_of: dict[tuple[str, int], int] = {}
    group_of = {}
    for name in names_of(steps):
        numbered = _NUMBERED.match(name or "")
        if numbered:
            layer = numbered[1], int(numbered[2])
            group_of[name] = place_of.setdefault(layer, len(place_of))
    sound = [step for step in steps if not step.measured.nonfinite]
    norms = np.array([norms for norms, _, _ in _joint(sound, group_of, len(place_of))])
    series: dict[str, dict[int, float]] = {}
    for (prefix, number), place in place_of.items():
        known = norms[:, place][norms[:, place] > 0] if sound else norms
        if known.size:
            series.setdefault(prefix, {})[number] = float(np.median(np.log(known)))
    found = [_fading(prefix, series[prefix]) for prefix in sorted(series, key=natural)]
    return tuple(one for one in found if one is not None)


def _fading(prefix: str, layers: dict[int, float]) -> Fading | None:
    """Judge the layers of a series by the logarithms of their norms."""
    if len(layers) < LEAST_LAYERS:
        return None
    numbers = sorted(layers)
    logarithms = [layers[number] for number in numbers]
    if max(logarithms) - min(logarithms) < math.log(LEAST_FALL):
        return None
    slope = statistics.linear_regression(numbers, logarithms).slope
    fall = abs(slope) * (numbers[-1] - numbers[0])
    fit = statistics.correlation(numbers, logarithms) ** 2
    if fall < math.log(LEAST_FALL) or fit < LEAST_FIT:
        return None
    low, high = (numbers[0], numbers[-1]) if slope > 0 else (numbers[-1], numbers[0])
    whole = math.exp(-fall)
    return Fading(f"{prefix}{high}", f"{prefix}{low}", len(numbers), math.exp(-abs(slope)), whole)
