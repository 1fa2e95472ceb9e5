"""Strict JSON (RFC 8259), one object: what is true of the whole, and the rows in lists.

A number that JSON cannot hold is null, and counts beside it say why. Names stand exactly; one that
is not UTF-8 is escaped, its bytes beside it. All characters beyond ASCII are written as escapes, so
that no name can reach a terminal raw.
"""

import functools
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from types import NoneType
from typing import Any

from gradclip_cli.render.batches import Writers, batches, texts
from gradclip_cli.render.renderer import Renderer
from gradclip_cli.results.columns import SCHEMA, Result, Sheet
from gradclip_cli.tensors.names import exact


class Json(Renderer):
    """One object, when all is known."""

    def end(self, result: Result) -> Iterator[str]:
        """Give everything."""
        last, comma = self.sheet.key, ""
        head = {**summary(result), **plain(result.beside())}
        yield f'{line(head)[:-1]}, "{self.sheet.keys[last]}": ['
        for kind, rows in batches(result.told()):
            if kind not in self.sheet.keys:
                continue
            if kind != last:
                yield f'], "{self.sheet.keys[kind]}": ['
                last, comma = kind, ""
            yield comma + ", ".join(objects(self.sheet, rows))
            comma = ", "
        yield "]}\n"


def data(result: Result) -> dict[str, Any]:
    """Give what is written of a result, as it is read again."""
    found: dict[str, Any] = json.loads("".join(Json(result.sheet, None, True).end(result)))
    return found


def summary(result: Result) -> dict[str, Any]:
    """Give what is true of the whole, as JSON can hold it; first what nobody may miss."""
    first = {"finite": result.finite, "says": result.says, "status": int(result.status)}
    return {**first, "schema": SCHEMA, **plain(result.summary())}


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


def objects(sheet: Sheet, rows: Sequence[Any]) -> Sequence[str]:
    """Write rows of one kind as objects."""
    if type(rows[0]) is dict:
        return [line(plain(row)) for row in rows]
    parts = ", ".join([f'"{column.name}": %s' for column in sheet.own])
    try:
        # What only other rows have comes last, and is no part of these.
        columns = itertools.islice(texts(sheet, rows, _WRITERS), len(sheet.own))
        return [f"{{{parts % row}}}" for row in zip(*columns, strict=True)]
    except UnicodeError:  # a name holds bytes that are no characters
        return [line(plain(sheet.by_name(row))) for row in rows]


def _quoted(text: str) -> str:
    if not text.isascii():
        text.encode()  # raises an error where it holds bytes that are no characters
    return encode_basestring_ascii(text).replace("\x7f", "\\u007f")


def _numbers(values: Sequence[float]) -> Iterable[str]:
    if math.isfinite(sum(values)):  # so all are; of numbers near the end of float64 it may say no
        return map(repr, values)
    return [repr(value) if math.isfinite(value) else "null" for value in values]


_list = functools.lru_cache(lambda value: line(list(value)))  # many tensors, but few shapes

_WRITERS: Writers = {
    NoneType: lambda values: itertools.repeat("null", len(values)),
    bool: lambda values: ["true" if value else "false" for value in values],
    int: lambda values: values,
    float: _numbers,
    str: lambda values: map(_quoted, values),
    tuple: lambda values: map(_list, values),
}
