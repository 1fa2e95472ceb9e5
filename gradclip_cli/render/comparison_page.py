"""A comparison for a person at a terminal: the verdict, then the tensors, the worst first.

Tensors that are identical say nothing and are only counted, unless all are asked for.
"""

from collections.abc import Iterable, Iterator, Sequence

from rich.text import Text

from gradclip_cli.render.grid import listing, page
from gradclip_cli.render.page import Page
from gradclip_cli.render.words import facts, flowed, wrapped
from gradclip_cli.results.columns import Result
from gradclip_cli.results.comparison import Compared, Comparison
from gradclip_cli.results.phrases import ratio
from gradclip_cli.tensors.names import escape, plural


class ComparisonPage(Page):
    """The verdict, the rows, and what is true of the whole."""

    def end(self, result: Result) -> Iterable[str]:
        """Give the page."""
        assert isinstance(result, Comparison)
        return [page(self.screen, self._parts(result))]

    def _parts(self, found: Comparison) -> Iterator[Text]:
        width, everything = self.screen.width, self.everything
        first, *others = [[*wrapped(line, width)] for line in found.sentences]
        head = [*(Text(line, "bold" if found.same else "bold red") for line in first)]
        head += [Text(line) for lines in others for line in lines]
        foot = list(_foot(found, width, everything))
        rows = [row for row in found.rows if everything or row.state != "identical"]
        yield from (*head, Text())
        if rows:
            legend = [*_legend(rows, width)]
            below = len(head) + 1 + len(foot) + len(legend)
            styles = [*map(_style, rows)]
            yield from listing(self.screen, "tensor", self.sheet, rows, styles, below)
            yield from legend
            yield Text()
        yield from foot


def _style(row: Compared) -> str:
    if row.same:
        return "dim"
    astray = row.difference is not None and row.difference.astray
    return "bold red" if astray or row.state in ("only_a", "only_b", "shape", "unreadable") else ""


def _legend(rows: Sequence[Compared], width: int) -> Iterator[Text]:
    if any(row.difference is not None for row in rows):
        yield from (Text(line, "dim") for line in wrapped(_LEGEND, width))


_LEGEND = "B/A: of the norms; error: the norm of B - A, as a part of that of A"


def _foot(found: Comparison, width: int, everything: bool) -> Iterator[Text]:
    whole = found.difference
    if found.compared:
        norms = [f"A {whole.a.norm!r}", f"B {whole.b.norm!r}", f"B/A {ratio(whole.ratio)}"]
        if whole.a.nonfinite or whole.b.nonfinite:
            norms[-1] += " of what is finite in both"
        first, *rest = flowed(["global norm", *norms], width)
        yield Text.assemble((first[:11], "bold"), first[11:])
        yield from map(Text, rest)
    told = [plural(sum(found.counts.values()), "tensor"), *found.notes]
    hidden = found.counts.get("identical", 0)
    if hidden and not everything and found.verdict != "identical":
        told.insert(1, f"{hidden:,} identical not shown")
    if whole.changed:
        told.insert(1, f"{whole.changed:,} of {plural(whole.a.count, 'value')} changed")
    for side, files in (("A", found.files_a), ("B", found.files_b)):
        name = escape(files[0]) if len(files) == 1 else plural(len(files), "file")
        told.append(f"{side}: {name}")
    yield from (Text(line, "dim") for line in facts(told, width))
