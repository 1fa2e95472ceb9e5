"""Clip a dump: what `gradclip apply` does, and what it would do for `inspect --clip-norm`."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from gradclip_cli.choices import Layout, Like, Nonfinite
from gradclip_cli.commands.measuring import Path, measured, notes
from gradclip_cli.commands.opening import found, opened
from gradclip_cli.commands.spooling import settled, spool
from gradclip_cli.engine.crew import Crew
from gradclip_cli.engine.executors import crew
from gradclip_cli.errors import GradclipError, RefusedError
from gradclip_cli.files.staging import copy_into, staging
from gradclip_cli.formats.opening import promoted
from gradclip_cli.measure.meter import Progress, Silent
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.measure.units import Floats, check_units, unit_norms
from gradclip_cli.results.clipping import Clipping
from gradclip_cli.results.report import Report, WhatIf, report
from gradclip_cli.rewrite import targets
from gradclip_cli.rewrite.edits import Edit, Scale
from gradclip_cli.rewrite.passes import Outcome, Output, rewrite, rewrite_to_stream
from gradclip_cli.rewrite.rehearsal import rehearse
from gradclip_cli.rules.choosing import Wish, chosen_rule
from gradclip_cli.rules.decision import Decision, Global, Rule, Terms, Units, axes_of, decide
from gradclip_cli.tensors.dtypes import FLOAT64
from gradclip_cli.tensors.dump import Dump, DumpFile, Tensor, multi_index
from gradclip_cli.tensors.names import quoted
from gradclip_cli.tensors.selection import (
    Selection,
    gradients,
    holds_only_integers,
    paired,
    undecodable,
)

Write = Callable[[bytes], object]

_NAMED = 20  # tensors beyond these are counted in a message, not listed


def what_if(
    dump: Dump,
    chosen: Sequence[int],
    moments: Mapping[int, Moments],
    chances: Sequence[tuple[Rule, Terms]],
    hands: Crew,
    watch: Progress,
) -> tuple[WhatIf, ...]:
    """Give what clipping to each limit would do; where it would be refused, nothing is known."""
    coefficients: list[float | None] = []
    for rule, terms in chances:
        try:
            coefficients.append(_decided(rule, terms, dump, chosen, moments).coefficient)
        except GradclipError:
            coefficients.append(None)
    edits = [Scale(one) for one in coefficients if one is not None and one != 1]
    dtype = FLOAT64 if holds_only_integers(dump) else None
    p = chances[0][1].norm_type
    tried = iter(rehearse(dump.tensors, chosen, edits, dtype, hands, watch, p) if edits else ())
    norm = merge(moments.values()).norm
    said = []
    for (rule, _), coefficient in zip(chances, coefficients, strict=True):
        limit = rule.clip_norm if isinstance(rule, Global) else 0.0
        if coefficient is None:
            said.append(WhatIf(limit))
        elif coefficient == 1:
            said.append(WhatIf(limit, 1.0, norm, 0, 0, 0))
        else:
            one = next(tried)
            counts = one.flushed, one.subnormal, one.saturated
            said.append(WhatIf(limit, coefficient, one.after.norm, *counts))
    return tuple(said)


def apply(
    *paths: Path,
    clip_norm: float | None = None,
    clip_value: str | float | Sequence[float] | None = None,
    clip_rms: float | None = None,
    agc: float | None = None,
    params: Path | None = None,
    agc_layout: Layout | None = None,
    per_tensor: bool = False,
    axes: str | Sequence[int] | None = None,
    per_group: str | None = None,
    average: bool = False,
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
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Clip dumps by one rule and write the result to `output`, or in place.

    The limit names the rule: `clip_norm` for the joint norm of all tensors, or `per_tensor` (each
    slice of one by its norm over `axes`), `per_group` (as `--group-by`) or, by the norm divided by
    the number of values, on `average`; `clip_value` for a value, as `V` or `(LO, HI)`; `clip_rms`
    for a root mean square; `agc` for the ratio of each unit's norm to that of its parameter in the
    dump `params`. Norms are of `norm_type`, 2 if not given, and `eps` is added to them. `like`
    names a framework to follow to the bit.

    `output` is a path, or for a single file a function that is given its bytes in order.
    `use_norm` is a norm known already, which spares the measuring. Raises `GradclipError` for what
    cannot be read or written, and `RefusedError` for gradients that cannot be clipped; either way
    every target is as it was.
    """
    rule, terms = chosen_rule(
        Wish(
            clip_norm,
            clip_value,
            clip_rms,
            agc,
            None if params is None else os.fspath(params),
            agc_layout,
            per_tensor,
            axes,
            per_group,
            average,
            norm_type,
            eps,
            like,
            use_norm,
            nonfinite,
        )
    )
    watch = progress or Silent()
    operands = [os.fspath(path) for path in paths]
    dump = opened(found(operands))
    selection = Selection(include, exclude)
    chosen = gradients(dump, selection)
    _refuse_undecodable(undecodable(dump, selection))
    axes_by_index = _axes(rule, dump, chosen)
    weights = opened(found([os.fspath(params)])) if params is not None else None
    partners = paired(dump, chosen, weights) if weights is not None else []
    with contextlib.ExitStack() as stack:
        target = None
        spools: Mapping[int, int] = {}
        if not dry_run:
            target = _destination(dump, operands, output, in_place, force, stack)
        if target is not None or axes_by_index is not None:
            spools = spool(dump, stack)
        # One pass is enough where the norm is known, all values are rewritten anyway, and a refusal
        # can still discard what was written.
        one_pass = (
            use_norm is not None
            and isinstance(target, targets.Targets)
            and nonfinite != "skip"
            and not spools
            and _rewrites_all(_decided(rule, terms, dump, chosen, {}))
        )
        moments: Mapping[int, Moments] = {}
        if not one_pass:
            moments = measured(dump, chosen, workers, watch, terms.norm_type)
            _refuse_nonfinite(dump, moments, terms)
            dump = settled(dump, spools)
        units: Sequence[Units] = ()
        if axes_by_index is not None:
            norms = _unit_norms(dump, axes_by_index, moments, terms, workers, watch)
            beside: Sequence[Floats | None] = [None] * len(chosen)
            if weights is not None:
                beside = _parameter_norms(
                    weights, partners, list(axes_by_index.values()), workers, watch
                )
            units = [
                Units(axes_by_index[index], norms[index], other)
                for index, other in zip(chosen, beside, strict=True)
            ]
        decision = _decided(rule, terms, dump, chosen, moments, units)
        edits = _edits(dump, chosen, decision)
        hands = stack.enter_context(crew(workers))
        with _written(
            dump, edits, target, in_place, hands, watch, one_pass, terms.norm_type
        ) as outcomes:
            if one_pass:
                moments = _before(outcomes, chosen, terms.norm_type)
                _refuse_nonfinite(dump, moments, terms)
    clipping = Clipping(rule, terms, decision, chosen, None if dry_run else outcomes)
    said = notes(dump, chosen, terms.norm_type, writing=True)
    spare = 0 if weights is None else len(weights.tensors) - len(chosen)
    if spare:
        said.append(f"{spare:,} parameter{'s' if spare > 1 else ''} without a gradient")
    return report(dump, moments, said, clipping.results(dump, moments))


