"""A report as flat rows: the columns that every format has in common.

Columns are only ever appended. A value that is unknown is None; numbers are not rounded.
"""

import math
from collections.abc import Iterator

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


def columns(report: Report) -> tuple[str, ...]:
    """Give the names of a report's columns, `row` aside."""
    return COLUMNS + CLIPPED if report.clipped else COLUMNS


def values(row: Row) -> dict[str, Value]:
    """Give a row's values by column, in the order of the columns."""
    found = _values(row.moments, row.norm)
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


def global_values(report: Report) -> dict[str, Value]:
    """Give the values of all measured tensors together; what only a tensor has is None."""
    return _values(report.moments, report.global_norm) | clipped_values(report.clipped)


def _values(moments: Moments | None, norm: float | None) -> dict[str, Value]:
    """Give what moments say, under all columns; this is made for each of 100,000 tensors."""
    if moments is None or norm is None:
        return dict.fromkeys(COLUMNS)
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


def all_rows(report: Report) -> Iterator[tuple[str, dict[str, Value]]]:
    """Give every row with its kind; the whole comes last."""
    for row in report.rows:
        yield row.kind, values(row)
    yield "global", global_values(report)
