"""A logged norm as bars: the number, the exact norm, and what each explanation gives."""

import math
from typing import TYPE_CHECKING

from gradclip_cli.render.plots import bars
from gradclip_cli.render.words import wrapped
from gradclip_cli.results.explanation import Explanation
from gradclip_cli.results.phrases import number
from gradclip_cli.tensors.names import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINE = 40  # characters
_DIGITS = 7


def draw(axes: "Axes", found: Explanation) -> float:
    """Draw them, and a line at the logged number; give the height in inches."""
    told = [
        ("logged", found.logged.value, found.logged.text),
        ("exact norm", found.norm, number(found.norm, _DIGITS)),
    ]
    told += [
        (fit.says, fit.account.value, f"{number(fit.account.value, _DIGITS)} · {fit.grade}")
        for fit in found.fits[: bars.MOST - len(told)]
    ]
    drawn = [
        bars.Bar(
            "\n".join(wrapped(printable(says), _LINE)),
            value,
            said,
            is_bad=not math.isfinite(value),
            is_chosen=place == 0,
        )
        for place, (says, value, said) in enumerate(told)
    ]
    along = "norm" + bars.counted(len(told) - 2, len(found.fits), "explanations")
    return bars.draw(axes, drawn, along)
