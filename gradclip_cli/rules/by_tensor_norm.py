"""Each tensor by its own norm, or each of its slices by the norm over some axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from gradclip_cli.errors import GradclipError
from gradclip_cli.options import Need, Option
from gradclip_cli.rules.by_global_norm import CLIP_NORM, clip_by_norm
from gradclip_cli.rules.rule import Rule

if TYPE_CHECKING:
    from gradclip_cli.rules.like.arithmetic import Framework, Recipe
    from gradclip_cli.tensors.codecs import Floats
    from gradclip_cli.tensors.dump import Tensor

PER_TENSOR = Option(
    "per_tensor",
    "--clip-norm limits each tensor's own norm.",
    group="Rule",
    common=True,
    default=False,
    elsewhere=("per-layer", "layerwise", "per-parameter", "per-param"),
    needs=Need("clip_norm", "a limit for each tensor's norm", "give --clip-norm C as the rule"),
)
AXES = Option(
    "axes",
    "With --per-tensor: each slice's norm, over these axes.",
    metavar="I,J",
    takes=int | Sequence[int] | str,
    group="Rule",
    needs=Need(
        "per_tensor",
        "a limit for the norms of each tensor's slices",
        "give --clip-norm C --per-tensor as the rule",
    ),
    apart={"like": "leave --like out for the exact rule"},
)


@dataclass(frozen=True, slots=True)
class ClipByNorm(Rule):
    """Each tensor by its own norm, or each of its slices by the norm over `axes`.

    TensorFlow's `clip_by_norm`, Keras's `clipnorm`.
    """

    clip_norm: float
    axes: tuple[int, ...] | None = None

    word: ClassVar[str] = "per tensor"
    keys: ClassVar[tuple[str, ...]] = ("axes",)
    limit: ClassVar[Option] = CLIP_NORM
    whose: ClassVar[Option] = PER_TENSOR
    further: ClassVar[tuple[Option, ...]] = (AXES,)
    about: ClassVar[str] = "each tensor's own norm"
    frameworks: ClassVar[tuple[str, ...]] = ("tensorflow", "keras")

    @classmethod
    def chosen(cls, given: Mapping[str, Any]) -> Self:
        """Make the rule of the options that were given."""
        axes = given.get(AXES.name)
        return cls(given[CLIP_NORM.name], None if axes is None else parsed_axes(axes))

    @property
    def given(self) -> set[str]:
        """The parameters of the options by which this would have been chosen."""
        return {CLIP_NORM.name, PER_TENSOR.name, *([] if self.axes is None else [AXES.name])}

    @property
    def told(self) -> str:  # type: ignore[override]
        """What it goes by."""
        over = "" if self.axes is None else f", over axes {','.join(map(str, self.axes))}"
        return f"each tensor by its own norm{over}"

    @property
    def limits(self) -> float:
        """The limit for each norm."""
        return self.clip_norm

    @property
    def by(self) -> Literal["cells", "units"]:
        """Units where there are axes."""
        return "cells" if self.axes is None else "units"

    def axes_of(self, tensor: "Tensor") -> tuple[int, ...]:
        """Give the axes that the norms of a tensor's slices are over."""
        return normalized_axes(self.axes or (), len(tensor.shape))

    def coefficients(self, norms: Any, counts: Any, eps: float) -> "Floats":
        """Give each tensor's coefficient."""
        return clip_by_norm(norms, self.clip_norm, eps)

    def of_units(self, norms: "Floats", beside: "Floats", eps: float) -> "Floats":
        """Give each slice's coefficient."""
        return clip_by_norm(norms, self.clip_norm, eps)

    def recipe(self, framework: "Framework", tensor: "Tensor", norm: float) -> "Recipe":
        """Give what a framework does to a tensor of this norm."""
        from gradclip_cli.rules.like.arithmetic import Recipe, rounded_norm
        from gradclip_cli.rules.like.recipes import clip_by_norm as as_tensorflow

        dtype = tensor.dtype.name
        if framework.name == "keras" and not self.clip_norm > 0:
            return Recipe(dtype, True)  # `clipnorm=0` is none
        return as_tensorflow(rounded_norm(norm, dtype), self.clip_norm, dtype)

    def says(self) -> dict[str, Any]:
        """Give what a report says of it."""
        return {"axes": self.axes}


def parsed_axes(given: str | int | Sequence[int]) -> tuple[int, ...]:
    """Read axes as an option or a sequence has them; raises `GradclipError` where they are none."""
    try:
        some = given.split(",") if isinstance(given, str) else given
        some = [some] if isinstance(some, int) else some
        return tuple(int(axis) for axis in some)
    except ValueError:
        raise GradclipError(
            AXES.flag, f"{given!r} are no axes", "give whole numbers, counted from 0: --axes 0,1"
        ) from None


def normalized_axes(axes: Sequence[int], dimensions: int) -> tuple[int, ...]:
    """Give the axes that a norm is over, counted from the first, in order; negative ones from last.

    Raises `GradclipError` for an axis that is not there, or is there twice.

    >>> normalized_axes([-1, 0], 3)
    (0, 2)
    """
    found = sorted(axis + dimensions if axis < 0 else axis for axis in axes)
    if any(not 0 <= axis < dimensions for axis in found) or len({*found}) < len(found):
        raise GradclipError(
            AXES.flag,
            f"{','.join(map(str, axes))} does not fit a tensor of {dimensions:,} dimensions",
            "name each axis once, counted from 0; choose the tensors with --include",
        )
    return tuple(found)
