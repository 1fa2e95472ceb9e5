"""What clipping to each of some limits would do: measured, nothing written."""

from collections.abc import Mapping, Sequence

from gradclip_cli.commands.deciding import decided
from gradclip_cli.engine.crew import Crew
from gradclip_cli.errors import GradclipError
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.results.figures import WhatIf
from gradclip_cli.rewrite.edits import Scale
from gradclip_cli.rewrite.rehearsal import rehearse
from gradclip_cli.rules.rule import Rule
from gradclip_cli.rules.terms import Terms
from gradclip_cli.tensors.dtypes import FLOAT64
from gradclip_cli.tensors.dump import Dump
from gradclip_cli.tensors.gradients import holds_only_integers

Chance = tuple[Rule, Terms]


def what_if(
    dump: Dump, moments: Mapping[int, Moments], chances: Sequence[Chance], crew: Crew
) -> tuple[WhatIf, ...]:
    """Give what clipping to each limit would do; where it would be refused, nothing is known.

    `moments` are those of the tensors that count. All chances are of one type of norm.
    """
    coefficients: list[float | None] = []
    for rule, terms in chances:
        try:
            coefficients.append(decided(rule, terms, dump, moments).coefficient)
        except GradclipError:
            coefficients.append(None)
    edits = [Scale(one) for one in coefficients if one is not None and one != 1]
    dtype = FLOAT64 if holds_only_integers(dump) else None
    p = chances[0][1].norm_type
    tried = iter(rehearse(dump.tensors, [*moments], edits, dtype, crew, p) if edits else ())
    norm = merge(moments.values()).norm
    said = []
    for (rule, _), coefficient in zip(chances, coefficients, strict=True):
        limit = rule.limits or 0.0
        if coefficient is None:
            said.append(WhatIf(limit))
        elif coefficient == 1:
            said.append(WhatIf(limit, 1.0, norm, 0, 0, 0))
        else:
            one = next(tried)
            counts = one.flushed, one.subnormal, one.saturated
            said.append(WhatIf(limit, coefficient, one.after.norm, *counts))
    return tuple(said)
