"""What any rule may go by beside its own options: norms, eps, NaN, a framework, a known norm."""

import math
from typing import Literal, get_args

from gradclip_cli.errors import GradclipError
from gradclip_cli.frozen import frozen
from gradclip_cli.options import Option, number

Nonfinite = Literal["refuse", "zero", "skip", "propagate"]
"""What to do with NaN and infinities: refuse to clip, write 0, leave their tensors, let them be."""

Like = Literal["tensorflow", "keras", "torch", "optax", "optax-jit"]
"""Whose arithmetic to reproduce to the bit; optax rounds otherwise inside `jax.jit`."""

LARGEST_POWER = 512.0
"""Beyond, norms are hardly to be told from the largest magnitude, and powers leave float64."""

LIMITS_ELSEWHERE = (
    *("max-norm", "threshold", "limit", "global-clipnorm", "max-grad-norm", "clip-grad"),
    *("clip-grad-norm", "gradient-clip-val", "gradient-clipping"),
)
"""What other tools call the limit for the global norm."""

NORM_TYPE = Option(
    "norm_type",
    "The p of norms: 1, 2, inf, 0 or another; else 2.",
    metavar="P",
    parse=number("norm_type", "1, 2 or inf"),
    group="What counts",
)
EPS = Option(
    "eps",
    "Added to the norm that is divided by.",
    metavar="E",
    parse=number("eps", "1e-6"),
    group="Rule",
    apart={"like": "leave --eps out: the framework has its own"},
)
LIKE = Option(
    "like",
    "To the bit as {choices}.",
    metavar="FRAMEWORK",
    choices=get_args(Like),
    group="Rule",
)
USE_NORM = Option(
    "use_norm",
    "Go by this global norm instead of measuring it.",
    metavar="N",
    parse=number("use_norm", "12.5"),
    group="What counts",
)
NONFINITE = Option(
    "nonfinite",
    "NaN and infinities: {choices}.",
    metavar="POLICY",
    choices=get_args(Nonfinite),
    default="refuse",
    group="What counts",
    common=True,
)

TERMS = (NORM_TYPE, EPS, LIKE, USE_NORM, NONFINITE)


@frozen
class Terms:
    """What a rule goes by: the policy for what is not finite, `eps`, a norm that is known already.

    `norm_type` is that of the moments that it is given. `like` names the framework whose arithmetic
    takes the place of the exact one; what is not finite is then left to it.
    """

    nonfinite: Nonfinite = "refuse"
    norm_type: float = 2.0
    eps: float = 0.0
    like: Like | None = None
    known_norm: float | None = None


def norm_type_of(given: float | None) -> float:
    """Give the p of the norm, 2 if none was given; raises `GradclipError` for what is none."""
    if given is None:
        return 2.0
    if given == math.inf or 0 <= given <= LARGEST_POWER:
        return float(given)
    if given > LARGEST_POWER:
        raise GradclipError(
            NORM_TYPE.flag,
            f"{given!r} is above {LARGEST_POWER:g}, where powers leave float64",
            "say inf for the largest magnitude, which it comes to",
        )
    raise GradclipError(NORM_TYPE.flag, f"{given!r} is no type of norm", "give 1, 2, inf or 0")


def eps_of(given: float | None, default: float) -> float:
    """Give what is added to a norm; raises `GradclipError` for what cannot be."""
    if given is None:
        return default
    if 0 <= given < math.inf:
        return given
    raise GradclipError(
        EPS.flag, f"{given!r} cannot be added to a norm", "give a number, 0 or more, such as 1e-6"
    )


def known_norm_of(given: float | None, like: Like | None) -> float | None:
    """Give the norm that is known; raises `GradclipError` for what is none."""
    if given is None or like is not None or 0 <= given < math.inf:
        return given
    raise GradclipError(
        USE_NORM.flag,
        f"{given!r} is not a norm to go by",
        "give the finite global norm, 0 or more, that gradclip inspect reported",
    )
