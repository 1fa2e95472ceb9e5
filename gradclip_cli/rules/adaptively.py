"""Each unit of a tensor by its norm beside that of the parameter's: adaptive gradient clipping."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

from gradclip_cli.errors import GradclipError
from gradclip_cli.options import Need, Option, Path, number
from gradclip_cli.rules.rule import Rule

if TYPE_CHECKING:
    from gradclip_cli.tensors.codecs import Floats
    from gradclip_cli.tensors.dump import Shape, Tensor

Layout = Literal["jax", "torch"]
"""Where a weight's output units lie: along its last axis, or along its first."""

_ADAPTIVE = "give --agc L --params PATH as the rule"

AGC = Option(
    "agc",
    "A limit for each unit's norm / parameter's; eps 1e-3.",
    metavar="L",
    parse=number("agc", "0.01"),
    group="Rule",
    needs=Need("params", "the parameters that the gradients belong to", "add --params PATH"),
)
PARAMS = Option(
    "params",
    "The parameters for --agc, found by name.",
    metavar="PATH",
    takes=Path,
    group="Rule",
    needs=Need("agc", "adaptive clipping, the rule that goes by parameters", _ADAPTIVE),
)
AGC_LAYOUT = Option(
    "agc_layout",
    "Units lie as in jax (last axis), the usual, or torch.",
    metavar="LAYOUT",
    choices=get_args(Layout),
    group="Rule",
    needs=Need("agc", "adaptive clipping, the rule that goes by units", _ADAPTIVE),
)


def clip_adaptively(
    norms: Any, parameter_norms: Any, clipping: float, eps: float = 1e-3
) -> "Floats":
    """Give `min(1, clipping * max(parameter_norm, eps) / norm)`, unit by unit.

    Adaptive gradient clipping (Brock, De, Smith, Simonyan 2021); optax's `adaptive_grad_clip`. The
    authors' code divides by 1e-6 where a norm is less, which they call impossible to engage.

    >>> clip_adaptively([5.0, 5.0, 5.0], [100.0, 1.0, 0.0], 0.1)
    array([1.e+00, 2.e-02, 2.e-05])
    """
    import numpy as np

    norms = np.asarray(norms, np.float64)
    limits = clipping * np.maximum(parameter_norms, eps)
    with np.errstate(all="ignore"):
        return np.where(norms <= limits, 1.0, limits / norms)


@dataclass(frozen=True, slots=True)
class ClipAdaptively(Rule):
    """Each unit by `clipping` times its parameter's norm, found by name in the dump `params`.

    Brock et al. 2021. `layout` says where weights have their units.
    """

    clipping: float
    layout: Layout = "jax"
    params: Path = ""

    word: ClassVar[str] = "agc"
    keys: ClassVar[tuple[str, ...]] = ("agc", "agc_layout")
    told: ClassVar[str] = "each unit by its parameter's norm"
    example: ClassVar[str] = "--agc L --params PATH"
    limit: ClassVar[Option] = AGC
    further: ClassVar[tuple[Option, ...]] = (PARAMS, AGC_LAYOUT)
    of: ClassVar[str] = "a ratio of norms"
    apart: ClassVar[Mapping[str, str]] = {
        "norm_type": "leave --norm-type out: it is a rule for the L2 norm"
    }
    eps: ClassVar[float] = 1e-3  # as Brock et al. have it

    @classmethod
    def chosen(cls, given: Mapping[str, Any]) -> Self:
        """Make the rule of the options that were given."""
        layout = given.get(AGC_LAYOUT.name)
        return cls(given[AGC.name], layout or "jax", given[PARAMS.name])

    @property
    def given(self) -> set[str]:
        """The parameters of the options by which this would have been chosen."""
        return {AGC.name, *([PARAMS.name] if self.params else [])}

    @property
    def limits(self) -> float:
        """The limit for each ratio."""
        return self.clipping

    def check(self, like: str | None) -> None:
        """Raise `GradclipError` for a limit, or a layout, that is none."""
        Rule.check(self, like)
        if self.layout not in AGC_LAYOUT.choices:
            raise GradclipError(
                AGC_LAYOUT.flag, f"{self.layout!r} is no layout", "give jax or torch"
            )

    @property
    def by(self) -> Literal["units"]:
        """Each unit has a norm of its own."""
        return "units"

    @property
    def parameters(self) -> str:
        """The dump of the parameters."""
        return str(self.params)

    def axes_of(self, tensor: "Tensor") -> tuple[int, ...]:
        """Give the axes that the norms of a tensor's units are over."""
        return unit_axes(tensor.shape, self.layout)

    def of_units(self, norms: "Floats", beside: "Floats", eps: float) -> "Floats":
        """Give each unit's coefficient."""
        return clip_adaptively(norms, beside, self.clipping, eps)

    def says(self) -> dict[str, Any]:
        """Give what a report says of it."""
        return {"agc": self.clipping, "agc_layout": self.layout}


def unit_axes(shape: "Shape", layout: Layout) -> tuple[int, ...]:
    """Give the axes that a unit's norm is over, for adaptive gradient clipping.

    A unit is what feeds one output: in JAX's layout a slice along the last axes (the authors'
    `unitwise_norm` in nfnets, with optax's rule for five dimensions), in torch's along the first
    (timm's). A vector is one unit. Raises `GradclipError` where the authors' code does.

    >>> unit_axes((3, 3, 16, 32), "jax"), unit_axes((32, 16, 3, 3), "torch"), unit_axes((8,), "jax")
    ((0, 1, 2), (1, 2, 3), (0,))
    """
    everything = tuple(range(len(shape)))
    if layout == "torch":
        return everything if len(shape) <= 1 else everything[1:]
    if sum(side != 1 for side in shape) <= 1:
        return everything
    match len(shape):
        case 2 | 3:
            return (0,)
        case 4 | 5:
            return everything[:-1]
    raise GradclipError(
        AGC.flag,
        f"a tensor of {len(shape):,} dimensions has no units by the authors' rule",
        "leave it out with --exclude 'PATTERN', or give --agc-layout torch",
    )
