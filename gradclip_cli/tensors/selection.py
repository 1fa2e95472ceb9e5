"""Which tensors a user chose, by their names."""

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gradclip_cli.errors import GradclipError
from gradclip_cli.tensors.dump import Tensor
from gradclip_cli.tensors.names import quoted


class NothingSelectedError(GradclipError):
    """The patterns leave nothing to measure."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Shell patterns over whole tensor names, case-sensitive; `exclude` wins.

    No `include` at all means every tensor.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def chosen(self, tensors: Sequence[Tensor]) -> list[int]:
        """Give the indices of the chosen tensors; raises `GradclipError` if there are none."""
        return self.among([tensor.name for tensor in tensors])

    def among(self, names: Sequence[str | None]) -> list[int]:
        """Give the indices of the chosen names; raises `GradclipError` if there are none."""
        if not self.include and not self.exclude:
            return list(range(len(names)))
        matches = self._matcher()
        chosen = [index for index, name in enumerate(names) if matches(name)]
        if names and not chosen:
            raise NothingSelectedError(
                "--include" if self.include else "--exclude",
                f"none of the {len(names):,} tensors is selected",
                f"patterns match the whole name, as '*.weight' does; the first tensor is called "
                f"{quoted(names[0])}",
            )
        return chosen

    def chooses(self, name: str | None) -> bool:
        """Say whether a tensor of this name is chosen."""
        return self._matcher()(name)

    def _matcher(self) -> Callable[[str | None], bool]:
        include, exclude = _pattern(self.include), _pattern(self.exclude)

        def matches(name: str | None) -> bool:
            included = not self.include or include.match(name or "")
            return bool(included and not (self.exclude and exclude.match(name or "")))

        return matches


def _pattern(globs: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs))
