"""A comparison for a person at a terminal: the verdict, then the tensors, the worst first.

Tensors that are identical say nothing and are only counted, unless all are asked for.
"""

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence

from rich.table import Table
from rich.text import Text

from gradclip_cli.compare.difference import Difference
from gradclip_cli.measure.moments import Moments
from gradclip_cli.render.grid import (
    NAME_LEAST,
    UNKNOWN,
    Column,
    elided,
    facts,
    grid,
    more,
    number,
    page,
    plural,
    room_for,
)
from gradclip_cli.render.screen import Screen
from gradclip_cli.results.comparison import Compared, Comparison, State
from gradclip_cli.tensors.dump import Shape
from gradclip_cli.tensors.names import escape

_NAME_ENOUGH = 56  # half a name does not say which layer it is
_ONE = 1 - 1e-12  # what is nearer to one than arithmetic can tell


def table(found: Comparison, screen: Screen, everything: bool) -> str:
    """Write a comparison for a terminal."""
    return page(screen, _parts(found, screen, everything))


def ratio(value: float | None) -> str:
    """Write a ratio with four decimals, unless it is too large or small for them.

    >>> ratio(8.0), ratio(0.00001154), ratio(2.0**40), ratio(None)
    ('8.0000', '1.154e-05', '1.100e+12', '–')
    """
    if value is None or not 1e-2 <= abs(value) < 1e7:
        return number(value)
    return f"{value:.4f}"


def cosine(value: float | None) -> str:
    """Write a cosine with six decimals; what is not one is never called one.

    >>> cosine(1.0), cosine(0.99999999), cosine(-0.5), cosine(None)
    ('1.000000', '0.999999', '-0.500000', '–')
    """
    if value is None:
        return UNKNOWN
    if abs(value) >= _ONE:
        return f"{round(value):.6f}"
    return f"{math.copysign(min(abs(value), 0.999999), value):.6f}"


def _difference(get: Callable[[Difference], str]) -> Callable[[Compared], str]:
    return lambda row: UNKNOWN if row.difference is None else get(row.difference)


def _norm(moments: Moments | None) -> str:
    return number(None if moments is None else moments.norm)


