"""What `gradclip apply` does, as a function that returns the report that the command prints."""

import contextlib
import dataclasses
import inspect
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gradclip_cli.commands.converting import converted, dropped, target_of
from gradclip_cli.commands.deciding import (
    aimed,
    decided,
    refuse_factors,
    refuse_nan_without_code,
    refuse_nonfinite,
    refuse_undecodable,
)
from gradclip_cli.commands.destinations import Outcomes, Way, Write, sent
from gradclip_cli.commands.measuring import able, listed, measured, notes, of_loss_scale
from gradclip_cli.commands.opening import gradient
from gradclip_cli.commands.parting import Parts
from gradclip_cli.commands.planning import edits_of, laid_out
from gradclip_cli.commands.spooling import settled, spool
from gradclip_cli.commands.uploading import Uploads, all_sent, appear, placed
from gradclip_cli.engine.crew import Crew, Progress
from gradclip_cli.engine.hiring import crew
from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.files.attributes import Lost
from gradclip_cli.files.places import Target, check_room
from gradclip_cli.files.staging import staging, write_into
from gradclip_cli.files.urls import check_written, is_url
from gradclip_cli.formats.shards import grown
from gradclip_cli.measure.meter import of_nothing
from gradclip_cli.measure.moments import Moments
from gradclip_cli.measure.statistics import PRINTS
from gradclip_cli.options import Count, Path
from gradclip_cli.results.clipping import clipping
from gradclip_cli.results.figures import Written
from gradclip_cli.results.report import Report
from gradclip_cli.results.reporting import report
from gradclip_cli.rewrite import targets
from gradclip_cli.rewrite.outputs import Output, Plan
from gradclip_cli.rewrite.proof import prove
from gradclip_cli.rewrite.streams import rewrite_all
from gradclip_cli.rules.choosing import chosen as chosen_rule
from gradclip_cli.rules.choosing import with_options
from gradclip_cli.rules.decision import Decision
from gradclip_cli.rules.rule import Rule
from gradclip_cli.rules.terms import Like, Nonfinite, Terms
from gradclip_cli.tensors.dtypes import VoidAs
from gradclip_cli.tensors.dump import Companion, Dump
from gradclip_cli.tensors.gradients import gradients, undecodable
from gradclip_cli.tensors.names import listed as some_of
from gradclip_cli.tensors.names import plural
from gradclip_cli.tensors.renaming import renaming
from gradclip_cli.tensors.selection import Selection


