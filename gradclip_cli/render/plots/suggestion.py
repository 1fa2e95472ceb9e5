"""Limits for a run: what share of the steps each would have clipped, against the limit itself."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gradclip_cli.render.plots.axes import FAINT, GRID, INK, PLAIN, bare, empty
from gradclip_cli.render.plots.logarithms import logarithm, mark
from gradclip_cli.results.phrases import number, steps
from gradclip_cli.results.suggestion import AGGRESSIVE, Candidate, Suggestion

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINE, _CHOSEN, _OTHER, _MUCH = "#1f4e79", "#d95f02", "#8c8c8c", "#f4f1ea"
_NEAR = 0.06  # of the height, which two labels cannot share


def draw(axes: "Axes", found: Suggestion) -> float:
    """Draw candidates with one limit as points, the others as lines; give the height in inches."""
    fixed = [one for one in found.candidates if one.limit is not None]
    if not fixed:
        return empty(axes, "no limit can be tried: no step has a finite norm")
    fixed.sort(key=lambda one: (one.limit or 0, one.name))
    across = [logarithm(one.limit or 0) for one in fixed]
    shares = [100 * one.clipped for one in fixed]
    axes.axhspan(100 * AGGRESSIVE, 106, color=_MUCH, zorder=0, label="more than half: aggressive")
    axes.plot(across, shares, color=_LINE, marker="o", markersize=5, label="a limit")
    for one, x, y in zip(fixed, across, shares, strict=True):
        if one.is_recommended:
            ring: dict[str, Any] = {"facecolors": "none", "edgecolors": _CHOSEN, "linewidths": 2}
            said = f"recommended: {number(one.limit, 3)} clips {steps(one.clipped)}"
            axes.scatter([x], [y], 110, zorder=3, label=said, **ring)
    low, high = min(across), max(across)
    room = 0.08 * (high - low) or 0.5
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(-6, 106)
    _name_points(axes, fixed, across, shares)
    _name_lines(axes, [one for one in found.candidates if one.limit is None])
    mark(axes.xaxis, *axes.get_xlim())
    _dress(axes)
    return 4.4


def _name_points(
    axes: "Axes", fixed: Sequence[Candidate], across: Sequence[float], shares: Sequence[float]
) -> None:
    """Write names beside points; points that are near each other share a label."""
    width = (max(across) - min(across)) * _NEAR
    labels: list[tuple[float, float, list[str]]] = []
    for one, x, y in zip(fixed, across, shares, strict=True):
        name = one.name.replace("percentile ", "p").replace("fixed ", "")
        if labels and x - labels[-1][0] <= width and abs(y - labels[-1][1]) <= 100 * _NEAR:
            labels[-1][2].append(name)
        else:
            labels.append((x, y, [name]))
    beside: dict[str, Any] = {"xytext": (6, 6), "textcoords": "offset points", "fontsize": "small"}
    for x, y, names in labels:
        axes.annotate(", ".join(names), (x, y), color=INK, **beside, **PLAIN)


def _name_lines(axes: "Axes", others: Iterable[Candidate]) -> None:
    """Draw what has a limit for each step as a line, with its name at the right."""
    for share, names in _near(others):
        axes.axhline(share, color=_OTHER, linestyle=":", linewidth=1.2, zorder=1)
        right: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
        place = (1.0, share)
        where = axes.get_yaxis_transform()
        said = "\n".join(names)
        axes.annotate(said, place, xycoords=where, color=FAINT, fontsize="small", **right, **PLAIN)


def _near(others: Iterable[Candidate]) -> Iterator[tuple[float, list[str]]]:
    found: list[tuple[float, list[str]]] = []
    for one in sorted(others, key=lambda one: one.clipped):
        share = 100 * one.clipped
        if found and share - found[-1][0] <= 100 * _NEAR:
            found[-1][1].append(one.name)
        else:
            found.append((share, [one.name]))
    return iter(found)


def _dress(axes: "Axes") -> None:
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    axes.tick_params(labelcolor=FAINT)
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_xlabel("limit for the global norm", color=FAINT)
    axes.set_ylabel("steps clipped", color=FAINT)
    bare(axes, "top", "right")
    axes.legend(loc="best", edgecolor="none", framealpha=0.9, fontsize="small")
