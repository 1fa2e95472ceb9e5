"""What has the largest part of the norm, as bars; and how bars are drawn, whatever of."""

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from gradclip_cli.render.html import svg
from gradclip_cli.render.html.parts import Picture
from gradclip_cli.results.limiting import Limit
from gradclip_cli.results.phrases import called, nonfinite, part_of
from gradclip_cli.results.report import Report, Row
from gradclip_cli.tensors.names import shortened

BARS = 12
_NAME = 120


def draw(found: Report, _limits: Sequence[Limit]) -> Picture | None:
    """Draw bars of the worst rows: of what is not finite, else of their shares."""
    rows = [row for row in found.rows if row.measured and row.norm is not None]
    if len(rows) < 2:
        return None
    bad = [row for row in rows if any(row.bad)]
    if bad:
        worst = [(_called(row), nonfinite(row.bad), None) for row in bad[:BARS]]
        return bars_of("shares", "Not finite", worst, len(bad), "The likely first in front.", "bad")
    shares = [row for row in rows if row.share is not None]
    if not shares:
        return None
    bars = [(_called(row), part_of(row.part), row.share) for row in shares[:BARS]]
    title = "Who has the norm: shares of the squared norm"
    if found.moments.norm_type != 2:
        title = "Who has the norm: shares"
    return bars_of("shares", title, bars, len(shares))


def _called(row: Row) -> str:
    return shortened(called(row.name), _NAME)


def bars_of(
    name: str,
    title: str,
    bars: Sequence[tuple[str, str, float | None]],
    total: int,
    order: str = "The largest first.",
    kind: str = "bar",
) -> Picture:
    """Draw bars, each a name, what is written behind it, and its length: the first of `total`.

    The `order` in which they stand is told.
    """
    more = f" The first {len(bars)} of {total:,}." if total > len(bars) else ""
    drawn = svg.element("div", *(_bar(*bar, kind) for bar in bars), class_="bars")
    return Picture(name, title, f"{order}{more}", drawn)


def _bar(name: str, value: str, share: float | None, kind: str) -> Markup:
    """Draw a bar below what it stands for, words that can be broken and copied."""
    length = 1.0 if share is None else share
    rest = svg.element("rect", width="100%", height=8, rx=2, class_="track", fill="#e8ebef")
    bar = svg.element(
        "rect",
        width=svg.part(max(min(length, 1), 0.002)),
        height=8,
        rx=2,
        class_=kind,
        fill="#b3261e" if kind == "bad" else "#0f5c8c",
    )
    return svg.element(
        "div",
        svg.element("span", name, class_="label"),
        " ",
        svg.element("strong", value),
        svg.element(
            *("svg", rest, bar if length > 0 else ""), width="100%", height=8, aria_hidden="true"
        ),
    )


def length_of(value: float, all_values: Iterable[float]) -> float:
    """Give how long a bar is that stands for a logarithm: the least a little, the largest all."""
    logarithms = [math.log10(one) for one in all_values if 0 < one < math.inf]
    if not 0 < value < math.inf or not logarithms:
        return 1.0 if value > 0 else 0.0
    low, high = min(logarithms), max(logarithms)
    return 1.0 if high == low else 0.04 + 0.96 * (math.log10(value) - low) / (high - low)
