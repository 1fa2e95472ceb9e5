"""From the norms of a dump to one edit a tensor, by a rule. Pure; nothing is opened here.

The rule is TensorFlow's `clip_by_global_norm` (Pascanu, Mikolov, Bengio 2013) in exact arithmetic:
`out = x * min(1, clip_norm / global_norm)`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradclip_cli import rules
from gradclip_cli.choices import Nonfinite
from gradclip_cli.errors import GradclipError, RefusedError
from gradclip_cli.moments import Moments, merge


@dataclass(frozen=True, slots=True)
class Edit:
    """What is done to each value x of a tensor: `float64(x * coefficient)`, rounded once.

    With `zero_nonfinite`, NaN and infinities become 0 before.
    """

    coefficient: float
    zero_nonfinite: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rule decided: the norm that it went by, the coefficient, and an edit a tensor.

    An edit of None leaves the tensor as it is, byte for byte. `left` are the positions of tensors
    that the norm does not count because the policy is to leave them alone.
    """

    norm: float
    coefficient: float
    edits: tuple[Edit | None, ...]
    left: tuple[int, ...] = ()


def clip_coefficient(norm: float, clip_norm: float, eps: float = 0.0) -> float:
    """Give `min(1, clip_norm / (norm + eps))`, as IEEE 754 has it for a norm that is not finite.

    Raises `GradclipError` where float64 has too few digits for the coefficient.

    >>> clip_coefficient(10.0, 5.0), clip_coefficient(5.0, 5.0), clip_coefficient(0.0, 5.0)
    (0.5, 1.0, 1.0)
    """
    coefficient = float(rules.clip_by_norm(norm, clip_norm, eps))
    if rules.beyond_float64(norm, coefficient):
        raise GradclipError(
            "--clip-norm",
            f"{clip_norm!r} is too small for a norm of {norm!r}: float64 cannot hold the "
            "coefficient exactly",
            "clip in two runs, the first to the square root of that",
        )
    return coefficient


def clip_by_global_norm(
    moments: Sequence[Moments | None],
    clip_norm: float,
    nonfinite: Nonfinite = "refuse",
    known_norm: float | None = None,
    eps: float = 0.0,
) -> Decision:
    """Scale all tensors by one coefficient, so that their joint norm is at most `clip_norm`.

    `eps` is added to the norm, as torch adds 1e-6; norms within it of the limit are scaled too.

    `known_norm` takes the place of the measured one, as TensorFlow's `use_norm` does; only then may
    a tensor's moments be None, not measured. Raises `RefusedError` for a norm beyond float64, and
    for non-finite values unless `nonfinite` says what to do with them.
    """
    bad = [part is not None and part.nonfinite > 0 for part in moments]
    if any(bad) and nonfinite == "refuse":
        raise RefusedError("", "the gradients hold values that are not finite")
    norm = _norm(moments, nonfinite) if known_norm is None else known_norm
    coefficient = clip_coefficient(norm, clip_norm, eps)
    left = [at for at, is_bad in enumerate(bad) if is_bad and nonfinite == "skip"]
    edits: list[Edit | None] = []
    for part, is_bad in zip(moments, bad, strict=True):
        zero = nonfinite == "zero" and (is_bad or part is None)
        edits.append(Edit(coefficient, zero) if coefficient != 1 or zero else None)
    for at in left:
        edits[at] = None
    return Decision(norm, coefficient, tuple(edits), tuple(left))


def _norm(moments: Sequence[Moments | None], nonfinite: Nonfinite) -> float:
    """Give the norm that the policy goes by."""
    known = [part for part in moments if part is not None]
    if nonfinite == "skip":
        known = [part for part in known if not part.nonfinite]
    whole = merge(known)
    if math.isinf(whole.finite_norm):
        raise RefusedError(
            "",
            "the global norm is beyond float64 (1.8e308); nothing was written",
            "clip the larger tensors alone first: --include 'PATTERN'",
        )
    return whole.norm if nonfinite == "propagate" else whole.finite_norm
