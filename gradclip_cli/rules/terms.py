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

_LEAST_SCALE = 2.0**-126  # of what float32 can multiply by, and divide

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
    "Follow {choices}.",
    metavar="FRAMEWORK",
    choices=get_args(Like),
    group="Rule",
)
LOSS_SCALE = Option(
    "loss_scale",
    "The loss was multiplied by S: divide values first.",
    metavar="S",
    parse=number("loss_scale", "65536"),
    group="What counts",
    apart={
        "like": "leave --like out for the exact rule",
        "use_norm": "leave --use-norm out: the norm is measured",
    },
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

TERMS = (NORM_TYPE, EPS, LIKE, LOSS_SCALE, USE_NORM, NONFINITE)


@frozen
class Terms:
    """What a rule goes by: the policy for what is not finite, `eps`, a norm that is known already.

    `norm_type` is that of the moments that it is given. `like` names the framework whose arithmetic
    takes the place of the exact one; what is not finite is then left to it. Values are divided by
    `loss_scale` before the rule sees them.
    """

    nonfinite: Nonfinite = "refuse"
    norm_type: float = 2.0
    eps: float = 0.0
    like: Like | None = None
    known_norm: float | None = None
    loss_scale: float = 1.0


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


def loss_scale_of(given: float | None, policy: Nonfinite = "refuse") -> float:
    """Give what the loss was multiplied by, 1 if nothing was given.

    Raises `GradclipError` for what is no scale, and for a policy that would leave some values
    multiplied by it.
    """
    if given is None:
        return 1.0
    if not _LEAST_SCALE <= given <= 1 / _LEAST_SCALE:
        raise GradclipError(
            LOSS_SCALE.flag,
            f"{given!r} is no loss scale",
            "give the number above 0 that the loss was multiplied by, such as 65536",
        )
    if policy == "skip":
        raise GradclipError(
            LOSS_SCALE.flag,
            "cannot go with --nonfinite skip",
            "the tensors that are left as they are would stay scaled: leave them out with "
            "--exclude 'PATTERN', or give --nonfinite zero",
        )
    return float(given)


def known_norm_of(given: float | None, like: Like | None) -> float | None:
    """Give the norm that is known; raises `GradclipError` for what is none."""
    if given is None or like is not None or 0 <= given < math.inf:
        return given
    raise GradclipError(
        USE_NORM.flag,
        f"{given!r} is not a norm to go by",
        "give the finite global norm, 0 or more, that gradclip inspect reported",
    )
