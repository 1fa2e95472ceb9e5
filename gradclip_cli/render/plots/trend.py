"""A run as a line: the norm over its steps, spikes, where it left its range, and a limit."""

import math
from typing import TYPE_CHECKING, Any

from gradclip_cli.render.plots import norms
from gradclip_cli.render.plots.axes import empty
from gradclip_cli.render.plots.logarithms import logarithm
from gradclip_cli.results.phrases import exactly, steps
from gradclip_cli.results.trend import Trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LIMIT, _SHIFT = "#7b3fa0", "#b5460f"
_SHIFTS = 8


def draw(axes: "Axes", found: Trend) -> float:
    """Draw it; give the height in inches."""
    if not found.steps:
        return empty(axes, "no step was measured")
    norms.draw(axes, found)
    norms.name_steps(axes, found.steps)
    places = found.left_at[:_SHIFTS]
    dotted: dict[str, Any] = {"color": _SHIFT, "linestyle": ":", "linewidth": 1.4}
    for place in places:
        said = "leaves its range for good" if place == places[0] else None
        axes.axvline(place, label=said, **dotted)
    if found.limit is not None and 0 < found.limit.norm < math.inf:
        clips = "" if found.limit.clipped is None else f" clips {steps(found.limit.clipped)}"
        axes.axhline(
            logarithm(found.limit.norm),
            color=_LIMIT,
            linestyle="--",
            linewidth=1.4,
            label=f"limit {exactly(found.limit.norm)}{clips}",
        )
    axes.legend(loc="best", frameon=False)
    return 4.0
