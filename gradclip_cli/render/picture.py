"""A run as pictures made of characters: the norm as a line, layers × steps as a heat map.

Both share their columns, one or more characters a step; where there are more steps than columns,
neighbours share one and the largest is shown. A terminal with colours gets the same characters.
"""

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from gradclip_cli.render.grid import aligned
from gradclip_cli.render.names import Folded, broken, folded, step_room, steps_shown, width_of
from gradclip_cli.render.screen import Screen
from gradclip_cli.render.words import wrapped
from gradclip_cli.results.phrases import UNKNOWN, number
from gradclip_cli.series.layers import Heat, heat
from gradclip_cli.series.trajectory import Step
from gradclip_cli.tensors.names import escape

BAD = "×"
ZERO = "·"
_HEIGHTS = "▁▂▃▄▅▆▇█"
_SHADES = "░▒▓█"
_COLOURS = (53, 54, 55, 61, 25, 31, 30, 36, 35, 77, 113, 149, 185, 227)  # as viridis goes
_WIDEST = 5  # characters a step
_MOST_ROWS = 24
_LABEL_LEAST = 12
_FEW, _FAR = 0.05, 4.0  # of the values, which make the range so many times as wide


@dataclass(frozen=True, slots=True)
class Range:
    """A range of logarithms, cut into levels, the last of which goes on to `top`.

    Where a few values are far above all others, that level is theirs alone: in equal parts the
    others would look all the same.
    """

    low: float
    high: float
    top: float

    @property
    def is_open(self) -> bool:
        """Whether the last level is that of a few far above."""
        return self.top > self.high

    def level(self, value: float, levels: int) -> int:
        """Give the level of a value; the middle where there is but one value."""
        if value > self.high:
            return levels - 1
        if self.is_open:
            levels -= 1
        if self.high <= self.low:
            return 0 if self.is_open else levels // 2
        return min(int((value - self.low) / (self.high - self.low) * levels), levels - 1)

    def begin(self, level: int, levels: int) -> float:
        """Give where a level begins."""
        parts = levels - self.is_open
        return self.low + (self.high - self.low) / parts * level


def scale_of(values: Sequence[float]) -> Range | None:
    """Give the range of the finite values; None where there is none."""
    finite = sorted(value for value in values if math.isfinite(value))
    if not finite:
        return None
    low, top = finite[0], finite[-1]
    last = finite[len(finite) - 1 - int(len(finite) * _FEW) :]
    high, _ = max(itertools.pairwise(last), key=lambda pair: pair[1] - pair[0], default=(top, top))
    return Range(low, high if (top - low) > _FAR * (high - low) else top, top)


def logarithm(norm: float) -> float:
    """Give the decimal logarithm of a norm; -inf of zero, NaN of what is not finite."""
    if not math.isfinite(norm):
        return math.nan
    return math.log10(norm) if norm else -math.inf


