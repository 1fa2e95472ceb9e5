"""A report as strict JSON (RFC 8259), whole or one object a line.

A number that JSON cannot hold is null, and counts beside it say why. Names stand exactly; one that
is not UTF-8 is escaped, its bytes beside it. All characters beyond ASCII are written as escapes, so
that no name can reach a terminal raw.
"""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from gradclip_cli.names import escape
from gradclip_cli.render.rows import Sheet, Value
from gradclip_cli.report import SCHEMA


def whole(sheet: Sheet) -> str:
    """Write one object: what is true of the whole, and the rows under `tensors` or `groups`."""
    rows: dict[str, list[dict[str, Value]]] = {"tensors": []}
    for kind, row in sheet.rows:
        rows.setdefault(f"{kind}s", []).append(_object(row, sheet))
    return dumps(_summary(sheet) | rows)


def lines(sheet: Sheet) -> str:
    """Write an object a line: each row with its kind under `row`, then the whole, "global"."""
    rows = [{"row": kind, **_object(row, sheet)} for kind, row in sheet.rows]
    return "".join(dumps(row) for row in [*rows, {"row": "global", **_summary(sheet)}])


def _summary(sheet: Sheet) -> dict[str, Any]:
    return {"schema": SCHEMA} | {name: _plain(value) for name, value in sheet.summary.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return exact(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _object(row: Mapping[str, Value], sheet: Sheet) -> dict[str, Value]:
    found = {
        name: None
        if (value := row.get(name)).__class__ is float and not math.isfinite(value)
        else value
        for name in sheet.columns
    }
    name = found.get("name")
    if isinstance(name, str) and not _is_unicode(name):
        found["name"] = escape(name)
        found["name_bytes"] = os.fsencode(name).hex()
    return found


def exact(text: str) -> str:
    """Give a name as it is, unless it is not Unicode and has to be escaped."""
    return text if _is_unicode(text) else escape(text)


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def dumps(value: object) -> str:
    """Write a value as one line of strict JSON in ASCII."""
    # JSON leaves DEL as it is, which is a control character all the same.
    return json.dumps(value, allow_nan=False).replace("\x7f", "\\u007f") + "\n"
