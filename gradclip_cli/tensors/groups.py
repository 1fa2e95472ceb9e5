"""Tensors into groups, by their names."""

from collections.abc import Callable

from gradclip_cli.errors import GradclipError
from gradclip_cli.tensors.patterns import compiled


def group_of(wish: str, option: str = "--group-by") -> Callable[[str], str | None]:
    r"""Give the function from a tensor's name to its group's.

    A number N takes the first N parts of the dotted name; anything else is a regular expression,
    whose first group is searched for. `option` is what an error is about.

    >>> group_of("2")("layers.10.mlp.weight"), group_of(r"layers\.(\d+)")("layers.10.mlp.weight")
    ('layers.10', '10')
    """
    if wish.isdecimal() and int(wish) > 0:
        parts = int(wish)
        return lambda name: ".".join(name.split(".")[:parts])
    pattern = compiled(
        option, wish, r"give a number of name parts, or a pattern such as 'layers\.(\d+)'"
    )
    if not pattern.groups:
        raise GradclipError(
            option,
            f"{wish!r} has no group to name the {'rows' if option == '--group-by' else 'groups'} "
            "by",
            r"put parentheses around what makes the group, as in 'layers\.(\d+)'",
        )

    def group(name: str) -> str | None:
        found = pattern.search(name)
        return found[1] if found else None

    return group
