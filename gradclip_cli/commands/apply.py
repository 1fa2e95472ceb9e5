"""What `gradclip apply` does, as a function that returns the report that the command prints."""

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gradclip_cli.commands.deciding import (
    Axes,
    axes_of,
    decided,
    parameter_norms,
    refuse_nonfinite,
    refuse_unclippable,
    refuse_undecodable,
)
from gradclip_cli.commands.measuring import Path, measured, notes
from gradclip_cli.commands.opening import found, gradient, opened
from gradclip_cli.commands.spooling import settled, spool
from gradclip_cli.engine.crew import Crew, Progress, crew
from gradclip_cli.errors import GradclipError
from gradclip_cli.files.places import is_special
from gradclip_cli.files.staging import copy_into, staging
from gradclip_cli.formats.opening import promoted
from gradclip_cli.measure.moments import Moments
from gradclip_cli.measure.units import unit_norms
from gradclip_cli.results.clipping import clipping
from gradclip_cli.results.report import Report
from gradclip_cli.results.reporting import report
from gradclip_cli.rewrite import targets
from gradclip_cli.rewrite.edits import Edit, Scale
from gradclip_cli.rewrite.outputs import Edits, Output, Plan
from gradclip_cli.rewrite.passes import Outcome, rewrite, rewrite_to_stream
from gradclip_cli.rules.choosing import chosen as chosen_rule
from gradclip_cli.rules.choosing import options as options_of_rules
from gradclip_cli.rules.decision import Decision, Units
from gradclip_cli.rules.rule import Rule
from gradclip_cli.rules.terms import Like, Nonfinite, Terms
from gradclip_cli.tensors.dump import Dump
from gradclip_cli.tensors.gradients import gradients, holds_only_integers, paired, undecodable
from gradclip_cli.tensors.names import plural
from gradclip_cli.tensors.selection import Selection

Write = Callable[[bytes], object]
Outcomes = Mapping[int, Outcome]


