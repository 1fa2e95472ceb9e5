"""Drawing in SVG: elements, axes, and points in so few bytes that many can be drawn.

A picture is as wide as there is room: places across are parts of its width, heights are pixels, so
that words keep their size. Lines lie in a layer that is stretched, `WIDE` units across.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape

from gradclip_cli.frozen import frozen

WIDE = 10000
DARK = "#3d4654"
_HALF = 0.012  # of the width: half of a character, where it is as narrow as it gets
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def element(name: str, *inside: str, **attributes: Any) -> Markup:
    """Write an element; an underscore at the end of an attribute's name is left out.

    What is inside is text, unless it is marked up.

    >>> element("text", "a < b", x=1, class_="name")
    Markup('<text x="1" class="name">a &lt; b</text>')
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{Markup().join(inside)}</{name}>")


def picture(height: float, says: str, *inside: str) -> Markup:
    """Write a picture as wide as there is room; `says` stands for it where it is not seen."""
    return element(
        *("svg", *inside),
        width="100%",
        height=height,
        role="img",
        aria_label=says,
        font_family="system-ui, sans-serif",
        font_size=12,
    )


def layer(height: float, *inside: str, top: float = 0, view: str = "") -> Markup:
    """Write the layer that is stretched to the width of the picture."""
    return element(
        *("svg", *inside),
        y=top or None,
        width="100%",
        height=height,
        viewBox=view or f"0 0 {WIDE} {height:g}",
        preserveAspectRatio="none",
    )


def line(
    path: str, kind: str, colour: str, width: float = 1.5, dashes: str | None = None
) -> Markup:
    """Write a line in a layer, as wide as it says however that is stretched."""
    return element(
        "path",
        d=path,
        class_=kind,
        fill="none",
        stroke=colour,
        stroke_width=width,
        stroke_dasharray=dashes,
        stroke_linecap="round" if dashes is None else None,
        stroke_linejoin="round",
        vector_effect="non-scaling-stroke",
    )


def dots(places: Iterable[tuple[int, float]], kind: str, colour: str, size: float = 5) -> Markup:
    """Write dots in a layer: lines of no length, round however that is stretched."""
    return line("".join(f"M{x} {_short(y)}h0" for x, y in places), kind, colour, size)


def key(shape: str, kind: str, colour: str) -> Markup:
    """Draw a mark as it stands beside its words: a block, a line, dashes, a ring, or a sign."""
    drawn = {
        "block": element("rect", width=14, height=12, rx=2, class_=kind, fill=colour),
        "line": line("M1 6h20", kind, colour, 2),
        "dashes": line("M1 6h20", kind, colour, 2, "5 3"),
        "dots": line("M1 6h20", kind, colour, 2, "2 3"),
        "post": line("M7 0v12", kind, colour, 2, "2 2"),
        "ring": element(
            "circle", cx=7, cy=6, r=5, class_=kind, fill="none", stroke=colour, stroke_width=2
        ),
    }.get(shape)
    if drawn is None:
        drawn = element("text", shape, x=2, y=11, class_=kind, fill=colour, font_weight="bold")
    width = 14 if shape in ("block", "post", "ring") or len(shape) == 1 else 22
    return element("svg", drawn, width=width, height=12, aria_hidden="true")


def numbered(number: int, x: object, y: float, size: float = 6) -> Markup:
    """Draw a number in a disc."""
    disc = element("circle", cx=x, cy=y, r=size, class_="event", fill=DARK)
    return disc + element(
        *("text", str(number)),
        x=x,
        y=y + size / 2,
        class_="event",
        fill="#fff",
        text_anchor="middle",
        font_weight="bold",
        font_size=round(size * 1.4),
    )


def joined(points: Sequence[tuple[int, float] | None]) -> str:
    """Write a path through points; None leaves a gap."""
    path, begins = [], True
    for point in points:
        if point is not None:
            path.append(f"{'M' if begins else 'L'}{point[0]} {_short(point[1])}")
        begins = point is None
    return "".join(path)


