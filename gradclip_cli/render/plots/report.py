"""A dump as bars: the norms of its worst tensors, and which have values that are not finite."""

import math
from typing import TYPE_CHECKING

from gradclip_cli.render.plots import bars
from gradclip_cli.render.plots.axes import empty
from gradclip_cli.results.phrases import called, nonfinite, number, part_of
from gradclip_cli.results.report import Report, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(axes: "Axes", found: Report) -> float:
    """Draw the worst; give the height in inches."""
    rows = [row for row in found.telling if row.norm is not None]
    shown = rows[: bars.MOST]
    if not shown:
        return empty(axes, "no tensor was measured")
    names = bars.named([called(row.name) for row in shown])
    p = found.moments.norm_type
    along = f"L{p:g} norm" + (" before clipping" if found.clipped else "")
    along += bars.counted(len(shown), len(rows), "tensors")
    drawn = [_bar(*one) for one in zip(names.names, shown, strict=True)]
    return bars.draw(axes, drawn, along, names.shared)


def _bar(name: str, row: Row) -> bars.Bar:
    norm = row.norm or 0.0
    if any(row.bad):
        return bars.Bar(name, None, f"not finite: {nonfinite(row.bad)}", is_bad=True)
    if math.isinf(norm):
        return bars.Bar(name, None, "beyond float64", is_bad=True)
    share = "" if row.share is None else f" · {part_of(row.part)}"
    return bars.Bar(name, norm, number(norm) + share)
