"""A comparison for a person at a terminal: the verdict, then the tensors, the worst first.

Tensors that are identical say nothing and are only counted, unless all are asked for.
"""

from collections.abc import Iterable, Iterator

from rich.table import Table
from rich.text import Text

from gradclip_cli.render.grid import NAME_LEAST, cells, grid, more, page, room_for
from gradclip_cli.render.page import Page
from gradclip_cli.render.words import elided, facts, wrapped
from gradclip_cli.results.columns import Result
from gradclip_cli.results.comparison import Compared, Comparison
from gradclip_cli.results.phrases import ratio
from gradclip_cli.tensors.names import escape, plural

_NAME_ENOUGH = 56  # half a name does not say which layer it is


class ComparisonPage(Page):
    """The verdict, the rows, and what is true of the whole."""

    def end(self, result: Result) -> Iterable[str]:
        """Give the page."""
        assert isinstance(result, Comparison)
        return [page(self.screen, self._parts(result))]

    def _parts(self, found: Comparison) -> Iterator[Text | Table]:
        width, everything = self.screen.width, self.everything
        first, *others = [[*wrapped(line, width)] for line in found.sentences]
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
