"""Which tensors of two dumps differ most: bars of their relative errors."""

import math
from collections.abc import Sequence

from gradclip_cli.render.html.parts import Picture
from gradclip_cli.render.html.pictures.shares import BARS, bars_of, length_of
from gradclip_cli.results.comparison import Compared, Comparison
from gradclip_cli.results.limiting import Limit
from gradclip_cli.results.phrases import called, number
from gradclip_cli.tensors.names import shortened


def draw(found: Comparison, _limits: Sequence[Limit]) -> Picture | None:
    """Draw bars of the tensors that differ, the worst first, their lengths logarithmic."""
    rows = [(row, error) for row in found.rows if (error := _error(row))]
    if not rows:
        return None
    rows.sort(key=lambda one: -one[1] if not math.isnan(one[1]) else -math.inf)
    errors = [error for _, error in rows]
    bars = [
        (shortened(called(row.name), 120), number(error), length_of(error, errors))
        for row, error in rows[:BARS]
    ]
    title = "Relative error of each tensor: ‖B − A‖ / ‖A‖, logarithmic"
    return bars_of("errors", title, bars, len(rows))


def _error(row: Compared) -> float | None:
    return None if row.difference is None else row.difference.relative_error
