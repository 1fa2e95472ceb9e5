"""A report as flat rows: the columns that every format has in common.

Columns are only ever appended. A value that is unknown is None; numbers are not rounded.
"""

from collections.abc import Callable, Iterator

from gradclip_cli.moments import Moments
from gradclip_cli.report import Clipped, Report, TensorReport, rms

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


def tensor_row(tensor: TensorReport) -> dict[str, Value]:
    """Give a tensor's values by column, in the order of the columns."""
    moments = tensor.moments
    row: dict[str, Value] = {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": tensor.shape,
        "count": tensor.count,
        "norm": None,
        "share": tensor.share,
        "rms": None,
        "max_abs": None,
        "max_abs_index": tensor.max_abs_index,
        "zeros": None,
        "nan": None,
        "posinf": None,
        "neginf": None,
        "first_nonfinite": tensor.first_nonfinite,
        "finite_norm": None,
        "measured": tensor.measured,
    }
    if moments is not None:
        row.update((name, value(moments)) for name, value in MEASURED.items())
    return row | clipped_row(tensor.clipped)


def global_row(report: Report) -> dict[str, Value]:
    """Give the values of all measured tensors together; what only a tensor has is None."""
    moments = report.moments
    row: dict[str, Value] = dict.fromkeys(COLUMNS)
    row["count"] = moments.count
    row.update((name, value(moments)) for name, value in MEASURED.items())
    return row | clipped_row(report.clipped)


def clipped_row(clipped: Clipped | None) -> dict[str, Value]:
    """Give the columns that only a clipped dump has."""
    return {} if clipped is None else {name: getattr(clipped, name) for name in CLIPPED}


def all_rows(report: Report) -> Iterator[tuple[str, dict[str, Value]]]:
    """Give every row with its kind; the whole comes last."""
    for tensor in report.tensors:
        yield "tensor", tensor_row(tensor)
    yield "global", global_row(report)
