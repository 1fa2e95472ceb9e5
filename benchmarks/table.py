"""Results as a table and as JSON.

Results are rounded up, so that what misses a bound never looks as if it kept it.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.results import Result, Results, Verdict
from benchmarks.rows import Bound, Quantity
from benchmarks.sheet import Cells, Sheet
from benchmarks.timing import Run

SCHEMA = 1

_TITLES = ("what", "against", "", "gradclip", "other", "result", "bound", "met")
_RIGHT = frozenset(("gradclip", "other", "result", "bound"))
_MIB = 1 << 20


def amount(value: float, quantity: Quantity) -> str:
    """Write seconds or bytes.

    >>> amount(0.0123, "time"), amount(2.5, "time"), amount(47 << 20, "memory")
    ('12 ms', '2.50 s', '47 MiB')
    """
    if quantity == "memory":
        return f"{value / _MIB:,.0f} MiB"
    return f"{value:.2f} s" if abs(value) >= 1 else f"{value * 1000:.0f} ms"


def outcome(verdict: Verdict) -> str:
    """Write what the bound is about, a ratio or a difference, rounded up.

    >>> outcome(Verdict(Bound("time", 2), 2.001, 1.0))
    '2.01 ×'
    >>> outcome(Verdict(Bound("memory", plus=64 << 20), (64 << 20) + 1, 0))
    '+65 MiB'
    """
    if not verdict.bound.plus:
        return f"{_up(verdict.ratio * 100) / 100:.2f} ×"
    if verdict.bound.quantity == "memory":
        return f"{_up(verdict.difference / _MIB):+,} MiB"
    return f"{_up(verdict.difference * 100) / 100:+.2f} s"


def _up(value: float) -> int:
    """Round up, but not for the error of a float: 1.15 times 100 is a little more than 115."""
    return math.ceil(round(value, 9))


def limit(bound: Bound) -> str:
    """Write a bound.

    >>> limit(Bound("time", 1.15)), limit(Bound("time", plus=1.5)), limit(Bound("memory"))
    ('1.15 ×', '+1.5 s', '1 ×')
    """
    if not bound.plus:
        return f"{bound.factor:g} ×"
    if bound.quantity == "memory":
        return f"+{bound.plus / _MIB:g} MiB"
    return f"+{bound.plus:g} s"


def _rows(results: Results) -> Iterator[Cells]:
    for result in results.results:
        row = result.row
        if result.comparison is None:
            bounds = ", ".join(map(limit, row.bounds))
            met = "–" if result.absent else "no"
            yield result.name, row.against, "", "–", "–", result.reason, bounds, met
        for verdict in result.verdicts:
            quantity = verdict.bound.quantity
            yield (
                result.name,
                row.against,
                quantity,
                amount(verdict.ours, quantity),
                amount(verdict.theirs, quantity),
                outcome(verdict),
                limit(verdict.bound),
                ("yes" if verdict.met else "no") if results.judged else "–",
            )


def described(machine: Mapping[str, str]) -> str:
    """Write what the machine is in one line.

    >>> described({"cores": "2", "Python": "3.11.7"})
    'cores: 2 · Python: 3.11.7'
    """
    return " · ".join(f"{what}: {value}" for what, value in machine.items())


def _remark(results: Results) -> str:
    if not results.judged:
        return "Small files only show that every row runs; bounds are judged at full size."
    verdicts = [result.met for result in results.results if not result.absent]
    return f"{sum(map(bool, verdicts))} of {len(verdicts)} rows keep their bounds."


def sheet(results: Results) -> Sheet:
    """Lay the results out."""
    return Sheet(
        _TITLES, _RIGHT, list(_rows(results)), [described(results.machine), _remark(results)]
    )


def style(cells: Cells) -> str:
    """Give the style of a row: what has missed stands out."""
    return "bold red" if cells[-1] == "no" else ""


def document(results: Results) -> str:
    """Write everything as JSON, every single run too; commands name files as the rows do."""
    return json.dumps(
        {
            "schema": SCHEMA,
            "size": results.size,
            "judged": results.judged,
            "good": results.good,
            "machine": dict(results.machine),
            "rows": [_result(result) for result in results.results],
        },
        indent=1,
        allow_nan=False,
    )


def _result(result: Result) -> Mapping[str, Any]:
    row, comparison = result.row, result.comparison
    return {
        "name": result.name,
        "against": row.against,
        "command": row.command,
        "competitor": row.competitor,
        "cache": row.cache,
        "reason": result.reason or None,
        "met": result.met,
        "bounds": [_verdict(verdict) for verdict in result.verdicts],
        "ours": [] if comparison is None else list(map(single, comparison.ours)),
        "theirs": [] if comparison is None else list(map(single, comparison.theirs)),
    }


def _verdict(verdict: Verdict) -> Mapping[str, Any]:
    return {
        "quantity": verdict.bound.quantity,
        "factor": verdict.bound.factor,
        "plus": verdict.bound.plus,
        "ours": verdict.ours,
        "theirs": verdict.theirs,
        "ratio": verdict.ratio,
        "limit": verdict.bound.limit(verdict.theirs),
        "met": verdict.met,
    }


def single(run: Run) -> Mapping[str, Any]:
    """Give a run as JSON has it."""
    return {"seconds": run.seconds, "peak": run.peak}
