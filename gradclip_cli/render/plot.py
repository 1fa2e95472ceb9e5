"""A run as a figure: the norm over the steps, and below it layers × steps as a heat map.

Matplotlib is an extra of gradclip and known only here. The same run gives the same bytes.
"""

import io
import math
import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.render.names import broken, steps_shown
from gradclip_cli.render.picture import rows_shown, scale_of
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.layers import Heat, heat
from gradclip_cli.series.trajectory import Step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = (".png", ".svg")

_MOST_ROWS = 48
_TICKS = 20
_NAME = 36
_NORM, _MEDIAN, _SPIKE, _BAD, _ZERO = "#1f4e79", "#8c8c8c", "#d95f02", "#c1121f", "#d9d9d9"


def check(path: str) -> None:
    """Refuse, before anything is measured, what cannot be drawn."""
    if os.path.splitext(path)[1].lower() not in KINDS:
        raise GradclipError(
            path, "a picture is a .png or an .svg file", "name it so: --plot norms.png"
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise GradclipError(
            "--plot",
            "needs Matplotlib, which is not installed",
            "install it: pip install 'gradclip-cli[plot]'",
        ) from None


def drawn(trend: Trend, path: str) -> bytes:
    """Draw a run in the kind of picture that the path's suffix names."""
    import matplotlib
    from matplotlib.figure import Figure

    kind = os.path.splitext(path)[1].lower().removeprefix(".")
    rows = heat(trend.steps, _MOST_ROWS)
    out = io.BytesIO()
    looks: Any = {"svg.hashsalt": "gradclip", "font.size": 9, "axes.unicode_minus": False}
    with matplotlib.rc_context(looks), warnings.catch_warnings():
        # A font may lack the characters of a name: they are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = Figure(figsize=(9, 5.4 + 0.17 * max(len(rows.rows) - 6, 0)), layout="constrained")
        _draw(figure, trend, rows)
        none = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(out, format=kind, dpi=150, metadata=none)
    return out.getvalue()


def _draw(figure: "Figure", trend: Trend, rows: Heat) -> None:
    lower = max(1.0, 0.09 * len(rows.rows))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1.3, lower])
    _draw_norm(top, trend)
    _draw_heat(figure, bottom, rows, len(trend.steps))
    places = _ticks(len(trend.steps))
    steps = steps_shown((trend.steps[place].step for place in places), _NAME)
    labels = ["\n".join(broken(name, _NAME)) for name in steps.names]
    bottom.set_xticks(places, labels, parse_math=False)
    if max(map(len, labels)) > 6:
        bottom.tick_params(axis="x", rotation=30)
    bottom.set_xlabel(f"step {steps.shared}".rstrip(), parse_math=False)
    bottom.set_xlim(-0.5, len(trend.steps) - 0.5)


def _draw_norm(axes: "Axes", trend: Trend) -> None:
    norms = [_logarithm(step.global_norm) for step in trend.steps]
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
        ("not finite", ("nonfinite", "overflow"), _BAD),
        ("zero", ("zero",), _ZERO),
    ):
        places = [place for place, step in enumerate(trend.steps) if step.mark in marks]
        for place in places[:500]:
            axes.axvline(place, color=colour, linewidth=1.0, zorder=0)
        if places:
            axes.plot([], [], color=colour, linewidth=1.0, label=what)
    if all(map(math.isnan, norms)):
        axes.set_yticks([])
    # Logarithms on a plain axis: Matplotlib's logarithmic one gives up at norms such as 1e300.
    axes.yaxis.set_major_formatter(lambda value, _: _power(value))
    axes.grid(True, axis="y", color="#e6e6e6", linewidth=0.6)
    axes.set_ylabel("global L2 norm")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best", frameon=False)


def _logarithm(norm: float) -> float:
    """Give the decimal logarithm; what is not finite or zero leaves a gap."""
    return math.log10(norm) if 0 < norm < math.inf else math.nan


def _power(logarithm: float) -> str:
    if math.isclose(logarithm, round(logarithm), abs_tol=1e-9):
        return f"$10^{{{round(logarithm)}}}$"
    return f"{10.0**logarithm:.3g}" if logarithm < 308 else ""


def _median(step: Step) -> float:
    if not step.ratio:
        return math.nan
    return _logarithm(step.global_norm / step.ratio)


def _draw_heat(figure: "Figure", axes: "Axes", rows: Heat, steps: int) -> None:
    import matplotlib
    import numpy as np

    cells = [[math.nan if cell is None else cell for cell in row] for row in rows.cells]
    drawn = np.array(cells, dtype=np.float64).reshape(len(rows.rows), steps)
    zero = np.isneginf(drawn)
    bad = [
        (column, row)
        for row, some in enumerate(rows.cells)
        for column, cell in enumerate(some)
        if cell is not None and math.isnan(cell)
    ]
    finite = np.ma.masked_invalid(drawn)
    colours = matplotlib.colormaps["viridis"].with_extremes(bad="white")
    scale = scale_of([cell for row in cells for cell in row])
    if scale is not None:
        low, high = scale.low, scale.high
        low, high = (low, high) if low < high else (low - 0.5, high + 0.5)
        image = axes.imshow(
            finite, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest"
        )
        above = f", up to {scale.top:.1f}" if scale.is_open else ""
        figure.colorbar(
            image,
            ax=axes,
            pad=0.01,
            label=f"log10 of the RMS{above}",
            extend="max" if scale.is_open else "neither",
        )
    else:
        axes.set_ylim(max(len(rows.rows), 1) - 0.5, -0.5)
    if zero.any():
        grey = np.ma.masked_where(~zero, np.ones_like(drawn))
        only = matplotlib.colors.ListedColormap([_ZERO])
        axes.imshow(grey, cmap=only, aspect="auto", interpolation="nearest")
        axes.scatter([], [], 40, marker="s", color=_ZERO, label="zero")
    if bad:
        size = 14 if len(bad) > 400 else 30
        across, down = zip(*bad, strict=True)
        axes.scatter(across, down, size, marker="x", color=_BAD, label="not finite")
    if zero.any() or bad:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderaxespad=0.1
        )
    shown = rows_shown(rows, _NAME)
    names = ["\n".join(broken(name, _NAME)) for name in shown.names]
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylabel("\n".join(["tensor or layer", shown.shared]).rstrip(), parse_math=False)


def _ticks(count: int) -> Sequence[int]:
    step = -(-count // _TICKS)
    return range(0, count, step)
