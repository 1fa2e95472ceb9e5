"""Which way of counting gives the number that a trainer logged."""

from collections.abc import Iterator, Mapping
from typing import Any

from gradclip_cli.errors import Status
from gradclip_cli.frozen import frozen
from gradclip_cli.hypotheses.logged import Logged
from gradclip_cli.hypotheses.search import Fit, Search
from gradclip_cli.results.columns import Column, Result, Sheet
from gradclip_cli.tensors.names import escape, plural

COLUMNS = (
    Column("hypothesis", "says", "what the trainer may have done", words="text"),
    Column("grade", "grade", "`likely`, or `possible` where others fit by chance as well"),
    Column("gives", "account.value", "the number that comes of it"),
    Column("low", "account.low", "the least that it can be, where it is known only within bounds"),
    Column("high", "account.high", "the most that it can be"),
    Column("arithmetic", "account.arithmetic", "how that comes about"),
    Column("by_chance", "by_chance", "how many as simple or simpler would fit by chance"),
    Column("hypotheses", "hypotheses", "the names of the one or two hypotheses"),
    Column("sources", "sources", "where somebody met them"),
)
SHEET = Sheet("explanation", COLUMNS, "hypothesis", {"hypothesis": "fits"}, last="explanation")


@frozen
class Explanation(Result):
    """A logged number, the exact norm, and the hypotheses that lead from one to the other.

    `search` has what was tried and what fits. `measured` tensors of `total` count, and `unread`
    could not be decoded.
    """

    logged: Logged
    norm: float
    search: Search
    measured: int
    total: int
    count: int
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()
    unread: tuple[str | None, ...] = ()

    @property
    def fits(self) -> tuple[Fit, ...]:
        """What gives the logged number, best first."""
        return self.search.fits

    @property
    def best(self) -> tuple[Fit, ...]:
        """Those that are likely, else all."""
        fits = self.fits
        return tuple(fit for fit in fits if fit.grade == "likely") or fits

    @property
    def explained(self) -> bool:
        """Whether a hypothesis gives the number that would hardly do so by chance."""
        return any(fit.grade == "likely" for fit in self.fits)

    @property
    def finite(self) -> bool:
        """Whether all gradients were read and their norm is finite."""
        return abs(self.norm) < float("inf") and not self.unread

    @property
    def says(self) -> str:
        """The best explanation, or that there is none."""
        logged, best = self.logged.text, self.best
        tried = plural(self.search.alone + self.search.by_twos, "hypothesis", "hypotheses")
        if not best:
            return f"{logged} is not explained: none of {tried} gives it"
        further = f", or {len(best) - 1:,} more" if len(best) > 1 else ""
        if self.explained:
            return f"{logged} is explained: {best[0].says}{further}"
        chance = f"{best[0].by_chance:.1g} would fit by chance: more digits would tell"
        return f"{logged} is not explained for sure; perhaps {best[0].says}{further}; {chance}"

    @property
    def status(self) -> Status:
        """The status with which the command ends."""
        return Status.OK if self.explained else Status.VERDICT

    @property
    def origin(self) -> str:
        """What was read."""
        files = escape(self.files[0]) if len(self.files) == 1 else plural(len(self.files), "file")
        return f"{plural(self.measured, 'tensor')}, {plural(self.count, 'value')}, from {files}"

    __repr__ = Result.__repr__

    @property
    def sheet(self) -> Sheet:
        """How it is laid out."""
        return SHEET

    def told(self) -> Iterator[tuple[str, Fit]]:
        """Give each row with its kind."""
        return (("hypothesis", fit) for fit in self.fits)

    def summary(self) -> Mapping[str, Any]:
        """Give what JSON says of the whole."""
        return {
            "explained": self.explained,
            "logged": self.logged.text,
            "logged_low": self.logged.low,
            "logged_high": self.logged.high,
            "global_norm": self.norm,
            "tried_alone": self.search.alone,
            "tried_by_twos": self.search.by_twos,
            "by_chance": self.search.by_chance,
            "measured": self.measured,
            "total": self.total,
            "count": self.count,
            "files": self.files,
            "notes": self.notes,
        }
