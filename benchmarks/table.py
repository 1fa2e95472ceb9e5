"""Results as a table for a terminal, as Markdown, and as JSON.

Results are rounded up, so that what misses a bound never looks as if it kept it.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.results import Result, Results, Verdict
from benchmarks.rows import Bound, Quantity
from benchmarks.timing import Run

SCHEMA = 1

_TITLES = ("what", "against", "", "gradclip", "other", "result", "bound", "met")
_RIGHT = frozenset(("gradclip", "other", "result", "bound"))
_MIB = 1 << 20
_WIDE = 160  # columns where no terminal says how wide it is


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


def _rows(results: Results) -> Iterator[tuple[str, ...]]:
    for result in results.results:
        row = result.row
        if result.comparison is None:
            bounds = ", ".join(map(limit, row.bounds))
            yield result.name, row.against, "", "–", "–", result.reason, bounds, "no"
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


def _machine(results: Results) -> str:
    return " · ".join(f"{what}: {value}" for what, value in results.machine.items())


def _remark(results: Results) -> str:
    if not results.judged:
        return "Small files only show that every row runs; bounds are judged at full size."
    missed = sum(not result.met for result in results.results)
    return f"{len(results.results) - missed} of {len(results.results)} rows keep their bounds."


def show(results: Results) -> None:
    """Print a table to standard output."""
    console = Console(highlight=False, emoji=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDE
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in _TITLES:
        grid.add_column(title, justify="right" if title in _RIGHT else "left", overflow="fold")
    for cells in _rows(results):
        grid.add_row(*cells, style="bold red" if cells[-1] == "no" else "")
    console.print(grid, _machine(results), _remark(results), sep="\n")


def markdown(results: Results) -> str:
    """Write the same as Markdown."""
    lines = [
        _TITLES,
        tuple("--:" if title in _RIGHT else "---" for title in _TITLES),
        *_rows(results),
    ]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return f"{table}\n{_machine(results)}\n\n{_remark(results)}\n"


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
        "ours": [] if comparison is None else list(map(_run, comparison.ours)),
        "theirs": [] if comparison is None else list(map(_run, comparison.theirs)),
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


def _run(run: Run) -> Mapping[str, Any]:
    return {"seconds": run.seconds, "peak": run.peak}
