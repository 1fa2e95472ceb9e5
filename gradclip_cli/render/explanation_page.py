"""How a logged number came about, for a person: what fits, with its arithmetic, best first."""

from collections.abc import Iterable, Iterator

from rich.text import Text

from gradclip_cli.hypotheses.search import Fit
from gradclip_cli.render.grid import page
from gradclip_cli.render.page import Page
from gradclip_cli.render.words import facts, flowed, wrapped
from gradclip_cli.results.columns import Result
from gradclip_cli.results.explanation import Explanation
from gradclip_cli.results.phrases import number
from gradclip_cli.tensors.names import escape, plural

_SHOWN = 5
_INDENT = "  "


class ExplanationPage(Page):
    """The number, the exact norm, each hypothesis that fits, and what was tried."""

    def end(self, result: Result) -> Iterable[str]:
        """Give the page."""
        assert isinstance(result, Explanation)
        return [page(self.screen, self._lines(result))]

    def _lines(self, found: Explanation) -> Iterator[Text]:
        width = self.screen.width
        yield Text.assemble(("logged    ", "bold"), _INDENT, found.logged.text)
        yield Text.assemble(("exact norm", "bold"), _INDENT, repr(found.norm))
        yield Text()
        fits = found.fits if self.everything else found.fits[:_SHOWN]
        for fit in fits:
            yield from _fit(fit, width)
        if left := len(found.fits) - len(fits):
            yield Text(f"… {left:,} more, --all shows them", "dim")
        if fits:
            yield Text()
        style = "" if found.explained else "bold red"
        yield from (Text(line, style) for line in wrapped(found.says, width))
        told = [_tried(found), plural(found.measured, "tensor"), *found.notes]
        if len(found.files) == 1:
            told.append(escape(found.files[0]))
        yield from (Text(line, "dim") for line in facts(told, width))


def _fit(fit: Fit, width: int) -> Iterator[Text]:
    style = "bold" if fit.grade == "likely" else ""
    widest = len("exact norm")
    first, *rest = wrapped(fit.says, width - widest - len(_INDENT))
    yield Text.assemble((fit.grade.ljust(widest), style), _INDENT, (first, style))
    account = fit.account
    shown = f"{account.arithmetic} = {account.value!r}"
    if account.low < account.high:
        shown = f"{account.arithmetic} = {number(account.low, 6)} to {number(account.high, 6)}"
    for line in (*rest, *flowed([shown], width - widest - len(_INDENT))):
        yield Text(" " * (widest + len(_INDENT)) + line)


def _tried(found: Explanation) -> str:
    tried = found.search
    alone = plural(tried.alone, "hypothesis", "hypotheses")
    chance = f"{tried.by_chance:.2g}"
    return f"tried: {alone} alone, {tried.by_twos:,} by twos; {chance} would fit by chance"
