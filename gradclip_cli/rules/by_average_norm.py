"""Each tensor by its norm divided by the number of its values."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gradclip_cli.options import Need, Option
from gradclip_cli.rules.by_global_norm import CLIP_NORM, clip_by_norm
from gradclip_cli.rules.rule import Rule

if TYPE_CHECKING:
    from gradclip_cli.tensors.codecs import Floats

AVERAGE = Option(
    "average",
    "--clip-norm limits each norm / its number of values.",
    group="Rule",
    default=False,
    needs=Need(
        "clip_norm", "a limit for each tensor's average norm", "give --clip-norm C as the rule"
    ),
)


def clip_by_average_norm(norms: Any, counts: Any, clip_norm: float, eps: float = 0.0) -> "Floats":
    """Give `min(1, clip_norm / (norm / count + eps))`, as TensorFlow's `clip_by_average_norm`.

    Its average is the norm divided by the number of values, which is not the root mean square.

    >>> clip_by_average_norm([5.0], [6], 0.8)
    array([0.96])
    """
    import numpy as np

    return clip_by_norm(np.divide(norms, np.maximum(counts, 1)), clip_norm, eps)


@dataclass(frozen=True, slots=True)
class ClipByAverageNorm(Rule):
    """Each tensor by its norm divided by the number of its values."""

    clip_norm: float

    word: ClassVar[str] = "average"
    told: ClassVar[str] = "each tensor by its norm / number of values"
    limit: ClassVar[Option] = CLIP_NORM
    whose: ClassVar[Option] = AVERAGE

    @property
    def limits(self) -> float:
        """The limit for each average."""
        return self.clip_norm

    def coefficients(self, norms: Any, counts: Any, eps: float) -> "Floats":
        """Give each tensor's coefficient."""
        return clip_by_average_norm(norms, counts, self.clip_norm, eps)
