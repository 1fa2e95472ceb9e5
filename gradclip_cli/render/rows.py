"""A report as flat rows: the columns that every format has in common.

Columns are only ever appended. A value that is unknown is None; numbers are not rounded.
"""

from collections.abc import Callable, Iterator

from gradclip_cli.moments import Moments
from gradclip_cli.report import Clipped, Report, Row, rms

Value = str | int | float | bool | tuple[int, ...] | None

MEASURED: dict[str, Callable[[Moments], Value]] = {
    "norm": lambda moments: moments.norm,
    "rms": rms,
    "max_abs": lambda moments: moments.max_abs,
    "zeros": lambda moments: moments.zeros,
    "nan": lambda moments: moments.nan,
    "posinf": lambda moments: moments.posinf,
    "neginf": lambda moments: moments.neginf,
    "finite_norm": lambda moments: moments.finite_norm,
}
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


def values(row: Row, names: tuple[str, ...]) -> dict[str, Value]:
    """Give a row's values by column, in the order of the columns."""
    found: dict[str, Value] = dict.fromkeys(names)
    found.update(
        name=row.name,
        dtype=row.dtype,
        shape=row.shape,
        count=row.count,
        share=row.share,
        max_abs_index=row.max_abs_index,
        first_nonfinite=row.first_nonfinite,
        measured=row.measured,
    )
    if row.moments is not None:
        found.update((name, value(row.moments)) for name, value in MEASURED.items())
    return found | clipped_values(row.clipped)


def global_values(report: Report) -> dict[str, Value]:
    """Give the values of all measured tensors together; what only a tensor has is None."""
    found: dict[str, Value] = dict.fromkeys(columns(report))
    found["count"] = report.moments.count
    found.update((name, value(report.moments)) for name, value in MEASURED.items())
    return found | clipped_values(report.clipped)


def clipped_values(clipped: Clipped | None) -> dict[str, Value]:
    """Give the columns that only a clipped dump has."""
    return {} if clipped is None else {name: getattr(clipped, name) for name in CLIPPED}


def all_rows(report: Report) -> Iterator[tuple[str, dict[str, Value]]]:
    """Give every row with its kind; the whole comes last."""
    names = columns(report)
    for row in report.rows:
        yield row.kind, values(row, names)
    yield "global", global_values(report)
