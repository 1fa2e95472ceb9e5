"""A result in Matplotlib axes: those that are given, or new ones of a figure as high as it needs.

Texts are never read as mathematics or TeX: names come out of files, and may have a `$`.
"""

from typing import TYPE_CHECKING, Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.registry import load
from gradclip_cli.render.registry import PLOTS
from gradclip_cli.render.words import wrapped
from gradclip_cli.results.columns import Result
from gradclip_cli.tensors.names import printable, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLAIN: dict[str, Any] = {"parse_math": False, "usetex": False}
INK, FAINT, GRID = "#222831", "#6b7280", "#e6e6e6"

_WIDTH = 8.0  # inches
_TITLE, _LINE = 400, 104  # characters


def plotted(result: Result, axes: "Axes | None" = None) -> "Axes":
    """Draw a result; raises `GradclipError` where Matplotlib is missing.

    A new figure is one of pyplot, which notebooks show by themselves.
    """
    check("plot")
    draw = load(PLOTS[result.sheet.name])
    if axes is not None:
        if not hasattr(axes, "barh"):
            hint = "give one of its axes, for example pyplot.gca()"
            raise GradclipError("axes", f"{axes!r} are no axes of Matplotlib", hint)
        draw(axes, result)
        return axes
    from matplotlib import pyplot

    figure, made = pyplot.subplots(figsize=(_WIDTH, 4), layout="constrained")
    figure.set_size_inches(_WIDTH, draw(made, result))
    title = "\n".join(wrapped(printable(shortened(result.says, _TITLE)), _LINE))
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium", color=INK, **PLAIN)
    return made


def check(subject: str) -> None:
    """Raise `GradclipError` where Matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise GradclipError(
            subject,
            "needs Matplotlib, which is not installed",
            "install it: pip install 'gradclip-cli[plot]'",
        ) from None


def bare(axes: "Axes", *sides: str) -> None:
    """Take away what is no data: lines at the sides."""
    axes.spines[[*sides]].set_visible(False)
    axes.set_axisbelow(True)


def empty(axes: "Axes", words: str) -> float:
    """Say that there is nothing to draw, and why; give how high that is, in inches."""
    axes.set_xticks([])
    axes.set_yticks([])
    bare(axes, "top", "right", "bottom", "left")
    centre: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
    axes.text(0.5, 0.5, words, color=FAINT, **centre, **PLAIN)
    return 1.6
