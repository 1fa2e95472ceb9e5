r"""How the names of tensors and files are written down and put in order.

A name comes out of a file, so it is a stranger: it may hold escape sequences, line ends or marks
that turn the writing direction. One reversible escape serves every text format. What is printable
stays as it is; a backslash is doubled; everything else becomes `\xNN`, `\uNNNN` or `\UNNNNNNNN`,
and so does a leading `=`, `+`, `-` or `@`, which a spreadsheet would take for a formula, and a
space at either end, which nobody would see. A lone `-` is no formula, and stands for itself.
"""

import os
import re
from collections.abc import Sequence

_FORMULA = ("=", "+", "-", "@")
_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_NUMBER = re.compile(r"([0-9]+)")


def escape(name: str) -> str:
    r"""Write a name so that it is safe in a terminal and unlike any other name.

    >>> escape("layer.0"), escape("a\tb"), escape("a\\tb"), escape("=cmd()"), escape("a ")
    ('layer.0', 'a\\x09b', 'a\\\\tb', '\\x3dcmd()', 'a\\x20')
    """
    if name == "-":
        return name
    if name.isprintable() and "\\" not in name and not name.startswith((*_FORMULA, " ")):
        return name if not name.endswith(" ") else f"{name[:-1]}\\x20"
    text = "".join(
        "\\\\" if character == "\\" else character if character.isprintable() else _coded(character)
        for character in name
    )
    if text.startswith((*_FORMULA, " ")):
        text = _coded(text[0]) + text[1:]
    return f"{text[:-1]}\\x20" if text.endswith(" ") else text


def _coded(character: str) -> str:
    point = ord(character)
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def printable(text: str) -> str:
    r"""Write a text for a message: what could drive a terminal is escaped, nothing else is.

    >>> printable("-a.npy"), printable("a\x1b[31mb")
    ('-a.npy', 'a\\x1b[31mb')
    """
    return "".join(part if part.isprintable() else _coded(part) for part in text)


def unescape(text: str) -> str:
    r"""Give back the name that `escape` wrote.

    >>> unescape("a\\x09b"), unescape("a\\\\tb")
    ('a\tb', 'a\\tb')
    """
    return _ESCAPE.sub(
        lambda found: chr(int(found[1] or found[2] or found[3], 16)) if found[0] != r"\\" else "\\",
        text,
    )


def natural(name: str) -> tuple[tuple[tuple[bool, int, str], ...], str]:
    """Key that sorts digits as numbers, so that layer 2 comes before layer 10.

    >>> sorted(["w10", "w2", "w"], key=natural)
    ['w', 'w2', 'w10']
    """
    # The length of the digits stands for their size: int() refuses more than 4,300 of them.
    return (*(_part(part) for part in _NUMBER.split(name) if part),), name


def _part(part: str) -> tuple[bool, int, str]:
    digits = part.lstrip("0")
    return (False, len(digits), digits) if part[0] in "0123456789" else (True, 0, part)


def shortened(text: str, limit: int = 60) -> str:
    """Cut a text in the middle where it is longer than `limit`, saying how long it was.

    >>> shortened("abc"), shortened("x" * 1000, 30)
    ('abc', 'xxxxxxx…xxxxxxx (1,000 characters)')
    """
    if len(text) <= limit:
        return text
    half = max((limit - 15) // 2, 4)
    return f"{text[:half]}…{text[-half:]} ({len(text):,} characters)"


def named(name: str | None, key: str = "name") -> dict[str, str | None]:
    """Give a name under a key; one that is not Unicode is escaped, its bytes beside it in hex."""
    if name is None or is_unicode(name):
        return {key: name}
    return {key: escape(name), f"{key}_bytes": os.fsencode(name).hex()}


def exact(text: str) -> str:
    """Give a name as it is, unless it is not Unicode and has to be escaped."""
    return text if is_unicode(text) else escape(text)


def is_unicode(text: str) -> bool:
    """Say whether a text has no bytes that are no characters."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def sides(shape: Sequence[int]) -> str:
    """Write a shape for a person.

    >>> sides((3, 4)), sides(())
    ('3×4', 'scalar')
    """
    return "×".join(map(str, shape)) or "scalar"


def ends_in(path: str, endings: str | tuple[str, ...]) -> bool:
    """Say whether a path has one of these endings, in capitals or not, as no system tells both.

    >>> ends_in("W.NPY", (".npz", ".npy")), ends_in("W.NPY.old", ".npy")
    (True, False)
    """
    return path.lower().endswith(endings)


def plural(count: int, noun: str, several: str = "") -> str:
    """Write how many there are of something.

    >>> plural(1, "tensor"), plural(2000, "value"), plural(2, "step is", "steps are")
    ('1 tensor', '2,000 values', '2 steps are')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {several or f'{noun}s'}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Write the first of some names, escaped, and how many more there are.

    >>> listed(["a", "b"]), listed(["a", "b", "c", "d"], 2)
    ('a, b', 'a, b and 2 more')
    """
    shown = ", ".join(map(escape, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def left_out(links: Sequence[str]) -> list[str]:
    """Say which folders were not followed, being links.

    >>> left_out([]), left_out(["a/b"])
    ([], ['1 linked folder left out: a/b'])
    """
    each = [*dict.fromkeys(links)]
    return [f"{plural(len(each), 'linked folder')} left out: {listed(each)}"] if each else []


def typed(text: str) -> str:
    r"""Write what a user gave for a message: in quotes, as it was typed, of bounded length.

    >>> typed("-"), typed(r"\.gamma$")
    ("'-'", "'\\.gamma$'")
    """
    return f"'{shortened(printable(text), 120)}'"


def quoted(name: str | None) -> str:
    """Write a tensor's name for a message: escaped, in quotes, of bounded length."""
    return "(unnamed)" if name is None else f"'{shortened(escape(name), 120)}'"
