"""What `gradclip inspect` does, as a function that returns the report that the command prints."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from inspect import Signature
from typing import TYPE_CHECKING, Any

from gradclip_cli.commands.measuring import able, listed, measured, notes, of_loss_scale
from gradclip_cli.commands.opening import gradient, opened_parameters
from gradclip_cli.commands.spooling import settled, spool
from gradclip_cli.commands.tying import ties
from gradclip_cli.commands.weighing import partners_of, weighed
from gradclip_cli.engine.crew import Progress
from gradclip_cli.engine.hiring import crew
from gradclip_cli.errors import GradclipError
from gradclip_cli.formats.ways import Ways
from gradclip_cli.measure.moments import divided
from gradclip_cli.measure.statistics import EXPONENTS, FINGERPRINT, POWERS
from gradclip_cli.options import Count, Path
from gradclip_cli.results.report import Report
from gradclip_cli.results.reporting import ranged, report
from gradclip_cli.tensors.dtypes import RangeOf, VoidAs
from gradclip_cli.tensors.dump import Dump
from gradclip_cli.tensors.gradients import gradients, undecodable
from gradclip_cli.tensors.renaming import Renaming, renaming
from gradclip_cli.tensors.selection import Selection

if TYPE_CHECKING:
    from gradclip_cli.commands.deciding import Aim
    from gradclip_cli.rules.rule import Rule
    from gradclip_cli.rules.terms import Terms


def inspect(
    *paths: Path | Sequence[Path] | Mapping[str, Any],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    one_gradient: bool = False,
    combine: Sequence[str] = (),
    strip_prefix: Sequence[str] = (),
    rename: Sequence[str] = (),
    void_as: VoidAs | None = None,
    norm_type: float | None = None,
    loss_scale: float | None = None,
    clip_norm: float | Sequence[float] | None = None,
    range_of: RangeOf | None = None,
    fingerprint: bool = False,
    exponents: bool = False,
    workers: Count | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Measure dumps: files, or folders of them, together one gradient, or a dict of arrays.

    The steps of a run are none, and refused, unless `one_gradient` says so. `include` and `exclude`
    are shell patterns over whole tensor names. `norm_type` is the p of the norms, 2 if not given,
    infinite for the largest magnitude. Values are divided by `loss_scale`, which the loss was
    multiplied by. With one or more limits `clip_norm` the report says what clipping to each would
    do, for which the values are read again; so it does of any rule that is named as `apply` has it,
    each limit a rule of its own. With `range_of` it says of a dtype of few bits how many values it
    cannot hold, now and at the loss scale that suits best. With `params`, a dump of parameters, it
    has the ratio of each norm to that of its parameter. With `fingerprint` each tensor has one of
    what is stored; with `exponents` it is said how many values have which. What tensors of one name
    in several files are to each other `combine` says, as `[GLOB=]WAY`: pieces, copies, sum or mean;
    the last match wins; `strip_prefix` and `rename`, texts of the form `REGEX=NEW`, align their
    names first. `void_as` is the dtype of arrays whose files say no more than the size of their
    values. `scheduler`, the address of one of Dask, `env` or `local`, lets its workers read. Raises
    `GradclipError` for a path that is no sound dump, and where nothing is selected.
    """
    limits = [clip_norm] if isinstance(clip_norm, int | float) else [*(clip_norm or ())]
    given = {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in options.items()
        if value is not None and value is not False
    }
    params = given.get("params") if "agc" in given else given.pop("params", None)
    p, scale = 2.0, 1.0
    chances: Sequence[tuple[Rule, Terms]] = ()
    if limits or given or (norm_type, loss_scale) != (None, None):  # else no rule is imported
        from gradclip_cli.rules.choosing import each_chosen
        from gradclip_cli.rules.terms import loss_scale_of, norm_type_of

        p, scale = norm_type_of(norm_type), loss_scale_of(loss_scale)
        if limits or given:
            terms = {"norm_type": norm_type, "loss_scale": loss_scale}
            chances = each_chosen({"clip_norm": limits, **given, **terms})
    if range_of and math.frexp(scale)[0] != 0.5:
        raise GradclipError(
            "--range", f"{scale!r} is no power of two", "give such a --loss-scale, or none"
        )
    aligned = renaming(strip_prefix, rename)
    dump = _dump(paths, one_gradient, void_as, combine, aligned)
    weights = None
    if params is not None:
        weights = opened_parameters(params, void_as, aligned, combine)
        both = [*dump.idle, *weights.idle]
        idle = [one for one in dict.fromkeys(both) if both.count(one) > 1]
        dump = dataclasses.replace(dump, idle=(*idle,))
    selection = Selection(include, exclude)
    chosen = gradients(dump, selection)
    aims: Sequence[Aim] = ()
    if chances:
        from gradclip_cli.commands.deciding import aimed

        aims = [aimed(rule, terms, dump, chosen, void_as, aligned) for rule, terms in chances]
    partners = {} if weights is None else partners_of(dump, chosen, weights, aligned)
    with contextlib.ExitStack() as stack:
        spools = spool(dump, stack) if aims else {}
        wished = {
            FINGERPRINT.name: fingerprint,
            EXPONENTS.name: bool(range_of),
            POWERS.name: exponents,
        }
        asked = tuple(name for name, is_asked in wished.items() if is_asked)
        everybody = stack.enter_context(crew(workers, progress, scheduler))
        hands = able(everybody, dump, *([] if weights is None else [weights]))
        moments = measured(dump, chosen, hands, p, asked)
        unread = [tensor.name for tensor in undecodable(dump, selection)]
        unscaled = moments
        if loss_scale is not None:
            unscaled = {index: divided(part, scale) for index, part in moments.items()}
        said = [*notes(dump, chosen, selection, p), *of_loss_scale(loss_scale, dump, moments)]
        said += [*ties(dump, unscaled), *everybody.notes]
        seen = report(dump, unscaled, said, unread=unread, selection=selection)
        if range_of is not None:
            seen = ranged(seen, range_of)
        if weights is not None:
            seen = weighed(seen, dump, weights, partners, aligned, hands)
        if not aims:
            return seen
        from gradclip_cli.commands.what_if import what_if

        told = what_if(settled(dump, spools), moments, aims, hands)
    return dataclasses.replace(seen, what_if=told)


def _dump(
    paths: Sequence[Any],
    one_gradient: bool,
    void_as: VoidAs | None,
    combine: Sequence[str],
    aligned: Renaming,
) -> Dump:
    """Give the dump of paths, or of a dict of arrays."""
    if any(isinstance(path, Mapping) for path in paths):
        from gradclip_cli.commands.arrays import of_dict

        dump = of_dict(paths)
        ways = Ways.of(combine)
        names = [tensor.name for tensor in dump.tensors]
        return dataclasses.replace(
            dump, unmatched=ways.unmatched(names), idle=(*aligned.misses(names),)
        )
    return gradient(listed(paths), one_gradient, void_as, combine, aligned)


def signature() -> Signature:
    """Give what `inspect` can be given, the options of the rules that there are now included."""
    from gradclip_cli.rules.choosing import with_options

    return with_options(Signature.from_callable(inspect))
