"""What clipping came to: from a rule's decision and its outcomes to a report's figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.results.report import Clipped, Results, Ruling
from gradclip_cli.rewrite.edits import Clamp, Scale, ScaleUnits
from gradclip_cli.rewrite.passes import Outcome
from gradclip_cli.rules.decision import Decision, Rule, Terms
from gradclip_cli.rules.like.departures import departures
from gradclip_cli.tensors.dump import Dump


@dataclass(frozen=True, slots=True)
class Clipping:
    """What `apply` knows beside the measurements; indices are the dump's.

    `chosen` are the tensors that the decision's edits are for. `outcomes` has the tensors that were
    rewritten, and is None where nothing was written.
    """

    rule: Rule
    terms: Terms
    decision: Decision
    chosen: Sequence[int]
    outcomes: Mapping[int, Outcome] | None

    @property
    def clip_norm(self) -> float | None:
        """The limit for a norm, if it is one."""
        return getattr(self.rule, "clip_norm", None)

    def of(self, position: int, before: Moments) -> tuple[Clipped, Moments]:
        """Give what became of the chosen tensor at a position, and its moments afterwards."""
        edit = self.decision.edits[position]
        coefficient = self.decision.coefficients[position]
        outcome = (self.outcomes or {}).get(self.chosen[position])
        after = before if outcome is None else outcome.after
        known = self.outcomes is not None
        zero = isinstance(edit, Scale | Clamp | ScaleUnits) and edit.zero_nonfinite
        replaced = before.nonfinite if zero else 0
        if isinstance(edit, Scale) or not known:
            clipped = edit is not None and coefficient != 1
        else:
            clipped = outcome is not None and outcome.changed
        return (
            Clipped(
                before.norm,
                self.clip_norm,
                coefficient,
                clipped,
                after.norm if known else None,
                max(after.zeros - before.zeros - replaced, 0) if known else None,
                (0 if outcome is None else outcome.saturated) if known else None,
            ),
            after,
        )

    def of_all(
        self, parts: Sequence[tuple[Clipped, Moments]], before: Sequence[Moments]
    ) -> Clipped:
        """Give what became of all chosen tensors together, but for those left alone."""
        left = set(self.decision.left)
        norm = self.decision.norm
        if norm is None:
            whole = merge(part for at, part in enumerate(before) if at not in left)
            as_it_is = self.terms.like or self.terms.nonfinite == "propagate"
            norm = whole.norm if as_it_is else whole.finite_norm
        if self.outcomes is None:
            after = flushed = saturated = None
        else:
            kept = (part for position, (_, part) in enumerate(parts) if position not in left)
            after = merge(kept).norm
            flushed = sum(clipped.flushed or 0 for clipped, _ in parts)
            saturated = sum(clipped.saturated or 0 for clipped, _ in parts)
        coefficient = self.decision.coefficient
        return Clipped(
            norm,
            self.clip_norm,
            coefficient,
            any(clipped.clipped for clipped, _ in parts)
            if coefficient is None
            else coefficient != 1,
            after,
            flushed,
            saturated,
        )

    def results(self, dump: Dump, moments: Mapping[int, Moments]) -> Results:
        """Give what the report says of the clipping."""
        before = [moments[index] for index in self.chosen]
        parts = [self.of(at, part) for at, part in enumerate(before)]
        changed = [part.clipped for part, _ in parts]
        tensors = dump.tensors
        found = departures(
            self.rule,
            self.terms,
            self.decision,
            [tensors[index] for index in self.chosen],
            before,
            None if self.outcomes is None else [after for _, after in parts],
            changed,
        )
        return Results(
            {index: part for index, (part, _) in zip(self.chosen, parts, strict=True)},
            self.of_all(parts, before),
            Ruling(self.rule, self.terms.eps, self.terms.like, sum(changed), found),
        )
