"""The numbers of what happened in a run, above the steps of a picture."""

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from gradclip_cli.render.html import svg
from gradclip_cli.results.story import Event

_HIGH, _SIZE = 12, 9
_MOST = 40  # that there is room for, one beside the other


def numbers(events: Sequence[Event], count: int) -> Markup:
    """Draw them, as in the list of what happened, where they stand among so many steps."""
    kept = {*apart([event.place for event in events], count, _MOST)}
    drawn = (
        svg.numbered(number, svg.part((event.place + 0.5) / count), _HIGH, _SIZE)
        for number, event in enumerate(events, 1)
        if event.place in kept
    )
    return Markup().join(drawn)


def apart(places: Sequence[int], count: int, most: int) -> Iterator[int]:
    """Give the first of places that would cover each other where there is room for so many."""
    last = -math.inf
    for place in places:
        if place - last >= count / most:
            yield place
            last = place
