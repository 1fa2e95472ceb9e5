"""What a Python function is given, checked and made plain as its signature says.

A parameter's annotation is the one declaration: each of its alternatives takes a value or leaves
it, and says in words what it would have taken. So numbers of NumPy come out as Python's, one
pattern as a list of one, an iterator as a list that can be read twice; anything else is told.
"""

import dataclasses
import difflib
import numbers
import operator
import os
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter, Signature
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from gradclip_cli.errors import GradclipError
from gradclip_cli.options import COUNTED, MOST, nearest
from gradclip_cli.rules.choosing import options
from gradclip_cli.rules.rule import Rule
from gradclip_cli.rules.terms import TERMS
from gradclip_cli.series.ranges import RangeRule
from gradclip_cli.series.spikes import SpikeRule
from gradclip_cli.tensors.names import shortened

_DATA = (Rule, RangeRule, SpikeRule)


class _OtherwiseError(Exception):
    """A value is not what an alternative takes."""


def checked(
    name: str, signature: Signature, arguments: Sequence[Any], given: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give a call's arguments as the function called `name` may have them.

    Raises `GradclipError` for one that is unknown, missing, or none that the parameter may be.
    """
    known = {
        one.name: one for one in signature.parameters.values() if one.kind is not one.VAR_POSITIONAL
    }
    for other in given:
        if other not in known:
            raise _unknown(name, other, known)
    try:
        bound = signature.bind(*arguments, **given)
    except TypeError as error:
        hint = f"gradclip_cli.{name}({', '.join(map(_called, signature.parameters.values()))})"
        raise GradclipError(name, str(error), hint) from error
    for parameter in signature.parameters.values():
        if parameter.name not in bound.arguments:
            continue
        value = bound.arguments[parameter.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            found: Any = tuple(taken(parameter.name, one, parameter.annotation) for one in value)
        else:
            found = taken(parameter.name, value, parameter.annotation)
        bound.arguments[parameter.name] = found
    return bound.args, bound.kwargs


def _called(parameter: Parameter) -> str:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"*{parameter.name}"
    if parameter.kind is parameter.KEYWORD_ONLY:
        return f"{parameter.name}=…"
    return parameter.name


def _unknown(name: str, other: str, known: Iterable[str]) -> GradclipError:
    elsewhere = {one.name: one.elsewhere for one in (*options(), *TERMS) if one.name in known}
    meant = nearest(other, known, elsewhere)
    problem = f"{other} is no parameter" + (f"; did you mean {meant}?" if meant else "")
    return GradclipError(name, problem, f"help(gradclip_cli.{name}) shows what can be given")


def taken(name: str, value: Any, annotation: Any) -> Any:
    """Give a value as a parameter takes it; raises `GradclipError` where it takes no such value.

    >>> taken("clip_norm", 5, float | None), taken("include", "*.bias", Sequence[str])
    (5.0, ('*.bias',))
    """
    if annotation in (Any, Parameter.empty):
        return value
    kinds = alternatives(annotation)
    if value is None and type(None) in kinds:
        return None
    wanted = [one for one in kinds if one is not type(None)]
    for one in wanted:
        try:
            found = _take(value, one)
        except _OtherwiseError:
            continue
        return _whole(found) if isinstance(found, _DATA) else found
    problem = f"{shown(value)} is not {' or '.join(map(_words, wanted))}"
    raise GradclipError(name, problem, _hint(value, wanted[0]))


def alternatives(annotation: Any) -> list[Any]:
    """Give what an annotation leaves the choice of; a text that may be a path is one."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return [annotation]
    found = [one for some in get_args(annotation) for one in alternatives(some)]
    is_path = any(get_origin(one) is os.PathLike for one in found)
    return [one for one in found if one is not str or not is_path]


def _whole(data: Any) -> Any:
    """Give a rule whose fields are what they may be."""
    try:
        hints = get_type_hints(type(data))
    except NameError:  # somebody else's, whose names are not to be found
        return data
    fields = [field.name for field in dataclasses.fields(data)]
    found = {name: taken(name, getattr(data, name), hints[name]) for name in fields}
    same = all(found[name] is getattr(data, name) for name in fields)
    return data if same else dataclasses.replace(data, **found)


# Alternatives


def _take(value: Any, kind: Any) -> Any:
    """Give a value as one alternative takes it; raises `_OtherwiseError` where it does not."""
    origin = get_origin(kind) or kind
    if origin is Literal:
        return _one_of(value, get_args(kind))
    if origin is Annotated:
        return _counted(value)
    if origin in (Sequence, tuple):
        return _each(value, get_args(kind)[0])
    if origin is Callable:
        return _if(callable(value), value)
    if origin is Mapping:
        return _if(isinstance(value, Mapping), value)
    if origin in _PLAIN:
        return _PLAIN[origin][0](value)
    return _if(isinstance(value, origin) or _does_as(value, origin), value)


def _if(holds: bool, value: Any) -> Any:
    if not holds:
        raise _OtherwiseError
    return value


def _does_as(value: Any, kind: type) -> bool:
    """Say whether an object has what a class is called for: all that it does, and holds nothing."""
    if isinstance(value, type) or dataclasses.is_dataclass(kind):
        return False
    names = [name for name in vars(kind) if not name.startswith("_")]
    return all(callable(getattr(value, name, None)) for name in names)


def _scalar(value: Any) -> Any:
    """Give Python's own in place of a number of NumPy's, or of an array without dimensions."""
    if isinstance(value, str | bytes) or not hasattr(value, "dtype"):
        return value
    try:
        return value.item() if tuple(value.shape) == () else value
    except Exception:  # of any library, for any reason
        return value


def _number(value: Any) -> float:
    value = _scalar(value)
    plain = isinstance(value, numbers.Real) or not isinstance(value, numbers.Complex)
    _if(plain and not isinstance(value, bool | str | bytes) and hasattr(value, "__float__"), value)
    if tuple(getattr(value, "shape", ())) != ():
        raise _OtherwiseError
    try:
        return float(value)
    except Exception as error:  # what other libraries' numbers raise, too
        raise _OtherwiseError from error


def _integer(value: Any) -> int:
    value = _scalar(value)
    _if(not isinstance(value, bool), value)
    try:
        found = operator.index(value)
    except Exception as error:
        raise _OtherwiseError from error
    return int(_if(abs(found) <= sys.maxsize, found))


def _counted(value: Any) -> int:
    count = _integer(value)
    _if(0 < count <= MOST, value)
    return count


def _switch(value: Any) -> bool:
    value = _scalar(value)
    return bool(_if(isinstance(value, bool), value))


def _text(value: Any) -> str:
    return str(_if(isinstance(value, str), value))


def _path(value: Any) -> str:
    try:
        path = os.fspath(value)
        _if(isinstance(path, str) and path != "" and b"\0" not in os.fsencode(path), value)
    except Exception as error:
        raise _OtherwiseError from error
    return str(path)


def _one_of(value: Any, choices: Sequence[str]) -> str:
    return str(_if(isinstance(value, str) and value in choices, value))


def _each(value: Any, kind: Any) -> tuple[Any, ...]:
    """Give a tuple of what is listed; what is no list is one by itself."""
    value = _scalar(value)
    if isinstance(value, str | os.PathLike) or not hasattr(value, "__iter__"):
        return (_first(value, kind),)
    if isinstance(value, bytes | bytearray | memoryview | Mapping):
        raise _OtherwiseError
    try:
        some = [*value]
    except Exception as error:
        raise _OtherwiseError from error
    return tuple(_first(one, kind) for one in some)


def _first(value: Any, kind: Any) -> Any:
    """Give a value as the first alternative does that takes it."""
    for one in alternatives(kind):
        try:
            return _take(value, one)
        except _OtherwiseError:
            continue
    raise _OtherwiseError


_PLAIN: dict[Any, tuple[Callable[[Any], Any], str, str]] = {
    bool: (_switch, "True or False", "give one of the two"),
    int: (_integer, "a whole number", "give one, for example 1"),
    float: (_number, "a number", "give one, for example 1.0"),
    str: (_text, "a text", "give one in quotes"),
    os.PathLike: (_path, "a path", "give a text, or a pathlib.Path"),
}


def _words(kind: Any) -> str:
    """Say what an alternative takes."""
    origin = get_origin(kind) or kind
    if origin is Literal:
        return f"one of {', '.join(map(repr, get_args(kind)))}"
    if origin is Annotated:
        return COUNTED
    if origin in (Sequence, tuple):
        one = alternatives(get_args(kind)[0])[0]
        return f"a list of {_PLURALS.get(get_origin(one) or one, 'them')}"
    if origin in _LOOSE:
        return _LOOSE[origin]
    return _PLAIN[origin][1] if origin in _PLAIN else f"a {origin.__name__}"


_LOOSE = {Callable: "a function", Mapping: "a dict of arrays"}
_PLURALS = {float: "numbers", int: "whole numbers", str: "texts", os.PathLike: "paths"}


def _hint(value: Any, kind: Any) -> str:
    origin = get_origin(kind) or kind
    if origin is Literal:
        text = value if isinstance(value, str) else ""
        meant = difflib.get_close_matches(text, get_args(kind), 1, cutoff=0.75)
        return f"did you mean {meant[0]!r}?" if meant else "give one of them"
    if origin is Annotated:
        return "give one, for example 1"
    if origin in _PLAIN:
        return _PLAIN[origin][2]
    if isinstance(value, type) and issubclass(value, origin):
        return f"it is the class: make one of it, {value.__name__}(…)"
    return ""


def shown(value: Any) -> str:
    """Give a value in one line that is not long."""
    try:
        return shortened(" ".join(repr(value).split()))
    except Exception:  # a repr may do anything
        return f"a {type(value).__name__}"
