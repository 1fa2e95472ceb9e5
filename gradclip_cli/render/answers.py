"""What can be read from a run, in words: one answer a paragraph, the worst first."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from gradclip_cli.render.words import elided, name_of, nonfinite, number, percent, wrapped
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.findings import FirstNonfinite, Growth, Spike
from gradclip_cli.series.layers import Fading
from gradclip_cli.series.trajectory import Step
from gradclip_cli.tensors.dtypes import binary_of
from gradclip_cli.tensors.names import escape, plural, printable

_NAME = 48  # columns for a name among words
_LISTED = 5  # spikes or names beyond these are counted
_INDENT = "  "

# The dtypes in which gradients overflow: where an infinity comes from.
_NARROW = ("float16", "float8_e5m2")


def answers(trend: Trend, width: int) -> Iterator[Text]:
    """Say what there is to say, wrapped to a width."""
    for paragraph, style in _paragraphs(trend):
        for line in wrapped(paragraph, width):
            yield Text(line, style)


def _paragraphs(trend: Trend) -> Iterator[tuple[str, str]]:
    beyond = sum(step.mark == "overflow" for step in trend.steps)
    if trend.first_nonfinite is None:
        yield "all values are finite", ""
    else:
        yield _not_finite(trend.first_nonfinite), "bold red"
        yield from ((said, "") for said in _around(trend.first_nonfinite))
    if beyond:
        yield f"the norm of {plural(beyond, 'step')} is beyond float64", "bold red"
    yield from ((said, "") for said in _spikes(trend))
    for fading in trend.fading:
        yield _vanishing(fading), ""
    if trend.always_zero:
        zero = plural(len(trend.always_zero), "tensor is", "tensors are")
        yield f"{zero} zero in every step: {_listed(trend.always_zero)}", ""
    notes = [plural(len(trend.steps), "step"), *map(printable, trend.notes)]
    yield " · ".join(notes), "dim"


def _not_finite(first: FirstNonfinite) -> str:
    found = first.found
    what = nonfinite((found.nan, found.posinf, found.neginf))
    return (
        f"not finite, first at step {_step(first.step)}: {_name(first.tensor)} at "
        f"{list(found.first)} ({what}); in {first.tensors:,} of "
        f"{len(first.step.measured.layout.names):,} tensors"
    )


def _around(first: FirstNonfinite) -> Iterator[str]:
    if first.infinite:
        why = "the first to overflow"
        if first.dtype in _NARROW:
            why = f"{first.dtype} ends at {binary_of(first.dtype).largest:,.0f}"
        yield f"{_INDENT}infinities without NaN in {_listed(first.infinite)}: {why}"
    if first.before is None:
        yield f"{_INDENT}there is no step before it"
    else:
        yield f"{_INDENT}{_looked(first.before)}"


def _looked(before: Step) -> str:
    """Say what the step before looked like."""
    parts = [f"the step before, {_step(before)}: norm {number(before.global_norm)}"]
    if before.ratio is not None:
        parts.append(f"{_times(before.ratio)} the running median")
    largest = before.measured.size_of_all()
    if largest is not None:
        size, tensor = largest
        name = _name(before.measured.layout.names[tensor])
        parts.append(f"largest |x| {number(size)} in {name}")
    if before.share is not None:
        parts.append(f"{percent(*before.worst_part)} of the squared norm in {_name(before.worst)}")
    return ", ".join(parts)


def _spikes(trend: Trend) -> Iterator[str]:
    rule = trend.rule
    where = f"mean + {rule.deviations:g}σ of the {rule.window:,} before"
    if not trend.spikes:
        yield f"no spikes: no norm is above {where}"
        return
    count = len(trend.spikes)
    yield f"{plural(count, 'spike')} above {where}:"
    # The largest matter most, and are told in their order.
    largest = sorted(trend.spikes, key=_excess, reverse=True)[:_LISTED]
    for spike in (spike for spike in trend.spikes if spike in largest):
        yield f"{_INDENT}step {_step(spike.step)}: {_spike(spike)}"
    if count > _LISTED:
        yield f"{_INDENT}… and {count - _LISTED:,} smaller ones"


def _excess(spike: Spike) -> float:
    return spike.step.global_norm / (spike.step.threshold or 5e-324)


def _spike(spike: Spike) -> str:
    said = f"norm {number(spike.step.global_norm)}"
    if spike.step.ratio is not None:
        said += f", {_times(spike.step.ratio)} the running median"
    if not spike.grown:
        return f"{said}; no tensor's share grew"
    return f"{said}; share of {', '.join(map(_growth, spike.grown))}"


def _growth(growth: Growth) -> str:
    before = "nothing" if growth.before is None else percent(growth.before)
    return f"{_name(growth.tensor)} grew from {before} to {percent(growth.after)}"


def _vanishing(fading: Fading) -> str:
    return (
        f"vanishing: from {_name(fading.high)} to {_name(fading.low)} the norm becomes "
        f"{fading.rate:.2g} of itself with each layer, {number(fading.whole)} over all "
        f"{fading.layers:,}"
    )


def _times(ratio: float) -> str:
    return f"{ratio:.1f} ×" if 0.1 <= ratio < 1000 else f"{number(ratio)} ×"


def _step(step: Step) -> str:
    return elided(escape(str(step.step)), _NAME)


def _name(name: str | None) -> str:
    return name_of(name, _NAME)


def _listed(names: Sequence[str | None]) -> str:
    shown = ", ".join(map(_name, names[:_LISTED]))
    rest = len(names) - _LISTED
    return f"{shown} … and {rest:,} more" if rest > 0 else shown
