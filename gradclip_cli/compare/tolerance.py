"""How far a tensor may differ and still pass."""

import math
from dataclasses import dataclass

from gradclip_cli.compare.difference import Difference
from gradclip_cli.errors import GradclipError


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a tensor may differ: it passes if either bound holds; None is no bound."""

    relative: float | None = None
    absolute: float | None = None

    def __post_init__(self) -> None:
        for option, bound in (("--rtol", self.relative), ("--atol", self.absolute)):
            if bound is not None and not 0 <= bound < math.inf:
                raise GradclipError(
                    option,
                    f"{bound!r} is no bound for an error",
                    "give a finite number, 0 or more, for example 1e-6",
                )

    def allows(self, difference: Difference, whole: bool = False) -> bool:
        """Say whether a tensor passes; values that are not finite must be the same in both.

        Where both are `whole` numbers of one dtype, those that are stored differently are others,
        which float64 may not show: bounds of 0 let none pass.
        """
        if difference.astray or (whole and difference.changed and not self._is_wide):
            return False
        error, largest = difference.relative_error or 0.0, difference.gap.max_abs or 0.0
        return (self.relative is not None and error <= self.relative) or (
            self.absolute is not None and largest <= self.absolute
        )

    @property
    def _is_wide(self) -> bool:
        return bool(self.relative or self.absolute)
