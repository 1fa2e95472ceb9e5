"""From the measurements of a dump to one edit a tensor, by a rule. Pure; nothing is opened here.

Every rule goes the same way: a norm for each of its cells, its equation, a coefficient for each,
which become edits. With a framework named, its recipe takes the equation's place.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gradclip_cli.errors import RefusedError
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.rewrite.edits import Edit, Scale, ScaleUnits
from gradclip_cli.rules.rule import Rule, coefficient_error
from gradclip_cli.rules.terms import Terms
from gradclip_cli.tensors.codecs import Floats
from gradclip_cli.tensors.dump import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The norms of a tensor's units over some axes, and of its parameter's where the rule asks."""

    axes: tuple[int, ...]
    norms: Floats
    parameter_norms: Floats | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rule decided: the norm that it went by, the coefficient, and an edit a tensor.

    `norm` and `coefficient` are None where there is not one for all; `coefficients` are each
    tensor's, None where it has not one for all its values. An edit of None leaves the tensor as it
    is, byte for byte. `left` are the positions of tensors that the norm does not count because the
    policy is to leave them alone.
    """

    norm: float | None
    coefficient: float | None
    edits: tuple[Edit | None, ...]
    coefficients: tuple[float | None, ...]
    left: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The tensors that a rule is about, and what the policy makes of each.

    The values of those that are `zeroed` become 0 where they are not finite; those that are `left`
    stay as they are.
    """

    tensors: Sequence[Tensor]
    moments: Sequence[Moments | None]
    zeroed: Sequence[bool]
    left: set[int]


def decide(
    rule: Rule,
    terms: Terms,
    tensors: Sequence[Tensor],
    moments: Sequence[Moments | None],
    units: Sequence[Units] = (),
) -> Decision:
    """Give a rule's decision about tensors from their moments, in the same order.

    Where the rule has units, `units` are those of each tensor. Only for a joint norm that is known,
    and for a rule by values, may moments be None, not measured. Raises `RefusedError` for a norm
    beyond float64, and for non-finite values unless the policy says what to do with them;
    `GradclipError` where the rule cannot be applied to a tensor.
    """
    bad = [part is not None and part.nonfinite > 0 for part in moments]
    if any(bad) and terms.nonfinite == "refuse":
        raise RefusedError("", "the gradients hold values that are not finite")
    chosen = _Chosen(
        tensors,
        moments,
        [
            terms.nonfinite == "zero" and (is_bad or part is None)
            for part, is_bad in zip(moments, bad, strict=True)
        ],
        {at for at, is_bad in enumerate(bad) if is_bad and terms.nonfinite == "skip"},
    )
    match rule.by:
        case "cells":
            return _by_cells(rule, terms, chosen)
        case "units":
            return _by_units(rule, terms, chosen, units)
        case "values":
            parts = zip(tensors, moments, chosen.zeroed, strict=True)
            return _each([rule.edit(*part) for part in parts], chosen)


def _by_cells(rule: Rule, terms: Terms, chosen: _Chosen) -> Decision:
    """Give the decision of a rule whose cells are whole tensors."""
    cells = rule.cells(chosen.tensors)
    members: dict[Hashable, list[Moments]] = {cell: [] for cell in cells}
    called: dict[Hashable, Tensor] = {}
    for at, (cell, part) in enumerate(zip(cells, chosen.moments, strict=True)):
        called.setdefault(cell, chosen.tensors[at])
        if part is not None and at not in chosen.left:
            members[cell].append(part)
    if rule.is_joint:  # also of no tensors at all
        members = members or {None: []}
    whole = [merge(parts) for parts in members.values()]
    if rule.is_joint and terms.known_norm is not None:
        norms = [terms.known_norm]
    else:
        norms = [
            _norm(part, terms, rule, cell, called)
            for cell, part in zip(members, whole, strict=True)
        ]
    found = _checked(
        rule, norms, rule.coefficients(norms, [part.count for part in whole], terms.eps)
    )
    of_cell = dict(zip(members, found, strict=True))
    coefficients = [of_cell[cell] for cell in cells]
    norm, one = (norms[0], found[0]) if rule.is_joint else (None, None)
    return Decision(norm, one, *_scaled(coefficients, chosen))


def _norm(
    moments: Moments, terms: Terms, rule: Rule, cell: Hashable, called: dict[Hashable, Tensor]
) -> float:
    """Give the norm that the policy goes by."""
    if math.isinf(moments.finite_norm):
        raise RefusedError(
            "",
            f"{rule.called(cell, called[cell])} is beyond float64 (1.8e308); nothing was written",
            "clip the larger tensors alone first: --include 'PATTERN'",
        )
    return moments.norm if terms.nonfinite == "propagate" else moments.finite_norm


def _scaled(
    coefficients: Sequence[float], chosen: _Chosen
) -> tuple[tuple[Edit | None, ...], tuple[float, ...], tuple[int, ...]]:
    """Give the edits, the coefficients and what is left alone, as a `Decision` has them."""
    known: dict[Hashable, Scale] = {}  # 100,000 tensors share one edit, which compares at once
    edits: list[Edit | None] = [
        None if key == (1.0, False) else known.setdefault(key, Scale(*key))
        for key in zip(coefficients, chosen.zeroed, strict=True)
    ]
    each = list(coefficients)
    for at in chosen.left:
        edits[at], each[at] = None, 1.0
    return tuple(edits), tuple(each), tuple(sorted(chosen.left))


def _by_units(rule: Rule, terms: Terms, chosen: _Chosen, units: Sequence[Units]) -> Decision:
    """Give the decision of a rule that has a norm for each unit of a tensor."""
    edits: list[Edit | None] = []
    for tensor, own, zero in zip(chosen.tensors, units, chosen.zeroed, strict=True):
        beside = own.norms if own.parameter_norms is None else own.parameter_norms
        found = rule.of_units(own.norms, beside, terms.eps)
        _checked(rule, own.norms.tolist(), found)
        unchanged = bool((found == 1).all()) and not zero
        edit = ScaleUnits(found.ravel(), tensor.shape, own.axes, tensor.fortran, zero)
        edits.append(None if unchanged else edit)
    return _each(edits, chosen)


def _each(edits: Sequence[Edit | None], chosen: _Chosen) -> Decision:
    """Give the decision of edits without coefficients; what is to be left alone is."""
    kept = [None if at in chosen.left else edit for at, edit in enumerate(edits)]
    return Decision(None, None, tuple(kept), (None,) * len(kept), tuple(sorted(chosen.left)))


def _checked(rule: Rule, norms: Sequence[float], coefficients: Floats) -> list[float]:
    """Give the coefficients; raises where float64 has too few digits for one."""
    if beyond_float64(norms, coefficients):
        raise coefficient_error(rule, max(norms))
    return [float(coefficient) for coefficient in coefficients]


def beyond_float64(norms: ArrayLike, coefficients: ArrayLike) -> bool:
    """Say whether float64 has too few digits for a coefficient: one below its normal numbers.

    >>> beyond_float64([1e300, 1.0], [1e-309, 1.0]), beyond_float64([math.inf], [0.0])
    (True, False)
    """
    subnormal = np.asarray(coefficients) < np.finfo(np.float64).tiny
    return bool(np.any(subnormal & np.isfinite(norms)))
