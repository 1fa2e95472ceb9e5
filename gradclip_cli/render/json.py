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
from gradclip_cli.render.templates import Template, Templates, Types
from gradclip_cli.results.columns import SCHEMA, Column, Result, Sheet
from gradclip_cli.tensors.names import exact


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
    """Writes the rows of a sheet as objects."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._templates = Templates(sheet, _template)

    def of(self, row: Any) -> str:
        """Write a row."""
        if type(row) is dict:
            return line(plain(row))
        values = self._sheet.values(row)
        template = self._templates.of(values)
        try:
            if template.is_finite(values):
                return template.filled(values)
        except UnicodeError:
            pass
        return line(plain(self._sheet.by_name(row)))


def _template(columns: Sequence[Column], types: Types) -> Template:
    own = [(column, kind) for column, kind in zip(columns, types, strict=True) if column.value]
    parts = [f'"{column.name}": {_MARKS.get(kind, "%s")}' for column, kind in own]
    left_out = "%.0s" * (len(types) - len(own))  # what only other rows have
    written: dict[int, Callable[[Any], str]] = {
        at: _WRITTEN[kind] for at, kind in enumerate(types) if kind in _WRITTEN
    }
    written |= {at: _quoted for at, (column, kind) in enumerate(own) if _is_name(column, kind)}
    return Template(f"{{{', '.join(parts)}{left_out}}}", types, written)


def _is_name(column: Column, kind: type) -> bool:
    return column.words == "name" and kind is str


def _quoted(text: str) -> str:
    if not text.isascii():
        text.encode()  # raises an error where it holds bytes that are no characters
    return encode_basestring_ascii(text).replace("\x7f", "\\u007f")


_MARKS = {NoneType: "null%.0s", float: "%r", int: "%d"}
_WRITTEN: dict[type, Callable[[Any], str]] = {
    bool: {True: "true", False: "false"}.__getitem__,
    # There are many tensors, but few dtypes and shapes.
    str: functools.lru_cache(_quoted),
    tuple: functools.lru_cache(lambda value: line(list(value))),
}