def _axes(rule: Rule, dump: Dump, chosen: Sequence[int]) -> dict[int, tuple[int, ...]] | None:
    """Give the axes of the units of each chosen tensor, if the rule has units."""
    tensors = dump.tensors
    found = axes_of(rule, [tensors[index] for index in chosen])
    if found is None:
        return None
    check_units([tensors[index] for index in chosen], found)
    return dict(zip(chosen, found, strict=True))


def _unit_norms(
    dump: Dump,
    axes: Mapping[int, tuple[int, ...]],
    moments: Mapping[int, Moments],
    terms: Terms,
    workers: int | None,
    watch: Progress,
) -> dict[int, Floats]:
    finite_only = terms.nonfinite != "propagate"
    with crew(workers) as hands:
        return unit_norms(dump.tensors, axes, moments, hands, watch, terms.norm_type, finite_only)


def _parameter_norms(
    parameters: Dump,
    partners: Sequence[int],
    axes: Sequence[tuple[int, ...]],
    workers: int | None,
    watch: Progress,
) -> list[Floats]:
    """Give the norms of the units of the parameters, in the order of their gradients."""
    tensors = parameters.tensors
    moments = measured(parameters, partners, workers, watch, 2.0)
    for place, part in moments.items():
        if part.nonfinite:
            raise GradclipError(
                "--params",
                f"{quoted(tensors[place].name)} holds values that are not finite",
                "leave its gradient out with --exclude 'PATTERN'",
            )
    with crew(workers) as hands:
        own = dict(zip(partners, axes, strict=True))
        norms = unit_norms(tensors, own, moments, hands, watch)
    return [norms[place] for place in partners]


