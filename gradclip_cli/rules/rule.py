"""What every rule has: an equation from norms to coefficients, options, and words.

A rule is frozen data in a file of its own. It takes numbers and gives numbers; it opens nothing, so
its test needs no file. NumPy is imported inside functions alone, since the help lists all rules.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from gradclip_cli.errors import GradclipError
from gradclip_cli.options import Option

if TYPE_CHECKING:
    from gradclip_cli.measure.moments import Moments
    from gradclip_cli.rewrite.edits import Edit
    from gradclip_cli.rules.like.arithmetic import Framework, Recipe
    from gradclip_cli.tensors.codecs import Floats
    from gradclip_cli.tensors.dump import Tensor


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of clipping; what follows is what another rule says otherwise.

    A rule goes by *cells*: tensors of one cell have a joint norm, one coefficient. By *units* it
    goes where `axes` are given: each slice of a tensor has its own. By *values* it has an `edit` of
    its own.
    """

    word: ClassVar[str]
    """In reports, under `rule`."""

    keys: ClassVar[tuple[str, ...]] = ()
    """Of JSON: what it says of itself there."""

    told: ClassVar[str] = ""
    """To a person; nothing of the rule that nobody has to be told of."""

    example: ClassVar[str] = ""
    """How it is asked for, where nothing else is needed."""

    limit: ClassVar[Option]
    """The option that chooses it."""

    whose: ClassVar[Option | None] = None
    """The option that, beside the limit, says whose norm is limited."""

    further: ClassVar[tuple[Option, ...]] = ()
    """Options that only this rule knows."""

    of: ClassVar[str] = "a norm"
    """What the limit is a limit for."""

    about: ClassVar[str] = "it"
    """Whose norms it is about, in words."""

    apart: ClassVar[Mapping[str, str]] = {}
    """Terms, by their parameters, that it cannot go with, and the hints."""

    frameworks: ClassVar[tuple[str, ...]] = ()
    """Those whose arithmetic is known for it."""

    eps: ClassVar[float] = 0.0
    """What is added to a norm where nothing else is asked for."""

    is_joint: ClassVar[bool] = False
    """Whether there is one cell: a norm, and a coefficient, of all tensors together."""

    @classmethod
    def chosen(cls, given: Mapping[str, Any]) -> Self:
        """Make the rule of the options that were given, by their parameters."""
        return cls(given[cls.limit.name])  # type: ignore[call-arg] # the limit is the first field

    @property
    def given(self) -> set[str]:
        """The parameters of the options by which this would have been chosen."""
        return {self.limit.name, *([self.whose.name] if self.whose else [])}

    @property
    def limits(self) -> float | None:
        """The number that is the limit; None where it is not one."""
        return None

    @property
    def norm_limit(self) -> float | None:
        """The limit, where it is one for a norm."""
        return self.limits if self.of == Rule.of else None

    def check(self, like: str | None) -> None:
        """Raise `GradclipError` for a limit that is none; a framework may take what it will."""
        value = self.limits
        # What a framework does with any limit is worth seeing, unless it is no number at all.
        if value is None or 0 < value < float("inf") or (like is not None and value == value):
            return
        raise GradclipError(
            self.limit.flag,
            f"{value!r} is not a limit for {self.of}",
            "give a finite number above 0, for example 1.0",
        )

    @property
    def by(self) -> Literal["cells", "units", "values"]:
        """What has a norm, or a say, of its own."""
        return "cells"

    # By cells

    def cells(self, tensors: Sequence["Tensor"]) -> Sequence[Hashable]:
        """Give the cell of each tensor."""
        return range(len(tensors))

    def called(self, cell: Hashable, tensor: "Tensor") -> str:
        """Say whose norm that of a cell is."""
        from gradclip_cli.tensors.names import quoted

        return f"the norm of {quoted(tensor.name)}"

    def coefficients(self, norms: Any, counts: Any, eps: float) -> "Floats":
        """Give the coefficients of cells of these norms and numbers of values.

        1 exactly where nothing is to change, at most 1 elsewhere, and what IEEE 754 says of a norm
        that is not finite.
        """
        raise NotImplementedError

    # By units

    @property
    def parameters(self) -> str | None:
        """The dump of parameters whose units' norms stand beside those of the gradients."""
        return None

    def axes_of(self, tensor: "Tensor") -> tuple[int, ...]:
        """Give the axes that the norms of a tensor's units are over."""
        raise NotImplementedError

    def of_units(self, norms: "Floats", beside: "Floats", eps: float) -> "Floats":
        """Give the coefficients of units; `beside` are the norms of their parameters."""
        raise NotImplementedError

    # By values

    def edit(self, tensor: "Tensor", moments: "Moments | None", zero: bool) -> "Edit | None":
        """Give what is done to a tensor; None where nothing changes.

        With `zero` what is not finite becomes 0; moments are None where nothing was measured.
        """
        raise NotImplementedError

    # As a framework

    def recipe(self, framework: "Framework", tensor: "Tensor", norm: float) -> "Recipe":
        """Give what a framework does to a tensor of this norm."""
        raise NotImplementedError

    # Words

    def says(self) -> dict[str, Any]:
        """Give what a report says of it, under keys that only JSON has."""
        return {}

    @property
    def bound(self) -> str:
        """The limit, for a person."""
        return repr(self.limits)


def coefficient_error(rule: Rule, norm: float) -> GradclipError:
    """Say that float64 has too few digits for a coefficient."""
    return GradclipError(
        rule.limit.flag,
        f"{rule.limits!r} is too small for a norm of {norm!r}: float64 cannot hold the "
        "coefficient exactly",
        "clip in two runs, the first to the square root of that",
    )
