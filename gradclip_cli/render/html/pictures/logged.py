"""A logged norm beside the exact one: two bars, as long as the numbers are large."""

from collections.abc import Sequence

from gradclip_cli.render.html.parts import Picture
from gradclip_cli.render.html.pictures.shares import bars_of
from gradclip_cli.results.explanation import Explanation
from gradclip_cli.results.limiting import Limit


def draw(found: Explanation, _limits: Sequence[Limit]) -> Picture | None:
    """Draw both."""
    logged = found.logged.value
    most = max(logged, found.norm)
    if not 0 < most < float("inf"):
        return None
    bars = [
        ("logged", found.logged.text, logged / most),
        ("exact norm", repr(found.norm), found.norm / most),
    ]
    return bars_of(
        "logged", "The logged norm beside the exact one", bars, len(bars), "In proportion."
    )
