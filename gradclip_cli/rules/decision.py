"""From the measurements of a dump to one edit a tensor, by a rule. Pure; nothing is opened here.

A rule is data: which limit, and whose norm it is for. `decide` takes the norms that it is about,
lets its equation in `rules` turn them into coefficients, and these become edits; with `like`, a
framework's recipe takes the equation's place.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from gradclip_cli.choices import Layout, Like, Nonfinite
from gradclip_cli.errors import GradclipError, RefusedError
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.rewrite.edits import Clamp, Edit, Follow, Scale, ScaleUnits
from gradclip_cli.rules import equations as rules
from gradclip_cli.rules.like import recipes as likeness
from gradclip_cli.rules.like.recipes import Recipe
from gradclip_cli.tensors.dump import Tensor
from gradclip_cli.tensors.groups import group_of
from gradclip_cli.tensors.names import quoted

# Rules


@dataclass(frozen=True, slots=True)
class Global:
    """All tensors by their joint norm: `x * min(1, clip_norm / (global_norm + eps))`."""

    clip_norm: float

    word: ClassVar[str] = "global"  # in reports


@dataclass(frozen=True, slots=True)
class PerTensor:
    """Each tensor by its own norm, or each of its slices by the norm over `axes`."""

    clip_norm: float
    axes: tuple[int, ...] | None = None

    word: ClassVar[str] = "per tensor"  # in reports


@dataclass(frozen=True, slots=True)
class PerGroup:
    """Each group of tensors by its joint norm; `group_by` is as `grouping.group_of` takes it.

    The tensors that a pattern does not match are one group.
    """

    clip_norm: float
    group_by: str

    word: ClassVar[str] = "per group"  # in reports


@dataclass(frozen=True, slots=True)
class Average:
    """Each tensor by its norm divided by the number of its values."""

    clip_norm: float

    word: ClassVar[str] = "average"  # in reports


@dataclass(frozen=True, slots=True)
class Rms:
    """Each tensor by its root mean square."""

    clip_rms: float

    word: ClassVar[str] = "rms"  # in reports


@dataclass(frozen=True, slots=True)
class ByValue:
    """Each value by itself: `min(max(x, low), high)`."""

    low: float
    high: float

    word: ClassVar[str] = "value"  # in reports


@dataclass(frozen=True, slots=True)
class Agc:
    """Each unit of a tensor by its norm beside that of the parameter's (Brock et al. 2021)."""

    clipping: float
    layout: Layout = "jax"

    word: ClassVar[str] = "agc"  # in reports


Rule = Global | PerTensor | PerGroup | Average | Rms | ByValue | Agc


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The norms of a tensor's units over some axes, and of its parameter's where the rule asks."""

    axes: tuple[int, ...]
    norms: rules.Floats
    parameter_norms: rules.Floats | None = None


def axes_of(rule: Rule, tensors: Sequence[Tensor]) -> list[tuple[int, ...]] | None:
    """Give the axes that the norms of each tensor's units are over; None of a rule without units.

    Raises `GradclipError` where a tensor has not got them.
    """
    if isinstance(rule, PerTensor) and rule.axes is not None:
        return [rules.normalized_axes(rule.axes, len(tensor.shape)) for tensor in tensors]
    if isinstance(rule, Agc):
        return [rules.unit_axes(tensor.shape, rule.layout) for tensor in tensors]
    return None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a rule goes by: the policy for what is not finite, `eps`, a norm that is known already.

    `norm_type` is that of the moments that it is given.
    `like` names the framework whose arithmetic takes the place of the exact one; what is not finite
    is then left to it.
    """

    nonfinite: Nonfinite = "refuse"
    norm_type: float = 2.0
    eps: float = 0.0
    like: Like | None = None
    known_norm: float | None = None


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


def decide(
    rule: Rule,
    terms: Terms,
    tensors: Sequence[Tensor],
    moments: Sequence[Moments | None],
    units: Sequence[Units] = (),
) -> Decision:
    """Give a rule's decision about tensors from their moments, in the same order.

    Where the rule has units, `units` are those of each tensor. Only for the global rule with a
    known norm may moments be None, not measured. Raises `RefusedError` for a norm beyond float64,
    and for non-finite values unless the policy says what to do with them; `GradclipError` where the
    rule cannot be applied to a tensor.
    """
    bad = [part is not None and part.nonfinite > 0 for part in moments]
    if terms.like is not None:
        return _followed(rule, terms, terms.like, tensors, moments)
    if any(bad) and terms.nonfinite == "refuse":
        raise RefusedError("", "the gradients hold values that are not finite")
    left = {at for at, is_bad in enumerate(bad) if is_bad and terms.nonfinite == "skip"}
    zeroed = [
        terms.nonfinite == "zero" and (is_bad or part is None)
        for part, is_bad in zip(moments, bad, strict=True)
    ]
    if isinstance(rule, Agc) or (isinstance(rule, PerTensor) and rule.axes is not None):
        return _scaled_by_units(rule, terms, tensors, units, zeroed, left)
    if isinstance(rule, ByValue):
        return _clamped(rule, tensors, moments, zeroed, left)
    if isinstance(rule, Global):
        norm = _joint_norm(terms, moments, left)
        (one,) = _checked(rule, [norm], rules.clip_by_norm([norm], rule.clip_norm, terms.eps))
        coefficients = [one] * len(tensors)
        return Decision(norm, one, *_scaled(coefficients, zeroed, left))
    parts = [part or Moments() for part in moments]
    coefficients = _coefficients(rule, terms, tensors, parts, left)
    return Decision(None, None, *_scaled(coefficients, zeroed, left))


