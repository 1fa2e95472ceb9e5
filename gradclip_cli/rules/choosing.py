"""Which rule a user chose, on which terms; whatever cannot go together is refused here.

What excludes what, and what needs what, are tables: a pair of options, and what to do about it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradclip_cli.choices import Layout, Like, Nonfinite
from gradclip_cli.errors import GradclipError
from gradclip_cli.measure.moments import LARGEST_POWER
from gradclip_cli.rules.decision import (
    Agc,
    Average,
    ByValue,
    Global,
    PerGroup,
    PerTensor,
    Rms,
    Rule,
    Terms,
)
from gradclip_cli.tensors.groups import group_of


@dataclass(frozen=True, slots=True)
class Wish:
    """The options about the rule as they were given; None or False for those that were not."""

    clip_norm: float | None = None
    clip_value: str | float | Sequence[float] | None = None
    clip_rms: float | None = None
    agc: float | None = None
    params: str | None = None
    agc_layout: Layout | None = None
    per_tensor: bool = False
    axes: str | Sequence[int] | None = None
    per_group: str | None = None
    average: bool = False
    norm_type: float | None = None
    eps: float | None = None
    like: Like | None = None
    use_norm: float | None = None
    nonfinite: Nonfinite = "refuse"


_OPTIONS = {
    "clip_norm": "--clip-norm",
    "clip_value": "--clip-value",
    "clip_rms": "--clip-rms",
    "agc": "--agc",
    "params": "--params",
    "agc_layout": "--agc-layout",
    "per_tensor": "--per-tensor",
    "axes": "--axes",
    "per_group": "--per-group",
    "average": "--average",
    "norm_type": "--norm-type",
    "eps": "--eps",
    "like": "--like",
    "use_norm": "--use-norm",
}
_LIMITS = ("--clip-norm", "--clip-value", "--clip-rms", "--agc")

_ONE_RULE = "give one rule a run"
_OF_ALL = "it is for the norm of all tensors together, --clip-norm alone"
_NOT_KNOWN = "leave --like out for the exact rule"
_BY_NORM = "give --clip-norm C as the rule"
_ADAPTIVE = "give --agc L --params PATH as the rule"

APART: dict[tuple[str, str], str] = {
    ("--clip-value", "--clip-norm"): _ONE_RULE,
    ("--clip-rms", "--clip-norm"): _ONE_RULE,
    ("--clip-rms", "--clip-value"): _ONE_RULE,
    ("--agc", "--clip-norm"): _ONE_RULE,
    ("--agc", "--clip-value"): _ONE_RULE,
    ("--agc", "--clip-rms"): _ONE_RULE,
    ("--per-group", "--per-tensor"): _ONE_RULE,
    ("--average", "--per-tensor"): _ONE_RULE,
    ("--average", "--per-group"): _ONE_RULE,
    ("--norm-type", "--clip-value"): "leave --norm-type out: no norm is limited",
    ("--norm-type", "--clip-rms"): "leave --norm-type out: a root mean square has its own",
    ("--norm-type", "--agc"): "leave --norm-type out: it is a rule for the L2 norm",
    ("--eps", "--clip-value"): "leave --eps out: no norm is divided by",
    ("--eps", "--like"): "leave --eps out: the framework has its own",
    ("--like", "--per-group"): _NOT_KNOWN,
    ("--like", "--average"): _NOT_KNOWN,
    ("--like", "--clip-rms"): _NOT_KNOWN,
    ("--like", "--axes"): _NOT_KNOWN,
    ("--like", "--agc"): _NOT_KNOWN,
    ("--use-norm", "--per-tensor"): _OF_ALL,
    ("--use-norm", "--per-group"): _OF_ALL,
    ("--use-norm", "--average"): _OF_ALL,
    ("--use-norm", "--clip-value"): _OF_ALL,
    ("--use-norm", "--clip-rms"): _OF_ALL,
    ("--use-norm", "--agc"): _OF_ALL,
}
"""Options that cannot go together, and the hint."""

NEEDS: dict[str, tuple[str, str, str]] = {
    "--per-tensor": ("--clip-norm", "a limit for each tensor's norm", _BY_NORM),
    "--per-group": ("--clip-norm", "a limit for each group's norm", _BY_NORM),
    "--average": ("--clip-norm", "a limit for each tensor's average norm", _BY_NORM),
    "--axes": (
        "--per-tensor",
        "a limit for the norms of each tensor's slices",
        "give --clip-norm C --per-tensor as the rule",
    ),
    "--params": ("--agc", "adaptive clipping, the rule that goes by parameters", _ADAPTIVE),
    "--agc-layout": ("--agc", "adaptive clipping, the rule that goes by units", _ADAPTIVE),
    "--agc": ("--params", "the parameters that the gradients belong to", "add --params PATH"),
}
"""Options that say nothing without another: which that is, what it stands for, and the hint."""


def chosen_rule(wish: Wish) -> tuple[Rule, Terms]:
    """Give the rule and its terms; raises `GradclipError` unless exactly one is named, and whole.

    >>> chosen_rule(Wish(clip_value="-1,2"))[0]
    ByValue(low=-1.0, high=2.0)
    """
    given = {
        option
        for name, option in _OPTIONS.items()
        if getattr(wish, name) is not None and getattr(wish, name) is not False
    }
    if not given & {*_LIMITS}:
        raise GradclipError(
            "",
            "no rule is named",
            "give a limit: --clip-norm C, --clip-value V, --clip-rms C, or --agc L --params PATH",
        )
    for (option, other), hint in APART.items():
        if {option, other} <= given:
            raise GradclipError(option, f"cannot go with {other}", hint)
    for option, (other, what, hint) in NEEDS.items():
        if option in given and other not in given:
            raise GradclipError(option, f"needs {what}", hint)
    if wish.like in ("torch", "optax", "optax-jit") and wish.per_tensor:
        raise GradclipError(
            "--like",
            f"{wish.like} has no rule for each tensor's own norm",
            "give --like tensorflow or keras, or leave it out",
        )
    if wish.like not in (None, "torch") and wish.norm_type not in (None, 2):
        raise GradclipError(
            "--norm-type", f"{wish.like} knows no other norm than 2", "leave --norm-type out"
        )
    if wish.like is not None and wish.nonfinite not in ("refuse", "propagate"):
        raise GradclipError(
            "--like",
            f"cannot go with --nonfinite {wish.nonfinite}",
            "leave --nonfinite out: the framework has its own way",
        )
    p = norm_type_of(wish.norm_type)
    return _rule(wish), Terms(wish.nonfinite, p, _eps(wish), wish.like, _use_norm(wish))


def _rule(wish: Wish) -> Rule:
    if wish.clip_value is not None:
        return _by_value(wish.clip_value)
    if wish.clip_rms is not None:
        return Rms(_limit("--clip-rms", wish.clip_rms, "a root mean square"))
    if wish.agc is not None:
        limit = _limit("--agc", wish.agc, "a ratio of norms")
        return Agc(limit, wish.agc_layout or "jax")
    limit = wish.clip_norm or 0.0
    if wish.like is None or math.isnan(
        limit
    ):  # what a framework does with any other is worth seeing
        limit = _limit("--clip-norm", limit, "a norm")
    if wish.per_tensor:
        return PerTensor(limit, None if wish.axes is None else _axes(wish.axes))
    if wish.per_group is not None:
        group_of(wish.per_group, "--per-group")
        return PerGroup(limit, wish.per_group)
    return Average(limit) if wish.average else Global(limit)


def _limit(option: str, limit: float, of: str) -> float:
    if 0 < limit < math.inf:
        return limit
    raise GradclipError(
        option,
        f"{limit!r} is not a limit for {of}",
        "give a finite number above 0, for example 1.0",
    )


def _axes(given: str | Sequence[int]) -> tuple[int, ...]:
    try:
        some = given.split(",") if isinstance(given, str) else given
        return tuple(int(axis) for axis in some)
    except ValueError:
        raise GradclipError(
            "--axes", f"{given!r} are no axes", "give whole numbers, counted from 0, as in 0,1"
        ) from None


def _by_value(given: str | float | Sequence[float]) -> ByValue:
    """Give the rule of `V`, which is `-V,V`, or `LO,HI`; in a LO,HI either may be infinite."""
    example = "give a number above 0, or two: LO,HI, for example -1.0,1.0"
    try:
        if isinstance(given, str):
            limits = [float(part) for part in given.split(",")]
        else:
            limits = [given] if isinstance(given, int | float) else [float(part) for part in given]
    except ValueError:
        limits = []
    if len(limits) == 1 and 0 < limits[0] < math.inf:
        return ByValue(-limits[0], limits[0])
    if len(limits) != 2 or any(map(math.isnan, limits)):
        raise GradclipError("--clip-value", f"{given!r} is not a limit for values", example)
    low, high = limits
    if low > high:
        raise GradclipError(
            "--clip-value", f"the lower limit {low!r} is above the upper {high!r}", example
        )
    return ByValue(low, high)


def norm_type_of(given: float | None) -> float:
    """Give the p of the norm, 2 if none was given; raises `GradclipError` for what is none."""
    if given is None:
        return 2.0
    if given == math.inf or 0 <= given <= LARGEST_POWER:
        return float(given)
    if given > LARGEST_POWER:
        raise GradclipError(
            "--norm-type",
            f"{given!r} is above {LARGEST_POWER:g}, where powers leave float64",
            "say inf for the largest magnitude, which it comes to",
        )
    raise GradclipError("--norm-type", f"{given!r} is no type of norm", "give 1, 2, inf or 0")


def _eps(wish: Wish) -> float:
    if wish.eps is None:
        return 0.0 if wish.agc is None else 1e-3  # as Brock et al. have it
    if 0 <= wish.eps < math.inf:
        return wish.eps
    raise GradclipError(
        "--eps", f"{wish.eps!r} cannot be added to a norm", "give a number, 0 or more, such as 1e-6"
    )


def _use_norm(wish: Wish) -> float | None:
    if wish.use_norm is None or wish.like is not None or 0 <= wish.use_norm < math.inf:
        return wish.use_norm
    raise GradclipError(
        "--use-norm",
        f"{wish.use_norm!r} is not a norm to go by",
        "give the finite global norm, 0 or more, that gradclip inspect reported",
    )
