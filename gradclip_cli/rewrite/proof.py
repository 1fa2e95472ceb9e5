"""The proof that what was written is what was decided, before it takes anything's place.

A file may change between the two passes without a trace in its times, where another process has it
mapped; and memory may fail. So the values that were rewritten have to be those that were measured,
by their fingerprints, and the norm of what came out has to be what the edit makes of the norm
before, but for what rounding explains.
"""

import dataclasses
import math
from collections.abc import Mapping

from gradclip_cli.errors import GradclipError
from gradclip_cli.measure.fingerprint import written
from gradclip_cli.measure.moments import Moments
from gradclip_cli.measure.rounding import ARITHMETIC, explained
from gradclip_cli.measure.statistics import FINGERPRINT
from gradclip_cli.rewrite.edits import Edit
from gradclip_cli.rewrite.outputs import Edits
from gradclip_cli.rewrite.passes import Outcome
from gradclip_cli.tensors.dtypes import binary_of
from gradclip_cli.tensors.dump import Dump, Tensor
from gradclip_cli.tensors.names import quoted

_UNITS = 2.0**-1072  # what they may lose where float64 ends, in whose smallest value they are


def prove(
    dump: Dump,
    edits: Edits,
    moments: Mapping[int, Moments],
    outcomes: Mapping[int, Outcome],
    finite: bool,
) -> None:
    """Raise `GradclipError` unless outcomes are those of the edits of what was measured.

    Indices are the dump's. With `finite` no value that was edited may be NaN or infinite.
    """
    tensors = dump.tensors
    for index, before in moments.items():
        outcome, edit = outcomes.get(index), edits[index]
        if outcome is None:
            continue
        known = dict(before.further).get(FINGERPRINT.name)
        if outcome.read is not None and written(outcome.read) != known:
            raise _changed(tensors[index])
        if outcome.after is not None and edit is not None:
            _check(tensors[index], edit, before, outcome, finite)


def _changed(tensor: Tensor) -> GradclipError:
    return GradclipError(
        tensor.source.label,
        f"changed while gradclip was reading it: the values of {quoted(tensor.name)} are not "
        "those that were measured; nothing took its place",
        "wait until the program that writes it has finished, then run gradclip again",
    )


def _check(tensor: Tensor, edit: Edit, before: Moments, outcome: Outcome, finite: bool) -> None:
    """Compare what a tensor came to with what its edit was to make of it."""
    after = outcome.after
    assert after is not None, "an edited tensor is measured"
    if finite and after.nonfinite:
        raise _otherwise(tensor, f"holds {after.nonfinite:,} values that are not finite")
    if before.nonfinite and not edit.zero_nonfinite:  # a limit may make them finite
        return
    was, now = before.finite_l2_norm, after.finite_l2_norm
    between = edit.range(was, before.count)
    if between is None or outcome.saturated or not all(map(math.isfinite, between)):
        return
    low, high = between
    stored = "float64" if tensor.dtype.kind in ("integer", "boolean") else tensor.dtype.name
    slack = binary_of(stored).unit_roundoff * now + ARITHMETIC * high + _UNITS
    if low - slack <= now <= high + slack:
        return
    # What became subnormal may be farther off: to ask it of each would take long.
    slack += explained([(stored, dataclasses.replace(after, norm_type=2.0))], math.inf)
    if not low - slack <= now <= high + slack:
        decided = f"{high!r}" if low == high else f"between {low!r} and {high!r}"
        raise _otherwise(tensor, f"came to norm {now!r}, where {decided} was decided")


def _otherwise(tensor: Tensor, what: str) -> GradclipError:
    return GradclipError(
        tensor.source.label,
        f"{quoted(tensor.name)} {what}; nothing took its place",
        "memory or a disk may be failing: run gradclip again, and check them if it says so again",
    )
