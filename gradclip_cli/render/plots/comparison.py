"""Two dumps as bars: by how much each tensor differs, and which cannot be compared."""

import math
from typing import TYPE_CHECKING

from gradclip_cli.render.plots import bars
from gradclip_cli.render.plots.axes import empty
from gradclip_cli.results.comparison import Compared, Comparison
from gradclip_cli.results.phrases import called, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(axes: "Axes", found: Comparison) -> float:
    """Draw the relative errors, the worst first; give the height in inches."""
    rows = sorted(found.rows, key=lambda row: -_error(row))
    shown = rows[: bars.MOST]
    if not shown:
        return empty(axes, "no tensor is in both")
    names = bars.named([called(row.name) for row in shown])
    along = "relative error ‖B − A‖ / ‖A‖" + bars.counted(len(shown), len(rows), "tensors")
    drawn = [_bar(*one) for one in zip(names.names, shown, strict=True)]
    return bars.draw(axes, drawn, along, names.shared)


def _error(row: Compared) -> float:
    """Give what a row is sorted by: first come those without a number."""
    error = None if row.difference is None else row.difference.relative_error
    if error is None or math.isnan(error):
        return -1.0 if row.same else math.inf
    return error


def _bar(name: str, row: Compared) -> bars.Bar:
    error = _error(row)
    if error < 0:
        return bars.Bar(name, 0.0, row.state)
    if math.isinf(error):
        return bars.Bar(name, None, row.remark or "no number", is_bad=True)
    return bars.Bar(name, error, f"{row.state}" if row.same else number(error))
