"""A comparison for a person at a terminal: the verdict, then the tensors, the worst first.

Tensors that are identical say nothing and are only counted, unless all are asked for.
"""

import textwrap
from collections.abc import Iterable, Iterator

from rich.table import Table
from rich.text import Text

from gradclip_cli.render.grid import NAME_LEAST, cells, grid, more, page, room_for
from gradclip_cli.render.page import Page
from gradclip_cli.render.words import cosine, elided, facts, name_of, number, ratio
from gradclip_cli.results.columns import Result
from gradclip_cli.results.comparison import Compared, Comparison, State
from gradclip_cli.tensors.names import escape, plural, printable

_MOST_UNREADABLE = 5
_NAME_ENOUGH = 56  # half a name does not say which layer it is


class ComparisonPage(Page):
    """The verdict, the rows, and what is true of the whole."""

    def end(self, result: Result) -> Iterable[str]:
        """Give the page."""
        assert isinstance(result, Comparison)
        return [page(self.screen, self._parts(result))]

    def _parts(self, found: Comparison) -> Iterator[Text | Table]:
        width, everything = self.screen.width, self.everything
        first, *others = [textwrap.wrap(line, width) for line in _head(found, width)]
        head = [*(Text(line, "bold" if found.same else "bold red") for line in first)]
        head += [Text(line) for lines in others for line in lines]
        foot = list(_foot(found, width, everything))
        rows = [row for row in found.rows if everything or row.state != "identical"]
        yield from (*head, Text())
        if rows:
            shown = rows[: room_for(len(rows), len(head) + 1 + len(foot), self.screen.height)]
            names, styles = [row.name for row in shown], [*map(_style, shown)]
            columns = cells(self.sheet, shown)
            yield grid("tensor", names, columns, styles, width, _NAME_ENOUGH)
            if len(shown) < len(rows):
                yield more(len(rows) - len(shown))
            yield Text()
        yield from foot


def _style(row: Compared) -> str:
    if row.same:
        return "dim"
    astray = row.difference is not None and row.difference.astray
    return "bold red" if astray or row.state in ("only_a", "only_b", "shape", "unreadable") else ""


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
    elif found.verdict == "unreadable":
        files = plural(len(found.unreadable), "file")
        yield f"not known: {files} cannot be read, all else is equal"
        yield from _unreadable(found)
    else:
        bad = total - sum(found.counts.get(state, 0) for state in _SAME)
        yield f"differ: {bad:,} of {plural(total, 'tensor')}, {', '.join(_reasons(found))}"
        yield from _unreadable(found)
        yield from _explanations(found, width)


def _unreadable(found: Comparison) -> Iterator[str]:
    for error in found.unreadable[:_MOST_UNREADABLE]:
        yield printable(f"cannot be read: {error}")


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
    "unreadable": "unreadable",
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
        room = max(width - len(start) - len(end), NAME_LEAST)
        yield start + name_of(worst.name, room) + end
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
    yield from (Text(line, "dim") for line in facts(told, width))
