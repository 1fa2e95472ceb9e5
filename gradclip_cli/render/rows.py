"""A report as flat rows: the columns that every format has in common.

Columns are only ever appended. A value that is unknown is None; numbers are not rounded. Whatever
a command reports becomes a `Sheet`, which is all that the writers of TSV, CSV, Markdown and JSON
know.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gradclip_cli.report import Clipped, Report, Row

Value = str | int | float | bool | tuple[int, ...] | None

COLUMNS = (
    "name",
    "dtype",
    "shape",
    "count",
    "norm",
    "share",
    "rms",
    "max_abs",
    "max_abs_index",
    "zeros",
    "nan",
    "posinf",
    "neginf",
    "first_nonfinite",
    "finite_norm",
    "measured",
)
CLIPPED = (
    "norm_before",
    "clip_norm",
    "coefficient",
    "clipped",
    "norm_after",
    "flushed",
    "saturated",
)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A report laid out: the columns, each row's kind and values, and what is true of the whole.

    `whole` are the values of the last row, called "global", under the same columns; `summary` is
    what JSON says of the whole instead. The rows can be gone through once.
    """

    columns: tuple[str, ...]
    rows: Iterable[tuple[str, Mapping[str, Value]]]
    whole: Mapping[str, Value]
    summary: Mapping[str, Any]


def sheet(report: Report) -> Sheet:
    """Lay out a report of `inspect` or `apply`."""
    return Sheet(
        COLUMNS + CLIPPED if report.clipped else COLUMNS,
        ((row.kind, values(row)) for row in report.rows),
        _whole(report),
        _summary(report) | clipped_values(report.clipped),
    )


def _summary(report: Report) -> dict[str, Any]:
    return {
        "global_norm": report.global_norm,
        "finite_norm": report.finite_norm,
        "norm_type": 2,
        "count": report.moments.count,
        "nonfinite": report.moments.nonfinite,
        "overflow": report.overflows,
        "measured": report.measured,
        "total": report.total,
        "files": report.files,
        "ignored": report.ignored,
        "notes": report.notes,
    }


def values(row: Row) -> dict[str, Value]:
    """Give a row's values by column, in the order of the columns: made for 100,000 tensors."""
    moments, norm = row.moments, row.norm
    if moments is None or norm is None:
        found: dict[str, Value] = dict.fromkeys(COLUMNS)
        found |= {"name": row.name, "dtype": row.dtype, "shape": row.shape, "count": row.count}
        found["measured"] = row.measured
    else:
        found = {
            "name": row.name,
            "dtype": row.dtype,
            "shape": row.shape,
            "count": row.count,
            "norm": norm,
            "share": row.share,
            "rms": norm / math.sqrt(moments.count) if moments.count else None,
            "max_abs": moments.max_abs,
            "max_abs_index": row.max_abs_index,
            "zeros": moments.zeros,
            "nan": moments.nan,
            "posinf": moments.posinf,
            "neginf": moments.neginf,
            "first_nonfinite": row.first_nonfinite if moments.nonfinite else None,
            "finite_norm": norm if norm < math.inf else moments.finite_norm,
            "measured": True,
        }
    return found if row.clipped is None else found | clipped_values(row.clipped)


def _whole(report: Report) -> dict[str, Value]:
    """Give the values of all measured tensors together; what only a tensor has is None."""
    moments = report.moments
    together = Row("group", None, None, None, moments.count, "", moments, report.global_norm)
    return values(together) | {"measured": None} | clipped_values(report.clipped)


def clipped_values(clipped: Clipped | None) -> dict[str, Value]:
    """Give the columns that only a clipped dump has."""
    return {} if clipped is None else {name: getattr(clipped, name) for name in CLIPPED}
