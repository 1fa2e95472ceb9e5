"""A report as flat rows: the columns that every format has in common.

Columns are only ever appended. A value that is unknown is None; numbers are not rounded. Whatever
a command reports becomes a `Sheet`, which is all that the writers of TSV, CSV, Markdown and JSON
know.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradclip_cli.results.report import Clipped, Report, Row, Ruling, WhatIf

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


@dataclass(frozen=True, slots=True)
class Sheet:
    """A report laid out: the columns, each row's kind and values, and what is true of the whole.

    A row has its values in the order of the columns. `whole` are those of the last, called
    "global", by column; `summary` is what JSON says of the whole instead. The rows can be gone
    through once. `further` rows, and the columns that only they have, stand before the last; JSON
    has them in its summary.
    """

    columns: tuple[str, ...]
    rows: Iterable[tuple[str, tuple[Value, ...]]]
    whole: Mapping[str, Value]
    summary: Mapping[str, Any]
    further: Sequence[tuple[str, Mapping[str, Value]]] = ()
    further_columns: tuple[str, ...] = ()


def sheet(report: Report) -> Sheet:
    """Lay out a report of `inspect` or `apply`."""
    rows: Iterable[tuple[str, tuple[Value, ...]]]
    rows = ((row.kind, values(row)) for row in report.rows)
    if report.clipped:
        rows = ((row.kind, values(row) + _clipped(row)) for row in report.rows)
    return Sheet(
        COLUMNS + CLIPPED if report.clipped else COLUMNS,
        rows,
        _whole(report),
        _summary(report),
        [("what-if", what_if_values(chance)) for chance in report.what_if],
        (*CLIPPED, "subnormal") if report.what_if else (),
    )


def _summary(report: Report) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "global_norm": report.global_norm,
        "finite_norm": report.finite_norm,
        "norm_type": _norm_type(report.moments.norm_type),
        "count": report.moments.count,
        "nonfinite": report.moments.nonfinite,
        "overflow": report.overflows,
        "measured": report.measured,
        "total": report.total,
        "files": report.files,
        "ignored": report.ignored,
        "notes": report.notes,
    }
    if report.what_if:
        summary["what_if"] = [what_if_values(chance) for chance in report.what_if]
    return summary | clipped_values(report.clipped) | ruling_values(report.ruling)


def _norm_type(p: float) -> int | float | str:
    if p == math.inf:
        return "inf"
    return int(p) if p.is_integer() else p


def values(row: Row) -> tuple[Value, ...]:
    """Give a row's values in the order of `COLUMNS`."""
    moments, norm = row.moments, row.norm
    if moments is None or norm is None:
        unknown = (None,) * (len(COLUMNS) - 5)
        return (row.name, row.dtype, row.shape, row.count, *unknown, row.measured)
    return (
        row.name,
        row.dtype,
        row.shape,
        row.count,
        norm,
        row.share,
        row.rms,
        moments.max_abs,
        row.max_abs_index,
        moments.zeros,
        moments.nan,
        moments.posinf,
        moments.neginf,
        None if moments.first_nonfinite is None else row.first_nonfinite,
        norm if norm < math.inf else moments.finite_norm,
        True,
    )


def _clipped(row: Row) -> tuple[Value, ...]:
    if row.clipped is None:
        return (None,) * len(CLIPPED)
    return tuple(clipped_values(row.clipped).values())


def _whole(report: Report) -> dict[str, Value]:
    """Give the values of all measured tensors together; what only a tensor has is None."""
    moments = report.moments
    together = Row("group", None, None, None, moments.count, "", moments, report.global_norm)
    found = dict(zip(COLUMNS, values(together), strict=True))
    return found | {"measured": None} | clipped_values(report.clipped)


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
