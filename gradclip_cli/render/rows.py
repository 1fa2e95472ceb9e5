"""A report as flat rows: the columns that every format has in common.

Columns are only ever appended. A value that is unknown is None; numbers are not rounded.
"""

from collections.abc import Iterator

from gradclip_cli.moments import Moments
from gradclip_cli.report import Clipped, Report, Row, rms

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
    index = None if row.moments is None else row.max_abs_index
    bad = None if row.moments is None else row.first_nonfinite
    found = _measured(row.moments, index, bad)
    return {
        "name": row.name,
        "dtype": row.dtype,
        "shape": row.shape,
        "count": row.count,
        **found,
        "share": row.share,
        "measured": row.measured,
        **clipped_values(row.clipped),
    }


def global_values(report: Report) -> dict[str, Value]:
    """Give the values of all measured tensors together; what only a tensor has is None."""
    return {
        "name": None,
        "dtype": None,
        "shape": None,
        "count": report.moments.count,
        **_measured(report.moments, None, None),
        "measured": None,
        **clipped_values(report.clipped),
    }


def _measured(moments: Moments | None, largest: Value, first_nonfinite: Value) -> dict[str, Value]:
    if moments is None:
        return dict.fromkeys(COLUMNS[4:-1])
    return {
        "norm": moments.norm,
        "share": None,
        "rms": rms(moments),
        "max_abs": moments.max_abs,
        "max_abs_index": largest,
        "zeros": moments.zeros,
        "nan": moments.nan,
        "posinf": moments.posinf,
        "neginf": moments.neginf,
        "first_nonfinite": first_nonfinite,
        "finite_norm": moments.finite_norm,
    }


def clipped_values(clipped: Clipped | None) -> dict[str, Value]:
    """Give the columns that only a clipped dump has."""
    return {} if clipped is None else {name: getattr(clipped, name) for name in CLIPPED}


def all_rows(report: Report) -> Iterator[tuple[str, dict[str, Value]]]:
    """Give every row with its kind; the whole comes last."""
    for row in report.rows:
        yield row.kind, values(row)
    yield "global", global_values(report)
