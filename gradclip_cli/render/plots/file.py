"""A run as a picture in a file: the norm over the steps, and below it the map of its layers.

The same run gives the same bytes.
"""

import io
import os
import warnings
from typing import TYPE_CHECKING, Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.render.plots import axes, heat, norms
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.layers import Heat
from gradclip_cli.series.layers import heat as layers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = (".png", ".svg")

_MOST_ROWS = 48


def check(path: str) -> None:
    """Refuse, before anything is measured, what cannot be drawn."""
    if os.path.splitext(path)[1].lower() not in KINDS:
        raise GradclipError(
            path, "a picture is a .png or an .svg file", "name it so: --plot norms.png"
        )
    axes.check("--plot")


def drawn(trend: Trend, path: str) -> bytes:
    """Draw a run in the kind of picture that the path's suffix names."""
    import matplotlib
    from matplotlib.figure import Figure

    kind = os.path.splitext(path)[1].lower().removeprefix(".")
    rows = layers(trend.steps, _MOST_ROWS)
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
    norms.draw(top, trend)
    heat.draw(figure, bottom, rows, len(trend.steps))
    norms.name_steps(bottom, trend.steps)
