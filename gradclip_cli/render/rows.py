"""A report as flat rows: the columns that every format has in common.

Columns are only ever appended. A value that is unknown is None; numbers are not rounded.
"""

import math
from collections.abc import Iterator

from gradclip_cli.moments import Moments
from gradclip_cli.report import Clipped, Report, Row, Ruling, WhatIf, rms

Value = str | int | float | bool | tuple[int, ...] | tuple[str, ...] | None

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


WHAT_IF = ("clip_norm", "coefficient", "norm_after", "flushed", "subnormal", "saturated")


def columns(report: Report) -> tuple[str, ...]:
    """Give the names of a report's columns, `row` aside."""
    if report.what_if:
        return (*COLUMNS, *CLIPPED, "subnormal")
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
        "rms": rms(moments),
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


def ruling_values(ruling: Ruling | None) -> dict[str, Value]:
    """Give what a report of `apply` says of its rule, under keys that only JSON has."""
    if ruling is None:
        return {}
    rule = ruling.rule
    return {
        "rule": rule.word,
        "per_group": getattr(rule, "group_by", None),
        "low": getattr(rule, "low", None),
        "high": getattr(rule, "high", None),
        "clip_rms": getattr(rule, "clip_rms", None),
        "axes": getattr(rule, "axes", None),
        "agc": getattr(rule, "clipping", None),
        "agc_layout": getattr(rule, "layout", None),
        "eps": ruling.eps,
        "like": ruling.like,
        "changed": ruling.changed,
        "departures": ruling.departures,
    }


def what_if_values(chance: WhatIf) -> dict[str, Value]:
    """Give what clipping to a limit would do."""
    return {name: getattr(chance, name) for name in WHAT_IF}


def all_rows(report: Report) -> Iterator[tuple[str, dict[str, Value]]]:
    """Give every row with its kind; the whole comes last."""
    for row in report.rows:
        yield row.kind, values(row)
    for chance in report.what_if:
        yield "what-if", what_if_values(chance)
    yield "global", global_values(report)