def apply(
    *paths: Path | Sequence[Path],
    rule: Rule | None = None,
    norm_type: float | None = None,
    eps: float | None = None,
    like: Like | None = None,
    output: Path | Write | None = None,
    in_place: bool = False,
    backup: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    nonfinite: Nonfinite = "refuse",
    use_norm: float | None = None,
    loss_scale: float | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    one_gradient: bool = False,
    combine: Sequence[str] = (),
    strip_prefix: Sequence[str] = (),
    rename: Sequence[str] = (),
    void_as: VoidAs | None = None,
    workers: Count | None = None,
    scheduler: str | None = None,
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

    `output` is a path, or for a single file a function that is given its bytes in order. In place,
    `backup` is a suffix under which each file that changes is kept beside what replaces it.
    `use_norm` is a norm known already, which spares the measuring. Values are divided by
    `loss_scale`, which the loss was multiplied by, before the rule sees them. The steps of a run
    are not one gradient, and refused, unless `one_gradient` says so. What tensors of one name in
    several files are to each other `combine` says, once `strip_prefix` and `rename` have aligned
    their names, as in `inspect`. `void_as` is the dtype of arrays whose files say no more than the
    size of their values. The workers of `scheduler`, as in `inspect`, read and write. Raises
    `GradclipError` for what cannot be read or written, and `RefusedError` for gradients that cannot
    be clipped; either way every target is as it was. A dry run tries all of it, and writes nothing.
    """
    wish = {"norm_type": norm_type, "eps": eps, "like": like, "nonfinite": nonfinite}
    wish |= {"use_norm": use_norm, "loss_scale": loss_scale}
    named = {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in options.items()
    }
    rule, terms = chosen_rule(rule, {**named, **wish})
    if in_place and output is not None:
        raise GradclipError("--in-place", "cannot go with -o", "give one of the two")
    if backup is not None:
        if not in_place:
            raise GradclipError("--backup", "needs --in-place", "only there is a file replaced")
        targets.check_suffix(backup)
    operands = listed(paths)
    if isinstance(output, str | os.PathLike) and is_url(os.fspath(output)):
        check_written(os.fspath(output))
        (output,) = tree.begun([os.fspath(output)])
    aligned = renaming(strip_prefix, rename)
    dump = gradient(operands, one_gradient, void_as, combine, aligned)
    form = target_of(dump, operands, output)
    if form is not None:
        dump = converted(dump, form, output)
    selection = Selection(include, exclude)
    chosen = gradients(dump, selection)
    refuse_undecodable(undecodable(dump, selection))
    refuse_factors(dump, chosen)
    aim = aimed(rule, terms, dump, chosen, void_as, aligned)
    parts = Parts(dump, dump) if form is not None else Parts.of(dump)
    parts.check(rule, chosen)
    way = Way(output, in_place, backup or "", force, dry_run, aim.read(dump))
    with contextlib.ExitStack() as stack:
        target = placed(parts.own, operands, way, stack, form)
        spools = spool(dump, stack)
        # One pass is enough where the norm is known, all values are rewritten anyway, and a refusal
        # can still discard what was written.
        one_pass = (
            use_norm is not None
            and isinstance(target, targets.Targets)
            and not dry_run
            and nonfinite != "skip"
            and not spools
            and parts.are_all
            and _rewrites_all(decided(rule, terms, dump, dict.fromkeys(chosen)))
        )
        everybody = stack.enter_context(crew(workers, progress, scheduler))
        hands = able(everybody, *aim.read(dump))
        scaled: list[str] = []
        if one_pass:
            dump.prove()
            decision = decided(rule, terms, dump, dict.fromkeys(chosen))
        else:
            moments = measured(dump, chosen, hands, terms.norm_type, asked=PRINTS)
            refuse_nonfinite(dump, moments, terms)
            dump = settled(dump, spools)
            parts = parts if not parts.are_all else Parts(dump, dump)
            dump.prove()
            decision = aim.decided(dump, moments, hands)
            scaled += of_loss_scale(loss_scale, dump, moments, writing=True)
            known = parts.moments(moments, hands, terms.norm_type)
        watched = () if one_pass or dry_run else frozenset(parts.chosen(chosen))
        edits = parts.each(edits_of(dump, chosen, decision))
        plan = Plan(edits, terms.norm_type, one_pass, watched=watched)
        lost: Lost = {}
        outputs = laid_out(parts.own, plan.edits, form)
        with _written(parts.own, outputs, plan, target, way, hands, lost) as outcomes:
            if one_pass:
                known = moments = _before(outcomes, chosen, terms.norm_type)
                refuse_nonfinite(dump, moments, terms)
                refuse_nan_without_code(dump, moments, decision)
            prove(parts.own, plan.edits, known, outcomes, like is None and _is_finite(terms))
    moments = aim.unscaled(moments)
    came_to = clipping(dump, rule, terms, decision, moments, parts.outcomes(outcomes))
    said = notes(dump, chosen, selection, terms.norm_type, writing=True)
    said += everybody.notes
    said += dropped(dump, form, output) if form is not None else []
    spare = 0 if aim.weights is None else len(aim.weights.tensors) - len(chosen)
    if spare:
        said.append(f"{plural(spare, 'parameter')} without a gradient")
    said += _missed(lost, target)
    said += scaled
    said += target.said() if isinstance(target, Uploads) else []
    done = report(dump, moments, said, came_to, selection=selection)
    return dataclasses.replace(done, written=_where(parts.own, target, way, outcomes))


def signature() -> inspect.Signature:
    """Give what `apply` can be given, the options of the rules that there are now included."""
    return with_options(_OWN)


def _missed(lost: Lost, target: object) -> Iterator[str]:
    """Say what files have not that those had which they replace."""
    called: dict[str, str] = {}
    if isinstance(target, targets.Targets):
        for place, label in zip(target.all, target.labels, strict=False):  # in place some are files
            called |= {place.backup: label + place.suffix, place.path: label}
    for what, paths in lost.items():
        yield f"{what} could not be kept: {some_of([called[path] for path in paths])}"


def _is_finite(terms: Terms) -> bool:
    """Say whether the policy lets no value stay that is not finite."""
    return terms.nonfinite in ("refuse", "zero")


def _rewrites_all(decision: Decision) -> bool:
    return decision.coefficient != 1 and all(decision.edits)


@contextlib.contextmanager
def _written(
    dump: Dump,
    outputs: Sequence[Output],
    plan: Plan,
    target: targets.Targets | Uploads | Write | None,
    way: Way,
    crew: Crew,
    lost: Lost,
) -> Iterator[Outcomes]:
    """Write the results and give what came of each tensor; they take their places at the end.

    What they have lost of the files that they replace is put into `lost`.

    In a dry run all of it is tried, and nothing written.
    """
    if not isinstance(target, targets.Targets):
        if way.dry_run:
            yield _rehearsed(plan, outputs, crew)
        elif isinstance(target, Uploads):
            indexes = [_index(outputs, one) for one in target.companions]
            yield all_sent(outputs, plan, crew, target, indexes)
            dump.check()
            appear(target)
        else:
            assert target is not None, "only a dry run may have no place"
            outcomes, last = sent(outputs[0], plan, crew, target)
            yield outcomes
            dump.check()
            target(last)
        return
    due = [
        (output.keeping_holes(), place)
        for output, place in zip(outputs, target.files, strict=True)
        if not way.in_place or output.changes(plan.edits)
    ]
    if way.dry_run:
        others = [(place.path, tree.known_by(one.path)[0]) for one, place in target.companions]
        check_room([*((place.path, output.space) for output, place in due), *others])
        yield _rehearsed(plan, outputs, crew)
        return
    with staging(target.all, target.folder, crew.is_apart) as area:
        staged = [output.at(area.file(place, output.size, output.holes)) for output, place in due]
        for place, data in _indexes(outputs, target, way.in_place):
            write_into(area, data, place)
        outcomes = rewrite_all(staged, plan, crew)
        for output in staged if way.in_place else ():
            if not _changed(output.indices, outcomes):
                area.drop(output.path)
        yield outcomes

        def check() -> None:
            # What others wrote meanwhile is not to be lost by taking its place.
            dump.check()
            for file in dump.files if way.in_place else ():
                file.source.check()

        area.commit(check)
        lost |= area.lost


def _indexes(
    outputs: Sequence[Output], target: targets.Targets, in_place: bool
) -> Iterator[tuple[Target, bytes]]:
    """Give the shard indexes that are to be written: the same, but for the size of what grows."""
    for companion, place in target.companions:
        data = _index(outputs, companion)
        if not in_place or data != tree.whole(companion.path):
            yield place, data


def _index(outputs: Sequence[Output], companion: Companion) -> bytes:
    """Give a shard index as it is to be."""
    new = [output for output in outputs if output.layout.is_new]
    growth = {tree.real(output.source.path): output.growth for output in new}
    data = grown(companion.path, growth) if growth else None
    return tree.whole(companion.path) if data is None else data


def _changed(indices: Iterable[int], outcomes: Outcomes) -> bool:
    """Say whether a byte of the tensors of these indices is another than before."""
    return any(outcomes[index].changed for index in indices if index in outcomes)


def _where(
    dump: Dump, target: targets.Targets | Uploads | Write | None, way: Way, outcomes: Outcomes
) -> Written:
    """Say where the results went, or would go."""
    count = len(dump.files)
    if target is None:
        return Written(None, count, dry_run=True)
    if isinstance(target, Uploads):
        return Written(target.labels, count, dry_run=way.dry_run, folder=target.named)
    if not isinstance(target, targets.Targets):
        path = "-" if callable(way.output) else os.fspath(way.output or "-")
        return Written((path,), count, dry_run=way.dry_run)
    if not way.in_place:
        return Written(target.labels, count, dry_run=way.dry_run, folder=target.named)
    starts = itertools.accumulate((len(file.tensors) for file in dump.files), initial=0)
    spans = itertools.starmap(range, itertools.pairwise(starts))
    places = zip(target.labels, target.files, spans, strict=False)  # indexes may follow
    done = [(path, place) for path, place, span in places if _changed(span, outcomes)]
    backups = (
        (place.path if tree.is_link(path) else path) + way.suffix
        for path, place in (done if way.suffix else ())
    )
    paths = tuple(path for path, _ in done)
    return Written(paths, count, True, way.dry_run, backups=tuple(backups))


def _before(outcomes: Outcomes, chosen: Sequence[int], norm_type: float) -> dict[int, Moments]:
    """Give what was measured while writing; an empty tensor was not touched at all."""
    found = {index: outcomes[index].before for index in chosen if index in outcomes}
    return {index: found.get(index) or of_nothing(norm_type, asked=PRINTS) for index in chosen}


def _rehearsed(plan: Plan, outputs: Sequence[Output], crew: Crew) -> Outcomes:
    from gradclip_cli.rewrite.rehearsal import rehearse  # no run that writes waits for it

    return rehearse([(plan, outputs)], crew)[0]


_OWN = inspect.signature(apply)
apply.__signature__ = signature()  # type: ignore[attr-defined] # for help() and editors
