"""`gradclip apply`: clip the gradients and write them."""

import os
import stat
from typing import BinaryIO

from gradclip_cli.cli import boundary, output
from gradclip_cli.cli.declared import Command, Given
from gradclip_cli.cli.shared import (
    ALIGNED,
    ALL,
    COMBINE,
    FORCE,
    ONE_GRADIENT,
    PATHS,
    REPORT,
    SCHEDULER,
    SELECTION,
    VOID_AS,
    WORKERS,
)
from gradclip_cli.errors import GradclipError, worded
from gradclip_cli.options import Option
from gradclip_cli.rules.by_global_norm import SEVERAL
from gradclip_cli.rules.choosing import options
from gradclip_cli.rules.terms import EPS, LIKE, LOSS_SCALE, NONFINITE, NORM_TYPE, USE_NORM

OUTPUT = Option(
    "output",
    "A file, whose ending is its format, a folder, s3://, gs://, or -.",
    metavar="OUT",
    short="-o",
    group="Where it goes",
    common=True,
)
IN_PLACE = Option(
    "in_place",
    "Replace the files themselves.",
    group="Where it goes",
    common=True,
    default=False,
)
BACKUP = Option(
    "backup",
    "With --in-place: keep each original, its name and this.",
    metavar="SUFFIX",
    allows_empty=True,
    group="Where it goes",
    common=True,
)
DRY_RUN = Option(
    "dry_run",
    "Try all of it and say what would be; write nothing.",
    group="Where it goes",
    common=True,
    default=False,
)
REPORT_FILE = Option(
    "report_file",
    "A file for it, whose ending names its format, or -: stdout.",
    metavar="FILE",
    flag="--report",
    group="Report",
)


def run(given: Given) -> None:
    """Clip, write and report."""
    form = output.form_of(given)
    to_stdout = _writes_to_stdout(given.output, given.in_place, given.dry_run)
    if given.report_file == "-":
        _check_free(given, to_stdout)
        given.report_file, given.quiet = None, False
    from gradclip_cli.commands.apply import apply

    _check_report_stream(given, to_stdout)
    if given.report_file is not None:
        _check_report(given, given.report_file)
    chosen = {option.name: getattr(given, option.name) for option in options()}
    if to_stdout and form and (given.output, given.report_file, given.quiet) == (None, None, False):
        raise GradclipError(
            "--json" if given.json else "--format",
            "the clipped bytes would go to standard output, and the report to standard error",
            "name a file for the bytes with -o (-o - is standard output), or one for the report "
            "with --report FILE",
        )
    if to_stdout:
        given.output = boundary.writer(boundary.stdout())
    with output.progress(hidden=given.quiet or to_stdout) as progress:
        hint = "is --clip-norm missing before it?"
        if given.clip_norm is not None:
            hint = f"give one limit{SEVERAL}"
        paths = output.operands(given.paths, hint)
        report = apply(*paths, progress=progress, **given.to(apply), **chosen)
    try:
        if given.report_file is not None:
            form = form or output.form_of_file(given.report_file)
            output.save(report, form, given.report_file, given.force)
        elif not given.quiet:
            output.show(report, form, _stream(given, to_stdout), given.everything)
    except (GradclipError, OSError) as error:
        if given.dry_run:
            raise
        said = error if isinstance(error, GradclipError) else worded(error)
        hint = "only the report is missing: the gradients are clipped and in their places"
        raise GradclipError(said.subject, said.problem, hint) from error


def _stream(given: Given, to_stdout: bool) -> BinaryIO:
    """Give where the report goes that has no file."""
    return boundary.stderr() if to_stdout and not given.dry_run else boundary.stdout()


def _check_free(given: Given, to_stdout: bool) -> None:
    """Refuse a report to standard output where the clipped bytes go there."""
    if to_stdout and not given.dry_run:
        raise GradclipError(
            "--report",
            "the clipped bytes go to standard output",
            "name a file for the report, or one for the bytes with -o",
        )


