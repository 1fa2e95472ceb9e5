"""From a dump's measurements to its report: the rows, worst first, and the verdict."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.results.figures import Clipping
from gradclip_cli.results.phrases import called, nonfinite, number, part_of, those
from gradclip_cli.results.ranging import ranging_of
from gradclip_cli.results.ranking import worst_first
from gradclip_cli.results.report import Report, Row
from gradclip_cli.tensors.dump import Dump
from gradclip_cli.tensors.selection import Selection


def report(
    dump: Dump,
    moments: Mapping[int, Moments],
    notes: Iterable[str] = (),
    clipping: Clipping | None = None,
    unread: Sequence[str | None] = (),
    selection: Selection | None = None,
) -> Report:
    """Put a dump's measurements together; `moments` lacks the tensors that do not count.

    Of these some, `unread`, were chosen and could not be decoded; others a `selection` leaves out.
    """
    tensors = dump.tensors
    chosen = range(len(tensors)) if selection is None else {*selection.chosen(tensors)}
    whole = merge(moments.values())
    norm = whole.norm
    norms = {index: part.norm for index, part in moments.items()}
    clipped = clipping.tensors if clipping is not None else {}
    rows = [
        Row(
            "tensor",
            tensor.name,
            tensor.dtype.name,
            tensor.shape,
            tensor.count,
            tensor.source.label,
            moments.get(index),
            norms.get(index),
            share_of(norms[index], whole, norm) if index in norms else None,
            clipped.get(index),
            whole,
            index not in chosen,
        )
        for index, tensor in enumerate(tensors)
    ]
    ordered = worst_first(rows)
    found = Report(
        tuple(ordered),
        whole,
        total=len(rows),
        measured=len(moments),
        files=tuple(file.source.label for file in dump.files),
        ignored=dump.ignored,
        notes=tuple(notes),
        clipped=None if clipping is None else clipping.together,
        worst=ordered[0] if ordered else None,
        ruling=None if clipping is None else clipping.ruling,
        handled=None if clipping is None else clipping.handled,
        unread=tuple(unread),
        excluded=len(tensors) - len(chosen),
    )
    say = _verdict if clipping is None else _of_clipping
    return dataclasses.replace(found, verdict=say(found))


def ranged(report: Report, name: str) -> Report:
    """Give the report with what a format makes of values, at the best loss scale, too."""
    ranging = ranging_of(name, report.moments)
    rows = [dataclasses.replace(row, ranging=ranging) for row in report.rows]
    notes = (*report.notes, ranging.says(report.moments))
    return dataclasses.replace(report.with_rows(rows), ranging=ranging, notes=notes)


def without(report: Report, statistic: str) -> Report:
    """Give the report without a statistic, which was asked for to be drawn."""
    rest = tuple(one for one in report.moments.further if one[0] != statistic)
    return dataclasses.replace(report, moments=dataclasses.replace(report.moments, further=rest))


def weighed(report: Report, parameters: Mapping[str | None, Moments]) -> Report:
    """Give the report with the moments of parameters, by the names of their gradients."""
    rows = [
        dataclasses.replace(row, weighed=(row.moments, parameters[row.name]))
        if row.moments is not None and row.name in parameters
        else row
        for row in report.rows
    ]
    found = [(row.grad_to_param, row.name) for row in rows if row.grad_to_param is not None]
    notes = report.notes
    if found:
        most, name = max(found, key=lambda one: -math.inf if math.isnan(one[0]) else one[0])
        notes = (*notes, f"gradient over parameter: at most {number(most)}, in {called(name)}")
    return dataclasses.replace(report.with_rows(rows), weighed=_both(rows), notes=notes)


def _both(rows: Iterable[Row]) -> tuple[Moments, Moments] | None:
    """Give the moments of all gradients that have parameters, and of these."""
    pairs = [row.weighed for row in rows if row.weighed is not None]
    if not pairs:
        return None
    gradients, parameters = zip(*pairs, strict=True)
    return merge(gradients), merge(parameters)


def share_of(norm: float, whole: Moments, global_norm: float) -> float | None:
    """Give a part's share of the sum of |x|^p; None where that is zero or not finite."""
    p = whole.norm_type
    if p == math.inf or not 0 < global_norm < math.inf:
        return None
    if 0 < p < 1:  # where a quotient may vanish that has a power
        part: float = norm**p / global_norm**p
        return part
    ratio = norm / global_norm
    return ratio**p if p else ratio


def grouped(report: Report, group: Callable[[str], str | None]) -> Report:
    """Give the report with a row a group in place of the tensors, worst first.

    The whole, its norm and its verdict stay those of all tensors.
    """
    members: dict[str | None, list[Row]] = {}
    for row in report.rows:
        if row.measured:
            members.setdefault(group(row.name or ""), []).append(row)
    rows = worst_first(_together(name, rows, report) for name, rows in members.items())
    return report.with_rows(rows)


def _together(name: str | None, rows: list[Row], report: Report) -> Row:
    moments = merge(row.moments for row in rows if row.moments is not None)
    dtypes = {row.dtype for row in rows}
    files = {row.file for row in rows}
    return Row(
        "group",
        name,
        dtypes.pop() if len(dtypes) == 1 else None,
        None,
        moments.count,
        files.pop() if len(files) == 1 else "",
        moments,
        moments.norm,
        share_of(moments.norm, report.moments, report.global_norm),
        together=report.moments,
        ranging=report.ranging,
        weighed=_both(rows),
    )


def _verdict(report: Report) -> str:
    """Say what is true of a dump, which tensor is to blame, and what was not looked at."""
    said = _of_report(report)
    if report.unread:
        said += f"; {those(report.unread)} could not be decoded"
    return said


def _of_report(report: Report) -> str:
    moments = report.moments
    worst = report.worst
    if moments.nonfinite:
        what = nonfinite((moments.nan, moments.posinf, moments.neginf))
        if worst is None:
            return f"not finite: {what}"
        at = "" if worst.first_nonfinite is None else f" at {list(worst.first_nonfinite)}"
        return f"not finite: {what}, likely first in {called(worst.name)}{at}"
    if report.overflows:
        return "the global norm is beyond float64"
    if report.measured == 0:
        return "there is nothing to measure"
    if report.global_norm == 0:
        return "all values are zero"
    if report.measured == 1 or worst is None:
        return "all values are finite"
    if moments.norm_type == math.inf:
        return f"all finite; {called(worst.name)} has the largest value"
    whole = _shared(moments.norm_type)
    return f"all finite; {called(worst.name)} has {part_of(worst.part)} of {whole}"


def _shared(p: float) -> str:
    """Say what shares are of: what adds up to the norm of this type."""
    known: dict[float, str] = {
        0: "the values that are not zero",
        1: "the norm",
        2: "the squared norm",
    }
    return known.get(p, f"the sum of |x|^{p:g}")


def _of_clipping(report: Report) -> str:
    """Say what clipping came to."""
    assert report.clipped is not None
    before, after = report.clipped.norm_before, report.clipped.norm_after
    said = f"not clipped: the global norm is {before!r}"
    if report.clipped.clipped:
        said = f"clipped: the global norm was {before!r} and is {after!r}"
    if report.handled is None or not report.handled.found:
        return said
    return f"{said}; not finite: {report.handled.says()}{report.handled.afterwards}"
