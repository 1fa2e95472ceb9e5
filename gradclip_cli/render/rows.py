"""A report as flat rows: the columns that every format has in common.

Columns are only ever appended. A value that is unknown is None; numbers are not rounded. Whatever
a command reports becomes a `Sheet`, which is all that the writers of TSV, CSV, Markdown and JSON
know.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gradclip_cli.moments import Moments
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
        _values(report.moments) | clipped_values(report.clipped),
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
    """Give a row's values by column, in the order of the columns."""
    found = _values(row.moments)
    found["name"] = row.name
    found["dtype"] = row.dtype
    found["shape"] = row.shape
    found["count"] = row.count
    found["share"] = row.share
    found["measured"] = row.measured
    if row.moments is not None:
        found["max_abs_index"] = row.max_abs_index
        if row.moments.first_nonfinite is not None:
            found["first_nonfinite"] = row.first_nonfinite
    return found if row.clipped is None else found | clipped_values(row.clipped)


def _values(moments: Moments | None) -> dict[str, Value]:
    """Give what moments say, under all columns; this is made for each of 100,000 tensors."""
    if moments is None:
        return dict.fromkeys(COLUMNS)
    norm = moments.norm
    return {
        "name": None,
        "dtype": None,
        "shape": None,
        "count": moments.count,
        "norm": norm,
        "share": None,
        "rms": norm / math.sqrt(moments.count) if moments.count else None,
        "max_abs": moments.max_abs,
        "max_abs_index": None,
        "zeros": moments.zeros,
        "nan": moments.nan,
        "posinf": moments.posinf,
        "neginf": moments.neginf,
        "first_nonfinite": None,
        "finite_norm": norm if norm < math.inf else moments.finite_norm,
        "measured": None,
    }


def clipped_values(clipped: Clipped | None) -> dict[str, Value]:
    """Give the columns that only a clipped dump has."""
    return {} if clipped is None else {name: getattr(clipped, name) for name in CLIPPED}
