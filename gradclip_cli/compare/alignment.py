"""Which tensor of one dump stands against which of another: the one of the same name.

Wrappers put words into names (`module.`, `_orig_mod.`, `_fsdp_wrapped_module.`); what the user asks
to strip or to rename is changed in both dumps before they are compared.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.tensors.dump import Tensor
from gradclip_cli.tensors.names import quoted
from gradclip_cli.tensors.patterns import Pattern, shown

Rename = Callable[[str], str]


def renaming(prefixes: Sequence[str] = (), renames: Sequence[str] = ()) -> Rename:
    r"""Give the function that aligns a name: prefixes go as long as one is there, then renames.

    A rename is `REGEX=NEW`, parted at the last `=`; NEW may name groups as `\1`. Raises
    `GradclipError` for one that is none.

    >>> renaming(["module.", "_orig_mod."], [r"\.gamma$=.weight"])("module._orig_mod.norm.gamma")
    'norm.weight'
    """
    if "" in prefixes:
        raise GradclipError("--strip-prefix", "is empty", "give one: module.")
    rules = [_rule(rename) for rename in renames]

    def aligned(name: str) -> str:
        while prefix := next(filter(name.startswith, prefixes), None):
            name = name.removeprefix(prefix)
        for rule in rules:
            name = rule.replaced(name)
        return name

    return aligned


def _rule(rename: str) -> Pattern:
    text, equals, new = rename.rpartition("=")
    hint = r"for example --rename '^layers\.(\d+)=blocks.\1'"
    if not equals or not text:
        raise GradclipError("--rename", f"{shown(rename)} is not REGEX=NEW", hint)
    return Pattern("--rename", text, hint, new)


def renamed(tensors: Iterable[Tensor], rename: Rename, label: str) -> list[Tensor]:
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