def _scaled(
    coefficients: Sequence[float], zeroed: Sequence[bool], left: set[int]
) -> tuple[tuple[Edit | None, ...], tuple[float, ...], tuple[int, ...]]:
    """Give the edits, the coefficients and what is left alone, as a `Decision` has them."""
    known: dict[Hashable, Scale] = {}  # 100,000 tensors share one edit, which compares at once
    edits: list[Edit | None] = [
        None if key == (1.0, False) else known.setdefault(key, Scale(*key))
        for key in zip(coefficients, zeroed, strict=True)
    ]
    each = list(coefficients)
    for at in left:
        edits[at], each[at] = None, 1.0
    return tuple(edits), tuple(each), tuple(sorted(left))


def _scaled_by_units(
    rule: PerTensor | Agc,
    terms: Terms,
    tensors: Sequence[Tensor],
    units: Sequence[Units],
    zeroed: Sequence[bool],
    left: set[int],
) -> Decision:
    """Give the edits of a rule that has a norm for each unit of a tensor."""
    edits: list[Edit | None] = []
    for at, (tensor, own, zero) in enumerate(zip(tensors, units, zeroed, strict=True)):
        if isinstance(rule, Agc):
            limits = own.norms if own.parameter_norms is None else own.parameter_norms
            found = rules.clip_adaptively(own.norms, limits, rule.clipping, terms.eps)
        else:
            found = rules.clip_by_norm(own.norms, rule.clip_norm, terms.eps)
        _checked(rule, own.norms.tolist(), found)
        unchanged = at in left or (bool((found == 1).all()) and not zero)
        edit = ScaleUnits(found.ravel(), tensor.shape, own.axes, tensor.fortran, zero)
        edits.append(None if unchanged else edit)
    return Decision(None, None, tuple(edits), (None,) * len(edits), tuple(sorted(left)))


def _joint_norm(terms: Terms, moments: Sequence[Moments | None], left: set[int]) -> float:
    if terms.known_norm is not None:
        return terms.known_norm
    known = [part for at, part in enumerate(moments) if part is not None and at not in left]
    return _norm(merge(known), terms, "the global norm")


def _norm(moments: Moments, terms: Terms, whose: str) -> float:
    """Give the norm that the policy goes by."""
    if math.isinf(moments.finite_norm):
        raise RefusedError(
            "",
            f"{whose} is beyond float64 (1.8e308); nothing was written",
            "clip the larger tensors alone first: --include 'PATTERN'",
        )
    return moments.norm if terms.nonfinite == "propagate" else moments.finite_norm


def _coefficients(
    rule: PerTensor | PerGroup | Average | Rms,
    terms: Terms,
    tensors: Sequence[Tensor],
    moments: Sequence[Moments],
    left: set[int],
) -> list[float]:
    """Give each tensor's coefficient, for a rule that has no joint norm."""
    if isinstance(rule, PerGroup):
        norms = _norms_of_groups(rule, terms, tensors, moments, left)
    else:
        norms = [
            _norm(part, terms, f"the norm of {quoted(tensor.name)}")
            for tensor, part in zip(tensors, moments, strict=True)
        ]
    counts = [part.count for part in moments]
    match rule:
        case PerTensor(limit) | PerGroup(limit):
            found = rules.clip_by_norm(norms, limit, terms.eps)
        case Average(limit):
            found = rules.clip_by_average_norm(norms, counts, limit, terms.eps)
        case Rms(limit):
            found = rules.clip_by_rms(norms, counts, limit, terms.eps)
    return _checked(rule, norms, found)