def picture(steps: Sequence[Step], screen: Screen) -> Iterator[Text]:
    """Draw the norm and the heat map, each line at most as wide as the screen."""
    most = _MOST_ROWS if screen.height is None else max(6, min(_MOST_ROWS, screen.height - 12))
    drawn = heat(steps, most)
    shown = rows_shown(drawn, max(_LABEL_LEAST, screen.width // 3))
    room = max(map(width_of, (*shown.names, "global norm")))
    room = min(room, max(_LABEL_LEAST, screen.width // 2))
    columns = _columns(len(steps), screen.width - room - 2)
    norms = [logarithm(step.global_norm) for step in steps]
    yield from _lines(["global norm"], room, _sparkline(norms, columns))
    if shown.shared:
        yield from (Text(line, "dim") for line in broken(shown.shared, screen.width))
    yield from _heat_map(drawn, shown.names, room, columns)
    first, *rest = _axis(steps, columns, screen.width - room - 2, step_room(screen.width))
    yield from _lines(["step"], room, Text(first))
    yield from (Text(" " * (room + 2) + line) for line in rest)
    cells = [cell for row in drawn.cells for cell in row if cell is not None]
    legends = [_norm_legend(scale_of(norms), norms), _shade_legend(scale_of(cells), cells)]
    if any(legends):
        yield Text()
    for legend in legends:
        yield from _legend(legend, screen.width)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which steps share a column, as begin and end, and how many characters a column has."""

    bounds: tuple[tuple[int, int], ...]
    width: int


def _columns(steps: int, room: int) -> _Columns:
    count = min(steps, room)
    bounds = [steps * column // count for column in range(count + 1)]
    pairs = tuple(itertools.pairwise(bounds))
    return _Columns(pairs, max(1, min(_WIDEST, room // count)))


def _binned(values: Sequence[float | None], columns: _Columns) -> list[float | None]:
    return [_largest(values[begin:end]) for begin, end in columns.bounds]


def _largest(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known, key=lambda value: (math.isnan(value), value), default=None)


def rows_shown(drawn: Heat, width: int) -> Folded:
    """Give what the rows are called: without what all share, where one is wider than that."""
    names = [row_name(row) for row in drawn.rows]
    shown = Folded(names)
    for tails in (False, True):
        if any(width_of(name) > width for name in shown.names):
            shown = folded(names, tails)
    return shown


def _lines(names: Sequence[str], room: int, drawn: Text) -> Iterator[Text]:
    """Draw behind the first line of a name; the others stand below it."""
    first, *rest = names
    yield Text(aligned(first, room + 2, left=True)) + drawn
    yield from map(Text, rest)


def _sparkline(values: Sequence[float], columns: _Columns) -> Text:
    scale = scale_of(values)
    line = Text()
    for value in _binned(values, columns):
        style = "bold red" if value is not None and math.isnan(value) else ""
        if value is None or scale is None or not math.isfinite(value):
            mark = BAD if value is not None and math.isnan(value) else ZERO
        else:
            mark = _HEIGHTS[scale.level(value, len(_HEIGHTS))]
        line.append(mark * columns.width, style)
    return line


def _heat_map(drawn: Heat, names: Sequence[str], room: int, columns: _Columns) -> Iterator[Text]:
    scale = scale_of([cell for row in drawn.cells for cell in row if cell is not None])
    for name, row in zip(names, drawn.cells, strict=True):
        line = Text()
        for value in _binned(row, columns):
            mark, style = _cell(value, scale)
            line.append(mark * columns.width, style)
        yield from _lines(broken(name, room), room, line)


def _cell(value: float | None, scale: Range | None) -> tuple[str, str]:
    if value is None:
        return " ", ""
    if math.isnan(value):
        return BAD, "bold red"
    if scale is None or math.isinf(value):
        return ZERO, "dim"
    colour = f"color({_COLOURS[scale.level(value, len(_COLOURS))]})"
    # Where there are colours the cell is filled, and the character shows only when it is copied.
    return _SHADES[scale.level(value, len(_SHADES))], f"{colour} on {colour}"


def _axis(steps: Sequence[Step], columns: _Columns, room: int, most: int) -> list[str]:
    """Write the steps below their columns: as many as fit at equal distances, and the last."""
    called = steps_shown((step.step for step in steps), most).names
    labels = [called[begin] for begin, _ in columns.bounds]
    labels[-1] = called[-1]
    width = len(labels) * columns.width
    longest = max(map(width_of, labels))
    stride = max(1, -(-(longest + 2) // columns.width))
    end = max(min((len(labels) - 1) * columns.width, width - width_of(labels[-1])), 0)
    line = ""
    for place in range(0, len(labels) - 1, stride):
        start = place * columns.width
        if start + width_of(labels[place]) + 2 <= end:
            line += " " * (start - width_of(line)) + labels[place]
    return broken(line + " " * (end - width_of(line)) + labels[-1], room)


def _legend(parts: Sequence[Text], width: int) -> Iterator[Text]:
    line = Text()
    for part in parts:
        if part.cell_len > width:
            yield from (Text(one, "dim") for one in wrapped(part.plain, width))
            continue
        if line and line.cell_len + 2 + part.cell_len > width:
            yield line
            line = Text("  ")
        line.append("  " if line.plain.strip() else "").append_text(part)
    if line:
        yield line


def _norm_legend(scale: Range | None, norms: Sequence[float]) -> list[Text]:
    if scale is None:
        return []
    low, high = _power(scale.low), _power(scale.high)
    parts = [f"norm from {_HEIGHTS[0]} {low} to {_HEIGHTS[-1]} {high}, logarithmic"]
    if scale.is_open:
        usual = _HEIGHTS[scale.level(scale.high, len(_HEIGHTS))]
        parts = [f"norm from {_HEIGHTS[0]} {low} to {usual} {high}, logarithmic"]
        parts.append(f"{_HEIGHTS[-1]} above, to {_power(scale.top)}")
    elif scale.high <= scale.low:
        parts = [f"norm {_HEIGHTS[scale.level(scale.low, len(_HEIGHTS))]} {low}"]
    if any(map(math.isnan, norms)):
        parts.append(f"{BAD} not finite")
    return [Text(part, "dim") for part in parts]


def _shade_legend(scale: Range | None, cells: Sequence[float]) -> list[Text]:
    if scale is None:
        return []
    spread, count = scale.high > scale.low, len(_SHADES)
    parts = [Text("RMS from" if spread or scale.is_open else "RMS", "dim")]
    for level, shade in enumerate(_SHADES):
        far = scale.is_open and level == count - 1
        if spread or far or level == scale.level(scale.low, count):
            begin = scale.begin(level, count) if spread or far else scale.low
            _, style = _cell(
                scale.top if far else begin + (scale.begin(1, count) - scale.low) / 2, scale
            )
            said = f" {_power(begin)}" + (f" to {_power(scale.top)}" if far else "")
            parts.append(Text.assemble((shade, style), (said, "dim")))
    if any(map(math.isinf, cells)):
        parts.append(Text(f"{ZERO} zero", "dim"))
    if any(map(math.isnan, cells)):
        parts.append(Text(f"{BAD} not finite", "dim"))
    return parts


def _power(value: float) -> str:
    return number(10.0 ** min(value, 308.0))


def row_name(row: tuple[str | None, str | None]) -> str:
    """Write what a row of a heat map is: a tensor, a layer, or the first layer and the last."""
    first, last = (UNKNOWN if name is None else escape(name) for name in row)
    if first == last:
        return first
    common = os.path.commonprefix([first, last]).rpartition(".")  # noqa: RUF071 no path is meant
    return f"{first} … {last.removeprefix(common[0] + common[1])}"
