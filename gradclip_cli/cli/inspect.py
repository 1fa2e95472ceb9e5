"""`gradclip inspect`: how large the gradients are."""

import dataclasses
import math

import typer

from gradclip_cli.cli import boundary, output
from gradclip_cli.cli.declared import Command, Given
from gradclip_cli.cli.shared import PATHS, REPORT, ROWS, SELECTION, WORKERS
from gradclip_cli.errors import GradclipError, Status
from gradclip_cli.options import Option, number
from gradclip_cli.rules.terms import NORM_TYPE

CLIP_NORM = Option(
    "clip_norm",
    "Say what clipping to C would do; repeatable.",
    metavar="C",
    parse=number("clip_norm", "1.0"),
    group="Rule",
    common=True,
    many=True,
)
BAD_ONLY = Option("bad_only", "Only rows with NaN or infinities.", group="Report", default=False)
GROUP_BY = Option(
    "group_by",
    "A row a group: by N name parts, or by a pattern's first group.",
    metavar="N|REGEX",
    group="Report",
    common=True,
)
FAIL_ABOVE = Option(
    "fail_above",
    "Status 1 unless the global norm is finite and at most NORM.",
    metavar="NORM",
    parse=number("fail_above", "100"),
    group="Gates",
    common=True,
)
FAIL_NONFINITE = Option(
    "fail_nonfinite",
    "Status 1 if a value is NaN or infinite.",
    group="Gates",
    common=True,
    default=False,
)


def _rules() -> tuple[Option, ...]:
    """Give the options of rules as `apply` has them, but for the limit that can be given again."""
    from gradclip_cli.rules.choosing import options

    others = (option for option in options() if option.name != CLIP_NORM.name)
    return tuple(dataclasses.replace(option, common=False) for option in others)


def run(given: Given) -> None:
    """Measure, print and judge."""
    form = output.form_of(given)
    _check_gate(given.fail_above)
    own = {PATHS.name, *(option.name for option in command().first)}
    rules = {name: value for name, value in vars(given).items() if name not in own}
    from gradclip_cli.commands.inspect import inspect
    from gradclip_cli.results.ranking import arranged
    from gradclip_cli.results.report import KEYS, grouped
    from gradclip_cli.tensors.groups import group_of

    group = None if given.group_by is None else group_of(given.group_by)
    with output.progress(hidden=given.quiet) as progress:
        paths = output.operands(given.paths)
        report = inspect(*paths, progress=progress, **given.to(inspect), **rules)
    if not given.quiet:
        shown = report if group is None else grouped(report, group)
        rows = [row for row in shown.rows if any(row.bad)] if given.bad_only else shown.rows
        shown = shown.with_rows(arranged(rows, KEYS, given.sort, given.reverse, given.top))
        everything = given.everything or given.top is not None
        output.show(shown, form, boundary.stdout(), everything)
    norm = report.global_norm
    within = given.fail_above is None or (math.isfinite(norm) and norm <= given.fail_above)
    if not within or (given.fail_nonfinite and report.moments.nonfinite):
        raise typer.Exit(Status.VERDICT)


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
            NORM_TYPE,
            CLIP_NORM,
            *ROWS,
            BAD_ONLY,
            GROUP_BY,
            FAIL_ABOVE,
            FAIL_NONFINITE,
            *REPORT,
            WORKERS,
        ),
        (
            "gradclip inspect grads.safetensors",
            r"gradclip inspect step-*/ --group-by 'layers\.(\d+)' --sort name",
            "gradclip inspect grads/ --json | jq .global_norm",
            "gradclip inspect grads/ --clip-norm 1 --clip-norm 5 --clip-norm 10",
            "gradclip inspect grads.safetensors --fail-above 100 -q || echo exploded",
        ),
        run,
        _rules,
    )