def _norms_of_groups(
    rule: PerGroup,
    terms: Terms,
    tensors: Sequence[Tensor],
    moments: Sequence[Moments],
    left: set[int],
) -> list[float]:
    """Give for each tensor the joint norm of its group, as far as it is not left alone."""
    group = group_of(rule.group_by, "--per-group")
    names = [group(tensor.name or "") for tensor in tensors]
    members: dict[str | None, list[Moments]] = {name: [] for name in names}
    for at, (name, part) in enumerate(zip(names, moments, strict=True)):
        if at not in left:
            members[name].append(part)
    joint = {
        name: _norm(merge(parts), terms, f"the norm of group {quoted(name)}")
        for name, parts in members.items()
    }
    return [joint[name] for name in names]


def _checked(rule: Rule, norms: Sequence[float], coefficients: rules.Floats) -> list[float]:
    """Give the coefficients; raises where float64 has too few digits for one."""
    if rules.beyond_float64(norms, coefficients):
        match rule:
            case Rms(limit):
                option = "--clip-rms"
            case Agc(limit):
                option = "--agc"
            case ByValue(limit):
                raise AssertionError("a rule without coefficients")
            case _:
                option, limit = "--clip-norm", rule.clip_norm
        raise GradclipError(
            option,
            f"{limit!r} is too small for a norm of {max(norms)!r}: float64 cannot hold the "
            "coefficient exactly",
            "clip in two runs, the first to the square root of that",
        )
    return [float(coefficient) for coefficient in coefficients]


def _clamped(
    rule: ByValue,
    tensors: Sequence[Tensor],
    moments: Sequence[Moments | None],
    zeroed: Sequence[bool],
    left: set[int],
) -> Decision:
    """Give the edits of the rule by value; a tensor whose largest value is within has none."""
    edits: list[Edit | None] = []
    for at, (tensor, part, zero) in enumerate(zip(tensors, moments, zeroed, strict=True)):
        if tensor.dtype.kind == "complex":
            raise GradclipError(
                "--clip-value",
                f"{quoted(tensor.name)} is {tensor.dtype.name}, and complex values have no order",
                "leave it out with --exclude 'PATTERN', or clip by a norm",
            )
        largest = math.inf if part is None or part.nonfinite else part.max_abs or 0.0
        within = rule.low <= -largest and largest <= rule.high
        unchanged = at in left or (within and not zero)
        edits.append(None if unchanged else Clamp(rule.low, rule.high, zero))
    return Decision(None, None, tuple(edits), (None,) * len(edits), tuple(sorted(left)))


# Frameworks


def _followed(
    rule: Rule,
    terms: Terms,
    like: Like,
    tensors: Sequence[Tensor],
    moments: Sequence[Moments | None],
) -> Decision:
    """Give the edits by which a framework's results come out; a recipe without steps is none."""
    for tensor in tensors:
        if tensor.dtype.name not in likeness.DTYPES:
            raise GradclipError(
                "--like",
                f"{quoted(tensor.name)} is {tensor.dtype.name}, for which the frameworks' "
                "arithmetic is not known",
                "leave it out with --exclude 'PATTERN'",
            )
    norm = None
    if isinstance(rule, Global):
        norm = terms.known_norm
        if norm is None:
            norm = merge(part for part in moments if part is not None).norm
        dtypes = sorted({tensor.dtype.name for tensor in tensors})
        if terms.known_norm is None and like in ("tensorflow", "keras") and len(dtypes) > 1:
            raise GradclipError(
                "--like",
                f"{like} itself fails on the joint norm of {' and '.join(dtypes)}",
                "clip each dtype by itself with --include, or give the norm with --use-norm",
            )
        norm_in = likeness.norm_dtype(dtypes or ["float32"])
    known: dict[Hashable, Follow | None] = {}
    edits: list[Edit | None] = []
    coefficients: list[float | None] = []
    for tensor, part in zip(tensors, moments, strict=True):
        dtype, count = tensor.dtype.name, tensor.count
        match rule:
            case Global(limit) if norm is not None:
                key: Hashable = dtype, count == 1
                if key not in known:
                    known[key] = _follow(
                        likeness.clip_by_global_norm(like, norm, limit, dtype, norm_in, count)
                    )
                edit = known[key]
            case PerTensor(limit) if part is not None:
                own = likeness.rounded_norm(part.norm, dtype)
                edit = _follow(likeness.clip_by_norm(own, limit, dtype))
                if like == "keras" and not limit > 0:
                    edit = None  # `clipnorm=0` is none
            case ByValue(low, high):
                edit = _follow(likeness.clip_by_value(like, low, high, dtype, count))
            case _:
                raise AssertionError(rule)
        edits.append(edit)
        by_value = isinstance(rule, ByValue)
        coefficients.append(None if by_value else 1.0 if edit is None else edit.recipe.coefficient)
    one = coefficients[0] if isinstance(rule, Global) and len({*coefficients}) == 1 else None
    return Decision(norm, one, tuple(edits), tuple(coefficients))


def _follow(recipe: Recipe) -> Follow | None:
    return Follow(recipe) if recipe.steps else None
