"""`gradclip inspect`: how large the gradients are."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradclip_cli.cli import boundary, output, showing
from gradclip_cli.cli.declared import Command, Given
from gradclip_cli.cli.shared import (
    ALIGNED,
    COMBINE,
    FAIL_NONFINITE,
    FORCE,
    HTML,
    ONE_GRADIENT,
    PATHS,
    REPORT,
    ROWS,
    SCHEDULER,
    SELECTION,
    VOID_AS,
    WORKERS,
)
from gradclip_cli.errors import GradclipError
from gradclip_cli.options import Option, number
from gradclip_cli.rules.terms import LIMITS_ELSEWHERE, LOSS_SCALE, NORM_TYPE
from gradclip_cli.tensors.dtypes import RANGES

if TYPE_CHECKING:
    from gradclip_cli.results.gates import Gate
    from gradclip_cli.results.report import Report

CLIP_NORM = Option(
    "clip_norm",
    "Say what clipping to C or C,C,… would do; repeatable.",
    metavar="C",
    group="Rule",
    elsewhere=LIMITS_ELSEWHERE,
    common=True,
    many=True,
)
BAD_ONLY = Option("bad_only", "Only rows with NaN or infinities.", group="Report", default=False)
GROUP_BY = Option(
    "group_by",
    "A row a group: by N name parts, or a pattern's group.",
    metavar="N|REGEX",
    group="Report",
    common=True,
)
PARAMS = "params"  # of which the rules have it, too
RANGE = Option(
    "range_of",
    "What values would lose as fp16, bf16, e4m3 or e5m2.",
    metavar="DTYPE",
    flag="--range",
    choices=RANGES,
    group="Report",
)
FAIL_ABOVE = Option(
    "fail_above",
    "Status 1 unless the global norm is finite, at most NORM.",
    metavar="NORM",
    parse=number("fail_above", "100"),
    group="Gates",
    common=True,
)


def _rules() -> tuple[Option, ...]:
    """Give the options of rules as `apply` has them, but for the limit that can be given again."""
    from gradclip_cli.rules.choosing import options

    others = (option for option in options() if option.name != CLIP_NORM.name)
    also = {PARAMS: "Parameters, by name: for ratios of norms, and --agc."}
    return tuple(
        dataclasses.replace(option, common=False, help=also.get(option.name, option.help))
        for option in others
    )


def run(given: Given) -> None:
    """Measure, print and judge."""
    form = output.form_of(given)
    given.clip_norm, paths = _limits(given.clip_norm or (), given.paths or ())
    _check_gate(given.fail_above)
    params = getattr(given, PARAMS, None)  # which is there where an option of a rule is given
    showing.check(given, [*paths, *([params] if params else [])])
    own = {PATHS.name, *(option.name for option in command().first)}
    rules = {name: value for name, value in vars(given).items() if name not in own}
    from gradclip_cli.commands.inspect import inspect
    from gradclip_cli.measure.statistics import POWERS
    from gradclip_cli.results.ranking import arranged
    from gradclip_cli.results.report import KEYS
    from gradclip_cli.results.reporting import grouped, without
    from gradclip_cli.tensors.groups import group_of

    group = None if given.group_by is None else group_of(given.group_by)
    with output.progress(hidden=given.quiet) as progress:
        operands = output.operands(paths, "is --clip-norm or --fail-above missing before it?")
        report = inspect(
            *operands,
            fingerprint=form == "jsonl" and group is None,
            exponents=given.html is not None,
            progress=progress,
            **given.to(inspect),
            **rules,
        )
    report = dataclasses.replace(report, gates=_gates(report, given))
    whole = report if group is None else grouped(report, group)
    showing.write(given, whole)
    if not given.quiet:
        from gradclip_cli.render.registry import form_for

        shown = without(whole, POWERS.name)
        stream = boundary.stdout()
        rows = shown.telling if form_for(form, stream) == "table" else shown.rows
        rows = tuple(row for row in rows if any(row.bad)) if given.bad_only else rows
        shown = shown.with_rows(arranged(rows, KEYS, given.sort, given.reverse, given.top))
        everything = given.everything or given.top is not None
        output.show(shown, form, stream, everything)
    showing.tell(given)
    output.judge(report, given.quiet)


def _gates(report: "Report", given: Given) -> "tuple[Gate, ...]":
    """Give the answers to what was asked of the whole."""
    if given.fail_above is None and not given.fail_nonfinite:
        return ()
    from gradclip_cli.results import gating

    asked = [] if given.fail_above is None else [gating.within(report, given.fail_above)]
    return (*asked, *([gating.finite(report)] if given.fail_nonfinite else ()))


def _limits(texts: Sequence[str], paths: Sequence[str]) -> tuple[list[float], list[str]]:
    """Give the limits, of which some may stand in one text or among the operands, and the rest."""
    stray = [path for path in paths if texts and output.is_stray(path)]
    parse = number("clip_norm", "1.0")
    limits = [parse(one) for text in [*texts, *stray] for one in text.split(",")]
    return limits, [path for path in paths if path not in stray]


def _check_gate(limit: float | None) -> None:
    if limit is not None and not limit >= 0:
        raise GradclipError(
            "--fail-above", f"{limit!r} is not a norm", "give a number, 0 or more, for example 100"
        )


def command() -> Command:
    """Declare the command."""
    return Command(
        "inspect",
        (PATHS,),
        (
            *SELECTION,
            ONE_GRADIENT,
            COMBINE,
            *ALIGNED,
            VOID_AS,
            NORM_TYPE,
            LOSS_SCALE,
            CLIP_NORM,
            *ROWS,
            BAD_ONLY,
            RANGE,
            GROUP_BY,
            FAIL_ABOVE,
            FAIL_NONFINITE,
            HTML,
            FORCE,
            *REPORT,
            WORKERS,
            SCHEDULER,
        ),
        (
            "gradclip inspect grads.safetensors",
            r"gradclip inspect grads/ --group-by 'layers\.(\d+)' --sort name",
            "gradclip inspect grads/ --json | jq -e '.finite and .global_norm < 100'",
            "gradclip inspect grads/ --clip-norm 1,5,10",
            "gradclip inspect grads.safetensors --fail-above 100 -q || echo exploded",
        ),
        run,
        _rules,
    )
