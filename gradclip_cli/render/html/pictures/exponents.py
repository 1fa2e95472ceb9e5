"""How many values have which power of two, and which of them other dtypes can hold."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from gradclip_cli.frozen import constant
from gradclip_cli.measure.statistics import POWERS
from gradclip_cli.measure.tallies import pairs
from gradclip_cli.render.html import svg
from gradclip_cli.render.html.parts import Picture
from gradclip_cli.results.limiting import Limit
from gradclip_cli.results.phrases import percent
from gradclip_cli.results.report import Report

_TOP, _HEIGHT, _STRIP = 14, 200, 24
_FULL, _FEWER = "#2f7d55", "#e3a857"
_LEAST, _ROOM = 24, 2  # powers of two across, and beside the outer bars


@constant
class Holds:
    """The powers of two that a dtype holds: the least at all, the least in full, and the largest.

    IEEE 754-2019 binary16; bfloat16; FP8: Micikevicius et al., arXiv:2209.05433.
    """

    name: str
    least: int
    normal: int
    largest: int


DTYPES = (
    Holds("float16", -24, -14, 15),
    Holds("bfloat16", -133, -126, 127),
    Holds("float8_e5m2", -16, -14, 15),
    Holds("float8_e4m3fn", -9, -6, 8),
)


def draw(found: Report, _limits: Sequence[Limit]) -> Picture | None:
    """Draw a bar for each power of two, and below it what each dtype holds."""
    known = dict(pairs(dict(found.moments.further).get(POWERS.name, ())))
    if not known:
        return None
    low, high = min(known) - _ROOM, max(known) + 1 + _ROOM
    wider = max(0, _LEAST - (high - low))
    low, high = low - wider // 2, high + wider - wider // 2
    span = high - low
    down = svg.axis_of([0.0, *(math.log10(count) for count in known.values())], _HEIGHT, _TOP)
    down = svg.Axis(0.0 - 0.15, down.high, _HEIGHT, _TOP)
    floor = _TOP + _HEIGHT
    unit = svg.WIDE / span
    bars = "".join(
        f"M{round((power - low) * unit + unit * 0.08)} {floor}"
        f"V{down.place(math.log10(count)):.1f}h{round(unit * 0.84)}V{floor}z"
        for power, count in sorted(known.items())
    )
    height = floor + 20 + _STRIP * len(DTYPES) + 4
    whole = sum(known.values())
    strips = [_strip(one, place, low, span) for place, one in enumerate(DTYPES)]
    stride = max(1, -(-span // 10))
    ticks = [
        ((power + 0.5 - low) / span, _power(power))
        for power in range(low, high)
        if power % stride == 0
    ]
    least, most = _power(min(known)), _power(max(known))
    says = (
        f"{whole:,} values that are finite and not zero, from {least} to {most}; "
        "the number of values is logarithmic"
    )
    drawn = svg.picture(
        height,
        says,
        svg.layer(height, down.lines(), svg.element("path", d=bars, class_="bar", fill="#0f5c8c")),
        svg.below(ticks, floor + 14),
        *strips,
    )
    across = [
        f"{_power(power)} · {known.get(power, 0):,} values · "
        f"{percent(known.get(power, 0) / whole, known.get(power, 0), whole)}"
        for power in range(low, high)
    ]
    return Picture(
        "exponents",
        "Which powers of two the values have",
        f"{says[0].upper()}{says[1:]}. Below: what dtypes hold in full, and with fewer digits.",
        drawn,
        [
            (svg.key("block", "holds", _FULL), "in full"),
            (svg.key("block", "fewer", _FEWER), "with fewer digits (subnormal)"),
        ],
        {"across": across, "top": _TOP, "height": _HEIGHT},
        down.beside(height),
    )


def _power(power: int) -> str:
    return f"2{str(power).translate(svg.SUPERSCRIPT)}"


def _strip(one: Holds, place: int, low: int, span: int) -> Markup:
    """Draw what a dtype holds, in a row of its own."""
    y = _TOP + _HEIGHT + 20 + _STRIP * place
    drawn = []
    for kind, begin, end, colour in (
        ("fewer", one.least, one.normal, _FEWER),
        ("holds", one.normal, one.largest + 1, _FULL),
    ):
        left, right = (min(max((at - low) / span, 0), 1) for at in (begin, end))
        if right > left:
            drawn.append(
                svg.element(
                    "rect",
                    x=svg.part(left),
                    y=y + 14,
                    width=svg.part(right - left),
                    height=6,
                    rx=1,
                    class_=kind,
                    fill=colour,
                )
            )
    words = svg.element("text", one.name, x=2, y=y + 11, class_="tick", fill="#5b6472")
    return words + Markup().join(drawn)
