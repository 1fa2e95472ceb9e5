"""What `gradclip apply` does, for arrays in memory: TensorFlow's names, arguments and results.

The arrays are a dump like any other. They are measured, the rule decides and the edits are made by
the code that does it to files, so that the results are the same to the bit.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradclip_cli.commands.arrays import Array, array_of, dump_of, is_fortran, listed
from gradclip_cli.commands.deciding import aimed, refuse_factors, refuse_nonfinite
from gradclip_cli.commands.measuring import few, measured
from gradclip_cli.commands.planning import edits_of
from gradclip_cli.engine.hiring import crew
from gradclip_cli.errors import GradclipError
from gradclip_cli.formats.layouts import unchanged
from gradclip_cli.measure.moments import merge
from gradclip_cli.measure.statistics import PRINTS
from gradclip_cli.options import Count
from gradclip_cli.rewrite.memory import MemoryDesk
from gradclip_cli.rewrite.outputs import Output, Plan
from gradclip_cli.rewrite.passes import rewrite_at
from gradclip_cli.rewrite.proof import prove
from gradclip_cli.rules.choosing import chosen
from gradclip_cli.rules.terms import Like, Nonfinite


def clip_by_global_norm(
    t_list: Any,
    clip_norm: float,
    use_norm: float | None = None,
    *,
    like: Like | None = None,
    nonfinite: Nonfinite = "refuse",
    workers: Count | None = None,
) -> tuple[list[Any], float]:
    """Clip arrays by their joint norm; gives the clipped ones, and the norm that they had.

    As TensorFlow's `clip_by_global_norm`: each `t` becomes `t * clip_norm / max(norm, clip_norm)`.
    `t_list` holds whatever NumPy takes; an entry of None stays None, a number comes back as one.
    The arrays themselves are left as they are. `use_norm` is a norm known already. `like` names a
    framework to follow to the bit, `nonfinite` what becomes of NaN and infinities, as in `apply`.
    Raises `GradclipError` for what is no array of numbers, and `RefusedError` for values that are
    not finite.

    >>> clip_by_global_norm([3.0, None, 4.0], 1.0)
    ([0.6000000000000001, None, 0.8], 5.0)
    """
    given = {"clip_norm": clip_norm, "use_norm": use_norm, "like": like, "nonfinite": nonfinite}
    entries = listed("t_list", t_list)
    values = {f"t_list[{at}]": one for at, one in entries.items() if one is not None}
    clipped, norm = _clipped(values, "t_list", given, workers)
    return [clipped.get(f"t_list[{at}]") for at in entries], norm


def global_norm(
    t_list: Any, *, norm_type: float | None = None, workers: Count | None = None
) -> float:
    """Give the joint norm of arrays, as TensorFlow's `global_norm`; entries of None do not count.

    >>> global_norm([[3.0], None, [[4.0, 12.0]]])
    13.0
    """
    from gradclip_cli.rules.terms import norm_type_of

    p = norm_type_of(norm_type)
    entries = listed("t_list", t_list).items()
    arrays = {
        f"t_list[{at}]": array_of(f"t_list[{at}]", one) for at, one in entries if one is not None
    }
    dump, _ = dump_of(arrays, "t_list")
    with crew(workers) as hands:
        return merge(measured(dump, range(len(arrays)), hands, p).values()).norm


def clip_by_norm(
    t: Any,
    clip_norm: float,
    axes: int | Sequence[int] | None = None,
    *,
    like: Like | None = None,
    nonfinite: Nonfinite = "refuse",
    workers: Count | None = None,
) -> Any:
    """Clip one array by its norm, or each slice of it by the norm over `axes`.

    As TensorFlow's `clip_by_norm`; `like` and `nonfinite` are those of `clip_by_global_norm`.

    >>> clip_by_norm([[3.0, 4.0], [0.3, 0.4]], 1.0, axes=[1])
    array([[0.6, 0.8],
           [0.3, 0.4]])
    """
    given = {"clip_norm": clip_norm, "per_tensor": True, "axes": axes}
    return _one(t, {**given, "like": like, "nonfinite": nonfinite}, workers)


def clip_by_average_norm(
    t: Any, clip_norm: float, *, nonfinite: Nonfinite = "refuse", workers: Count | None = None
) -> Any:
    """Clip one array by its norm divided by its number of values.

    As TensorFlow's `clip_by_average_norm`; `nonfinite` is that of `clip_by_global_norm`.

    >>> clip_by_average_norm([3.0, 4.0], 1.25)
    array([1.5, 2. ])
    """
    return _one(t, {"clip_norm": clip_norm, "average": True, "nonfinite": nonfinite}, workers)


def clip_by_value(
    t: Any,
    clip_value_min: float,
    clip_value_max: float,
    *,
    like: Like | None = None,
    nonfinite: Nonfinite = "refuse",
    workers: Count | None = None,
) -> Any:
    """Keep each value of one array between two limits, either of which may be infinite.

    As TensorFlow's `clip_by_value`; `like` and `nonfinite` are those of `clip_by_global_norm`.

    >>> clip_by_value([-7.0, 0.5, 7.0], -1.0, 2.0)
    array([-1. ,  0.5,  2. ])
    """
    low, high = clip_value_min, clip_value_max
    if not low <= high:
        raise GradclipError(
            "clip_value_min", f"{low!r} is not at most {high!r}", "give the lower limit first"
        )
    return _one(t, {"clip_value": (low, high), "like": like, "nonfinite": nonfinite}, workers)


def _one(t: Any, given: Mapping[str, Any], workers: int | None) -> Any:
    clipped, _ = _clipped({"t": t}, "t", given, workers)
    return clipped["t"]


def _clipped(
    values: Mapping[str, Any], label: str, given: Mapping[str, Any], workers: int | None
) -> tuple[dict[str, Any], float]:
    """Clip values by the rule that options choose; gives them, and the norm that it went by."""
    rule, terms = chosen(None, given)
    arrays = {name: array_of(name, value) for name, value in values.items()}
    dump, source = dump_of(arrays, label)
    everything = range(len(arrays))
    refuse_factors(dump, everything)
    buffers = [np.empty(array.nbytes, np.uint8) for array in arrays.values()]
    with contextlib.ExitStack() as stack:
        hands = stack.enter_context(crew(1 if few(source.size, len(arrays)) else workers))
        aim = aimed(rule, terms, dump, everything)
        moments = measured(dump, everything, hands, terms.norm_type, asked=PRINTS)
        refuse_nonfinite(dump, moments, terms)
        decision = aim.decided(dump, moments, hands)
        edits = edits_of(dump, everything, decision)
        plan = Plan(edits, terms.norm_type, watched=frozenset(everything))
        output = Output(source, 0, unchanged(dump.tensors))
        outcomes = rewrite_at(MemoryDesk(source, buffers), output, plan, hands)
        finite = terms.like is None and terms.nonfinite in ("refuse", "zero")
        prove(dump, edits, moments, outcomes, finite)
    found = zip(values.items(), arrays.values(), buffers, strict=True)
    results = {name: _like(value, array, buffer) for (name, value), array, buffer in found}
    return results, merge(moments.values()).norm if decision.norm is None else decision.norm


def _like(value: Any, array: Array, buffer: Any) -> Any:
    """Give a result as what was clipped: a number of Python's or NumPy's, or an array."""
    order = "F" if is_fortran(array) else "C"
    result = buffer.view(array.dtype).reshape(array.shape, order=order)
    if isinstance(value, np.generic):
        return result[()]
    return result.item() if isinstance(value, int | float | complex) else result
