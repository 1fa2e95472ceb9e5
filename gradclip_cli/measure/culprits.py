"""Which of the tensors that are not finite was likely the first: one rule for every command.

Where a value overflows there is an infinity first, and NaN follow from it; and a backward pass goes
from the head to the first layer. So the first is likely one with infinities and no NaN, then the
one that is nearest to the output by its name, then the one that comes first in its file.
"""

import math
import re
from collections.abc import Iterable
from typing import TypeVar

Kind = TypeVar("Kind")

_HEADS = re.compile(r"(?:^|[._/])(?:lm_)?head(?:[._/]|$)")
_NUMBER = re.compile(r"(?:^|[._/])([0-9]{1,9})(?=[._/]|$)")


def likely_first(found: Iterable[tuple[Kind, str | None, int]]) -> Kind:
    """Give the likely first of what has a name and a number of NaN, in the order of their files.

    >>> likely_first([(0, "layers.0.w", 1), (1, "layers.2.w", 0), (2, "layers.10.w", 0)])
    2
    """
    return min(found, key=lambda one: rank(one[1], one[2]))[0]


def rank(name: str | None, nan: int) -> tuple[bool, float]:
    """Give the key by which the likely first comes first."""
    return nan > 0, -_depth(name or "")


def _depth(name: str) -> float:
    """Give how near to the output a tensor is: infinite for a head, else its layer's number.

    >>> _depth("lm_head.weight"), _depth("model.layers.17.mlp.weight"), _depth("embed.weight")
    (inf, 17.0, -1.0)
    """
    if _HEADS.search(name):
        return math.inf
    number = _NUMBER.search(name)
    return float(number[1]) if number else -1.0