def _sides(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _changed(row: Compared) -> str:
    if row.difference is None:
        return UNKNOWN
    changed = row.difference.changed
    return "all" if changed and changed == row.count else f"{changed:,}"


def _at(row: Compared) -> str:
    return UNKNOWN if row.max_abs_at is None else ",".join(map(str, row.max_abs_at))


def _remark(row: Compared) -> str:
    """Say in words what the numbers of a row do not."""
    if row.a is None or row.b is None:
        return "only in B" if row.a is None else "only in A"
    if row.a.shape != row.b.shape:
        return f"shape {_sides(row.a.shape)} → {_sides(row.b.shape)}"
    remarks: list[str] = [row.state] if row.same else []
    if row.difference is not None and row.difference.astray:
        newly = row.difference.newly
        remarks.append(
            f"{newly:,} newly not finite"
            if newly
            else f"{row.difference.astray:,} not finite otherwise"
        )
    if row.a.dtype.name != row.b.dtype.name:
        remarks.append(f"{row.a.dtype.name} → {row.b.dtype.name}")
    elif row.difference is None and not row.same:
        remarks.append(f"{plural(row.changed or 0, 'byte')} differ")
    return ", ".join(remarks)


_COLUMNS: tuple[tuple[str, int, Callable[[Compared], str], bool], ...] = (
    # title, rank, cell, whether it stands on the left
    ("shape", 6, lambda row: _sides(row.shape), True),
    ("norm A", 4, lambda row: _norm(row.moments_a), False),
    ("norm B", 3, lambda row: _norm(row.moments_b), False),
    ("B/A", 0, _difference(lambda found: ratio(found.ratio)), False),
    ("cosine", 1, _difference(lambda found: cosine(found.cosine)), False),
    ("error", 0, _difference(lambda found: number(found.relative_error)), False),
    ("max |B-A|", 2, _difference(lambda found: number(found.gap.max_abs)), False),
    ("at", 7, _at, False),
    ("changed", 5, _changed, False),
    ("", 0, _remark, True),
)


def _parts(found: Comparison, screen: Screen, everything: bool) -> Iterator[Text | Table]:
    first, *others = [textwrap.wrap(line, screen.width) for line in _head(found, screen.width)]
    head = [*(Text(line, "bold" if found.same else "bold red") for line in first)]
    head += [Text(line) for lines in others for line in lines]
    foot = list(_foot(found, screen.width, everything))
    rows = [row for row in found.rows if everything or row.state != "identical"]
    yield from (*head, Text())
    if rows:
        shown = rows[: room_for(len(rows), len(head) + 1 + len(foot), screen.height)]
        yield _grid(shown, screen.width)
        if len(shown) < len(rows):
            yield more(len(rows) - len(shown))
        yield Text()
    yield from foot


def _grid(rows: Sequence[Compared], width: int) -> Table:
    columns = [
        Column(title, rank, [cell(row) for row in rows], left)
        for title, rank, cell, left in _COLUMNS
    ]
    names = [row.name for row in rows]
    return grid("tensor", names, columns, [*map(_style, rows)], width, _NAME_ENOUGH)


def _style(row: Compared) -> str:
    if row.same:
        return "dim"
    astray = row.difference is not None and row.difference.astray
    return "bold red" if astray or row.state in ("only_a", "only_b", "shape") else ""


def _head(found: Comparison, width: int) -> Iterator[str]:
    """Say what a person has to know first: the verdict, then why."""
    total = sum(found.counts.values())
    if found.verdict == "identical":
        yield f"identical: {plural(total, 'tensor')}, to the bit" if total else "identical: empty"
    elif found.verdict == "equal":
        identical = found.counts.get("identical", 0)
        yield f"equal within tolerance: {plural(total, 'tensor')}, {identical:,} of them identical"
    elif found.verdict == "multiple":
        yield f"{_all(found.compared)}: {_multiple(found)}"
        yield _likely(found)
    else:
        bad = total - sum(found.counts.get(state, 0) for state in _SAME)
        yield f"differ: {bad:,} of {plural(total, 'tensor')}, {', '.join(_reasons(found))}"
        yield from _explanations(found, width)


def _all(count: int) -> str:
    return "the tensor" if count == 1 else f"all {count:,} tensors"


def _multiple(found: Comparison) -> str:
    return f"B = {ratio(found.factor)} · A, cosine {cosine(found.difference.cosine)}"


def _likely(found: Comparison) -> str:
    return f"likely {', or '.join(found.likely)}" if found.likely else ""


_SAME: tuple[State, ...] = ("identical", "equal")
_REASONS: dict[State, str] = {
    "only_a": "only in A",
    "only_b": "only in B",
    "shape": "in shape",
    "differs": "in value",
    "dtype": "in dtype alone",
}


def _reasons(found: Comparison) -> Iterator[str]:
    bad = [state for state in _REASONS if state in found.counts]
    for state in bad:
        count = "" if len(bad) == 1 else f"{found.counts[state]:,} "
        yield f"{count}{_REASONS[state]}"


def _explanations(found: Comparison, width: int) -> Iterator[str]:
    whole = found.difference
    worst = next((row for row in found.rows if row.state == "differs"), None)
    if worst is not None and worst.difference is not None:
        at = worst.first_newly
        if at is not None:
            start = f"{plural(whole.newly, 'value')} newly not finite in B, the first in "
            end = f" at {list(at)}"
        else:
            start = "worst: "
            end = f", relative error {number(worst.difference.relative_error)}"
        name = "the unnamed tensor" if worst.name is None else escape(worst.name)
        yield start + elided(name, max(width - len(start) - len(end), NAME_LEAST)) + end
    if found.factor is not None:
        yield f"elsewhere {_multiple(found)}" if whole.astray else _multiple(found)
        yield _likely(found)
    elif whole.astray and not whole.gap.max_abs:
        yield "all values that are finite in both are equal"
    elif found.only_rounding:
        yield "no finite value differs by more than the rounding of its dtype explains"


def _foot(found: Comparison, width: int, everything: bool) -> Iterator[Text]:
    whole = found.difference
    if found.compared:
        norms = f"A {whole.a.norm!r}  B {whole.b.norm!r}  B/A {ratio(whole.ratio)}"
        yield Text.assemble(("global norm", "bold"), "  ", norms)
    told = [plural(sum(found.counts.values()), "tensor"), *found.notes]
    hidden = found.counts.get("identical", 0)
    if hidden and not everything and found.verdict != "identical":
        told.insert(1, f"{hidden:,} identical not shown")
    if whole.changed:
        told.insert(1, f"{whole.changed:,} of {plural(whole.a.count, 'value')} changed")
    for side, files in (("A", found.files_a), ("B", found.files_b)):
        name = escape(files[0]) if len(files) == 1 else plural(len(files), "file")
        told.append(f"{side}: {elided(name, max(width - 3, NAME_LEAST))}")
    yield from facts(told, width)
