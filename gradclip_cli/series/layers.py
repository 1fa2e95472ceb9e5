"""Tensors as layers: rows of a heat map, and whether the gradient fades along them.

A layer is what its tensors' names have in common up to the first number: `model.layers.10`.
"""

import itertools
import math
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from gradclip_cli.series.trajectory import Layout, Measured, Step
from gradclip_cli.tensors.names import natural

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
    names = list(dict.fromkeys(name for step in steps for name in step.measured.layout.names))
    groups = [[name] for name in sorted(names, key=_order)]
    if len(groups) > most:
        groups = [list(some) for _, some in itertools.groupby(sorted(names, key=_order), layer_of)]
    labels = [(group[0], group[0]) if len(group) == 1 else _both(group) for group in groups]
    if len(groups) > most:
        bounds = [len(groups) * row // most for row in range(most + 1)]
        pieces = list(itertools.pairwise(bounds))
        labels = [(labels[begin][0], labels[end - 1][1]) for begin, end in pieces]
        groups = [list(itertools.chain(*groups[begin:end])) for begin, end in pieces]
    places: dict[Layout, list[list[int]]] = {}
    columns = []
    for step in steps:
        layout = step.measured.layout
        if layout not in places:
            index = {name: tensor for tensor, name in enumerate(layout.names)}
            places[layout] = [[index[name] for name in some if name in index] for some in groups]
        columns.append([_log_rms(step.measured, tensors) for tensors in places[layout]])
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


def _log_rms(measured: Measured, tensors: Sequence[int]) -> float | None:
    count = sum(measured.layout.counts[tensor] for tensor in tensors)
    if not count:
        return None
    if measured.nonfinite and any(tensor in measured.nonfinite for tensor in tensors):
        return math.nan
    norm = _joint(measured, tensors)
    return math.log10(norm) - math.log10(count) / 2 if norm else -math.inf


def _joint(measured: Measured, tensors: Sequence[int]) -> float:
    # The largest double stands for a norm beyond it, so that its logarithm can be drawn.
    norms = [measured.norms[tensor] for tensor in tensors]
    return min(norms[0] if len(norms) == 1 else math.hypot(*norms), sys.float_info.max)


def fading(steps: Sequence[Step]) -> tuple[Fading, ...]:
    """Find the series of numbered layers along which the norm falls geometrically.

    A layer's norm is the median over the steps where everything is finite; layers that are zero do
    not count. The series must have four layers or more, fall a hundredfold or more, and lie near a
    line on a logarithmic scale.
    """
    series: dict[str, dict[int, list[float]]] = {}
    members: dict[Layout, dict[tuple[str, int], list[int]]] = {}
    for step in steps:
        measured = step.measured
        if measured.nonfinite:
            continue
        if measured.layout not in members:
            members[measured.layout] = _members(measured.layout)
        for (prefix, number), tensors in members[measured.layout].items():
            norm = _joint(measured, tensors)
            if norm:
                series.setdefault(prefix, {}).setdefault(number, []).append(math.log(norm))
    found = [_fading(prefix, series[prefix]) for prefix in sorted(series, key=natural)]
    return tuple(one for one in found if one is not None)


def _members(layout: Layout) -> dict[tuple[str, int], list[int]]:
    members: dict[tuple[str, int], list[int]] = {}
    for tensor, name in enumerate(layout.names):
        numbered = _NUMBERED.match(name or "")
        if numbered:
            members.setdefault((numbered[1], int(numbered[2])), []).append(tensor)
    return members


def _fading(prefix: str, layers: dict[int, list[float]]) -> Fading | None:
    if len(layers) < LEAST_LAYERS:
        return None
    numbers = sorted(layers)
    logarithms = [statistics.median(layers[number]) for number in numbers]
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
