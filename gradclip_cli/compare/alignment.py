"""Which tensor of one dump stands against which of another: the one of the same name.

Wrappers put words into names (`module.`, `_orig_mod.`, `_fsdp_wrapped_module.`); what the user asks
to strip or to rename is changed in both dumps before they are compared.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gradclip_cli.errors import GradclipError
from gradclip_cli.tensors.dump import Tensor
from gradclip_cli.tensors.names import quoted, typed
from gradclip_cli.tensors.patterns import Pattern, shown


@dataclass(frozen=True, slots=True)
class Renaming:
    """What aligns a name: prefixes go as long as one is there, then patterns are replaced."""

    prefixes: Sequence[str]
    rules: Sequence[tuple[str, Pattern]]

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
    return Renaming(prefixes, [(rename, _rule(rename)) for rename in renames])


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


def likely_prefix(names: Iterable[str], others: Iterable[str]) -> str | None:
    """Give the prefix that most of the names have and the others lack, if that is most of them.

    >>> likely_prefix(["module.a", "module.b.c"], ["a", "b.c"])
    'module.'
    """
    known = set(others)
    prefixes: Counter[str] = Counter()
    total = 0
    for name in names:
        total += 1
        starts = (place + 1 for place, character in enumerate(name) if character == ".")
        prefixes.update(name[:start] for start in starts if name[start:] in known)
    ((prefix, count),) = prefixes.most_common(1) or [("", 0)]
    return prefix if count * 2 > total else None
