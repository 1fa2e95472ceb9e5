"""What clipping by each of some rules would do: measured, nothing written."""

from collections.abc import Mapping, Sequence

from gradclip_cli.commands.deciding import Aim, refuse_nonfinite
from gradclip_cli.commands.planning import edits_of, unwritten
from gradclip_cli.engine.crew import Crew
from gradclip_cli.errors import GradclipError
from gradclip_cli.measure.moments import Moments
from gradclip_cli.results.clipping import clipping
from gradclip_cli.results.figures import WhatIf
from gradclip_cli.rewrite.outputs import Plan
from gradclip_cli.rewrite.rehearsal import Job, rehearse
from gradclip_cli.rules.decision import Decision
from gradclip_cli.tensors.dump import Dump


def what_if(
    dump: Dump, moments: Mapping[int, Moments], aims: Sequence[Aim], crew: Crew
) -> tuple[WhatIf, ...]:
    """Give what clipping by each rule would do; where it would be refused, nothing is known.

    `moments` are those of the tensors that count.
    """
    tried: dict[int, tuple[Decision, Job]] = {}
    for number, aim in enumerate(aims):
        try:
            refuse_nonfinite(dump, moments, aim.terms)
            decision = aim.decided(dump, moments, crew)
            edits = edits_of(dump, [*moments], decision)
            plan = Plan(edits, aim.terms.norm_type, counts_subnormal=True)
            tried[number] = decision, (plan, unwritten(dump, edits))
        except GradclipError:
            continue
    outcomes = dict(zip(tried, rehearse([job for _, job in tried.values()], crew), strict=True))
    said = []
    for number, aim in enumerate(aims):
        if number not in tried:
            said.append(WhatIf(aim.rule, aim.rule.norm_limit))
            continue
        decision, _ = tried[number]
        found = outcomes[number]
        came_to = clipping(dump, aim.rule, aim.terms, decision, aim.unscaled(moments), found)
        whole = came_to.together
        said.append(
            WhatIf(
                aim.rule,
                whole.clip_norm,
                whole.coefficient,
                whole.norm_after,
                whole.flushed,
                sum(outcome.subnormal for outcome in found.values()),
                whole.saturated,
                came_to.ruling.changed,
            )
        )
    return tuple(said)
