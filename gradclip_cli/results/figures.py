"""What a report of clipping says in figures: of a tensor, of all, of a limit only asked about."""

import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gradclip_cli.frozen import frozen
from gradclip_cli.results.columns import Column, Value
from gradclip_cli.tensors.names import plural

if TYPE_CHECKING:
    from gradclip_cli.rules.rule import Rule
    from gradclip_cli.rules.terms import Like, Nonfinite

CLIPPED = (
    Column(
        "norm_before",
        "clipped.norm_before",
        "norm before clipping",
        title="norm before",
        words="number",
    ),
    Column("clip_norm", "clipped.clip_norm", "the limit, where it is one for a norm"),
    Column(
        "coefficient",
        "clipped.coefficient",
        "what values were multiplied by; empty where there is not one for all",
        title="coefficient",
        words="ratio",
        rank=1,
    ),
    Column(
        "clipped",
        "clipped.clipped",
        "whether its coefficient is not 1; without one for all, whether a value changed",
    ),
    Column(
        "norm_after",
        "clipped.norm_after",
        "norm after, measured from what was written",
        title="norm after",
        words="number",
    ),
    Column("flushed", "clipped.flushed", "number of values that became zero"),
    Column("saturated", "clipped.saturated", "number cut to the largest that the dtype holds"),
)
SUBNORMAL = Column("subnormal", "", "number of values that would lose digits")


_NAMES = tuple(column.name for column in CLIPPED)


@frozen
class Clipped:
    """What clipping did to a tensor, or to all of them together.

    `clip_norm` is None of a rule that limits no norm, `coefficient` where there is not one for all
    values. `norm_after` is measured from what was written, or in a dry run would be. `flushed`
    counts values that became zero, `saturated` those cut to the largest that the dtype holds.
    """

    norm_before: float
    clip_norm: float | None
    coefficient: float | None
    clipped: bool
    norm_after: float
    flushed: int
    saturated: int

    def values(self) -> dict[str, Value]:
        """Give it by column."""
        return dict(zip(_NAMES, operator.attrgetter(*_NAMES)(self), strict=True))


# What JSON said of rules first stands first; what other rules say comes after it.
_FIRST_KEYS = ("per_group", "low", "high", "clip_rms", "axes", "agc", "agc_layout")


@frozen
class Ruling:
    """By which rule a dump was clipped, and how many tensors it clipped.

    `eps` was added to norms, `like` is the framework whose arithmetic was asked for; `departures`
    say where its answer is not the exact one.
    """

    rule: "Rule"
    eps: float
    like: "Like | None"
    changed: int
    departures: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """Give what a report says of the rule, under keys that only JSON has."""
        from gradclip_cli.rules.registry import rules

        keys = dict.fromkeys((*_FIRST_KEYS, *(key for rule in rules() for key in rule.keys)))
        return {
            "rule": self.rule.word,
            **(keys | self.rule.says()),
            "eps": self.eps,
            "like": self.like,
            "changed": self.changed,
            "departures": self.departures,
        }


@frozen
class Handled:
    """What became of the values that are not finite: `found` of them, by a policy.

    They are in `tensors`, names in the order of the dump. Of all `count` values `after` are not
    finite afterwards, measured from what was written. `like` is the framework that they were left
    to.
    """

    policy: "Nonfinite"
    like: "Like | None"
    found: int
    tensors: tuple[str | None, ...]
    after: int
    count: int

    def says(self, would_be: bool = False) -> str:
        """Say what was done to them, or in a dry run would be."""
        be = "would be " if would_be else ""
        tensors = plural(len(self.tensors), "tensor")
        these = f"{plural(self.found, 'value')} in {tensors}"
        if self.like is not None:
            return f"{these} {be}left to {self.like}"
        if self.policy == "skip":
            one = len(self.tensors) == 1
            be = be or ("is " if one else "are ")
            return f"{these}, which {be}left as {'it is' if one else 'they are'}"
        return f"{these} {be}{'set to 0' if self.policy == 'zero' else 'passed on'}"

    @property
    def afterwards(self) -> str:
        """How many values are not finite then, where it is another number than they were."""
        if self.after == self.found or self.policy == "zero":
            return ""
        return f"; afterwards {self.after:,} of {plural(self.count, 'value')}"

    def values(self) -> dict[str, Any]:
        """Give what JSON says of it."""
        return {
            "nonfinite_policy": self.policy,
            "nonfinite_tensors": len(self.tensors),
            "nonfinite_after": self.after,
        }


@frozen
class WhatIf:
    """What clipping by a rule would do; None throughout where it would be refused.

    The numbers are those that `apply` would report; `subnormal` values would have fewer digits than
    others of their dtype, and have not now. `clip_norm` is None of a rule that limits no norm,
    `changed` the number of tensors that it would change.
    """

    rule: "Rule"
    clip_norm: float | None
    coefficient: float | None = None
    norm_after: float | None = None
    flushed: int | None = None
    subnormal: int | None = None
    saturated: int | None = None
    changed: int | None = None

    def values(self) -> dict[str, Any]:
        """Give it by column; of a rule for other than the global norm also which that is."""
        names = ("clip_norm", "coefficient", "norm_after", "flushed", SUBNORMAL.name, "saturated")
        found = {name: getattr(self, name) for name in names}
        if not self.rule.told:
            return found
        name = f"{self.rule.told}: {self.rule.bound}"
        said = {"name": name, "rule": self.rule.word, **self.rule.says()}
        return {**said, **found, "changed": self.changed}


@frozen
class Written:
    """Where results went, or in a `dry_run` would go.

    `paths` are the files as they were named, in place only those that changed of `files` in all;
    `-` is a stream. None are known where a dry run was told of no place. `folder` is the one that
    `-o` named, `backups` are the originals that were kept, in the order of `paths`.
    """

    paths: tuple[str, ...] | None
    files: int
    in_place: bool = False
    dry_run: bool = False
    folder: str = ""
    backups: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """Give what JSON says of it."""
        return {"outputs": self.paths, "backups": self.backups, "dry_run": self.dry_run}


@frozen
class Clipping:
    """What clipping did to each tensor, by the dump's index, and to all, and by which rule.

    `handled` says what became of values that are not finite.
    """

    tensors: Mapping[int, Clipped]
    together: Clipped
    ruling: Ruling
    handled: Handled
