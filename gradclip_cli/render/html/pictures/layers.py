"""Layers × steps as a heat map of the root mean square, what is not finite in a colour apart."""

import itertools
import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from gradclip_cli.render.html import svg
from gradclip_cli.render.html.parts import Picture
from gradclip_cli.render.html.pictures.events import numbers
from gradclip_cli.render.names import steps_shown
from gradclip_cli.render.picture import Range, row_name, rows_shown, scale_of
from gradclip_cli.results.limiting import Limit
from gradclip_cli.results.phrases import number
from gradclip_cli.results.story import story
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.layers import heat
from gradclip_cli.tensors.names import escape, plural, shortened

LEVELS = (
    *("#f1f3bd", "#c4e8ab", "#95dca3", "#5ecda1", "#00bda4", "#00aaa7"),
    *("#0095a7", "#007ea2", "#006797", "#005186", "#0b3d71", "#182b58"),
)
_ROWS, _COLUMNS = 64, 400
_ROW, _TALL, _FEW = 16, 24, 12  # pixels, also where rows are few
_FLAT = 0.1  # of a row: how high the line is of what is zero
_HEAD, _FOOT = 24, 22
_NAME = 24  # characters beside a row
_BAD, _ZERO, _NONE = "X", "0", " "
_LABELS = 6
_APART = {_BAD: ("bad", "#d6401f"), _ZERO: ("zero", "#545d6b")}


def draw(found: Trend, _limits: Sequence[Limit]) -> Picture | None:
    """Draw it."""
    if not found.steps:
        return None
    drawn = heat(found.steps, _ROWS)
    if not drawn.rows:
        return None
    count = len(found.steps)
    bins = min(count, _COLUMNS)
    bounds = [*itertools.pairwise(count * one // bins for one in range(bins + 1))]
    cells = [cell for row in drawn.cells for cell in row if cell is not None]
    scale = scale_of(cells)
    rows = [
        "".join(_level([row[at] for at in range(begin, end)], scale) for begin, end in bounds)
        for row in drawn.cells
    ]
    names = [shortened(row_name(row), 300) for row in drawn.rows]
    labels = [escape(str(step.step)) for step in found.steps]
    across = [
        f"step {labels[begin]}" + (f" to {labels[end - 1]}" if end - begin > 1 else "")
        for begin, end in bounds
    ]
    high = _TALL if len(rows) <= _FEW else _ROW
    tall = high * len(rows)
    shown = rows_shown(drawn, _NAME)  # without what all names share where they are long
    shared = f"; names: {shortened(shown.shared)}" if shown.shared else ""
    says = f"{plural(len(rows), 'row')} of tensors or layers, {plural(count, 'step')}"
    if bins < count:
        says += f", the largest of {count / bins:.3g} neighbouring steps in a place"
    places = [*svg.spread(count, _LABELS)]
    words = steps_shown((found.steps[place].step for place in places), 24).names
    axis = [((place + 0.5) / count, word) for place, word in zip(places, words, strict=True)]
    events = story(found).numbered
    head = _HEAD if events else 0
    picture = svg.picture(
        head + tall + _FOOT,
        f"Heat map: {says}",
        svg.layer(tall, *_drawn(rows), top=head, view=f"0 0 {bins} {len(rows)}"),
        numbers(events, count),
        svg.below(axis, head + tall + _FOOT - 6),
    )
    told = {
        "across": across,
        "down": names,
        "levels": _legend(scale),
        "rows": rows,
        "top": head,
        "height": tall,
        "steps": True,
    }
    return Picture(
        "layers",
        "Where the gradient is large: layers × steps",
        f"RMS of each tensor or layer, logarithmic. {says[0].upper()}{says[1:]}{shared}.",
        picture,
        [*_marks(rows, scale)],
        told,
        _beside([shortened(name, _NAME + 30) for name in shown.names], head, high),
    )


def _level(cells: Sequence[float | None], scale: Range | None) -> str:
    """Give the sign of the largest of neighbouring cells; of one not finite, that."""
    known = [cell for cell in cells if cell is not None]
    if not known:
        return _NONE
    most = max(known, key=lambda cell: (math.isnan(cell), cell))
    if math.isnan(most):
        return _BAD
    if scale is None or math.isinf(most):
        return _ZERO
    return chr(ord("a") + scale.level(most, len(LEVELS)))


def _drawn(rows: Sequence[str]) -> Iterator[Markup]:
    """Draw each level as one path, neighbours in a row as one stroke."""
    paths: dict[str, list[str]] = {}
    for y, row in enumerate(rows):
        x = 0
        for sign, run in itertools.groupby(row):
            length = len([*run])
            paths.setdefault(sign, []).append(f"M{x} {y}.5h{length}")
            x += length
    paths.pop(_NONE, None)
    for sign, path in sorted(paths.items()):
        kind, colour = _APART.get(sign, ("", ""))
        level = ord(sign) - ord("a")
        yield svg.element(
            "path",
            d="".join(path),
            class_=kind or f"l{level}",
            stroke=colour or LEVELS[level],
            stroke_width=_FLAT if sign == _ZERO else 1,
            shape_rendering="crispEdges",
        )


def _beside(names: Sequence[str], head: int, high: int) -> Markup:
    """Write the names of the rows, in a picture of their own that does not move with the steps."""
    words = [
        svg.element(
            "text",
            name,
            x="100%",
            y=head + high * (row + 0.5) + 4,
            text_anchor="end",
            fill="#222831",
        )
        for row, name in enumerate(names)
    ]
    height = head + high * len(names) + _FOOT
    widest = max(map(len, names), default=0)
    return svg.element(
        *("svg", *words),
        width=f"{widest * 6.6 + 8:.0f}",
        height=height,
        font_family="ui-monospace, monospace",
        font_size=11,
        aria_hidden="true",
    )


def _legend(scale: Range | None) -> dict[str, str]:
    """Say what each sign stands for."""
    said = {_BAD: "not finite", _ZERO: "zero", _NONE: "not there"}
    if scale is None:
        return said
    for level in range(len(LEVELS)):
        begin = scale.begin(level, len(LEVELS))
        end = scale.begin(level + 1, len(LEVELS))
        if scale.is_open and level == len(LEVELS) - 1:
            begin, end = scale.high, scale.top
        said[chr(ord("a") + level)] = f"RMS {_power(begin)} to {_power(end)}"
    return said


def _marks(rows: Sequence[str], scale: Range | None) -> Iterator[tuple[Markup, str]]:
    seen = set().union(*rows)
    if scale is not None:
        levels = sorted(ord(sign) - ord("a") for sign in seen if sign.islower())
        for level in levels:
            begin = scale.high if scale.is_open and level == len(LEVELS) - 1 else None
            begin = scale.begin(level, len(LEVELS)) if begin is None else begin
            words = f"RMS from {_power(begin)}" if level == levels[0] else _power(begin)
            yield svg.key("block", f"l{level}", LEVELS[level]), words
    if _BAD in seen:
        yield svg.key("block", *_APART[_BAD]), "not finite"
    if _ZERO in seen:
        yield svg.key("line", *_APART[_ZERO]), "zero"


def _power(value: float) -> str:
    return number(10.0 ** min(value, 308.0), 2)
