"""Each tensor by its root mean square."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gradclip_cli.options import Option, number
from gradclip_cli.rules.by_global_norm import clip_by_norm
from gradclip_cli.rules.rule import Rule

if TYPE_CHECKING:
    from gradclip_cli.tensors.codecs import Floats

CLIP_RMS = Option(
    "clip_rms",
    "The limit for each tensor's root mean square.",
    metavar="C",
    parse=number("clip_rms", "1.0"),
    group="Rule",
)


def clip_by_rms(norms: Any, counts: Any, clip_rms: float, eps: float = 0.0) -> "Floats":
    """Give `1 / max(1, rms / clip_rms)`, as optax's `clip_by_block_rms`.

    >>> clip_by_rms([10.0], [4], 1.0)
    array([0.2])
    """
    import numpy as np

    return clip_by_norm(np.divide(norms, np.sqrt(np.maximum(counts, 1))), clip_rms, eps)


@dataclass(frozen=True, slots=True)
class ClipByRms(Rule):
    """Each tensor by its root mean square."""

    clip_rms: float

    word: ClassVar[str] = "rms"
    keys: ClassVar[tuple[str, ...]] = ("clip_rms",)
    told: ClassVar[str] = "each tensor by its root mean square"
    example: ClassVar[str] = "--clip-rms C"
    limit: ClassVar[Option] = CLIP_RMS
    of: ClassVar[str] = "a root mean square"
    apart: ClassVar[Mapping[str, str]] = {
        "norm_type": "leave --norm-type out: a root mean square has its own"
    }

    @property
    def limits(self) -> float:
        """The limit for each root mean square."""
        return self.clip_rms

    def coefficients(self, norms: Any, counts: Any, eps: float) -> "Floats":
        """Give each tensor's coefficient."""
        return clip_by_rms(norms, counts, self.clip_rms, eps)

    def says(self) -> dict[str, Any]:
        """Give what a report says of it."""
        return {"clip_rms": self.clip_rms}
