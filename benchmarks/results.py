"""From runs to verdicts: what each bound came to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.files import Size
from benchmarks.rows import Bound, Row
from benchmarks.timing import Comparison, median


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bound, and the medians of both sides."""

    bound: Bound
    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        """How many times the competitor's figure gradclip's is."""
        return self.ours / self.theirs

    @property
    def difference(self) -> float:
        """Seconds or bytes that gradclip takes beyond the competitor."""
        return self.ours - self.theirs

    @property
    def met(self) -> bool:
        """Whether gradclip keeps within the bound.

        >>> Verdict(Bound("time", 1.5), 3.0, 2.0).met, Verdict(Bound("time"), 3.0, 2.0).met
        (True, False)
        """
        return self.ours <= self.bound.limit(self.theirs)


@dataclass(frozen=True, slots=True)
class Result:
    """A row and its runs; no comparison where a command could not be run, and `reason` says why.

    `absent` is a row whose competitor is not there and need not be.
    """

    row: Row
    name: str
    comparison: Comparison | None
    reason: str = ""
    absent: bool = False

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One verdict for each bound, none where nothing could be compared."""
        if self.comparison is None:
            return ()
        return tuple(
            Verdict(
                bound,
                median(self.comparison.ours, bound.quantity),
                median(self.comparison.theirs, bound.quantity),
            )
            for bound in self.row.bounds
        )

    @property
    def met(self) -> bool | None:
        """Whether every bound was measured and kept; None where the competitor is absent."""
        if self.absent:
            return None
        return self.comparison is not None and all(verdict.met for verdict in self.verdicts)


@dataclass(frozen=True, slots=True)
class Results:
    """All rows that were run, and the machine that ran them.

    The bounds hold at full size: small files measure little but how long a process takes to start,
    so they only show whether every row can be run.
    """

    size: Size
    machine: Mapping[str, str]
    results: Sequence[Result]

    @property
    def judged(self) -> bool:
        """Whether the bounds count."""
        return self.size == "full"

    @property
    def good(self) -> bool:
        """Whether every row keeps its bounds, or at small size could be run."""
        return all(
            result.met if self.judged else result.comparison is not None
            for result in self.results
            if not result.absent
        )
