"""Gates: what a script may ask of a result. One that cannot judge says so and does not pass."""

from collections.abc import Sequence

from gradclip_cli.errors import Status
from gradclip_cli.measure.rounding import explained
from gradclip_cli.results.gates import Gate
from gradclip_cli.results.phrases import called, exactly, nonfinite, number, those
from gradclip_cli.results.report import Report
from gradclip_cli.results.trend import Trend

_NOT_KNOWN = "whether all values are finite is not known"


def within(report: Report, limit: float) -> Gate:
    """Ask whether the global norm is finite and at most a limit, but for rounding."""
    norm, p = report.global_norm, report.moments.norm_type
    if report.moments.nonfinite:
        return Gate(Status.VERDICT, f"the global norm is not finite: {_first(report)}", limit)
    if report.overflows:
        return Gate(Status.VERDICT, "the global norm is beyond float64", limit)
    if report.unread:
        return Gate(Status.TROUBLE, _unread(report.unread, "the global norm is of a part"), limit)
    tolerance = explained(report.stored, limit, p)
    says = ""
    if norm - limit > tolerance:
        says = f"global norm {exactly(norm)} is above {exactly(limit)}"
        return Gate(Status.VERDICT, says, limit, tolerance)
    if norm > limit:
        more = f"{norm - limit:.2g}"
        says = f"the global norm is above {exactly(limit)} by {more}, which rounding explains"
    return Gate(Status.OK, says, limit, tolerance)


def finite(report: Report) -> Gate:
    """Ask whether all values are finite."""
    if report.moments.nonfinite:
        return Gate(Status.VERDICT, f"not all values are finite: {_first(report)}")
    if report.unread:
        return Gate(Status.TROUBLE, _unread(report.unread, _NOT_KNOWN))
    return Gate(Status.OK)


def finite_steps(trend: Trend) -> Gate:
    """Ask whether all values of all steps are finite."""
    first = trend.first_nonfinite
    if first is None:
        part = _in_part(trend, _NOT_KNOWN)
        return Gate(Status.TROUBLE, part) if part else Gate(Status.OK)
    return Gate(
        Status.VERDICT,
        f"not all values are finite, first at step {first.step.step}, likely in "
        f"{called(first.tensor)}",
    )


def no_spike(trend: Trend) -> Gate:
    """Ask whether no step is a spike and no level rose for good; too few steps tell nothing."""
    rises = [shift.step for shift in trend.shifts if shift.rises]
    firsts = [*rises[:1], *(spike.step for spike in trend.spikes[:1])]
    if firsts:
        steps = [step.step for step in trend.steps]
        step = min(firsts, key=lambda step: steps.index(step.step))
        few = ", by few steps" if step.usual.few else ""
        return Gate(Status.VERDICT, f"step {step.step} is above the range before it{few}")
    if part := _in_part(trend, "the norm is of a part"):
        return Gate(Status.TROUBLE, part)
    if not trend.judged:
        return Gate(Status.TROUBLE, "too few steps to call a spike")
    if (jump := trend.unjudged_jump) is not None:
        says = (
            f"step {jump.step.step} is {number(jump.times)} times the step before, and not judged"
        )
        return Gate(Status.TROUBLE, f"{says}: too few steps come before it")
    return Gate(Status.OK)


def _first(report: Report) -> str:
    moments = report.moments
    said = nonfinite((moments.nan, moments.posinf, moments.neginf))
    return f"{said}, likely first in {called(report.worst.name)}" if report.worst else said


def _unread(names: Sequence[str | None], why: str) -> str:
    return f"{why}: {those(names)} could not be decoded"


def _in_part(trend: Trend, why: str) -> str:
    """Say which is the first step of which not all was measured; nothing where there is none."""
    for step in trend.steps:
        if step.measured.unread:
            return f"step {step.step}: {_unread(step.measured.unread, why)}"
    return ""
