"""What limits would have done, for a person at a terminal: candidates, and the recommended one."""

from collections.abc import Iterable, Iterator

from rich.cells import cell_len
from rich.text import Text

from gradclip_cli.render.grid import aligned, cells, console_of, printed
from gradclip_cli.render.page import Page
from gradclip_cli.render.words import steps, wrapped
from gradclip_cli.results.columns import Result
from gradclip_cli.results.suggestion import CAVEAT, RECOMMENDED, Suggestion
from gradclip_cli.tensors.names import escape, plural


class SuggestionPage(Page):
    """The candidates beside each other, and what they mean in words."""

    def end(self, result: Result) -> Iterable[str]:
        """Give the page."""
        assert isinstance(result, Suggestion)
        return [printed(console_of(self.screen), self._lines(result))]

    def _lines(self, suggestion: Suggestion) -> Iterator[Text]:
        if suggestion.candidates:
            yield from self._grid(suggestion)
            yield Text()
        for paragraph, style in _words(suggestion):
            for line in wrapped(paragraph, self.screen.width):
                yield Text(line, style)

    def _grid(self, suggestion: Suggestion) -> Iterator[Text]:
        columns = cells(self.sheet, suggestion.candidates)
        texts = [[column.title, *column.cells] for column in columns]
        widths = [max(map(cell_len, column)) for column in texts]
        lefts = [column.left for column in columns]
        head, *lines = (
            "  ".join(map(aligned, row, widths, lefts)) for row in zip(*texts, strict=True)
        )
        yield Text(head, "bold")
        yield Text("─" * (sum(widths) + 2 * len(widths) - 2))
        for line, one in zip(lines, suggestion.candidates, strict=True):
            yield Text(line, "bold" if one.is_recommended else "")


def _words(suggestion: Suggestion) -> Iterator[tuple[str, str]]:
    recommended = suggestion.recommended
    if suggestion.excluded:
        left = plural(
            suggestion.excluded, "step without a finite norm is", "steps without a finite norm are"
        )
        yield f"{left} left out; {suggestion.steps:,} remain", "bold red"
    if recommended is None or recommended.limit is None:
        yield "no limit can be recommended: no step has a norm that is finite and above 0", ""
    else:
        yield f"recommended: --clip-norm {recommended.limit!r}", "bold"
        clipped = f"it clips {steps(recommended.clipped)} of the steps"
        if recommended.missed:
            total = recommended.caught + recommended.missed
            clipped += f" and misses {recommended.missed:,} of {total:,} spikes"
        yield f"the {RECOMMENDED}th percentile of the recorded norms; {clipped}", ""
        if recommended.missed:
            yield (
                "norms of an explosion raise the percentiles: for a limit that prevents it give "
                f"only the steps before step {escape(str(suggestion.first_spike))}",
                "",
            )
    harsh = [one.name for one in suggestion.candidates if one.is_aggressive]
    if harsh:
        yield f"extremely aggressive, more than 50 % of the steps clipped: {', '.join(harsh)}", ""
    yield CAVEAT, "dim"
