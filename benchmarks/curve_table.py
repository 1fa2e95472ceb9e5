"""Curves as a table and as JSON."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.curve import Curve, Curves, Point
from benchmarks.sheet import Cells, Sheet
from benchmarks.table import SCHEMA, amount, described, single

_TITLES = ("what", "processors", "workers", "time", "throughput", "speed-up")


def sheet(curves: Curves) -> Sheet:
    """Lay the curves out."""
    return Sheet(
        _TITLES,
        frozenset(_TITLES[1:]),
        [cells for curve in curves.curves for cells in _rows(curve)],
        [described(curves.machine), *_remarks(curves)],
    )


def _rows(curve: Curve) -> Iterator[Cells]:
    if curve.reason:
        yield curve.name, "–", "–", "–", "–", curve.reason
    for point in curve.points:
        yield (
            curve.name,
            str(len(point.setting.processors)),
            f"{point.workers}{'' if point.setting.workers else ' (default)'}",
            amount(point.seconds, "time"),
            f"{curve.throughput(point) / 1e9:.2f} GB/s",
            f"{curve.gain(point):.2f} ×",
        )


def _remarks(curves: Curves) -> Iterator[str]:
    if curves.size == "small":
        yield "Small files only show that every setting runs; their times say nothing."
    for curve in curves.curves:
        if curve.points and curves.size == "full":
            default, best = curve.default, curve.best
            yield (
                f"{curve.name}: on all processors the default of {default.workers} takes "
                f"{default.seconds / best.seconds:.2f} × the time of the best that was given, "
                f"{best.workers}."
            )


def document(curves: Curves) -> str:
    """Write everything as JSON, every single run too."""
    return json.dumps(
        {
            "schema": SCHEMA,
            "size": curves.size,
            "good": curves.good,
            "machine": dict(curves.machine),
            "curves": [
                {
                    "name": curve.name,
                    "command": curve.row.command,
                    "bytes": curve.size,
                    "reason": curve.reason or None,
                    "points": [_point(curve, point) for point in curve.points],
                }
                for curve in curves.curves
            ],
        },
        indent=1,
        allow_nan=False,
    )


def _point(curve: Curve, point: Point) -> Mapping[str, Any]:
    return {
        "processors": len(point.setting.processors),
        "workers": point.workers,
        "default": point.setting.workers is None,
        "seconds": point.seconds,
        "bytes_per_second": curve.throughput(point),
        "speed_up": curve.gain(point),
        "runs": list(map(single, point.runs)),
    }