def _check_report_stream(given: Given, to_stdout: bool) -> None:
    """Refuse a report that would be written into what is clipped, or into an input."""
    path = given.report_file
    if path is None and given.quiet:
        return
    there = path or _stream(given, to_stdout).fileno()
    if output.is_among(there, [*(given.paths or ["-"]), *_parameters(given)]):
        what = "an input is"
    elif to_stdout and not given.dry_run and _goes_to_stdout(there):
        what = "the clipped bytes go, too"
    else:
        what = ""
    if what:
        raise GradclipError(
            path or ("standard error" if to_stdout else "standard output"),
            f"the report would go where {what}",
            "name another file for it with --report, or print none with -q",
        )


def _goes_to_stdout(file: str | int) -> bool:
    """Say whether what is written to a file, at a path or open, comes where standard output goes.

    A terminal may be all streams at once.
    """
    try:
        here = os.fstat(1)
        return not stat.S_ISCHR(here.st_mode) and os.path.samestat(os.stat(file), here)
    except OSError:
        return False  # it is still to be made


def _parameters(given: Given) -> list[str]:
    """Give the dump of parameters as a list, empty where none is named."""
    return [given.params] if given.params else []


def _check_report(given: Given, path: str) -> None:
    """Refuse a report that would take the place of an input, a result, or what is kept of one."""
    inputs = given.paths or ()
    others = [
        *inputs,
        *_parameters(given),
        *([given.output] if given.output else []),
    ]
    here = os.path.realpath(path)
    original = here.removesuffix(given.backup or "")
    if original != here and os.path.isfile(original):
        others.append(path)
    if given.output:
        below = os.path.relpath(here, os.path.realpath(given.output))
        results = [os.path.join(one, below) for one in inputs if os.path.isdir(one)]
        results += [one for one in inputs if os.path.basename(one) == below]
        others += [path] * any(map(os.path.lexists, results))
    output.check_place(path, given.force, others)


def _writes_to_stdout(path: str | None, in_place: bool, dry_run: bool) -> bool:
    if in_place:
        return False
    if (dry_run and path is None) or not (path in (None, "-") or _is_stdout(path)):
        return False
    if boundary.stdout().isatty():
        raise GradclipError(
            "-o",
            "the clipped bytes would go to the terminal",
            "name a file with -o, add --in-place, or pipe them on",
        )
    return True


def _is_stdout(path: str) -> bool:
    """Say whether a path such as /dev/stdout is written through, and what stdout is too."""
    from gradclip_cli.files.places import is_special

    if not is_special(path):
        return False
    try:
        there, here = os.stat(path), os.fstat(1)
    except OSError:
        return False
    return os.path.samestat(there, here)


def command() -> Command:
    """Declare the command."""
    return Command(
        "apply",
        (PATHS,),
        (
            *options(),
            EPS,
            LIKE,
            *SELECTION,
            ONE_GRADIENT,
            COMBINE,
            *ALIGNED,
            VOID_AS,
            NORM_TYPE,
            LOSS_SCALE,
            USE_NORM,
            NONFINITE,
            OUTPUT,
            IN_PLACE,
            BACKUP,
            FORCE,
            DRY_RUN,
            REPORT_FILE,
            ALL,
            *REPORT,
            WORKERS,
            SCHEDULER,
        ),
        (
            "gradclip apply grads.safetensors --clip-norm 5.0 -o clipped.safetensors",
            r"gradclip apply grads/ --clip-norm 1 --per-group 'layer(\d+)' -o clipped/",
            "gradclip apply grads/ --clip-value 0.5 --like torch -o clipped/",
            "gradclip apply grads/ --clip-norm 1.0 --in-place --backup .orig",
            "cat grads.safetensors | gradclip apply --clip-norm 5.0 | gradclip inspect",
        ),
        run,
    )
