"""A report as strict JSON (RFC 8259), whole or one object a line.

A number that JSON cannot hold is null, and counts beside it say why. Names stand exactly; one that
is not UTF-8 is escaped, its bytes beside it. All characters beyond ASCII are written as escapes, so
that no name can reach a terminal raw.
"""

import functools
import json
import math
import os
from collections.abc import Iterator
from json.encoder import encode_basestring_ascii
from typing import Any

from gradclip_cli.render.rows import COLUMNS, Sheet, Value
from gradclip_cli.results.report import SCHEMA
from gradclip_cli.tensors.names import escape


def whole(sheet: Sheet) -> Iterator[str]:
    """Write one object: what is true of the whole, and the rows under `tensors` or `groups`."""
    yield f'{_line(_summary(sheet))[:-1]}, "tensors": ['
    last, comma = "tensor", ""
    for kind, row in sheet.rows:
        if kind != last:
            yield f'], "{kind}s": ['
            last, comma = kind, ""
        yield comma + _written(row, sheet)
        comma = ", "
    yield "]}\n"


def lines(sheet: Sheet) -> Iterator[str]:
    """Write an object a line: each row with its kind under `row`, then the whole, "global"."""
    for kind, row in sheet.rows:
        yield f'{{"row": "{kind}", {_written(row, sheet)[1:]}\n'
    yield dumps({"row": "global", **_summary(sheet)})


def _summary(sheet: Sheet) -> dict[str, Any]:
    return {"schema": SCHEMA} | {name: _plain(value) for name, value in sheet.summary.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return exact(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return number(value)


def _written(row: tuple[Any, ...], sheet: Sheet) -> str:
    """Write a row; a finite tensor by a template, which 100,000 of them do in half the time."""
    if sheet.columns is not COLUMNS:
        return _line(_object(row, sheet))
    name, dtype, shape, count, norm, share, rms, max_abs, at, zeros, *_ = row
    if share is None or at is None or name is None or not name.isascii() or not norm < math.inf:
        return _line(_object(row, sheet))
    size = repr(norm)
    return (
        f'{{"name": {_quoted(name)}, "dtype": "{dtype}", "shape": {_listed(shape)}, '
        f'"count": {count}, "norm": {size}, "share": {share!r}, "rms": {rms!r}, '
        f'"max_abs": {max_abs!r}, "max_abs_index": {[*at]}, "zeros": {zeros}, '
        f'"nan": 0, "posinf": 0, "neginf": 0, "first_nonfinite": null, '
        f'"finite_norm": {size}, "measured": true}}'
    )


@functools.lru_cache  # there are many tensors but few shapes
def _listed(shape: tuple[int, ...]) -> str:
    return str([*shape])


def _quoted(text: str) -> str:
    # JSON leaves DEL as it is, which is a control character all the same.
    return encode_basestring_ascii(text).replace("\x7f", "\\u007f")


def _object(row: tuple[Value, ...], sheet: Sheet) -> dict[str, Value]:
    found = dict(zip(sheet.columns, map(number, row), strict=True))
    name = found.get("name")
    return found | named(name) if isinstance(name, str) else found


def number(value: Value) -> Value:
    """Give a value as JSON can hold it: null for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def named(name: str | None, key: str = "name") -> dict[str, str | None]:
    """Give a name under a key; one that is not Unicode is escaped, its bytes beside it in hex."""
    if name is None or _is_unicode(name):
        return {key: name}
    return {key: escape(name), f"{key}_bytes": os.fsencode(name).hex()}


def exact(text: str) -> str:
    """Give a name as it is, unless it is not Unicode and has to be escaped."""
    return text if _is_unicode(text) else escape(text)


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def dumps(value: object) -> str:
    """Write a value as one line of strict JSON in ASCII."""
    return f"{_line(value)}\n"


def _line(value: object) -> str:
    # JSON leaves DEL as it is, which is a control character all the same.
    return json.dumps(value, allow_nan=False).replace("\x7f", "\\u007f")
