"""Norm against size: which tensors are large for how many values they have."""

import math
from collections.abc import Sequence

from gradclip_cli.render.html import svg
from gradclip_cli.render.html.parts import Picture
from gradclip_cli.render.html.pictures import limited
from gradclip_cli.results.limiting import Limit
from gradclip_cli.results.phrases import called
from gradclip_cli.results.report import Report, Row
from gradclip_cli.tensors.names import plural

_TOP, _HEIGHT, _FOOT = 14, 240, 22
_GRID = 240  # places across and down that can be told apart
_NAMED = 3
_NAME = 20  # characters


def draw(found: Report, limits: Sequence[Limit]) -> Picture | None:
    """Draw a dot for each row with a finite norm above zero."""
    rows = [row for row in found.rows if row.norm and math.isfinite(row.norm) and row.count]
    if len(rows) < 3:
        return None
    shown = [limit for limit in limits if limit.norm > 0]
    norms = [math.log10(row.norm) for row in rows if row.norm]
    sizes = [math.log10(row.count) for row in rows]
    down = svg.axis_of([*norms, *(math.log10(limit.norm) for limit in shown)], _HEIGHT, _TOP)
    across = svg.axis_of(sizes, 1)
    places: dict[tuple[int, int], tuple[float, float, Row]] = {}
    for row, norm, size in zip(rows, norms, sizes, strict=True):
        x, y = across.share(size), down.place(norm)
        places.setdefault((round(x * _GRID), round(y)), (x, y, row))
    points = [(round(x * svg.WIDE), y) for x, y, _ in places.values()]
    lines = [down.lines(), svg.dots(points, "dot", "#0f5c8c", 6 if len(points) < 400 else 4)]
    named: dict[int, Row] = {}
    for row, norm in zip(rows[:_NAMED], norms, strict=False):
        named.setdefault(round(down.place(norm) / 14), row)  # so that none is written over another
    marks = [_named(row, across, down) for row in named.values()]
    placed = [(limit, down.place(math.log10(limit.norm))) for limit in shown]
    lines.append(limited.lines(placed))
    marks.append(limited.words(placed, _TOP))
    says = f"{plural(len(rows), 'row')}, the norm upwards, the number of values to the right"
    height = _TOP + _HEIGHT + _FOOT
    ticks = [(across.share(value), word) for value, word in across.ticks()]
    foot = svg.below(ticks, height - 6)
    drawn = svg.picture(height, says, svg.layer(height, *lines), *marks, foot)
    return Picture(
        "sizes",
        "Norm against number of values",
        f"{says}, both logarithmic",
        drawn,
        limited.key(placed),
        beside=down.beside(height),
    )


def _tail(name: str) -> str:
    """Give a name's end, where it differs from its neighbours'; the whole stands in the table."""
    return name if len(name) <= _NAME else f"…{name[-_NAME:]}"


def _named(row: Row, across: svg.Axis, down: svg.Axis) -> str:
    x, y = across.share(math.log10(row.count)), down.place(math.log10(row.norm or 1))
    end = x > 0.5
    return svg.element(
        "text",
        _tail(called(row.name)),
        x=svg.part(x),
        dx=-8 if end else 8,
        y=f"{y + 4:.1f}",
        text_anchor="end" if end else "start",
        class_="label",
        fill="#222831",
    )
