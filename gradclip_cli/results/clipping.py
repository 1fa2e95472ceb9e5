"""What clipping came to: from a rule's decision and its outcomes to a report's figures."""

from collections.abc import Mapping, Sequence

from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.results.figures import Clipped, Clipping, Handled, Ruling
from gradclip_cli.rewrite.edits import Scale
from gradclip_cli.rewrite.passes import Outcome
from gradclip_cli.rules.decision import Decision
from gradclip_cli.rules.like.departures import departures
from gradclip_cli.rules.rule import Rule
from gradclip_cli.rules.terms import Terms
from gradclip_cli.tensors.dump import Dump

Parts = Sequence[tuple[Clipped, Moments]]
"""What became of each chosen tensor, and its moments afterwards."""


def clipping(
    dump: Dump,
    rule: Rule,
    terms: Terms,
    decision: Decision,
    moments: Mapping[int, Moments],
    outcomes: Mapping[int, Outcome],
) -> Clipping:
    """Put together what clipping did; indices are the dump's.

    `moments` are those of the tensors that the decision is about, before it, in its order.
    `outcomes` has the tensors that were rewritten, or would be.
    """
    parts = [
        _of(rule, decision, at, before, outcomes, index)
        for at, (index, before) in enumerate(moments.items())
    ]
    changed = [part.clipped for part, _ in parts]
    tensors = dump.tensors
    found = departures(
        rule,
        terms,
        decision,
        [tensors[index] for index in moments],
        [*moments.values()],
        [after for _, after in parts],
        changed,
    )
    return Clipping(
        {index: part for index, (part, _) in zip(moments, parts, strict=True)},
        _of_all(rule, terms, decision, parts, [*moments.values()]),
        Ruling(rule, terms.eps, terms.like, sum(changed), found),
        Handled(
            terms.nonfinite if terms.like is None else "propagate",
            terms.like,
            sum(before.nonfinite for before in moments.values()),
            tuple(tensors[index].name for index, before in moments.items() if before.nonfinite),
            sum(after.nonfinite for _, after in parts),
            sum(before.count for before in moments.values()),
        ),
    )


def _of(
    rule: Rule,
    decision: Decision,
    at: int,
    before: Moments,
    outcomes: Mapping[int, Outcome],
    index: int,
) -> tuple[Clipped, Moments]:
    """Give what became of the tensor at a position, and its moments afterwards."""
    edit, coefficient = decision.edits[at], decision.coefficients[at]
    outcome = outcomes.get(index)
    after = (outcome and outcome.after) or before
    replaced = before.nonfinite if edit is not None and edit.zero_nonfinite else 0
    if isinstance(edit, Scale):
        clipped = coefficient != 1
    else:  # integers that become float64 have other bytes, whatever the rule made of them
        clipped = edit is not None and outcome is not None and outcome.changed
    found = Clipped(
        before.norm,
        rule.norm_limit,
        coefficient,
        clipped,
        norm_after=after.norm,
        flushed=max(after.zeros - before.zeros - replaced, 0),
        saturated=0 if outcome is None else outcome.saturated,
    )
    return found, after


def _of_all(
    rule: Rule,
    terms: Terms,
    decision: Decision,
    parts: Parts,
    before: Sequence[Moments],
) -> Clipped:
    """Give what became of all tensors together, but for those left alone."""
    left = set(decision.left)
    norm, coefficient = decision.norm, decision.coefficient
    if norm is None:
        whole = merge(part for at, part in enumerate(before) if at not in left)
        as_it_is = terms.like or terms.nonfinite == "propagate"
        norm = whole.norm if as_it_is else whole.finite_norm
    changes = [clipped.clipped for clipped, _ in parts]
    kept = (part for at, (_, part) in enumerate(parts) if at not in left)
    return Clipped(
        norm,
        rule.norm_limit,
        coefficient,
        any(changes) if coefficient is None else coefficient != 1,
        norm_after=merge(kept).norm,
        flushed=sum(clipped.flushed for clipped, _ in parts),
        saturated=sum(clipped.saturated for clipped, _ in parts),
    )
