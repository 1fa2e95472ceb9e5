"""What can be read from a run, in words: one answer a paragraph, the worst first."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.text import Text

from gradclip_cli.render.grid import elided, nonfinite, number
from gradclip_cli.render.table import percent
from gradclip_cli.series.findings import FirstNonfinite, Growth, Spike, Trend
from gradclip_cli.series.layers import Fading
from gradclip_cli.series.trajectory import Step
from gradclip_cli.tensors.names import escape, printable

_NAME = 48  # columns for a name among words
_LISTED = 5  # spikes or names beyond these are counted
_INDENT = "  "

# The largest values of the dtypes in which gradients overflow: where an infinity comes from.
_ENDS = {"float16": "65,504", "float8_e5m2": "57,344"}


def answers(trend: Trend, width: int) -> Iterator[Text]:
    """Say what there is to say, wrapped to a width."""
    for paragraph, style in _paragraphs(trend):
        for line in wrapped(paragraph, width):
            yield Text(line, style)


def wrapped(text: str, width: int) -> Iterator[str]:
    """Break a text at its spaces into lines of a width, the later ones indented by two more."""
    line = text[: len(text) - len(text.lstrip(" "))]
    indent = line + _INDENT
    for word in text.split():
        if line.strip() and cell_len(f"{line} {word}") > width:
            yield line
            line = indent
        gap = " " if line.strip() else ""
        line = elided(f"{line}{gap}{word}", width)
    yield line


def _paragraphs(trend: Trend) -> Iterator[tuple[str, str]]:
    beyond = sum(step.mark == "overflow" for step in trend.steps)
    if trend.first_nonfinite is None:
        yield "all values are finite", ""
    else:
        yield _not_finite(trend.first_nonfinite), "bold red"
        yield from ((said, "") for said in _around(trend.first_nonfinite))
    if beyond:
        steps = "1 step" if beyond == 1 else f"{beyond:,} steps"
        yield f"the norm of {steps} is beyond float64", "bold red"
    yield from ((said, "") for said in _spikes(trend))
    for fading in trend.fading:
        yield _vanishing(fading), ""
    if trend.always_zero:
        count = len(trend.always_zero)
        what = "tensor is" if count == 1 else "tensors are"
        yield f"{count:,} {what} zero in every step: {_listed(trend.always_zero)}", ""
    count = len(trend.steps)
    notes = [f"{count:,} step" if count == 1 else f"{count:,} steps", *map(printable, trend.notes)]
    yield " · ".join(notes), "dim"


def _not_finite(first: FirstNonfinite) -> str:
    found = first.found
    what = nonfinite(found.nan, found.posinf, found.neginf)
    return (
        f"not finite, first at step {_step(first.step)}: {_name(first.tensor)} at "
        f"{list(found.first)} ({what}); in {first.tensors:,} of "
        f"{len(first.step.measured.layout.names):,} tensors"
    )


def _around(first: FirstNonfinite) -> Iterator[str]:
    if first.infinite:
        end = _ENDS.get(first.dtype)
        why = f"{first.dtype} ends at {end}" if end else "the first to overflow"
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
        parts.append(f"{share_of_worst(before)} of the squared norm in {_name(before.worst)}")
    return ", ".join(parts)


def share_of_worst(step: Step) -> str:
    """Write the share of a step's worst tensor; it is all only where all others are zero."""
    alone = sum(bool(norm) for norm in step.measured.norms) == 1
    return percent(step.share, (), ()) if alone else percent(step.share)


def _spikes(trend: Trend) -> Iterator[str]:
    rule = trend.rule
    where = f"mean + {rule.deviations:g}σ of the {rule.window:,} before"
    if not trend.spikes:
        yield f"no spikes: no norm is above {where}"
        return
    count = len(trend.spikes)
    yield f"{count:,} {'spike' if count == 1 else 'spikes'} above {where}:"
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
    return "the unnamed tensor" if name is None else elided(escape(name), _NAME)


def _listed(names: Sequence[str | None]) -> str:
    shown = ", ".join(map(_name, names[:_LISTED]))
    rest = len(names) - _LISTED
    return f"{shown} … and {rest:,} more" if rest > 0 else shown
