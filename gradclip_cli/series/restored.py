"""A step put together again from what was written down of it, which is checked as any stranger's.

JSON has no NaN and no infinity: None stands for a norm beyond float64, and for the largest
magnitude where there is none. All that is found wrong is a `ValueError` in words.
"""

import math
import sys
from array import array
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

from gradclip_cli.series.trajectory import Layout, Measured, Nonfinite

_LARGEST = sys.float_info.max
_NEAR = 1e-12  # of a number: more than the rounding of any of them
_LARGE = 2.0**960  # norms from here on are added up as parts of it


def restored(
    layout: Layout,
    norms: Sequence[float | None],
    sizes: Sequence[float | None],
    nonfinite: Mapping[int, Nonfinite],
    finite_norm: float | None,
    notes: Sequence[str],
    further: Mapping[str, Sequence[Any]],
    unread: Sequence[str | None],
) -> Measured:
    """Give a step from its columns; raises `ValueError` in words where they do not make one."""
    columns = (layout.names, layout.dtypes, layout.counts, norms, sizes, *further.values())
    if any(type(column) not in (list, tuple) for column in (*columns, notes, unread)):
        raise ValueError("a column that is no list")
    if any(len(column) != len(layout.names) for column in columns):
        raise ValueError("columns of different lengths")
    _check([*layout.names, *unread], "a name", str, NoneType)
    _check(layout.dtypes, "a dtype", str)
    for column in further.values():
        _check(column, "a statistic", str, int, float, list, NoneType)
    check_counts(layout.counts)
    for tensor, bad in nonfinite.items():
        if type(tensor) is not int or not 0 <= tensor < len(norms):
            raise ValueError("a tensor that there is not")
        check_counts((bad.nan, bad.posinf, bad.neginf, *bad.first))
        if not 0 < bad.count <= layout.counts[tensor]:
            raise ValueError(f"{bad.count:,} of {layout.counts[tensor]:,} values are not finite")
    _check(notes, "a note", str)
    whole, *parts = _floats((finite_norm, *norms), math.inf)
    if not all(norm >= 0 for norm in (whole, *parts)):
        raise ValueError(f"{min(whole, *parts)!r} is not a norm")
    unit = _LARGE if whole > _LARGE else 1.0
    together = min(math.hypot(*(norm / unit for norm in parts)), _LARGEST / unit)
    if not agree(together, min(whole, _LARGEST) / unit):
        raise ValueError("the norms of its tensors are not together that of all")
    largest = _floats(sizes, math.nan)
    if any(size < 0 or size == math.inf for size in largest):
        raise ValueError("a largest magnitude that is none")
    norms_of = array("d", parts)
    said, left = tuple(notes), tuple(unread)
    return Measured(layout, norms_of, largest, nonfinite, whole, said, further, left)


def agree(one: float, other: float) -> bool:
    """Say whether two numbers are the same but for rounding."""
    return math.isclose(one, other, rel_tol=_NEAR, abs_tol=1e-322)


def check_counts(values: Sequence[Any]) -> None:
    """Raise `ValueError` for what is no number of values."""
    for value in values:
        if type(value) is not int or not 0 <= value < 1 << 63:
            raise ValueError(f"{value!r} is not a number of values")


def _check(values: Sequence[Any], what: str, *kinds: type) -> None:
    if not {*map(type, values)} <= {*kinds}:
        raise ValueError(f"{what} of the wrong kind")
    try:  # as names of files are, which may hold bytes that are no characters
        "".join([value for value in values if isinstance(value, str)]).encode(
            "utf-8", "surrogateescape"
        )
    except UnicodeEncodeError:
        raise ValueError(f"{what} with half a character") from None


def _floats(values: Sequence[float | None], instead: float) -> "array[float]":
    if not {*map(type, values)} <= {int, float, NoneType}:
        raise ValueError("a norm or a magnitude that is no number")
    return array("d", [instead if value is None else value for value in values])
