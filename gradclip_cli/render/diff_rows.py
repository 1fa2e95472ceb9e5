"""A comparison laid out: the columns of `diff`, in every format the same."""

from typing import Any

from gradclip_cli.compare.difference import Difference
from gradclip_cli.measure.moments import Moments
from gradclip_cli.render.rows import Sheet, Value
from gradclip_cli.results.comparison import Compared, Comparison

COLUMNS = (
    "name",
    "state",
    "dtype_a",
    "dtype_b",
    "shape_a",
    "shape_b",
    "count",
    "norm_a",
    "norm_b",
    "ratio",
    "cosine",
    "relative_error",
    "max_abs_diff",
    "max_abs_diff_index",
    "changed",
    "newly_nonfinite",
    "first_newly_nonfinite",
    "nonfinite_differ",
    "nonfinite_a",
    "nonfinite_b",
)


def sheet(found: Comparison) -> Sheet:
    """Lay out a comparison."""
    whole = {
        **_measured(found.difference.a, found.difference.b, found.difference),
        "count": found.difference.a.count,
        "changed": found.difference.changed,
    }
    return Sheet(
        COLUMNS,
        ((row.kind, tuple(map(values(row).get, COLUMNS))) for row in found.rows),
        whole | {"state": found.verdict},
        _summary(found) | whole | {"notes": found.notes},
    )


def values(row: Compared) -> dict[str, Value]:
    """Give a row's values by column."""
    return {
        "name": row.name,
        "state": row.state,
        "dtype_a": None if row.a is None else row.a.dtype.name,
        "dtype_b": None if row.b is None else row.b.dtype.name,
        "shape_a": None if row.a is None else row.a.shape,
        "shape_b": None if row.b is None else row.b.shape,
        "count": row.count,
        "max_abs_diff_index": row.max_abs_at,
        "changed": row.changed,
        "first_newly_nonfinite": row.first_newly,
        **_measured(row.moments_a, row.moments_b, row.difference),
    }


def _measured(
    a: Moments | None, b: Moments | None, difference: Difference | None
) -> dict[str, Value]:
    found: dict[str, Value] = {
        "norm_a": None if a is None else a.norm,
        "norm_b": None if b is None else b.norm,
        "nonfinite_a": None if a is None else a.nonfinite,
        "nonfinite_b": None if b is None else b.nonfinite,
    }
    if difference is not None:
        found |= {
            "ratio": difference.ratio,
            "cosine": difference.cosine,
            "relative_error": difference.relative_error,
            "max_abs_diff": difference.gap.max_abs,
            "newly_nonfinite": difference.newly,
            "nonfinite_differ": difference.astray,
        }
    return found


def _summary(found: Comparison) -> dict[str, Any]:
    return {
        "verdict": found.verdict,
        "same": found.same,
        "factor": found.factor,
        "likely": found.likely,
        "only_rounding": found.only_rounding,
        "rtol": found.tolerance.relative,
        "atol": found.tolerance.absolute,
        "states": found.counts,
        "compared": found.compared,
        "total": found.total,
        "files_a": found.files_a,
        "files_b": found.files_b,
    }
