"""What would align the names of two dumps: a prefix that one of them has and the other lacks."""

from collections import Counter
from collections.abc import Iterable


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
