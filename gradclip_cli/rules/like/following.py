"""A decision as a framework would have come to it: a recipe a tensor instead of an equation."""

import math
from collections.abc import Hashable, Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.rules.decision import Decision
from gradclip_cli.rules.like.arithmetic import DTYPES, Follow, Framework
from gradclip_cli.rules.like.recipes import norm_dtype
from gradclip_cli.rules.rule import Rule
from gradclip_cli.rules.terms import LIKE, Like, Terms
from gradclip_cli.tensors.dump import Tensor
from gradclip_cli.tensors.names import quoted


def followed(
    rule: Rule,
    terms: Terms,
    like: Like,
    tensors: Sequence[Tensor],
    moments: Sequence[Moments | None],
) -> Decision:
    """Give the edits by which a framework's results come out; a recipe without steps is none.

    Raises `GradclipError` for tensors on which the framework fails, or for which it is not known.
    """
    for tensor in tensors:
        if tensor.dtype.name not in DTYPES:
            raise GradclipError(
                LIKE.flag,
                f"{quoted(tensor.name)} is {tensor.dtype.name}, for which the frameworks' "
                "arithmetic is not known",
                "leave it out with --exclude 'PATTERN'",
            )
    dtypes = sorted({tensor.dtype.name for tensor in tensors})
    framework = Framework(like, norm_dtype(dtypes or ["float32"]))
    norm = None
    if rule.is_joint:
        norm = terms.known_norm
        if norm is None:
            norm = merge(part for part in moments if part is not None).norm
            if like in ("tensorflow", "keras") and len(dtypes) > 1:
                raise GradclipError(
                    LIKE.flag,
                    f"{like} itself fails on the joint norm of {' and '.join(dtypes)}",
                    "clip each dtype by itself with --include, or give the norm with --use-norm",
                )
    known: dict[Hashable, Follow | None] = {}
    edits: list[Follow | None] = []
    for at, (tensor, part) in enumerate(zip(tensors, moments, strict=True)):
        # What is done by a joint norm depends on nothing else of a tensor.
        key = (tensor.dtype.name, tensor.count == 1) if rule.is_joint else at
        if key not in known:
            own = norm if norm is not None else 0.0 if part is None else part.norm
            recipe = rule.recipe(framework, tensor, own)
            shape = None if recipe.rest is None else tensor.fortran_shape
            known[key] = Follow(recipe, shape) if recipe.steps else None
        edits.append(known[key])
    coefficients = [
        None if rule.by == "values" else 1.0 if edit is None else edit.recipe.coefficient
        for edit in edits
    ]
    # A set takes two NaN for one only where they are the same object.
    distinct = {math.nan if one != one else one for one in coefficients}
    one = coefficients[0] if rule.is_joint and len(distinct) == 1 else None
    return Decision(norm, one, tuple(edits), tuple(coefficients))
