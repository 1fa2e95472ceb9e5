"""What limits would have done to a run: bars of the share of steps that each clips."""

from collections.abc import Sequence

from gradclip_cli.render.html.parts import Picture
from gradclip_cli.render.html.pictures.shares import bars_of
from gradclip_cli.results.limiting import Limit
from gradclip_cli.results.phrases import number, steps
from gradclip_cli.results.suggestion import Suggestion


def draw(found: Suggestion, _limits: Sequence[Limit]) -> Picture | None:
    """Draw a bar for each way to clip, in the order in which they are tried."""
    bars = [
        (
            one.name
            + ("" if one.limit is None else f": {number(one.limit)}")
            + (", recommended" if one.is_recommended else ""),
            f"clips {steps(one.clipped)}",
            one.clipped,
        )
        for one in found.candidates
    ]
    if not bars:
        return None
    title = "Share of the steps that each limit clips"
    return bars_of("candidates", title, bars, len(bars), "As they are tried.")
