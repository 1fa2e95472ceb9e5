"""Which tensors a user chose, by their names."""

import fnmatch
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gradclip_cli.errors import GradclipError
from gradclip_cli.tensors.dump import Tensor
from gradclip_cli.tensors.names import quoted, typed

_MOST = 1000  # names to look for the nearest among


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
            whole = f"patterns match whole names, and the first tensor is called {quoted(names[0])}"
            raise NothingSelectedError(
                "--include" if self.include else "--exclude",
                f"none of the {len(names):,} tensors is selected",
                "; ".join([*self.misses(names), whole]),
            )
        return chosen

    def chooses(self, name: str | None) -> bool:
        """Say whether a tensor of this name is chosen."""
        return self._matcher()(name)

    def misses(self, names: Sequence[str | None]) -> list[str]:
        """Say of each pattern that matches no name that it does not, and what would.

        >>> Selection(include=["attn", "head.*"]).misses(["0.attn.w", "head.w"])
        ["no tensor matches --include 'attn', '*attn*' would"]
        """
        asked = [("--include", glob) for glob in self.include]
        asked += [("--exclude", glob) for glob in self.exclude]
        return [
            missed(option, glob, names)
            for option, glob in asked
            if names and not _matches(glob, names)
        ]

    def _matcher(self) -> Callable[[str | None], bool]:
        include, exclude = _pattern(self.include), _pattern(self.exclude)

        def matches(name: str | None) -> bool:
            included = not self.include or include.match(name or "")
            return bool(included and not (self.exclude and exclude.match(name or "")))

        return matches


def missed(option: str, glob: str, names: Sequence[str | None], more: str = "") -> str:
    """Say that a pattern, behind which an option has `more`, matches no name, and what would."""
    near = _nearest(glob, [name for name in names if name])
    would = f", {typed(near + more)} would" if near else ""
    return f"no tensor matches {option} {typed(glob + more)}{would}"


def _matches(glob: str, names: Iterable[str | None]) -> bool:
    pattern = _pattern([glob])
    return any(pattern.match(name or "") for name in names)


def _nearest(glob: str, names: Sequence[str]) -> str | None:
    """Give a pattern that matches a name and was probably meant; None where none is near."""
    text = glob.strip("*")
    if not text:
        return None
    wider = f"*{text}*"
    if _matches(wider, names):
        return wider
    for name in names:  # in other capitals
        at = name.casefold().find(text.casefold())
        if at >= 0 and _matches(found := f"*{name[at : at + len(text)]}*", names):
            return found
    import difflib  # hardly ever needed, and it takes time to import

    parts = dict.fromkeys(part for name in names for part in re.split(r"[./]", name))
    some = [*itertools.islice(dict.fromkeys([*names[:_MOST], *parts]), 2 * _MOST)]
    for near in difflib.get_close_matches(text, some, 1):
        return near if near in names else f"*{near}*"
    return None


def _pattern(globs: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs))
