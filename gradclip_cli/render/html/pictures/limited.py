"""A limit across a picture of norms, as every picture draws it."""

from collections.abc import Sequence

from markupsafe import Markup

from gradclip_cli.render.html import svg
from gradclip_cli.results.limiting import Limit
from gradclip_cli.results.phrases import exactly, number, steps

_COLOUR = "#7b3fa0"


def lines(limits: Sequence[tuple[Limit, float]]) -> Markup:
    """Draw limits, each with how far down it is, for a layer."""
    drawn = (svg.line(f"M0 {y:.1f}h{svg.WIDE}", "limit", _COLOUR, 1.5, "6 4") for _, y in limits)
    return Markup().join(drawn)


def words(limits: Sequence[tuple[Limit, float]], least: float) -> Markup:
    """Write limits at the right ends of their lines, no higher than `least`."""
    written = (
        svg.element(
            *("text", number(limit.norm)),
            x="99.5%",
            y=f"{y + 15 if y < least + 20 else y - 5:.1f}",
            text_anchor="end",
            class_="limit",
            fill=_COLOUR,
        )
        for limit, y in limits
    )
    return Markup().join(written)


def key(limits: Sequence[tuple[Limit, float]]) -> list[tuple[Markup, str]]:
    """Give the mark beside what each limit is."""
    return [(svg.key("dashes", "limit", _COLOUR), said(limit)) for limit, _ in limits]


def said(limit: Limit) -> str:
    """Say what a limit is, and what it clips of a run."""
    told = f"{limit.told} {exactly(limit.norm)}"
    return told if limit.clipped is None else f"{told} clips {steps(limit.clipped)} of the steps"
