"""What a trainer may have done to a norm: scaled by what was left in, or rounded to few bits."""

import math
from collections.abc import Iterator
from functools import partial

from gradclip_cli.hypotheses.account import Account, Change, figure
from gradclip_cli.hypotheses.evidence import Evidence, joint

_LOSS_SCALES = range(5, 25)  # powers of two: dynamic loss scales begin at 2^16, and end at 2^24
_WORLDS = tuple(2**power for power in range(1, 11))
_MICRO_BATCHES = range(2, 65)
_HALVES = (("bfloat16", 8, math.inf), ("float16", 11, 65504.0))
_SINGLE_MOST = 3.4028234663852886e38
_SPREAD = 0.01  # of what sums lose that stand still: by another order they lose that much else
_UNIT = 2.0**-23  # relative: what a sum is rounded by in each step


def loss_scale(_evidence: Evidence) -> Iterator[Change]:
    """Leave the loss scale in, or divide by one that was never multiplied with."""
    for power in _LOSS_SCALES:
        scale = 2**power
        yield _times(scale, f"a loss scale of 2^{power} left in")
        yield _divided(scale, f"a loss scale of 2^{power} taken out, which the dump may still hold")


def world_size(evidence: Evidence) -> Iterator[Change]:
    """Sum over ranks what is to be averaged, or the other way round."""
    for ranks in sorted({*_WORLDS, *([len(evidence.files)] if len(evidence.files) > 1 else [])}):
        yield _times(ranks, f"summed over {ranks} ranks, not averaged")
        yield _divided(ranks, f"divided by {ranks} ranks once more")
        if math.isqrt(ranks) ** 2 != ranks:
            root = math.sqrt(ranks)
            summed, averaged = (f"squares {done} over {ranks} ranks" for done in _DONE)
            yield Change(summed, partial(_by, root), f"√{ranks} × {{}}")
            yield Change(averaged, partial(_by, 1 / root), f"{{}} / √{ranks}")


_DONE = ("summed", "averaged")


def accumulation(_evidence: Evidence) -> Iterator[Change]:
    """Sum over micro-batches what is to be averaged, or the other way round."""
    for steps in _MICRO_BATCHES:
        yield _times(steps, f"summed over {steps} micro-batches, not averaged")
        yield _divided(steps, f"divided by {steps} micro-batches once more")


def _times(factor: int, says: str) -> Change:
    return Change(says, partial(_by, float(factor)), f"{factor:,} × {{}}")


def _divided(factor: int, says: str) -> Change:
    return Change(says, partial(_by, 1 / factor), f"{{}} / {factor:,}")


def _by(factor: float, value: float) -> float:
    return factor * value


def rounded(_evidence: Evidence) -> Iterator[Change]:
    """Round the norm to a dtype of 16 bits."""
    for name, bits, most in _HALVES:
        yield Change(f"rounded to {name}", partial(to_bits, bits, most), f"{name}({{}})")


def each_rounded(evidence: Evidence) -> Iterator[Account]:
    """Round the norm of each tensor to a dtype of 16 bits, and that of all, too."""
    for name, bits, most in _HALVES:
        norms = [to_bits(bits, most, one.norm) for one in evidence.tensors]
        shown = f"√(Σ {name}(norm)²)"
        yield Account(f"norms of tensors rounded to {name}", joint(norms), shown)
        value = to_bits(bits, most, joint(norms))
        yield Account(f"norms of tensors and of all rounded to {name}", value, f"{name}({shown})")


def overflow(evidence: Evidence) -> Iterator[Account]:
    """Sum squares in a dtype that they overflow, or in which they vanish."""
    norm = evidence.norm
    for name, most, least in (("float16", 65504.0, 2.0**-25), ("float32", _SINGLE_MOST, 2.0**-150)):
        squared = f"{figure(norm)}² in {name}"
        if math.isfinite(norm) and norm > math.sqrt(most):
            yield Account(f"the sum of squares overflows {name}", math.inf, squared)
        biggest = max((one.largest for one in evidence.tensors), default=0.0)
        if 0 < biggest < math.sqrt(least):
            yield Account(f"all squares vanish in {name}", 0.0, squared, is_constant=True)


def singly(evidence: Evidence) -> Iterator[Account]:
    """Sum squares in float32, each tensor's in a few sums, as torch does on a CPU.

    How many sums there are depends on the processor and on threads, and the order in each on both,
    so what comes out is known only within bounds.
    """
    if evidence.singly is None:
        return
    exact = evidence.norm
    for sums, norms in evidence.singly().items():
        value = joint(norms)
        steps = max(one.count for one in evidence.tensors) / sums
        lost = abs(exact - value) * _SPREAD + exact * _UNIT * math.sqrt(steps)
        says = f"squares summed in float32, in {sums} sum{'s' if sums > 1 else ''} a tensor"
        shown = f"{figure(exact)} − {figure(exact - value)}"
        yield Account(says, value, shown, (value - lost, value + lost))


def to_bits(bits: int, most: float, value: float) -> float:
    """Round to so many significant bits, ties to even; what is beyond the largest overflows.

    >>> to_bits(8, math.inf, 5.69), to_bits(11, 65504.0, 70000.0)
    (5.6875, inf)
    """
    if not value or not math.isfinite(value):
        return value
    mantissa, exponent = math.frexp(value)
    found = math.ldexp(round(math.ldexp(mantissa, bits)), exponent - bits)
    return found if found <= most else math.inf
