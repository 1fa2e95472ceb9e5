"""What Rich and `print` show of a result: the table that a terminal gets."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions
from rich.text import Text

from gradclip_cli.render.renderer import pieces
from gradclip_cli.render.screen import NARROWEST, Screen
from gradclip_cli.render.table import table
from gradclip_cli.results.columns import Result

_USUAL = Screen(80, 24)


class Shown:
    """A result that Rich can print."""

    def __init__(self, result: Result) -> None:
        self._result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Give the page, as wide as the console, or as the narrowest terminal there is."""
        page = table(self._result.sheet, None, everything=True)
        colour = console.is_terminal and not console.no_color
        page.screen = Screen(max(options.max_width, NARROWEST), None, colour)
        yield Text.from_ansi("".join(pieces(self._result, page)).rstrip("\n"))


def text(result: Result) -> str:
    """Give a result as a terminal of the usual size shows it."""
    page = table(result.sheet, None, everything=False)
    page.screen = _USUAL
    return "".join(pieces(result, page)).rstrip("\n")
