"""What a user says of tensors of one name in several files: how they are put together."""

import fnmatch
from collections.abc import Collection, Iterable

from gradclip_cli.errors import GradclipError
from gradclip_cli.frozen import frozen
from gradclip_cli.tensors.names import quoted

WAYS = ("pieces", "copies", "sum", "mean")


@frozen
class Ways:
    """What tensors of one name are to each other: by patterns of names, of which the last wins.

    `else_` is said of all others where the files do not tell: partial sums never do, and of them
    equal ones are added, too.
    """

    said: tuple[tuple[str, str], ...] = ()
    else_: str = ""

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Ways":
        """Read texts of the form `[GLOB=]WAY`; raises `GradclipError` for others.

        >>> Ways.of(["pieces", "*.bias=copies"])
        Ways(said=(('*.bias', 'copies'),), else_='pieces')
        """
        said: list[tuple[str, str]] = []
        else_ = ""
        for text in texts:
            glob, equals, way = text.rpartition("=")
            if way not in WAYS or (equals and not glob):
                raise GradclipError(
                    "--combine",
                    f"{quoted(way)} is not one of {', '.join(map(repr, WAYS))}"
                    if glob or not equals
                    else "the pattern of names is empty",
                    "give one, or with a pattern of names: 'layers.*=pieces'",
                )
            if glob:
                said.append((glob, way))
            elif way in ("sum", "mean"):
                said.insert(0, ("*", way))
            else:
                else_ = way
        return cls((*said,), else_)

    def way(self, name: str) -> str:
        """Give the way that is said for a name by a pattern; nothing if none is."""
        fitting = (way for glob, way in reversed(self.said) if fnmatch.fnmatchcase(name, glob))
        return next(fitting, "")

    def idle(self, combined: Collection[str]) -> list[str]:
        """Say that nothing was put together where a way was said of all names."""
        is_of_all = self.else_ or any(glob == "*" for glob, _ in self.said)
        if combined or not is_of_all:
            return []
        return ["no name stands in several files, so that --combine has put nothing together"]

    def unmatched(self, names: Iterable[str | None]) -> tuple[tuple[str, str], ...]:
        """Give the patterns that match no name, with what was said of them.

        >>> Ways.of(["a=sum", "b.*=copies"]).unmatched(["a", "c"])
        (('b.*', 'copies'),)
        """
        found = [*names] if self.said else []
        return tuple(
            (glob, way)
            for glob, way in self.said
            if not any(fnmatch.fnmatchcase(name or "", glob) for name in found)
        )
