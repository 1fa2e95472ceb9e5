"""From two dumps' measurements to their comparison: rows, worst first, and the verdict."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from gradclip_cli.compare.causes import factor_of
from gradclip_cli.compare.difference import Difference, merge
from gradclip_cli.compare.likeness import ALL, words
from gradclip_cli.compare.likeness import both as likenesses
from gradclip_cli.compare.tolerance import Tolerance
from gradclip_cli.errors import GradclipError
from gradclip_cli.measure.culprits import likely_first
from gradclip_cli.measure.moments import Moments
from gradclip_cli.results.comparison import Compared, Comparison, Lanes, State, Verdict
from gradclip_cli.results.phrases import called, cosine, exactly, number, ratio, those
from gradclip_cli.tensors.dump import Tensor
from gradclip_cli.tensors.names import natural, plural, printable

_MOST_UNREADABLE = 5
_FEW_IDENTICAL = 5
_FOLD = 10.0


def compared(
    a: Tensor | None,
    b: Tensor | None,
    moments: tuple[Moments | None, Moments | None],
    difference: Difference | None,
    tolerance: Tolerance,
) -> Compared:
    """Put together what is known of a tensor; one side at least is there."""
    here = a or b
    name = None if here is None else here.name
    state = _state(a, b, difference, tolerance)
    changed = None if difference is None else difference.changed
    if here is not None and here.dtype.kind == "opaque":  # what was measured are its bytes
        return Compared(name, state, a, b, None, None, None, changed)
    if difference is not None:
        moments = difference.a, difference.b
    return Compared(name, state, a, b, *moments, difference, changed)


def _state(
    a: Tensor | None, b: Tensor | None, difference: Difference | None, tolerance: Tolerance
) -> State:
    if a is None or b is None:
        return "only_b" if a is None else "only_a"
    if a.shape != b.shape:
        return "shape"
    if difference is None:
        return "dtype"
    if not difference.changed and a.dtype.name == b.dtype.name:
        return "identical"
    whole = a.dtype.kind in ("integer", "boolean") and a.dtype.name == b.dtype.name
    if tolerance.allows(difference, whole) and a.dtype.kind != "opaque":
        return "equal"
    return "differs" if difference.changed else "dtype"


def comparison(
    rows: Iterable[Compared],
    gradients: Sequence[Difference],
    tolerance: Tolerance,
    files: tuple[tuple[str, ...], tuple[str, ...]],
    notes: Sequence[str],
    unreadable: Sequence[GradclipError] = (),
) -> Comparison:
    """Put the rows together; `gradients` are the differences of those that count for the whole."""
    rows = list(rows)
    ordered = sorted(rows, key=_badness)
    counts: dict[State, int] = {}
    for row in ordered:
        counts[row.state] = counts.get(row.state, 0) + 1
    whole = merge(gradients)
    verdict: Verdict = "differ"
    factor, only_rounding = None, False
    if counts.keys() <= {"identical", "equal"}:
        verdict = "identical" if counts.keys() <= {"identical"} else "equal"
    elif counts.keys() <= {"identical", "equal", "unreadable"}:
        verdict = "unreadable"
    else:
        lowest, highest = whole.factors
        only_rounding = lowest <= 1 <= highest and bool(whole.gap.max_abs)
        factor = None if lowest <= 1 <= highest else factor_of(whole)
        own = {id(difference) for difference in gradients}
        others = (row for row in ordered if id(row.difference) not in own)
        if factor is not None and not whole.astray and all(row.same for row in others):
            verdict = "multiple"
    alike = likenesses([_likeness(row) for row in ordered])
    same_but_for = words(alike) if verdict == "differ" and "differs" in counts else None
    same = [row.name for row in ordered if row.state == "identical"]
    notes = [*notes]
    if same and len(same) <= _FEW_IDENTICAL and len(same) < len(ordered):
        notes.insert(0, f"identical: {those(same, _FEW_IDENTICAL)}")
    files_a, files_b = files
    found = Comparison(
        tuple(ordered),
        verdict,
        whole,
        tolerance,
        compared=len(gradients),
        total=len(ordered),
        counts=counts,
        files_a=files_a,
        files_b=files_b,
        factor=factor,
        only_rounding=only_rounding,
        notes=tuple(notes),
        worst=_worst(rows, ordered),
        nonfinite=sum(row.nonfinite for row in ordered),
        unread=sum(row.is_opaque for row in ordered),
        unreadable=tuple(unreadable),
        same_but_for=same_but_for,
    )
    return replace(found, sentences=tuple(_verdict(found)))


def _likeness(row: Compared) -> int:
    """Give what the differences of a tensor may come to: anything if there is none."""
    if row.state in ("identical", "equal", "dtype"):
        return ALL
    if row.state != "differs" or row.difference is None or row.is_opaque:
        return 0
    return row.difference.likeness


def _worst(rows: Sequence[Compared], ordered: Sequence[Compared]) -> Compared | None:
    """Give the tensor to blame: the likely first that is newly not finite, else the worst."""
    newly = [row for row in rows if row.state == "differs" and row.first_newly is not None]
    if not newly:
        return next((row for row in ordered if row.state == "differs"), None)
    nan = [0 if row.moments_b is None else row.moments_b.nan for row in newly]
    return likely_first((row, row.name, count) for row, count in zip(newly, nan, strict=True))


def _badness(row: Compared) -> tuple[int, float, Any]:
    difference = row.difference
    rank = _RANKS[row.state]
    size = 0.0
    if difference is not None and row.state == "differs":
        rank -= bool(difference.astray)
        size = -(difference.astray or difference.relative_error or 0.0)
    return rank, size, natural(row.name or "")


_RANKS: dict[State, int] = {
    "only_a": 0,
    "only_b": 0,
    "unreadable": 0,
    "shape": 0,
    "differs": 3,
    "dtype": 4,
    "equal": 5,
    "identical": 6,
}


def _verdict(found: Comparison) -> Iterator[str]:
    """Say how two dumps differ, then why, a sentence each."""
    total = sum(found.counts.values())
    if found.verdict == "identical":
        yield f"identical: {plural(total, 'tensor')}, to the bit" if total else "identical: empty"
    elif found.verdict == "equal":
        identical = found.counts.get("identical", 0)
        yield f"equal within tolerance: {plural(total, 'tensor')}, {identical:,} of them identical"
    elif found.verdict == "multiple":
        yield f"{_all(found)}: {_multiple(found)}"
        yield from _likely(found)
    elif found.verdict == "unreadable":
        files = plural(len(found.unreadable), "file")
        yield f"not known: {files} cannot be read, all else is equal"
        yield from _unreadable(found)
    else:
        bad = total - sum(found.counts.get(state, 0) for state in _SAME)
        where = f"{bad:,} of {plural(total, 'tensor')}"
        if found.same_but_for is not None:
            yield f"the same but for {found.same_but_for}: {where}"
            return
        yield f"differ: {where}, {', '.join(_reasons(found))}"
        yield from _unreadable(found)
        yield from _explanations(found)
        for name, index, value_a, value_b in found.changed_values:
            yield f"{called(name)} at {list(index)}: {_written(value_a)} → {_written(value_b)}"


def _unreadable(found: Comparison) -> Iterator[str]:
    for error in found.unreadable[:_MOST_UNREADABLE]:
        yield printable(f"cannot be read: {error.said}")


def _written(value: Lanes) -> str:
    return exactly(value) if isinstance(value, float) else str(complex(*value))


def _all(found: Comparison) -> str:
    """Say which gradients are a multiple: all but those that have no finite value to tell."""
    count = found.compared
    apart = sum(
        row.state == "identical" and row.difference.gap.nonfinite == row.difference.gap.count > 0
        for row in found.rows
        if row.difference is not None
    )
    if apart:
        return f"{count - apart:,} of {count:,} tensors"
    return "the tensor" if count == 1 else f"all {count:,} tensors"


def _multiple(found: Comparison) -> str:
    return f"B = {ratio(found.factor)} · A, cosine {cosine(found.difference.cosine)}"


def _likely(found: Comparison) -> Iterator[str]:
    if found.likely:
        yield f"likely {', or '.join(found.likely)}"


_SAME: tuple[State, ...] = ("identical", "equal")
_REASONS: dict[State, str] = {
    "only_a": "only in A",
    "only_b": "only in B",
    "shape": "in shape",
    "unreadable": "unreadable",
    "differs": "in value",
    "dtype": "in dtype alone",
}


def _reasons(found: Comparison) -> Iterator[str]:
    bad = [state for state in _REASONS if state in found.counts]
    for state in bad:
        count = "" if len(bad) == 1 else f"{found.counts[state]:,} "
        yield f"{count}{_REASONS[state]}"


def _moved(found: Comparison) -> Iterator[str]:
    """Say which tensors became another size altogether: noise has as large an error."""
    sizes = [
        (size, row.name)
        for row in found.rows
        if row.state == "differs"
        and row.difference is not None
        and (size := row.difference.ratio) is not None
    ]
    if len(sizes) < 2 or found.factor is not None:
        return
    for some, what in (
        (sorted(pair for pair in sizes if pair[0] * _FOLD <= 1), "a tenth or less of"),
        (sorted((pair for pair in sizes if pair[0] >= _FOLD), reverse=True), "ten times or more"),
    ):
        if some:
            tensors = plural(len(some), "tensor is", "tensors are")
            names = those([name for _, name in some])
            yield f"{tensors} {what} what A has, by the norm: {names}"


def _explanations(found: Comparison) -> Iterator[str]:
    whole = found.difference
    worst = found.worst
    if worst is not None and worst.difference is not None:
        name, at = called(worst.name), worst.first_newly
        if at is not None:
            count = plural(whole.newly, "value")
            yield f"{count} newly not finite in B, likely first in {name} at {list(at)}"
        elif worst.difference.astray:
            count = plural(worst.difference.astray, "value")
            yield f"worst: {name}, {count} not finite in A, and otherwise in B"
        else:
            yield f"worst: {name}, relative error {number(worst.difference.relative_error)}"
    yield from _moved(found)
    if found.factor is not None:
        yield f"elsewhere {_multiple(found)}" if whole.astray else _multiple(found)
        yield from _likely(found)
    elif whole.astray and not whole.gap.max_abs:
        yield "all values that are finite in both are equal"
    elif found.only_rounding:
        yield "no finite value differs by more than the rounding of its dtype explains"
