"""Layers × steps as a heat map: the root mean square of each layer at each step."""

import math
from typing import TYPE_CHECKING

from gradclip_cli.render.names import broken
from gradclip_cli.render.picture import rows_shown, scale_of
from gradclip_cli.render.plots.norms import BAD, NAME, ZERO
from gradclip_cli.series.layers import Heat

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(figure: "Figure", axes: "Axes", rows: Heat, steps: int) -> None:
    """Draw the map, and beside it what its colours mean."""
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
        only = matplotlib.colors.ListedColormap([ZERO])
        axes.imshow(grey, cmap=only, aspect="auto", interpolation="nearest")
        axes.scatter([], [], 40, marker="s", color=ZERO, label="zero")
    if bad:
        size = 14 if len(bad) > 400 else 30
        across, down = zip(*bad, strict=True)
        axes.scatter(across, down, size, marker="x", color=BAD, label="not finite")
    if zero.any() or bad:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderaxespad=0.1
        )
    shown = rows_shown(rows, NAME)
    names = ["\n".join(broken(name, NAME)) for name in shown.names]
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylabel("\n".join(["tensor or layer", shown.shared]).rstrip(), parse_math=False)
