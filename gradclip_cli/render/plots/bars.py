"""Bars that lie beneath each other: a name, a length, and behind it what it stands for in words.

Where lengths differ much they are logarithms.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradclip_cli.render.names import Folded, broken, folded
from gradclip_cli.render.plots.axes import FAINT, GRID, INK, PLAIN, bare
from gradclip_cli.render.plots.logarithms import mark
from gradclip_cli.render.words import elided
from gradclip_cli.tensors.names import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 16

_BAR, _CHOSEN, _BAD, _PALE = "#1f4e79", "#d95f02", "#a3161b", "#f7dcda"
_LINE, _LONGEST, _SAID = 36, 108, 76  # characters
_THICK = 1.2  # lines
_FAR = 50.0  # times the least length
_LARGE, _SMALL = 1e290, 1e-290  # beyond them Matplotlib's margins are no numbers
_BEHIND = 0.2  # of the width, for words behind the longest bar


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its name in lines, its length (None where it has none), what is said of it.

    One that `is_bad` is as wide as all, and has its words inside; from the end of one that
    `is_chosen` a line goes through all.
    """

    name: str
    length: float | None
    said: str
    is_bad: bool = False
    is_chosen: bool = False


def draw(axes: "Axes", bars: Sequence[Bar], along: str, shared: str = "") -> float:
    """Draw bars from the top down; give the height that suits them, in inches.

    The axis `along` them is called so; what their names `shared`, and is left out, is told.
    """
    lengths = [one.length for one in bars if one.length is not None and not one.is_bad]
    scale = _Scale(lengths)
    rooms = [max(1.7, 1.5 + one.name.count("\n")) for one in bars]  # in lines
    places = [sum(rooms[:place]) + rooms[place] / 2 for place in range(len(bars))]
    for place, one in zip(places, bars, strict=True):
        if one.is_bad or one.length is None:
            axes.barh(place, scale.end - scale.begin, _THICK, scale.begin, color=_PALE)
            _say(axes, scale.begin, place, one.said, _BAD)
            continue
        at = scale.place(one.length)
        colour = _CHOSEN if one.is_chosen else _BAR
        axes.barh(place, at - scale.begin, _THICK, scale.begin, color=colour)
        if one.is_chosen:
            axes.axvline(at, color=_CHOSEN, linestyle=":", linewidth=1.2)
        _say(axes, at, place, one.said, INK)
    axes.set_xlim(scale.begin, scale.end)
    axes.set_ylim(sum(rooms), 0)
    axes.set_yticks(places, [one.name for one in bars], color=INK, **PLAIN)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelcolor=FAINT)
    bare(axes, "top", "right", "bottom", "left")
    axes.axvline(scale.begin, color=FAINT, linewidth=0.8)
    axes.set_xlabel(along, color=FAINT, **PLAIN)
    axes.set_ylabel(elided(shared, _LINE), color=FAINT, fontsize="small", **PLAIN)
    scale.mark(axes)
    return 1.2 + 0.17 * sum(rooms)


def named(names: Sequence[str]) -> Folded:
    """Give names for bars: without what all share, in lines, and never two alike.

    A name of more than three lines is cut in the middle, unless another would be cut alike.
    """
    found = folded(names)
    cut = [elided(name, _LONGEST) for name in found.names]
    often = Counter(cut)
    both = zip(found.names, cut, strict=True)
    shown = [name if often[short] > 1 else short for name, short in both]
    return Folded(["\n".join(broken(name, _LINE, "")) for name in shown], found.shared)


def counted(shown: int, whole: int, noun: str) -> str:
    """Say of how many bars there are the first ones are shown; nothing where it is all."""
    return f", the worst {shown:,} of {whole:,} {noun}" if shown < whole else ""


def _say(axes: "Axes", at: float, place: float, words: str, colour: str) -> None:
    said = elided(printable(words), _SAID)
    behind: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
    axes.annotate(said, (at, place), color=colour, fontsize="small", **behind, **PLAIN)


class _Scale:
    """Where lengths end: from `begin` to `end`, in proportion or by their logarithms."""

    def __init__(self, lengths: Iterable[float]) -> None:
        above = [length for length in lengths if 0 < length < math.inf]
        self.is_empty = not above
        low, high = min(above, default=1.0), max(above, default=1.0)
        self.is_logarithmic = high / low > _FAR or high > _LARGE or low < _SMALL
        if self.is_logarithmic:
            low, high = math.log10(low), math.log10(high)
            self.begin = low - max(0.06 * (high - low), 0.05)
        else:
            self.begin = 0.0
        self.end = high + _BEHIND * (high - self.begin)

    def place(self, length: float) -> float:
        """Give where a bar of a length ends; that of nothing where it begins."""
        if not self.is_logarithmic:
            return length
        return math.log10(length) if length > 0 else self.begin

    def mark(self, axes: "Axes") -> None:
        """Write numbers at the axis, and lines up to them."""
        if self.is_empty:
            axes.set_xticks([])
            return
        axes.grid(True, axis="x", color=GRID, linewidth=0.6)
        if self.is_logarithmic:
            mark(axes.xaxis, self.begin, self.end)
        else:
            axes.locator_params(axis="x", nbins=6)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
