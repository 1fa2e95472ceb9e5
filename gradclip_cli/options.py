"""What a user may ask for, as plain data: an option's name, words, group, and what it goes with.

An option stands once: `cli` makes Typer's of it, a rule's file declares those that choose the rule,
and a Python function has a parameter of the same name and default. Numbers are parsed here, so that
a wrong one is told in one line as every other error is.
"""

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Annotated, Any, Literal

from gradclip_cli.errors import GradclipError
from gradclip_cli.frozen import constant

UNSET = "is a variable of the shell not set?"
"""What to ask where a text is empty."""

Path = str | os.PathLike[str]
"""What names a file or a folder."""

MOST = 10**9 - 1
COUNTED = f"a whole number from 1 to {MOST:,}"

Count = Annotated[int, COUNTED]
"""A whole number that counts something."""


@constant
class Need:
    """Without which other option an option says nothing, what that stands for, and the hint."""

    option: str
    what: str
    hint: str


@constant
class Option:
    """An option of one command or several.

    `name` is the parameter's. An option without a `metavar` is a flag. `parse` reads its text,
    `choices` are all that it may be, which its help names where it says `{choices}`; `many` can be
    given again. An empty text of one that `allows_empty` is for the command to judge. `takes` is
    what Python is given for it, where nothing else here tells. `group` is its heading in the help;
    `common` ones are shown by `-h`, all by `--help`. `apart` are options that it cannot go with,
    and the hints. `elsewhere` are flags that other tools have for it: they are not taken, but
    whoever gives one is told of this.
    """

    name: str
    help: str
    metavar: str = ""
    parse: Callable[[str], Any] | None = None
    group: str = ""
    common: bool = False
    flag: str = ""
    short: str = ""
    choices: Collection[str] = ()
    many: bool = False
    allows_empty: bool = False
    takes: Any = str
    default: Any = None
    needs: Need | None = None
    apart: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Collection[str] = ()

    def __post_init__(self) -> None:
        """Name the flag after the parameter, unless it has another name."""
        if not self.flag:
            object.__setattr__(self, "flag", flag_of(self.name))

    @property
    def told(self) -> str:
        """Its help, which may name the choices."""
        *most, last = [*self.choices] or [""]
        return self.help.replace("{choices}", f"{', '.join(most)} or {last}")

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value."""
        return not self.metavar

    @property
    def annotation(self) -> Any:
        """What a Python function may be given for it."""
        if self.is_switch:
            return bool
        kind = Literal[tuple(self.choices)] if self.choices else self.takes
        if self.parse is not None:
            kind = self.parse.__annotations__["return"]
        return kind | None


@constant
class Operand:
    """What is named without a flag: one path, or `many`."""

    name: str
    help: str
    metavar: str
    many: bool = False


def flag_of(name: str) -> str:
    """Give the flag of a parameter.

    >>> flag_of("clip_norm")
    '--clip-norm'
    """
    return f"--{name.replace('_', '-')}"


def number(name: str, example: str, several: str = "") -> Callable[[str], float]:
    """Give a parser for an option's number that says in one line what is wrong.

    `several` says what to do with more than one. Its `example` is what Python's errors show.
    """

    def parse(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            hint = f"give one, for example {example}"
            if "," in text:
                hint = f"give one number{several}"
            raise GradclipError(flag_of(name), f"{text!r} is not a number", hint) from None

    parse.example = example  # type: ignore[attr-defined] # a function, for whom Typer asks
    return parse


def is_number(text: str) -> bool:
    """Say whether a text is a number, written in digits.

    >>> is_number("5.0"), is_number("1e-3"), is_number("inf"), is_number("5.npy")
    (True, True, False, False)
    """
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def count(name: str) -> Callable[[str], int]:
    """Give a parser for an option that counts something."""

    def parse(text: str) -> int:
        digits = text.lstrip("0")
        if digits.isdecimal() and len(digits) <= len(str(MOST)):
            return int(digits)
        raise GradclipError(flag_of(name), f"{text!r} is not {COUNTED}", "give one, for example 1")

    return parse


def nearest(
    name: str, names: Iterable[str], elsewhere: Mapping[str, Iterable[str]] = MappingProxyType({})
) -> str | None:
    """Give the name that was probably meant; None where none is close.

    `elsewhere` says what some of the names are called by other tools.

    >>> nearest("--fomat", ["--format", "--sort"]), nearest("--versoin", ["--reverse"])
    ('--format', None)
    >>> nearest("--max_norm", ["--clip-norm"], {"--clip-norm": ["max-norm"]})
    '--clip-norm'
    """
    import difflib

    bare = {_bare(other): one for one, others in elsewhere.items() for other in others}
    bare |= {_bare(one): one for one in names}
    found = difflib.get_close_matches(_bare(name), bare, 1)
    return bare[found[0]] if found else None


def _bare(name: str) -> str:
    """Write a name as all may be written: what they begin with makes none alike."""
    return name.lstrip("-").replace("_", "-").lower()
