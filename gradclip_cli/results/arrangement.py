"""Which rows of a report are shown, in which order, tensor by tensor or group by group.

Arranging changes rows only: the whole, its norm and its verdict stay those of all tensors.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from gradclip_cli.choices import Sort
from gradclip_cli.measure.moments import merge
from gradclip_cli.results.report import Report, Row, share_of, worst_first
from gradclip_cli.tensors.groups import group_of
from gradclip_cli.tensors.names import natural


def arranged(
    report: Report,
    sort: Sort | None = None,
    reverse: bool = False,
    top: int | None = None,
    bad_only: bool = False,
    group_by: str | None = None,
) -> Report:
    """Give the report with its rows grouped, chosen and sorted as wished; by default as it is."""
    rows = list(report.rows)
    if group_by is not None:
        rows = _groups(report, group_of(group_by))
    if bad_only:
        rows = [row for row in rows if row.moments is not None and row.moments.nonfinite]
    if sort is not None:
        rows.sort(key=_KEYS[sort])
    if reverse:
        rows.reverse()
    return dataclasses.replace(report, rows=tuple(rows[:top]))


def _groups(report: Report, group: Callable[[str], str | None]) -> list[Row]:
    members: dict[str | None, list[Row]] = {}
    for row in report.rows:
        if row.measured:
            members.setdefault(group(row.name or ""), []).append(row)
    return worst_first(_grouped(name, rows, report) for name, rows in members.items())


def _grouped(name: str | None, rows: list[Row], report: Report) -> Row:
    moments = merge(row.moments for row in rows if row.moments is not None)
    dtypes = {row.dtype for row in rows}
    files = {row.file for row in rows}
    return Row(
        "group",
        name,
        dtypes.pop() if len(dtypes) == 1 else None,
        None,
        moments.count,
        files.pop() if len(files) == 1 else "",
        moments,
        moments.norm,
        share_of(moments.norm, report.moments, report.global_norm),
    )


def _largest(row: Row) -> float:
    largest = row.moments.max_abs if row.moments is not None else None
    return math.inf if largest is None else -largest


def _norm(row: Row) -> float:
    return math.inf if row.moments is None else -row.moments.finite_norm


_KEYS: dict[str, Callable[[Row], Any]] = {
    "name": lambda row: natural(row.name or ""),
    "norm": lambda row: (_norm(row), natural(row.name or "")),
    "size": lambda row: (-row.count, natural(row.name or "")),
    "max": lambda row: (_largest(row), natural(row.name or "")),
    "file": lambda row: (natural(row.file), natural(row.name or "")),
}
