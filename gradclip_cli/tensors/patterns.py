"""Regular expressions that a user gives: compiled in one place, and complained of in one line.

They are those of the `regex` library, which understands what Python's own do and has a time limit:
a pattern such as `(a|aa)+$` would try more ways than there is time for.
"""

import math
import re
from collections.abc import Callable
from typing import TypeVar

from gradclip_cli.errors import GradclipError

_SECONDS = 0.5  # for one name: a thousand times what a pattern takes that is meant
_REPEATS = re.compile(r"\{(\d{1,9})")
_MOST = 1_000_000  # characters that it stands for: repetitions, nested too, are unrolled
_SHOWN = 80

Found = TypeVar("Found")


class Pattern:
    r"""A regular expression, given with an option, and a text to put in the place of its matches.

    What is wrong with it is told with a hint. The new text may name groups, as `\1`.
    """

    def __init__(self, option: str, text: str, hint: str, new: str | None = None) -> None:
        """Compile it; raises `GradclipError` about the option where it is none."""
        import regex  # takes long to import, and few commands need it

        self._option, self._hint, self._new = option, hint, new
        if not text:
            raise GradclipError(option, "is empty", hint)
        self._given = text if new is None else f"{text}={new}"
        try:
            repeats = (max(int(count), 1) for count in _REPEATS.findall(text))
            if len(text) * math.prod(repeats) > _MOST:
                raise OverflowError
            self._compiled = regex.compile(text)
            if new is not None:  # is looked at only where something is found, as here nothing is
                regex.compile(f"(?:{text}\n)|").sub(new, "")
        except (regex.error, IndexError, *_TOO_MUCH) as error:
            is_none = "is not a regular expression" if new is None else "cannot be followed"
            raise self._wrong(f"{is_none}: {_reason(error, text, new)}") from error

    @property
    def groups(self) -> int:
        """Number of groups."""
        return self._compiled.groups

    def found(self, text: str) -> str | None:
        """Give what its first group matches, or all of it where it has none; None if nothing."""
        match = self._in_time(lambda: self._compiled.search(text, timeout=_SECONDS), text)
        return None if match is None else match[1 if self.groups else 0]

    def replaced(self, text: str) -> tuple[str, int]:
        """Give a text with the new one for each match, and how many there were."""
        new = self._new or ""
        return self._in_time(lambda: self._compiled.subn(new, text, timeout=_SECONDS), text)

    def _in_time(self, find: Callable[[], Found], text: str) -> Found:
        try:
            return find()
        except (TimeoutError, *_TOO_MUCH) as error:
            raise self._wrong(f"takes too long to be looked for in {shown(text)}") from error

    def _wrong(self, what: str) -> GradclipError:
        return GradclipError(self._option, f"{shown(self._given)} {what}", self._hint)


_TOO_MUCH = (RecursionError, MemoryError, OverflowError)


def _reason(error: BaseException, text: str, new: str | None) -> str:
    """Say what is wrong in the words of Python's own library where it finds it too."""
    if isinstance(error, _TOO_MUCH):
        return "it is too large"
    try:
        re.compile(text).sub(new or "", "")
    except (re.error, IndexError) as known:
        return str(known)
    except (*_TOO_MUCH, ValueError):
        pass
    return str(error)


def shown(text: str) -> str:
    """Quote a text for a message, shortened where it is long."""
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…")
