"""A limit that somebody asked about, as it is drawn beside what it would limit."""

from collections.abc import Sequence
from typing import Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.frozen import frozen
from gradclip_cli.series.limits import by_limit


@frozen
class Limit:
    """A limit for a norm, what it is `told` by, and the share of the steps that it clips.

    The share is None of a single dump.
    """

    norm: float
    told: str
    clipped: float | None = None

    def values(self) -> dict[str, Any]:
        """Give what JSON says of it."""
        return {"clip_norm": self.norm, "clipped": self.clipped}


def check(norm: float | None) -> None:
    """Raise `GradclipError` for what is no limit."""
    if norm is not None and not norm >= 0:
        hint = "give a number, 0 or more, for example 1.0"
        raise GradclipError("--clip-norm", f"{norm!r} is not a limit", hint)


def limit_of(norm: float, norms: Sequence[float]) -> Limit:
    """Give a limit, and what it clips of steps with these finite norms."""
    clipped = sum(coefficient < 1 for coefficient in by_limit(norms, norm))
    return Limit(norm, "--clip-norm", clipped / len(norms) if norms else None)
