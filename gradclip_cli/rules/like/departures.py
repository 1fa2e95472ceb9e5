"""Where a framework's answer is not the exact one, beyond the rounding of its dtype."""

import math
from collections.abc import Iterator, Sequence

from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.rules.decision import Decision
from gradclip_cli.rules.like.arithmetic import rounded_norm
from gradclip_cli.rules.like.recipes import norm_dtype
from gradclip_cli.rules.rule import Rule
from gradclip_cli.rules.terms import Terms
from gradclip_cli.tensors.dump import Tensor
from gradclip_cli.tensors.names import plural

# What a few roundings to a dtype can do to a norm.
_ROUNDING = {"float16": 2.0**-9, "bfloat16": 2.0**-6, "float32": 2.0**-21, "float64": 2.0**-50}
# The largest square that a framework's norm can hold; all but torch add squares in the dtype.
_SQUARES = {"float16": 65504.0, "bfloat16": 2.0**128, "float32": 2.0**128, "float64": math.inf}


def departures(
    rule: Rule,
    terms: Terms,
    decision: Decision,
    tensors: Sequence[Tensor],
    before: Sequence[Moments],
    after: Sequence[Moments],
    changed: Sequence[bool],
) -> tuple[str, ...]:
    """Give what is to be said of a framework's answer; nothing of gradclip's own.

    `before` and `after` are the moments of the tensors, `changed` says of each whether any of its
    bytes was.
    """
    if terms.like is None or not tensors:
        return ()
    found = [*_of_norm(terms, decision, tensors, before)] if rule.is_joint else []
    if any((coefficient or 0) < 0 for coefficient in decision.coefficients):
        found.append("signs are turned")
    found += _of_results(rule, tensors, before, after, changed)
    return tuple(found)


def _of_norm(
    terms: Terms, decision: Decision, tensors: Sequence[Tensor], before: Sequence[Moments]
) -> Iterator[str]:
    exact = merge(before).norm
    dtype = norm_dtype(tensor.dtype.name for tensor in tensors)
    norm = rounded_norm(math.nan if decision.norm is None else decision.norm, dtype)
    if not math.isfinite(exact):
        return
    if math.isinf(norm):
        yield f"its norm overflowed to {norm!r}"
    elif not norm and exact:
        yield "its norm underflowed to 0"
    elif abs(norm - exact) > exact * _ROUNDING[dtype]:
        yield f"its norm is not the exact {exact!r}"
    elif terms.known_norm is None and exact > math.sqrt(_SQUARES[dtype]):
        yield f"squares overflow {dtype}: for a norm of inf add --use-norm inf"


def _of_results(
    rule: Rule,
    tensors: Sequence[Tensor],
    before: Sequence[Moments],
    after: Sequence[Moments],
    changed: Sequence[bool],
) -> Iterator[str]:
    dtypes = [tensor.dtype.name for tensor in tensors]
    if rule.limits is not None:
        limit = max(rule.limits, 0.0)
        if rule.is_joint:
            parts = [(merge(before).norm, merge(after).norm, any(changed))]
        else:
            norms = zip(before, after, changed, strict=True)
            parts = [(old.norm, new.norm, any_) for old, new, any_ in norms]
        room = limit * (1 + max(_ROUNDING[dtype] for dtype in dtypes))
        over = sum(new > room for _, new, _ in parts)
        if over:
            of = "" if rule.is_joint else f" of {plural(over, 'tensor')}"
            yield f"the limit is not kept{of}"
        if any(any_ and old <= limit for old, _, any_ in parts):
            yield "values within the limit changed"
    zeros = sum(new.zeros - old.zeros for old, new in zip(before, after, strict=True))
    if zeros > 0:
        yield f"{plural(zeros, 'value')} became 0"
    nan = sum(new.nan - old.nan for old, new in zip(before, after, strict=True))
    if nan > 0:
        yield f"{plural(nan, 'value')} became NaN"
