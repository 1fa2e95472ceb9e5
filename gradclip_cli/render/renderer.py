"""What an output format is: a class that serialises a result, piece by piece."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from gradclip_cli.render.batches import batches
from gradclip_cli.results.columns import Result, Sheet


class Renderer:
    """Gives a result's text: what `begin`, each `row` in turn and `end` give, in that order.

    Where rows are told as they become known, each is given as soon as it is; a format that needs
    all of them waits for `end`, which has the whole result. What a format has nothing to say to,
    it leaves to this class. `sheet` says how the result is laid out, `stream` where it goes, None
    for a file; with `everything` no row is left out, whatever the room.
    """

    def __init__(self, sheet: Sheet, stream: BinaryIO | None, everything: bool) -> None:
        self.sheet = sheet
        self.stream = stream
        self.everything = everything

    def begin(self, labels: Sequence[int | str] = ()) -> str:
        """Give what comes first; `labels` are those of the rows, where they are known before."""
        return ""

    def row(self, kind: str, row: Any) -> str:
        """Give a row of a kind."""
        return ""

    def rows(self, kind: str, rows: Sequence[Any]) -> str:
        """Give some rows of a kind; what can write them faster together says so here."""
        return "".join([self.row(kind, row) for row in rows])

    def end(self, result: Result) -> Iterable[str]:
        """Give what comes last, in pieces."""
        return ()


def pieces(result: Result, renderer: Renderer) -> Iterator[str]:
    """Give a result's text in pieces of a thousand rows: as a whole it would be long to copy."""
    yield renderer.begin(result.labels())
    for kind, rows in batches(result.told()):
        yield renderer.rows(kind, rows)
    yield from renderer.end(result)
