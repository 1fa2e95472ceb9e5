"""Each value by itself, between two limits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from gradclip_cli.errors import GradclipError
from gradclip_cli.options import Option
from gradclip_cli.rules.rule import Rule

if TYPE_CHECKING:
    from gradclip_cli.measure.moments import Moments
    from gradclip_cli.rewrite.edits import Edit
    from gradclip_cli.rules.like.arithmetic import Framework, Recipe
    from gradclip_cli.tensors.codecs import Floats
    from gradclip_cli.tensors.dump import Tensor

CLIP_VALUE = Option(
    "clip_value",
    "Keep each value between -V and V, or LO and HI.",
    metavar="V|LO,HI",
    takes=float | Sequence[float] | str,
    group="Rule",
    common=True,
    elsewhere=("clip-grad-value", "max-value", "min-value", "max-delta"),
)


def clip_by_value(values: Any, low: float, high: float) -> "Floats":
    """Give `min(max(x, low), high)` of each value; NaN stays, and so does a value at a limit.

    TensorFlow's `clip_by_value`, torch's `clip_grad_value_`, Keras's `clipvalue`, optax's `clip`.

    >>> clip_by_value([-7.0, 0.5, 7.0], -1.0, 2.0)
    array([-1. ,  0.5,  2. ])
    """
    import numpy as np

    from gradclip_cli.rewrite.edits import clamped

    return clamped(np.asarray(values, np.float64), low, high)


@dataclass(frozen=True, slots=True)
class ClipByValue(Rule):
    """Each value by itself: `min(max(x, low), high)`; either limit may be infinite."""

    low: float
    high: float

    word: ClassVar[str] = "value"
    keys: ClassVar[tuple[str, ...]] = ("low", "high")
    told: ClassVar[str] = "each value by itself"
    example: ClassVar[str] = "--clip-value V"
    limit: ClassVar[Option] = CLIP_VALUE
    apart: ClassVar[Mapping[str, str]] = {
        "norm_type": "leave --norm-type out: no norm is limited",
        "eps": "leave --eps out: no norm is divided by",
    }
    frameworks: ClassVar[tuple[str, ...]] = ("tensorflow", "keras", "torch", "optax", "optax-jit")

    @classmethod
    def chosen(cls, given: Mapping[str, Any]) -> Self:
        """Make the rule of `V`, which is `-V,V`, or `LO,HI`; in a LO,HI either may be infinite."""
        return cls(*parsed_limits(given[CLIP_VALUE.name]))

    def check(self, like: str | None) -> None:
        """Raise `GradclipError` for limits that are none, or the wrong way round."""
        _in_order(self.low, self.high, (self.low, self.high))

    @property
    def by(self) -> Literal["values"]:
        """Each value has a say of its own."""
        return "values"

    def edit(self, tensor: "Tensor", moments: "Moments | None", zero: bool) -> "Edit | None":
        """Give what is done to a tensor; nothing where its largest value is within.

        Raises `GradclipError` where its dtype has no values between the limits.
        """
        from gradclip_cli.rewrite.edits import Clamp
        from gradclip_cli.tensors.names import quoted

        if tensor.dtype.kind == "complex":
            raise GradclipError(
                CLIP_VALUE.flag,
                f"{quoted(tensor.name)} is {tensor.dtype.name}, and complex values have no order",
                "leave it out with --exclude 'PATTERN', or clip by a norm",
            )
        unknown = moments is None or moments.nonfinite
        largest = math.inf if moments is None or unknown else moments.max_abs or 0.0
        within = self.low <= -largest and largest <= self.high
        if within and not zero:
            return None
        form = tensor.dtype.binary
        if form.infinite and not (self.low <= form.largest and -form.largest <= self.high):
            raise GradclipError(
                CLIP_VALUE.flag,
                f"{quoted(tensor.name)} is {tensor.dtype.name}, which has no number from "
                f"{self.bound}: all values would become infinite",
                "give limits with such numbers between them, or leave it out with "
                "--exclude 'PATTERN'",
            )
        return Clamp(self.low, self.high, zero)

    def recipe(
        self,
        framework: "Framework",
        tensor: "Tensor",
        norm: float,
    ) -> "Recipe":
        """Give what a framework does to a tensor."""
        from gradclip_cli.rules.like import recipes

        return recipes.clip_by_value(
            framework.name, self.low, self.high, tensor.dtype.name, tensor.count
        )

    def says(self) -> dict[str, Any]:
        """Give what a report says of it."""
        return {"low": self.low, "high": self.high}

    @property
    def bound(self) -> str:
        """The limits, for a person."""
        return f"{self.low!r} to {self.high!r}"


def parsed_limits(given: str | float | Sequence[float]) -> tuple[float, float]:
    """Read the lower limit and the upper; raises `GradclipError` where they are none.

    >>> parsed_limits("-1,2"), parsed_limits(3)
    ((-1.0, 2.0), (-3, 3))
    """
    try:
        if isinstance(given, str):
            limits = [float(part) for part in given.split(",")]
        else:
            limits = [given] if isinstance(given, int | float) else [float(part) for part in given]
    except ValueError:
        limits = []
    if len(limits) == 1 and 0 < limits[0] < math.inf:
        return -limits[0], limits[0]
    low, high = limits if len(limits) == 2 else (math.nan, math.nan)
    return _in_order(low, high, given)


def _in_order(low: float, high: float, given: object) -> tuple[float, float]:
    """Give two limits back; raises `GradclipError` where they are none, or the wrong way round."""
    if low <= high and low < math.inf and high > -math.inf:
        return low, high
    raise GradclipError(
        CLIP_VALUE.flag,
        f"the lower limit {low!r} is above the upper {high!r}"
        if low > high
        else f"{given!r} is not a limit for values",
        "give a number above 0, or two, the lower first: --clip-value -1.0,1.0",
    )