def _decided(
    rule: Rule,
    terms: Terms,
    dump: Dump,
    chosen: Sequence[int],
    moments: Mapping[int, Moments],
    units: Sequence[Units] = (),
) -> Decision:
    tensors = dump.tensors
    try:
        return decide(
            rule,
            terms,
            [tensors[index] for index in chosen],
            [moments.get(index) for index in chosen],
            units,
        )
    except RefusedError as error:
        raise RefusedError(_called(dump.files), error.problem, error.hint) from error


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
        if not targets.is_special(path):
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


def _edits(dump: Dump, chosen: Sequence[int], decision: Decision) -> list[Edit | None]:
    """Give an edit for each tensor of the dump; integers are at least turned into float64."""
    edits: list[Edit | None] = [None] * len(dump.tensors)
    unchanged = Scale(1.0) if holds_only_integers(dump) else None
    for index, edit in zip(chosen, decision.edits, strict=True):
        edits[index] = edit or unchanged
    return edits


@contextlib.contextmanager
def _written(
    dump: Dump,
    edits: Sequence[Edit | None],
    target: targets.Targets | Write | None,
    only_changed: bool,
    hands: Crew,
    watch: Progress,
    measure_before: bool,
    norm_type: float,
) -> Iterator[Mapping[int, Outcome]]:
    """Write the results and give what came of each tensor; they take their places at the end."""
    outputs = _outputs(dump, edits)
    if target is None:
        yield {}
    elif not isinstance(target, targets.Targets):
        yield rewrite_to_stream(outputs[0], edits, hands, watch, target, norm_type)
    else:
        with staging(target) as area:
            places = zip(outputs, target.files, strict=True)
            staged = [
                output.at(area.file(place, output.size))
                for output, place in places
                if not only_changed or output.changes(edits)
            ]
            for companion, place in target.companions:
                copy_into(area, companion.path, place)
            outcomes = rewrite(staged, edits, hands, watch, measure_before, norm_type)
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


def _outputs(dump: Dump, edits: Sequence[Edit | None]) -> list[Output]:
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


def _before(
    outcomes: Mapping[int, Outcome], chosen: Sequence[int], norm_type: float
) -> dict[int, Moments]:
    """Give what was measured while writing; an empty tensor was not touched at all."""
    found = {index: outcomes[index].before for index in chosen if index in outcomes}
    return {index: found.get(index) or Moments(norm_type=norm_type) for index in chosen}


def _refuse_undecodable(tensors: Sequence[Tensor]) -> None:
    if tensors:
        raise GradclipError(
            tensors[0].source.label,
            f"{len(tensors):,} tensors have a dtype that gradclip cannot decode, so the joint norm "
            "would be wrong",
            "leave them out by name: --exclude 'PATTERN'",
            _listed([f"{quoted(tensor.name)} is {tensor.dtype.name}" for tensor in tensors]),
        )


def _refuse_nonfinite(dump: Dump, moments: Mapping[int, Moments], terms: Terms) -> None:
    """Raise `RefusedError` that names each tensor with NaN or infinities."""
    bad = {index: part for index, part in moments.items() if part.nonfinite}
    if not bad or terms.nonfinite != "refuse" or terms.like is not None:
        return
    tensors = dump.tensors
    lines = []
    for index, part in bad.items():
        counts = ((part.nan, "NaN"), (part.posinf, "+inf"), (part.neginf, "-inf"))
        found = ", ".join(f"{count:,} {what}" for count, what in counts if count)
        at = multi_index(part.first_nonfinite or 0, tensors[index].shape)
        lines.append(f"{quoted(tensors[index].name)}: {found}, first at {list(at)}")
    raise RefusedError(
        _called(
            [file for file in dump.files if any(tensors[i].source is file.source for i in bad)]
        ),
        f"{len(bad):,} of {len(moments):,} tensors hold values that are not finite; nothing was "
        "written",
        "--nonfinite zero writes 0 for them, skip leaves those tensors as they are",
        _listed(lines),
    )


def _called(files: Sequence[DumpFile]) -> str:
    return files[0].source.label if len(files) == 1 else f"{len(files):,} files"


def _listed(lines: Sequence[str]) -> tuple[str, ...]:
    rest = len(lines) - _NAMED
    return (*lines[:_NAMED], *([f"… and {rest:,} more"] if rest > 0 else []))
