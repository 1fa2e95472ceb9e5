"""The norm over the steps of a run: its median, spikes, and what is not finite or zero."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradclip_cli.render.names import broken, steps_shown
from gradclip_cli.render.plots.logarithms import logarithm, power
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.trajectory import Step

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = 36  # characters in a line
BAD, ZERO = "#c1121f", "#d9d9d9"

_TICKS = 20
_NORM, _MEDIAN, _SPIKE = "#1f4e79", "#8c8c8c", "#d95f02"


def draw(axes: "Axes", trend: Trend) -> None:
    """Draw the norms of a run, logarithmic."""
    norms = [logarithm(step.global_norm) for step in trend.steps]
    medians = [_median(step) for step in trend.steps]
    many = len(norms) > 60
    line: dict[str, Any] = {"linewidth": 1.0} if many else {"marker": "o", "markersize": 4}
    axes.plot(norms, color=_NORM, label="global norm", **line)
    if not all(map(math.isnan, medians)):
        axes.plot(medians, color=_MEDIAN, linestyle="--", label="running median")
    spikes = [place for place, step in enumerate(trend.steps) if step.mark == "spike"]
    if spikes:
        heights = [norms[place] for place in spikes]
        ring: dict[str, Any] = {"facecolors": "none", "linewidths": 1.5, "zorder": 3}
        axes.scatter(
            spikes, heights, 70, edgecolors=_SPIKE, label=f"spike: above {trend.rule.words}", **ring
        )
    for what, marks, colour in (
        ("not finite", ("nonfinite", "overflow"), BAD),
        ("zero", ("zero",), ZERO),
    ):
        places = [place for place, step in enumerate(trend.steps) if step.mark in marks]
        for place in places[:500]:
            axes.axvline(place, color=colour, linewidth=1.0, zorder=0)
        if places:
            axes.plot([], [], color=colour, linewidth=1.0, label=what)
    if all(map(math.isnan, norms)):
        axes.set_yticks([])
    axes.yaxis.set_major_formatter(lambda value, _: power(value))
    axes.grid(True, axis="y", color="#e6e6e6", linewidth=0.6)
    axes.set_ylabel("global L2 norm")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best", frameon=False)


def _median(step: Step) -> float:
    if not step.ratio:
        return math.nan
    return logarithm(step.global_norm / step.ratio)


def name_steps(axes: "Axes", steps: Sequence[Step]) -> None:
    """Write below the axes what the steps are called: some of them, where they are many."""
    apart = max(1, -(-len(steps) // _TICKS))
    places = range(0, len(steps), apart)
    named = steps_shown((steps[place].step for place in places), NAME)
    labels = ["\n".join(broken(name, NAME)) for name in named.names]
    axes.set_xticks(places, labels, parse_math=False)
    if max(map(len, labels)) > 6:
        axes.tick_params(axis="x", rotation=30)
    axes.set_xlabel(f"step {named.shared}".rstrip(), parse_math=False)
    axes.set_xlim(-0.5, len(steps) - 0.5)