def part(share: float) -> str:
    """Write a part of the width.

    >>> part(0.5), part(1 / 3)
    ('50%', '33.33%')
    """
    return f"{_short(share * 100, 2)}%"


def _short(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


@frozen
class Axis:
    """A range of logarithms that is drawn over a height, the larger the higher."""

    low: float
    high: float
    height: float
    top: float

    def place(self, logarithm: float) -> float:
        """Give how far down a value is, in pixels."""
        share = (self.high - logarithm) / (self.high - self.low)
        return self.top + share * self.height

    def share(self, logarithm: float) -> float:
        """Give where a value is, as a part of the range."""
        return (logarithm - self.low) / (self.high - self.low)

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Give where lines are drawn, and what is written at them."""
        first, last = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
        if last - first >= 1:
            stride = max(1, -(-(last - first) // most))
            return [(power, power_of_ten(power)) for power in range(first, last + 1, stride)]
        steps = [(power, digit) for power in (first - 1, first) for digit in (1, 2, 5)]
        ticks = [(power + math.log10(digit), f"{digit}e{power}") for power, digit in steps]
        inside = [(at, f"{float(word):.3g}") for at, word in ticks if self.low <= at <= self.high]
        ends = [(at, f"{10.0**at:.3g}") for at in (self.low, self.high) if at < 308]
        return inside if len(inside) > 1 else ends

    def lines(self) -> Markup:
        """Draw the lines at the ticks, for a layer."""
        path = "".join(f"M0 {_short(self.place(value))}h{WIDE}" for value, _ in self.ticks())
        return line(path, "grid", "#d5d9e0", 1)

    def beside(self, height: float) -> Markup:
        """Write what is at the lines, in a picture of its own, which stays where that is moved."""
        ticks = self.ticks()
        words = [
            element(
                *("text", word),
                x="100%",
                y=f"{self.place(value) + 4:.1f}",
                class_="tick",
                fill="#5b6472",
                text_anchor="end",
            )
            for value, word in ticks
        ]
        return element(
            *("svg", *words),
            width=7 * max((len(word) for _, word in ticks), default=0) + 4,
            height=height,
            font_family="system-ui, sans-serif",
            font_size=12,
            aria_hidden="true",
        )


def axis_of(values: Iterable[float], height: float, top: float = 0) -> Axis:
    """Give the axis for logarithms, with a little room at its ends."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if high - low < 0.5:
        low, high = low - 0.25, high + 0.25
    room = (high - low) * 0.06
    return Axis(low - room, high + room, height, top)


def power_of_ten(power: int) -> str:
    """Write a power of ten.

    >>> power_of_ten(-3), power_of_ten(0), power_of_ten(2)
    ('10⁻³', '1', '100')
    """
    if 0 <= power < 3:
        return f"{10**power:,}"
    return f"10{str(power).translate(SUPERSCRIPT)}"


def below(words: Sequence[tuple[float, str]], height: float) -> Markup:
    """Write words below a picture, each centred at a part of its width, the outer ones inside."""
    written = []
    for share, word in words:
        half = _HALF * len(word)
        anchor = "start" if share < half else "end" if share > 1 - half else "middle"
        written.append(
            element(
                "text",
                word,
                x=part(share),
                y=height,
                class_="tick",
                fill="#5b6472",
                text_anchor=anchor,
            )
        )
    return Markup().join(written)


def spread(count: int, most: int) -> list[int]:
    """Give the places of some of so many things, at equal distances, and the last.

    >>> spread(14, 8), spread(3, 8), spread(0, 8)
    ([0, 2, 4, 6, 8, 10, 13], [0, 1, 2], [])
    """
    stride = max(1, -(-count // most))
    return [*range(0, count - stride, stride), count - 1] if count else []
