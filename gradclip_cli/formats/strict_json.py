"""JSON as RFC 8259 has it, and no key twice: what Python's own reader takes besides is refused."""

import json
import math
from typing import NoReturn

from gradclip_cli.tensors.names import quoted


class RepeatedKeyError(ValueError):
    """A JSON object that says the same key twice."""


def parsed(text: str) -> object:
    """Read JSON; raises `ValueError` and `RecursionError` for what is none, or has two readings."""
    # A hook for integers makes a header slow to read, so it is only set where one may be odd: minus
    # zero, or more digits than int() takes. One for objects takes as long as all the rest: where no
    # space stands before a colon, there are at least as many '":' as keys, and if no more than are
    # left of them, none was said twice.
    try:
        if not _has(text, "-0"):
            entries = json.loads(text, parse_constant=_not_json)
            spaced = any(_has(text.rstrip(" "), f"{space}:") for space in " \t\r\n")
            if not spaced and text.count('":') == _keys(entries):
                return entries
            return json.loads(text, object_pairs_hook=_unique, parse_constant=_not_json)
    except ValueError:
        pass
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_not_json, parse_int=_whole)


def _has(text: str, pair: str) -> bool:
    # One character is found at the speed of memory, two are not, and the first is rarely there.
    return pair[0] in text and pair in text


def _keys(entries: object) -> int:
    """Count the keys of an object and of the objects in it, no deeper."""
    if not isinstance(entries, dict):
        return 0
    return len(entries) + sum(len(entry) for entry in entries.values() if isinstance(entry, dict))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise RepeatedKeyError(quoted(key))
            seen.add(key)
    return entries


def _whole(digits: str) -> int | float:
    # Twenty digits hold any 64-bit number; the reference takes minus zero for a fraction.
    return int(digits) if len(digits) <= 20 and digits != "-0" else math.inf


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
