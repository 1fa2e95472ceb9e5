"""What aligns the names of tensors that are one: in files, ranks, steps, or two dumps.

Wrappers put words into names (`module.`, `_orig_mod.`, `_fsdp_wrapped_module.`); what the user asks
to strip or to rename is changed before names are compared. What is written keeps its names.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gradclip_cli.errors import GradclipError
from gradclip_cli.tensors.dump import Dump, Tensor
from gradclip_cli.tensors.names import quoted, typed
from gradclip_cli.tensors.patterns import Pattern, shown


@dataclass(frozen=True, slots=True)
class Renaming:
    """What aligns a name: prefixes go as long as one is there, then patterns are replaced."""

    prefixes: tuple[str, ...] = ()
    rules: tuple[tuple[str, Pattern], ...] = ()

    def __bool__(self) -> bool:
        """Say whether it changes any name."""
        return bool(self.prefixes or self.rules)

    @property
    def texts(self) -> tuple[str, ...]:
        """The patterns of its rules with what takes their place, as they were given."""
        return tuple(text for text, _ in self.rules)

    def __call__(self, name: str) -> str:
        """Give the aligned name."""
        *_, (_, aligned) = self._ways(name)
        return aligned

    def misses(self, names: Iterable[str | None]) -> list[str]:
        """Say of each prefix and pattern that no name had it to be aligned.

        >>> renaming(["module."], ["gamma=weight"]).misses(["module.beta"])
        ["no tensor matches --rename 'gamma=weight'"]
        """
        asked = [("--strip-prefix", one) for one in self.prefixes]
        asked += [("--rename", one) for one, _ in self.rules]
        if not asked:
            return []
        met = {asked for name in names if name is not None for asked, _ in self._ways(name)}
        return [
            f"no tensor matches {option} {typed(text)}"
            for option, text in dict.fromkeys(asked)
            if (option, text) not in met
        ]

    def _ways(self, name: str) -> Iterator[tuple[tuple[str, str], str]]:
        """Give the name as it was, and behind each option that it met, with that."""
        yield ("", ""), name
        while prefix := next(filter(name.startswith, self.prefixes), None):
            name = name.removeprefix(prefix)
            yield ("--strip-prefix", prefix), name
        for text, rule in self.rules:
            name, count = rule.replaced(name)
            if count:
                yield ("--rename", text), name


def renaming(prefixes: Sequence[str] = (), renames: Sequence[str] = ()) -> Renaming:
    r"""Give what aligns a name.

    A rename is `REGEX=NEW`, parted at the last `=`; NEW may name groups as `\1`. Raises
    `GradclipError` for one that is none.

    >>> renaming(["module.", "_orig_mod."], [r"\.gamma$=.weight"])("module._orig_mod.norm.gamma")
    'norm.weight'
    """
    if "" in prefixes:
        raise GradclipError("--strip-prefix", "is empty", "give one: module.")
    return Renaming((*prefixes,), tuple((rename, _rule(rename)) for rename in renames))


def _rule(rename: str) -> Pattern:
    text, equals, new = rename.rpartition("=")
    hint = r"for example --rename '^layers\.(\d+)=blocks.\1'"
    if not equals or not text:
        raise GradclipError("--rename", f"{shown(rename)} is not REGEX=NEW", hint)
    return Pattern("--rename", text, hint, new)


def renamed(tensors: Iterable[Tensor], rename: Renaming, label: str) -> list[Tensor]:
    """Give the tensors under their aligned names.

    Raises `GradclipError` where two get the same name.
    """
    found = []
    before: dict[str | None, Tensor] = {}
    for tensor in tensors:
        name = None if tensor.name is None else rename(tensor.name)
        other = before.setdefault(name, tensor)
        if other is not tensor:
            raise GradclipError(
                label,
                f"tensors {quoted(other.name)} and {quoted(tensor.name)} would both be called "
                f"{quoted(name)}",
                "let --strip-prefix and --rename say more exactly what they mean",
            )
        found.append(tensor if name == tensor.name else dataclasses.replace(tensor, name=name))
    return found


def all_renamed(dump: Dump, rename: Renaming) -> Dump:
    """Give a dump whose tensors have their aligned names; raises `GradclipError` as `renamed`."""
    if not rename:
        return dump
    renamed(dump.tensors, rename, dump.files[0].source.label)
    files = [
        dataclasses.replace(file, tensors=(*renamed(file.tensors, rename, file.source.label),))
        for file in dump.files
    ]
    return dataclasses.replace(dump, files=(*files,))
