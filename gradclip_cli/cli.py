"""The command line: arguments in, a report or a one-line error out.

A command's body is the flow of data, in order. Nothing here imports NumPy before a command needs
it, so help, version and completion answer at once.
"""

import contextlib
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, BinaryIO, NoReturn

import typer
import typer.main

from gradclip_cli import __version__, boundary
from gradclip_cli.choices import Format
from gradclip_cli.errors import GradclipError, Status
from gradclip_cli.options import (
    BadOnly,
    ClipNorm,
    DryRun,
    Everything,
    Exclude,
    FailAbove,
    FailNonfinite,
    Force,
    GroupBy,
    Include,
    InPlace,
    Json,
    OnNonfinite,
    Output,
    Paths,
    Quiet,
    ReportFile,
    ReportFormat,
    Reverse,
    SortBy,
    Top,
    UseNorm,
    WorkerCount,
)

if TYPE_CHECKING:
    from gradclip_cli.passes import Progress
    from gradclip_cli.report import Report

app = typer.Typer(
    name="gradclip",
    help="Inspect and clip gradients on disk: exact, streaming, safe.",
    epilog="gradclip COMMAND --help shows a command's options and examples.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help fits a screen, and spares importing Rich
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gradclip {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command(
    epilog="""\b
Examples:
  gradclip inspect grads.safetensors
  gradclip inspect step-*/ --group-by 'layers\\.(\\d+)' --sort name
  gradclip inspect grads/ --json | jq .global_norm
  gradclip inspect grads.safetensors --fail-above 100 --fail-nonfinite -q || stop"""
)
def inspect(
    paths: Paths = None,
    include: Include = None,
    exclude: Exclude = None,
    sort: SortBy = None,
    reverse: Reverse = False,
    top: Top = None,
    everything: Everything = False,
    bad_only: BadOnly = False,
    group_by: GroupBy = None,
    fail_above: FailAbove = None,
    fail_nonfinite: FailNonfinite = False,
    quiet: Quiet = False,
    form: ReportFormat = None,
    json: Json = False,
    workers: WorkerCount = None,
) -> None:
    """Say how large the gradients are, each tensor's norm and all together."""
    form = _one_format(form, json)
    _check_gate(fail_above)
    from gradclip_cli.arrangement import Arrangement, arranged, group_of
    from gradclip_cli.commands import inspect as measure

    if group_by is not None:
        group_of(group_by)
    with _progress(hidden=quiet) as progress:
        report = measure(
            *_given(paths),
            include=include or (),
            exclude=exclude or (),
            workers=workers,
            progress=progress,
        )
    if not quiet:
        wish = Arrangement(sort, reverse, top, bad_only, group_by)
        _print(arranged(report, wish), form, boundary.stdout(), everything or top is not None)
    within = fail_above is None or report.global_norm <= fail_above
    if not within or (fail_nonfinite and report.moments.nonfinite):
        raise typer.Exit(Status.VERDICT)


@app.command(
    epilog="""\b
Examples:
  gradclip apply grads.safetensors --clip-norm 5.0 -o clipped.safetensors
  gradclip apply grads/ --clip-norm 1.0 -o clipped/ --nonfinite zero
  gradclip apply grads.safetensors --clip-norm 1.0 --in-place --exclude '*.bias'
  cat grads.safetensors | gradclip apply --clip-norm 5.0 | gradclip inspect"""
)
def apply(
    clip_norm: ClipNorm,
    paths: Paths = None,
    output: Output = None,
    in_place: InPlace = False,
    force: Force = False,
    dry_run: DryRun = False,
    nonfinite: OnNonfinite = "refuse",
    use_norm: UseNorm = None,
    include: Include = None,
    exclude: Exclude = None,
    report_file: ReportFile = None,
    quiet: Quiet = False,
    form: ReportFormat = None,
    json: Json = False,
    workers: WorkerCount = None,
) -> None:
    """Clip the gradients by their global norm and write them."""
    form = _one_format(form, json)
    to_stdout = _writes_to_stdout(output, in_place, dry_run)
    from gradclip_cli.commands import apply as clip

    stdout = boundary.stdout()
    with _report_stream(report_file, force, to_stdout) as stream:
        with _progress(hidden=quiet or to_stdout) as progress:
            report = clip(
                *_given(paths),
                clip_norm=clip_norm,
                output=boundary.writer(stdout) if to_stdout else output,
                in_place=in_place,
                force=force,
                dry_run=dry_run,
                nonfinite=nonfinite,
                use_norm=use_norm,
                include=include or (),
                exclude=exclude or (),
                workers=workers,
                progress=progress,
            )
        if not quiet:
            _print(report, form, stream, everything=True)


def _one_format(form: Format | None, json: bool) -> Format | None:
    if json and form not in (None, "json"):
        raise GradclipError("--json", f"cannot go with --format {form}", "give one of the two")
    return "json" if json else form


def _check_gate(limit: float | None) -> None:
    if limit is not None and not limit >= 0:
        raise GradclipError(
            "--fail-above", f"{limit!r} is not a norm", "give a number, 0 or more, for example 100"
        )


def _given(paths: Sequence[str] | None) -> Sequence[str]:
    """Give the operands; none means standard input, if something is sent there."""
    if paths:
        return paths
    with contextlib.suppress(OSError):
        mode = os.fstat(0).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode):
            return ["-"]
    raise GradclipError(
        "", "no file is named, and nothing is piped in", "name files or folders, or - for a pipe"
    )


def _writes_to_stdout(output: str | None, in_place: bool, dry_run: bool) -> bool:
    if in_place:
        if output is not None:
            raise GradclipError("--in-place", "cannot go with -o", "give one of the two")
        return False
    if dry_run or output not in (None, "-"):
        return False
    if boundary.stdout().isatty():
        raise GradclipError(
            "-o",
            "the clipped bytes would go to the terminal",
            "name a file with -o, add --in-place, or pipe them on",
        )
    return True


@contextlib.contextmanager
def _report_stream(path: str | None, force: bool, to_stdout: bool) -> Iterator[BinaryIO]:
    """Give where the report of `apply` goes; a file is made before anything else is."""
    if path is None:
        yield boundary.stderr() if to_stdout else boundary.stdout()
        return
    try:
        stream = open(path, "wb" if force else "xb")  # noqa: SIM115
    except FileExistsError:
        raise GradclipError(path, "already exists", "to replace it, add --force") from None
    with stream:
        try:
            yield stream
        except BaseException:
            if not force:
                os.unlink(path)
            raise


@contextlib.contextmanager
def _progress(hidden: bool) -> Iterator["Progress | None"]:
    """Show progress on stderr if that is a terminal."""
    if hidden or not sys.stderr or not sys.stderr.isatty():
        yield None
        return
    from gradclip_cli.render.progress import Meter

    meter = Meter()
    try:
        yield meter
    finally:
        meter.end()


def _print(report: "Report", form: Format | None, stream: BinaryIO, everything: bool) -> None:
    from gradclip_cli.render import render

    boundary.writer(stream)(
        render(report, form, stream, everything).encode("utf-8", "backslashreplace")
    )


def main() -> NoReturn:
    """Run the command line and exit with its status."""

    def command() -> int:
        # Typer's own ways out would turn errors into frames of text and status 1.
        status = typer.main.get_command(app).main(sys.argv[1:], "gradclip", standalone_mode=False)
        return int(status or 0)

    sys.exit(boundary.run(command))
