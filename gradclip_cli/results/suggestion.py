"""What limits would have done to the recorded norms: candidates beside each other.

All of it is arithmetic on what was recorded; a run that had been clipped otherwise would have gone
another way.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gradclip_cli.errors import Status
from gradclip_cli.results.columns import Column, Result, Sheet
from gradclip_cli.results.gates import Gate, status
from gradclip_cli.results.guides import Risen, healthy, risen
from gradclip_cli.results.phrases import those
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.limits import autoclip, by_limit, zclip
from gradclip_cli.series.ranges import FEW
from gradclip_cli.series.spikes import percentile
from gradclip_cli.tensors.names import escape, plural

PERCENTILES = (50, 75, 90, 95, 99)
RECOMMENDED = 90  # Deep Learning Tuning Playbook (Godbole et al. 2023): begin there
AGGRESSIVE = 0.5  # the same: more than half of the steps clipped is extremely aggressive
FIXED = (1.0, 5.0)
REASON = (
    f"why the {RECOMMENDED}th: some nine of ten such steps stay as they are; there the "
    "Deep Learning Tuning Playbook (Google) says to begin"
)
CAVEAT = (
    "these norms were recorded under the run's own clipping and learning rate; with another limit "
    "it would have taken another path"
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to clip, and what it would have done to the finite steps.

    `limit` is None where it changes from step to step. `clipped` and `clipped_last` are shares of
    the steps, of all and of their last tenth. A spike is caught if it is brought down to where a
    spike begins.
    """

    name: str
    limit: float | None
    clipped: float
    clipped_last: float
    mean_coefficient: float
    worst_coefficient: float
    caught: int
    missed: int
    is_recommended: bool = False

    @property
    def is_aggressive(self) -> bool:
        """Whether more than half of the steps are clipped."""
        return self.clipped > AGGRESSIVE


COLUMNS = (
    Column("name", "name", "the way to clip", title="candidate", left=True),
    Column(
        "limit",
        "limit",
        "the limit, where it is the same in each step",
        title="limit",
        words="number",
    ),
    Column(
        "clipped",
        "clipped",
        "share of the steps that it would have clipped",
        title="clipped",
        words="steps",
    ),
    Column(
        "clipped_last",
        "clipped_last",
        "the same of the last tenth",
        title="last tenth",
        words="steps",
        rank=2,
    ),
    Column(
        "mean_coefficient",
        "mean_coefficient",
        "mean over the steps",
        title="mean",
        words="three",
        rank=3,
    ),
    Column(
        "worst_coefficient",
        "worst_coefficient",
        "the smallest of them",
        title="worst",
        words="number",
        rank=4,
    ),
    Column(
        "caught",
        "caught",
        "number of spikes brought down to where a spike begins",
        title="caught",
        words="count",
        rank=1,
    ),
    Column("missed", "missed", "number of the others", title="missed", words="count"),
    Column("aggressive", "is_aggressive", "whether more than half of the steps are clipped"),
    Column("recommended", "is_recommended", "whether it is the one that is recommended"),
)
SHEET = Sheet("suggestion", COLUMNS, "candidate", {"candidate": "candidates"}, last="suggestion")


