"""What is said of options, said of parameters: as Python has them, with values that it would take.

The words of an error stand once, where it is raised, as one types them. A parameter's annotation
says what becomes of its flag: a switch is given True, a text is put in quotes, and of a number that
is only named there is an example.
"""

import re
from inspect import Signature
from typing import Annotated, Any, Literal, get_args, get_origin

from gradclip_cli.commands.given import alternatives
from gradclip_cli.errors import GradclipError
from gradclip_cli.rules.choosing import options
from gradclip_cli.rules.terms import TERMS

_NUMBERS = r"-?[0-9][-0-9.e]*(?:,-?[0-9][-0-9.e]*)*"
_FLAG = re.compile(
    r"(?<![\w-])(?P<flag>--[a-z][a-z-]*|-o\b)"
    rf"(?: (?P<value>'[^']*'|[A-Z][A-Z|,]*\b/?|\S+/$|{_NUMBERS}(?![\w.])|[a-z][a-z-]*\b))?"
    r"(?P<others>(?: or [a-z][a-z-]*)*)"
)
_SELECTED = re.compile(r"(?: by name:| with)? --(?:in|ex)clude(?: '[^']*')?")
_SIDE_BY_SIDE = re.compile(r"(\b[a-z_]+=(?:'[^']*'|\([^)]*\)|[^\s,;]+)) (?=[a-z_]+=)")
_CALL = re.compile(
    r"(?P<told>: )?\bgradclip (apply|check|diff|inspect|trend)\b"
    r"(?(told)(?: (?P<path>'[^']*'|[^' ;]+)(?=$|;))?)"
)
_SHELL = re.compile(r" [|>] ")  # in what is to be typed at a prompt, and is left so


class Spoken:
    """Puts the words of errors into Python, for a function of this signature."""

    def __init__(self, signature: Signature) -> None:
        self._parameters = signature.parameters

    def put(self, error: GradclipError) -> None:
        """Let an error speak of parameters."""
        is_flag = _FLAG.fullmatch(error.subject)
        error.subject = _bare(error.subject) if is_flag else error.subject
        error.problem, error.hint = map(self.says, (error.problem, error.hint))
        error.details = tuple(map(self.says, error.details))
        if type(error).__init__ is GradclipError.__init__:  # as they are pickled
            error.args = (error.subject, error.problem, error.hint, error.details)

    def says(self, text: str) -> str:
        """Give a text with parameters in place of options, and calls in place of commands."""
        if _SHELL.search(text):
            return text
        if "exclude" not in self._parameters:
            text = _SELECTED.sub("", text).rstrip(":")
        text = _SIDE_BY_SIDE.sub(r"\1, ", _FLAG.sub(self._said, text))
        return _CALL.sub(_called, text)

    def _said(self, found: re.Match[str]) -> str:
        """Give a parameter, with a value where the option has one."""
        flag, value, others = found["flag"], found["value"] or "", found["others"]
        name = _bare(flag)
        parameter = self._parameters.get(name)
        annotation = Any if parameter is None else parameter.annotation
        kinds = [one for kind in alternatives(annotation) for one in (kind, *_inner(kind))]
        if bool in kinds:
            return f"{name}=True{found[0].removeprefix(flag)}"
        choices = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
        if value in choices:
            rest = re.sub(r"[a-z][a-z-]*$|(?<= or )[a-z][a-z-]*(?= )", _quoted(choices), others)
            return f"{name}={value!r}{rest}"
        said = _value(name, value, kinds)
        return name + found[0].removeprefix(flag) if said is None else f"{name}={said}{others}"


def _value(name: str, value: str, kinds: list[Any]) -> str | None:
    """Give a value as Python writes it; None where what follows an option is none."""
    is_number = any(kind in (int, float) or get_origin(kind) is Annotated for kind in kinds)
    if re.fullmatch(_NUMBERS, value):
        return f"({value.replace(',', ', ')})" if "," in value else value
    is_plain = value.islower() and not value.startswith("'") and not value.endswith("/")
    if not value or is_plain or Any in kinds:
        return None
    if is_number:
        return _examples().get(name, "1.0")
    return value if value.startswith("'") else repr(value)


def _inner(kind: Any) -> list[Any]:
    """Give what a list may hold."""
    is_list = get_origin(kind) not in (None, Literal, Annotated)
    return [one for some in get_args(kind)[:1] for one in alternatives(some)] if is_list else []


def _examples() -> dict[str, str]:
    return {one.name: getattr(one.parse, "example", "1.0") for one in (*options(), *TERMS)}


def _quoted(choices: list[str]) -> Any:
    return lambda word: repr(word[0]) if word[0] in choices else word[0]


def _bare(flag: str) -> str:
    return "output" if flag == "-o" else flag.removeprefix("--").replace("-", "_")


def _called(found: re.Match[str]) -> str:
    call, path = f"{found['told'] or ''}gradclip_cli.{found[2]}", found["path"]
    if path is None:
        return call
    return f"{call}({path})" if path.startswith("'") else f"{call}({path!r})"
