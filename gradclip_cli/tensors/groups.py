"""Tensors into groups, by their names."""

from collections.abc import Callable

from gradclip_cli.errors import GradclipError
from gradclip_cli.tensors.patterns import Pattern, shown

_DIGITS = 9


def group_of(wish: str, option: str = "--group-by") -> Callable[[str], str | None]:
    r"""Give the function from a tensor's name to its group's.

    A number N takes the first N parts of the dotted name; anything else is a regular expression,
    whose first group is searched for. `option` is what an error is about.

    >>> group_of("2")("layers.10.mlp.weight"), group_of(r"layers\.(\d+)")("layers.10.mlp.weight")
    ('layers.10', '10')
    """
    if wish.isdecimal() and wish.strip("0"):
        parts = int(wish) if len(wish) <= _DIGITS else None  # no name has so many
        return lambda name: ".".join(name.split(".")[:parts])
    pattern = Pattern(
        option, wish, r"give a number of name parts, or a pattern such as 'layers\.(\d+)'"
    )
    if not pattern.groups:
        raise GradclipError(
            option,
            f"{shown(wish)} has no group to name the "
            f"{'rows' if option == '--group-by' else 'groups'} by",
            r"put parentheses around what makes the group, as in 'layers\.(\d+)'",
        )
    return pattern.found
