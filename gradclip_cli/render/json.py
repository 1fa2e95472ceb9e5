"""Strict JSON (RFC 8259), one object: what is true of the whole, and the rows in lists.

A number that JSON cannot hold is null, and counts beside it say why. Names stand exactly; one that
is not UTF-8 is escaped, its bytes beside it. All characters beyond ASCII are written as escapes, so
that no name can reach a terminal raw.
"""

import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from types import NoneType
from typing import Any

from gradclip_cli.render.renderer import Renderer
from gradclip_cli.results.columns import SCHEMA, Result, Sheet
from gradclip_cli.tensors.names import exact, is_unicode


class Json(Renderer):
    """One object, when all is known."""

    def end(self, result: Result) -> Iterator[str]:
        """Give everything."""
        written = Rows(self.sheet)
        last, comma = self.sheet.key, ""
        head = {**summary(result), **plain(result.beside())}
        yield f'{line(head)[:-1]}, "{self.sheet.keys[last]}": ['
        for kind, row in result.told():
            if kind not in self.sheet.keys:
                continue
            if kind != last:
                yield f'], "{self.sheet.keys[kind]}": ['
                last, comma = kind, ""
            yield comma + written.of(row)
            comma = ", "
        yield "]}\n"


def summary(result: Result) -> dict[str, Any]:
    """Give what is true of the whole, as JSON can hold it."""
    return {"schema": SCHEMA, **plain(result.summary())}


def plain(value: Any) -> Any:
    """Give a value as JSON can hold it: names exact, null for a number that is not finite."""
    if isinstance(value, str):
        return exact(value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def line(value: object) -> str:
    """Write a value as strict JSON in ASCII."""
    # JSON leaves DEL as it is, which is a control character all the same.
    return json.dumps(value, allow_nan=False).replace("\x7f", "\\u007f")


class Rows:
    """Writes the rows of a sheet as objects.

    Most rows have values of the same types, and for each such set there is a template, which
    100,000 of them fill in a third of the time that a general encoder takes.
    """

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._template = functools.cache(functools.partial(_template, sheet))

    def of(self, row: Any) -> str:
        """Write a row."""
        if isinstance(row, Mapping):
            return line(plain(row))
        values: Sequence[Any] = self._sheet.values(row)
        template, texts, floats = self._template(tuple(map(type, values)))
        # A sum is finite only if every term is, and almost always if all are.
        if not math.isfinite(sum([values[at] for at in floats])):
            return line(plain(self._sheet.by_name(row)))
        filled = [*values]
        for at, written in texts:
            filled[at] = written(filled[at])
            if filled[at] is None:  # a name that is no Unicode
                return line(plain(self._sheet.by_name(row)))
        return template % tuple(filled)


Template = tuple[str, list[tuple[int, Callable[[Any], Any]]], list[int]]


def _template(sheet: Sheet, types: tuple[type, ...]) -> Template:
    """Give the text of rows of these types, what turns values into texts, and where floats are."""
    parts = [
        f'"{column.name}": {_MARKS.get(kind, "%s")}'
        for column, kind in zip(sheet.own, types, strict=False)
    ]
    left_out = "%.0s" * (len(types) - len(parts))  # what only other rows have
    texts = [(at, _WRITTEN[kind]) for at, kind in enumerate(types) if kind in _WRITTEN]
    floats = [at for at, kind in enumerate(types) if kind is float]
    return f"{{{', '.join(parts)}{left_out}}}", texts, floats


_MARKS = {NoneType: "null%.0s", float: "%r", int: "%d"}


def _quoted(text: str) -> str | None:
    if not is_unicode(text):
        return None
    return encode_basestring_ascii(text).replace("\x7f", "\\u007f")


_WRITTEN: dict[type, Callable[[Any], str | None]] = {
    str: _quoted,
    bool: lambda value: "true" if value else "false",
    tuple: functools.lru_cache(lambda value: line(list(value))),  # many tensors have few shapes
}
