"""What limits would have done, for a person at a terminal: candidates, and the recommended one."""

from collections.abc import Iterable, Iterator

from rich.text import Text

from gradclip_cli.render.grid import cells, grid, page
from gradclip_cli.render.page import Page
from gradclip_cli.render.words import wrapped
from gradclip_cli.results.columns import Result
from gradclip_cli.results.phrases import steps
from gradclip_cli.results.suggestion import CAVEAT, REASON, RECOMMENDED, Suggestion


class SuggestionPage(Page):
    """The candidates beside each other, and what they mean in words."""

    def end(self, result: Result) -> Iterable[str]:
        """Give the page."""
        assert isinstance(result, Suggestion)
        return [page(self.screen, self._lines(result))]

    def _lines(self, suggestion: Suggestion) -> Iterator[Text]:
        if suggestion.candidates:
            name, *columns = cells(self.sheet, suggestion.candidates)
            styles = ["bold" if one.is_recommended else "" for one in suggestion.candidates]
            made = grid(name.title, name.cells, columns, styles, self.screen.width)
            yield from made.lines(len(name.cells))
            yield Text()
        for paragraph, style in _words(suggestion):
            for line in wrapped(paragraph, self.screen.width):
                yield Text(line, style)


def _words(suggestion: Suggestion) -> Iterator[tuple[str, str]]:
    best = suggestion.best
    if suggestion.excluded:
        yield suggestion.left_out, "bold red"
    if suggestion.warning:
        yield suggestion.warning, "bold red"
    if best is None:
        yield suggestion.verdict, ""
    else:
        yield f"recommended: --clip-norm {suggestion.recommended:g}", "bold"
        clipped = f"it clips {steps(best.clipped)} of all steps"
        if best.missed:
            total = best.caught + best.missed
            clipped += f" and misses {best.missed:,} of {total:,} spikes"
        yield f"the {RECOMMENDED}th percentile of the norms of {suggestion.basis}; {clipped}", ""
        yield REASON, ""
    harsh = [one.name for one in suggestion.candidates if one.is_aggressive]
    if harsh:
        yield f"extremely aggressive, more than 50 % of the steps clipped: {', '.join(harsh)}", ""
    if suggestion.candidates:
        yield from ((said, "dim") for said in _LEGEND)
    yield CAVEAT, "dim"


_LEGEND = (
    "clipped: of all steps, and of their last tenth; mean and worst: what norms are multiplied by; "
    "caught: spikes that it brings down to where a spike begins",
    "AutoClip: the 10th percentile of all norms so far; ZClip: what stands out from the moving "
    "average is scaled back, after 25 steps; skip spikes: such steps are left out",
)