@dataclass(frozen=True, slots=True)
class Suggestion(Result):
    """What was tried, and the limit that is recommended; None where no step gives one.

    `steps` have a finite norm, `excluded` are left out: of these `unreadable` could not be read,
    the others have none. `percentiles` are of the norms of `used` of the steps: those before the
    step `until`, the first that is a spike or reaches a higher level, and from the step `since` on,
    the last that reached a lower one; all of them where there is neither. Limits are given in three
    digits. `risen` says since when few tensors, and with them the norm, are larger for good.
    """

    steps: int
    excluded: int
    percentiles: tuple[tuple[int, float], ...]
    candidates: tuple[Candidate, ...]
    recommended: float | None
    used: int = 0
    until: int | str | None = None
    since: int | str | None = None
    unreadable: int = 0
    risen: Risen | None = None
    gates: tuple[Gate, ...] = ()

    @property
    def best(self) -> Candidate | None:
        """The candidate that is recommended."""
        return next((one for one in self.candidates if one.is_recommended), None)

    @property
    def finite(self) -> bool:
        """Whether each step was read and its norm is finite."""
        return not self.excluded

    @property
    def verdict(self) -> str:
        """What is recommended, and by which steps."""
        if self.recommended is None:
            return "no limit can be recommended: no step has a norm that is finite and above 0"
        return (
            f"recommended: --clip-norm {self.recommended:g}, the {RECOMMENDED}th percentile of the "
            f"norms of {self.basis}"
        )

    @property
    def says(self) -> str:
        """The verdict, how many steps were left out, and which gates failed."""
        left = [self.left_out] if self.excluded else []
        return "; ".join([self.verdict, *left, *(one.says for one in self.gates if one.status)])

    @property
    def status(self) -> Status:
        """The status with which the command ends; what cannot be read or judged is trouble."""
        return Status.TROUBLE if self.unreadable else status(self.gates)

    @property
    def left_out(self) -> str:
        """How many steps were left out, and why."""
        kinds = {
            "without a finite norm": self.excluded - self.unreadable,
            "that cannot be read": self.unreadable,
        }
        why = [f"{count:,} {what}" for what, count in kinds.items() if count]
        return f"{plural(self.excluded, 'step')} left out: {', '.join(why)}; {self.steps:,} remain"

    @property
    def warning(self) -> str:
        """What speaks against a limit; empty where nothing does."""
        if self.risen is None:
            return ""
        one = len(self.risen.tensors) == 1
        first = f"{those(self.risen.tensors)} left {'its range' if one else 'their ranges'} first"
        of = "one tensor is a reason to look at that tensor"
        if not one:
            of = "few tensors is a reason to look at these"
        return (
            f"from step {escape(str(self.risen.step.step))} on the global norm is higher for good, "
            f"and {first}: a lasting rise of {of}, not to clip all"
        )

    @property
    def basis(self) -> str:
        """The steps by which it is recommended, in words."""
        if self.until is None and self.since is None:
            said = "all steps" if self.used > 1 else "the one step"
        else:
            said = f"the {plural(self.used, 'step')}"
            if self.since is not None:
                said += f" from step {escape(str(self.since))} on"
            if self.until is not None:
                said += f" before step {escape(str(self.until))}, the first that "
                risen = self.risen
                is_hidden = risen is not None and risen.hidden and risen.step.step == self.until
                said += "stays higher" if is_hidden else "explodes"
        return said if self.used >= FEW else f"{said}, few steps"

    @property
    def origin(self) -> str:
        """What was read."""
        return f"{plural(self.steps, 'step')} with a finite norm, {self.excluded:,} left out"

    __repr__ = Result.__repr__

    # Laid out

    @property
    def sheet(self) -> Sheet:
        """How it is laid out."""
        return SHEET

    def told(self) -> Iterator[tuple[str, Any]]:
        """Give each row with its kind."""
        for percent, limit in self.percentiles:
            yield "percentile", {"name": str(percent), "limit": limit}
        for one in self.candidates:
            yield "candidate", one

    def summary(self) -> Mapping[str, Any]:
        """Give what JSON says of the whole."""
        return {
            "steps": self.steps,
            "excluded": self.excluded,
            "recommended": self.recommended,
            "used": self.used,
            "until": self.until,
            "since": self.since,
            "unreadable": self.unreadable,
            "notes": [*filter(None, [self.warning]), CAVEAT],
        }

    def beside(self) -> Mapping[str, Any]:
        """Give the percentiles, which are no rows of JSON."""
        return {"percentiles": {str(percent): limit for percent, limit in self.percentiles}}


def suggest(trend: Trend) -> Suggestion:
    """Try limits on the norms of a run; what has no finite norm is counted, not used."""
    steps = [step for step in trend.steps if math.isfinite(step.global_norm)]
    unreadable = len(trend.unreadable)
    excluded = len(trend.steps) - len(steps) + unreadable
    rise = risen(trend)
    nothing = Suggestion(
        *(0, excluded, (), (), None), unreadable=unreadable, risen=rise, gates=trend.gates
    )
    if not steps:
        return nothing
    norms = [step.global_norm for step in steps]
    guide = healthy(trend, steps)
    ordered = sorted(norms[guide.start : guide.stop])
    percentiles = tuple((percent, percentile(ordered, percent)) for percent in PERCENTILES)
    ends = [step.threshold if step.mark == "spike" else None for step in steps]

    def tried(name: str, limit: float | None, coefficients: list[float]) -> Candidate:
        last = coefficients[-math.ceil(len(norms) / 10) :]
        brought = [
            norm * coefficient <= end
            for norm, coefficient, end in zip(norms, coefficients, ends, strict=True)
            if end is not None
        ]
        return Candidate(
            name,
            limit,
            sum(coefficient < 1 for coefficient in coefficients) / len(norms),
            sum(coefficient < 1 for coefficient in last) / len(last),
            math.fsum(coefficients) / len(norms),
            min(coefficients),
            caught=sum(brought),
            missed=len(brought) - sum(brought),
            is_recommended=name == f"percentile {RECOMMENDED}",
        )

    fixed = [(f"percentile {percent}", float(f"{limit:.3g}")) for percent, limit in percentiles]
    fixed += [(f"fixed {limit!r}", limit) for limit in FIXED]
    candidates = [tried(name, limit, by_limit(norms, limit)) for name, limit in fixed if limit > 0]
    candidates.append(tried("AutoClip", None, autoclip(norms)))
    candidates.append(tried("ZClip", None, zclip(norms)))
    skipped = [0.0 if end is not None else 1.0 for end in ends]
    candidates.append(tried("skip spikes", None, skipped))
    recommended = next((one.limit for one in candidates if one.is_recommended), None)
    since, until = (
        steps[at].step if 0 < at < len(steps) else None for at in (guide.start, guide.stop)
    )
    return dataclasses.replace(
        nothing,
        steps=len(steps),
        percentiles=percentiles,
        candidates=tuple(candidates),
        recommended=recommended,
        used=len(guide),
        until=until,
        since=since,
    )