def apply(
    *paths: Path,
    rule: Rule | None = None,
    norm_type: float | None = None,
    eps: float | None = None,
    like: Like | None = None,
    output: Path | Write | None = None,
    in_place: bool = False,
    force: bool = False,
    dry_run: bool = False,
    nonfinite: Nonfinite = "refuse",
    use_norm: float | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    one_gradient: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Clip dumps by one rule and write the result to `output`, or in place.

    `rule` is an object such as `ClipByGlobalNorm(5.0)`. In its place the options of a rule name it,
    as they do on the command line: `clip_norm` for the joint norm of all tensors, or `per_tensor`
    (each slice of one by its norm over `axes`), `per_group` (as `--group-by`) or, by the norm
    divided by the number of values, on `average`; `clip_value` for a value, as `V` or `(LO, HI)`;
    `clip_rms` for a root mean square; `agc` for the ratio of each unit's norm to that of its
    parameter in the dump `params`, whose units lie as `agc_layout` says. Norms are of `norm_type`,
    2 if not given, and `eps` is added to them. `like` names a framework to follow to the bit.

    `output` is a path, or for a single file a function that is given its bytes in order.
    `use_norm` is a norm known already, which spares the measuring. The steps of a run are not one
    gradient, and refused, unless `one_gradient` says so. Raises `GradclipError` for what
    cannot be read or written, and `RefusedError` for gradients that cannot be clipped; either way
    every target is as it was.
    """
    wish = {"norm_type": norm_type, "eps": eps, "like": like, "nonfinite": nonfinite}
    named = {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in options.items()
    }
    rule, terms = chosen_rule(rule, {**named, **wish, "use_norm": use_norm})
    operands = [os.fspath(path) for path in paths]
    dump = gradient(operands, one_gradient)
    refuse_unclippable(dump.files)
    selection = Selection(include, exclude)
    chosen = gradients(dump, selection)
    refuse_undecodable(undecodable(dump, selection))
    axes = axes_of(rule, dump, chosen)
    weights = opened(found([rule.parameters])) if rule.parameters is not None else None
    partners = paired(dump, chosen, weights) if weights is not None else []
    with contextlib.ExitStack() as stack:
        target = None
        spools: Mapping[int, int] = {}
        if not dry_run:
            target = _destination(dump, operands, output, in_place, force, stack)
        if target is not None or axes is not None:
            spools = spool(dump, stack)
        known = dict.fromkeys(chosen)
        # One pass is enough where the norm is known, all values are rewritten anyway, and a refusal
        # can still discard what was written.
        one_pass = (
            use_norm is not None
            and isinstance(target, targets.Targets)
            and nonfinite != "skip"
            and not spools
            and _rewrites_all(decided(rule, terms, dump, known))
        )
        moments: Mapping[int, Moments] = {}
        if not one_pass:
            moments = measured(dump, chosen, workers, progress, terms.norm_type)
            refuse_nonfinite(dump, moments, terms)
            dump = settled(dump, spools)
        hands = stack.enter_context(crew(workers, progress))
        units = _units(dump, axes, moments, terms, hands) if axes is not None else []
        if weights is not None and axes is not None:
            beside = parameter_norms(weights, partners, axes, hands)
            units = [
                Units(own.axes, own.norms, other) for own, other in zip(units, beside, strict=True)
            ]
        decision = decided(rule, terms, dump, known if one_pass else moments, units)
        plan = Plan(_edits(dump, chosen, decision), terms.norm_type, one_pass)
        with _written(dump, plan, target, in_place, hands) as outcomes:
            if one_pass:
                moments = _before(outcomes, chosen, terms.norm_type)
                refuse_nonfinite(dump, moments, terms)
    came_to = clipping(dump, rule, terms, decision, moments, None if dry_run else outcomes)
    said = notes(dump, chosen, selection, terms.norm_type, writing=True)
    spare = 0 if weights is None else len(weights.tensors) - len(chosen)
    if spare:
        said.append(f"{plural(spare, 'parameter')} without a gradient")
    return report(dump, moments, said, came_to)


def signature() -> inspect.Signature:
    """Give what `apply` can be given, the options of the rules that there are now included."""
    kept = [one for one in _OWN.parameters.values() if one.kind is not one.VAR_KEYWORD]
    chosen = [
        inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default)
        for option in options_of_rules()
    ]
    return _OWN.replace(parameters=[kept[0], *chosen, *kept[1:]])


def _units(
    dump: Dump, axes: Axes, moments: Mapping[int, Moments], terms: Terms, crew: Crew
) -> list[Units]:
    """Measure the units of the chosen tensors."""
    finite_only = terms.nonfinite != "propagate"
    norms = unit_norms(dump.tensors, axes, moments, crew, terms.norm_type, finite_only)
    return [Units(some, norms[index]) for index, some in axes.items()]


def _rewrites_all(decision: Decision) -> bool:
    return decision.coefficient != 1 and all(decision.edits)


def _destination(
    dump: Dump,
    operands: Sequence[str],
    output: Path | Write | None,
    in_place: bool,
    force: bool,
    stack: contextlib.ExitStack,
) -> targets.Targets | Write:
    """Give where the results go; whatever can be refused is refused here."""
    if in_place:
        if any(not file.relative for file in dump.files):
            raise GradclipError("--in-place", "standard input has no place", "write with -o FILE")
        return targets.in_place(dump)
    if output is None:
        raise GradclipError(
            "-o", "nothing says where the result goes", "name a file with -o, or add --in-place"
        )
    if not callable(output):
        path = os.fspath(output)
        if not is_special(path):
            return targets.beside(dump, operands, path, force)
        # A device or a FIFO is written through, never replaced.
        stream = stack.enter_context(open(path, "wb"))  # noqa: SIM115
        output = stream.write
    if len(dump.files) != 1:
        raise GradclipError(
            "-o",
            f"{len(dump.files):,} files cannot go to one stream",
            "name a folder with -o FOLDER/, or clip one file",
        )
    return output


def _edits(dump: Dump, chosen: Sequence[int], decision: Decision) -> Edits:
    """Give an edit for each tensor of the dump; integers are at least turned into float64."""
    edits: list[Edit | None] = [None] * len(dump.tensors)
    unchanged = Scale(1.0) if holds_only_integers(dump) else None
    for index, edit in zip(chosen, decision.edits, strict=True):
        edits[index] = edit or unchanged
    return edits


@contextlib.contextmanager
def _written(
    dump: Dump, plan: Plan, target: targets.Targets | Write | None, only_changed: bool, crew: Crew
) -> Iterator[Outcomes]:
    """Write the results and give what came of each tensor; they take their places at the end."""
    outputs = _outputs(dump, plan.edits)
    if target is None:
        yield {}
    elif not isinstance(target, targets.Targets):
        yield rewrite_to_stream(outputs[0], plan, crew, target)
    else:
        with staging(target.all, target.folder) as area:
            places = zip(outputs, target.files, strict=True)
            staged = [
                output.at(area.file(place, output.size))
                for output, place in places
                if not only_changed or output.changes(plan.edits)
            ]
            for companion, place in target.companions:
                copy_into(area, companion.path, place)
            outcomes = rewrite(staged, plan, crew)
            for output in staged if only_changed else ():
                own = (outcomes[index] for index in output.indices if index in outcomes)
                if not any(outcome.changed for outcome in own):
                    area.drop(output.path)
            yield outcomes

            def check() -> None:
                # What others wrote meanwhile is not to be lost by taking its place.
                for file in dump.files if only_changed else ():
                    file.source.check()

            area.commit(check)


def _outputs(dump: Dump, edits: Edits) -> list[Output]:
    """Lay out each result; only integers that become float64 move anything."""
    outputs = []
    first = 0
    for file in dump.files:
        own = edits[first : first + len(file.tensors)]
        names = {tensor.name for tensor, edit in zip(file.tensors, own, strict=True) if edit}
        if names and holds_only_integers(dump):
            header, tensors = promoted(file, names)
            outputs.append(Output(file, first, tensors, header))
        else:
            outputs.append(Output(file, first, file.tensors))
        first += len(file.tensors)
    return outputs


def _before(outcomes: Outcomes, chosen: Sequence[int], norm_type: float) -> dict[int, Moments]:
    """Give what was measured while writing; an empty tensor was not touched at all."""
    found = {index: outcomes[index].before for index in chosen if index in outcomes}
    return {index: found.get(index) or Moments(norm_type=norm_type) for index in chosen}


_OWN = inspect.signature(apply)
apply.__signature__ = signature()  # type: ignore[attr-defined] # for help() and editors
