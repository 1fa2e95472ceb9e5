"""A report as strict JSON (RFC 8259), whole or one object a line.

A number that JSON cannot hold is null, and counts beside it say why. Names stand exactly; one that
is not UTF-8 is escaped, its bytes beside it. All characters beyond ASCII are written as escapes, so
that no name can reach a terminal raw.
"""

import json
import math
import os
from typing import Any

from gradclip_cli.names import escape
from gradclip_cli.render.rows import Value, clipped_row, tensor_row
from gradclip_cli.report import SCHEMA, Report, TensorReport


def whole(report: Report) -> str:
    """Write one object: the whole dump, and its tensors under `tensors`."""
    document = _summary(report)
    document["tensors"] = [_tensor(tensor) for tensor in report.tensors]
    return _dumps(document)


def lines(report: Report) -> str:
    """Write an object a line: each tensor with `row` "tensor", then the whole, `row` "global"."""
    rows = [{"row": "tensor", **_tensor(tensor)} for tensor in report.tensors]
    return "".join(_dumps(row) for row in [*rows, {"row": "global", **_summary(report)}])


def _summary(report: Report) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "global_norm": _number(report.global_norm),
        "finite_norm": _number(report.finite_norm),
        "norm_type": 2,
        "count": report.moments.count,
        "nonfinite": report.moments.nonfinite,
        "overflow": report.overflows,
        "measured": report.measured,
        "total": len(report.tensors),
        "files": [_text(file) for file in report.files],
        "ignored": report.ignored,
        "notes": list(report.notes),
    }
    return summary | {name: _number(value) for name, value in clipped_row(report.clipped).items()}


def _tensor(tensor: TensorReport) -> dict[str, Any]:
    row: dict[str, Any] = {name: _number(value) for name, value in tensor_row(tensor).items()}
    if tensor.name is not None and not _is_unicode(tensor.name):
        row["name"] = escape(tensor.name)
        row["name_bytes"] = os.fsencode(tensor.name).hex()
    return row


def _number(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(text: str) -> str:
    return text if _is_unicode(text) else escape(text)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _dumps(value: object) -> str:
    # JSON leaves DEL as it is, which is a control character all the same.
    return json.dumps(value, allow_nan=False).replace("\x7f", "\\u007f") + "\n"
