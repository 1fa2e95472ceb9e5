"""All tensors by their joint norm: the rule that gradclip began from."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gradclip_cli.options import Option, number
from gradclip_cli.rules.rule import Rule
from gradclip_cli.rules.terms import LIMITS_ELSEWHERE

if TYPE_CHECKING:
    from gradclip_cli.rules.like.arithmetic import Framework, Recipe
    from gradclip_cli.tensors.codecs import Floats
    from gradclip_cli.tensors.dump import Tensor

SEVERAL = "; gradclip inspect --clip-norm 1,5 compares several"
CLIP_NORM = Option(
    "clip_norm",
    "The limit for the norm of all tensors together.",
    metavar="C",
    parse=number("clip_norm", "1.0", SEVERAL),
    group="Rule",
    common=True,
    elsewhere=LIMITS_ELSEWHERE,
)


def clip_by_norm(norms: Any, clip_norm: float, eps: float = 0.0) -> "Floats":
    """Give `min(1, clip_norm / (norm + eps))`: no norm is above `clip_norm` afterwards.

    `norms` may have any shape; the limit is finite and above 0. Of the norm of all tensors it is
    TensorFlow's `clip_by_global_norm` (Pascanu, Mikolov, Bengio 2013), with an `eps` of 1e-6
    torch's `clip_grad_norm_`; of each tensor's or slice's own norm it is TensorFlow's
    `clip_by_norm` and Keras's `clipnorm`.

    >>> clip_by_norm([0.0, 5.0, 10.0], 5.0), clip_by_norm([5.0, 9.0], 5.0, eps=1.0)
    (array([1. , 1. , 0.5]), array([0.83333333, 0.5       ]))
    """
    import numpy as np

    sums = np.asarray(norms, np.float64) + eps
    with np.errstate(all="ignore"):
        return np.where(sums <= clip_norm, 1.0, clip_norm / sums)


@dataclass(frozen=True, slots=True)
class ClipByGlobalNorm(Rule):
    """All tensors by their joint norm: `x * min(1, clip_norm / (global_norm + eps))`."""

    clip_norm: float

    word: ClassVar[str] = "global"
    example: ClassVar[str] = "--clip-norm C"
    limit: ClassVar[Option] = CLIP_NORM
    frameworks: ClassVar[tuple[str, ...]] = ("tensorflow", "keras", "torch", "optax", "optax-jit")
    is_joint: ClassVar[bool] = True

    @property
    def limits(self) -> float:
        """The limit for the joint norm."""
        return self.clip_norm

    def cells(self, tensors: Sequence["Tensor"]) -> Sequence[Hashable]:
        """Give one cell for all."""
        return [None] * len(tensors)

    def called(self, cell: Hashable, tensor: "Tensor") -> str:
        """Say whose norm that of the cell is."""
        return "the global norm"

    def coefficients(self, norms: Any, counts: Any, eps: float) -> "Floats":
        """Give the coefficient of the norm."""
        return clip_by_norm(norms, self.clip_norm, eps)

    def recipe(self, framework: "Framework", tensor: "Tensor", norm: float) -> "Recipe":
        """Give what a framework does to a tensor when the joint norm is this."""
        from gradclip_cli.rules.like import recipes

        return recipes.clip_by_global_norm(
            framework.name, norm, self.clip_norm, tensor.dtype.name, framework.norm_in, tensor.count
        )
