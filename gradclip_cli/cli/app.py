"""The command line: arguments in, a report or a one-line error out.

A command's body is the flow of data, in order. Nothing here imports NumPy before a command needs
it, so help, version and completion answer at once.
"""

import contextlib
import math
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NoReturn

import typer
import typer.core
import typer.main

from gradclip_cli import __version__
from gradclip_cli.choices import Format
from gradclip_cli.cli import boundary
from gradclip_cli.cli.options import (
    AgcLayout,
    AgcLimit,
    Atol,
    Average,
    Axes,
    BadOnly,
    Cache,
    ClipNorm,
    ClipRms,
    ClipValue,
    DryRun,
    DumpA,
    DumpB,
    Eps,
    Everything,
    Exclude,
    FailAbove,
    FailNonfinite,
    Force,
    GroupBy,
    Include,
    InPlace,
    Json,
    LikeFramework,
    NormType,
    OnNonfinite,
    Output,
    Params,
    Paths,
    PerGroup,
    PerTensor,
    Plot,
    Quiet,
    Rename,
    ReportFile,
    ReportFormat,
    Reverse,
    Rtol,
    SortBy,
    Spike,
    StepFrom,
    Steps,
    StripPrefix,
    Suggest,
    Top,
    UseNorm,
    WhatIf,
    WorkerCount,
)
from gradclip_cli.errors import GradclipError, Status

if TYPE_CHECKING:
    from gradclip_cli.render.follower import Follower
    from gradclip_cli.render.progress import Meter
    from gradclip_cli.results.comparison import Comparison
    from gradclip_cli.results.report import Report
    from gradclip_cli.series.findings import Trend

app = typer.Typer(
    name="gradclip",
    help="Inspect and clip gradients on disk: exact, streaming, safe.",
    epilog="gradclip COMMAND --help shows a command's options and examples.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help fits a screen, and spares importing Rich
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class _Command(typer.core.TyperCommand):
    """A command that stands by all complaints about its options: Typer's parser signs only some."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give what is left of the arguments; what is raised knows its context."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            complaint: Any = error
            if getattr(complaint, "ctx", ctx) is None:
                complaint.ctx = ctx
            raise


def _version(wanted: bool) -> None:
    if wanted:
        boundary.writer(boundary.stdout())(f"gradclip {__version__}\n".encode())
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
    cls=_Command,
    epilog="""\b
Examples:
  gradclip inspect grads.safetensors
  gradclip inspect step-*/ --group-by 'layers\\.(\\d+)' --sort name
  gradclip inspect grads/ --json | jq .global_norm
  gradclip inspect grads/ --clip-norm 1 --clip-norm 5 --clip-norm 10
  gradclip inspect grads.safetensors --fail-above 100 -q || echo exploded""",
)
def inspect(
    paths: Paths = None,
    include: Include = None,
    exclude: Exclude = None,
    norm_type: NormType = None,
    clip_norm: WhatIf = None,
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
    """Say how large the gradients are, one by one and together."""
    form = _one_format(form, json)
    _check_gate(fail_above)
    from gradclip_cli.commands.inspect import inspect as measure
    from gradclip_cli.results.arrangement import arranged
    from gradclip_cli.tensors.groups import group_of

    if group_by is not None:
        group_of(group_by)
    with _progress(hidden=quiet) as progress:
        report = measure(
            *_given(paths),
            include=include or (),
            exclude=exclude or (),
            norm_type=norm_type,
            clip_norm=clip_norm or (),
            workers=workers,
            progress=progress,
        )
    if not quiet:
        shown = arranged(report, sort, reverse, top, bad_only, group_by)
        _print(shown, form, boundary.stdout(), everything or top is not None)
    norm = report.global_norm
    within = fail_above is None or (math.isfinite(norm) and norm <= fail_above)
    if not within or (fail_nonfinite and report.moments.nonfinite):
        raise typer.Exit(Status.VERDICT)


@app.command(
    cls=_Command,
    epilog="""\b
Examples:
  gradclip apply grads.safetensors --clip-norm 5.0 -o clipped.safetensors
  gradclip apply grads/ --clip-norm 1.0 -o clipped/ --nonfinite zero
  gradclip apply grads/ --clip-norm 1.0 --per-group 'layer(\\d+)' -o clipped/
  gradclip apply grads/ --clip-value 0.5 --like torch -o clipped/
  gradclip apply grads/ --clip-norm 1.0 --in-place --exclude '*.bias'
  cat grads.safetensors | gradclip apply --clip-norm 5.0 | gradclip inspect""",
)
def apply(
    paths: Paths = None,
    clip_norm: ClipNorm = None,
    per_tensor: PerTensor = False,
    axes: Axes = None,
    per_group: PerGroup = None,
    average: Average = False,
    norm_type: NormType = None,
    clip_value: ClipValue = None,
    clip_rms: ClipRms = None,
    agc: AgcLimit = None,
    params: Params = None,
    agc_layout: AgcLayout = None,
    eps: Eps = None,
    like: LikeFramework = None,
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
    """Clip the gradients by one rule and write them."""
    form = _one_format(form, json)
    to_stdout = _writes_to_stdout(output, in_place, dry_run)
    from gradclip_cli.commands.apply import apply as clip

    if report_file is not None:
        _check_report(report_file, force, [*(paths or ()), *([output] if output else [])])
    with _progress(hidden=quiet or to_stdout) as progress:
        report = clip(
            *_given(paths),
            clip_norm=clip_norm,
            clip_value=clip_value,
            clip_rms=clip_rms,
            agc=agc,
            params=params,
            agc_layout=agc_layout,
            per_tensor=per_tensor,
            axes=axes,
            per_group=per_group,
            average=average,
            norm_type=norm_type,
            eps=eps,
            like=like,
            output=boundary.writer(boundary.stdout()) if to_stdout else output,
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
    if report_file is not None:
        _save(report, form, report_file, force)
    elif not quiet:
        stream = boundary.stderr() if to_stdout else boundary.stdout()
        _print(report, form, stream, everything=True)


@app.command(
    cls=_Command,
    epilog="""\b
Examples:
  gradclip diff step-19.safetensors step-20.safetensors
  gradclip diff grads/ clipped/ --rtol 1e-6 -q && echo unharmed
  gradclip diff eager.safetensors compiled.safetensors --strip-prefix _orig_mod.
  gradclip diff a/ b/ --rename '_fsdp_wrapped_module\\.=' --json | jq .verdict
  zstdcat old.zst | gradclip diff - new.safetensors""",
)
def diff(
    a: DumpA,
    b: DumpB,
    rtol: Rtol = None,
    atol: Atol = None,
    strip_prefix: StripPrefix = None,
    rename: Rename = None,
    include: Include = None,
    exclude: Exclude = None,
    sort: SortBy = None,
    reverse: Reverse = False,
    top: Top = None,
    everything: Everything = False,
    quiet: Quiet = False,
    form: ReportFormat = None,
    json: Json = False,
    workers: WorkerCount = None,
) -> None:
    """Say how two dumps differ; status 1 if they do."""
    form = _one_format(form, json)
    from gradclip_cli.commands.diff import diff as compare
    from gradclip_cli.results.comparison import arranged

    with _progress(hidden=quiet) as progress:
        found = compare(
            a,
            b,
            rtol=rtol,
            atol=atol,
            strip_prefix=strip_prefix or (),
            rename=rename or (),
            include=include or (),
            exclude=exclude or (),
            workers=workers,
            progress=progress,
        )
    if not quiet:
        shown = arranged(found, sort, reverse, top)
        _print(shown, form, boundary.stdout(), everything or top is not None)
    if not found.same:
        raise typer.Exit(Status.VERDICT)


@app.command(
    cls=_Command,
    epilog="""\b
Examples:
  gradclip check grads.safetensors
  gradclip check step-*/ -q || echo "a dump is damaged"
  gradclip check grads/ --json | jq -r '.files[] | select(.sound | not) | .file'""",
)
def check(paths: Paths = None, quiet: Quiet = False, json: Json = False) -> None:
    """Say of each file whether it is sound; status 2 if one is not. Values are not read."""
    from gradclip_cli.commands.check import check as look
    from gradclip_cli.render import soundness

    files = look(*_given(paths))
    if not quiet:
        text = soundness.json(files) if json else soundness.lines(files)
        boundary.writer(boundary.stdout())(text.encode("utf-8", "backslashreplace"))
    if not all(file.sound for file in files):
        raise typer.Exit(Status.TROUBLE)


@app.command(
    cls=_Command,
    epilog="""\b
Examples:
  gradclip trend step-*.safetensors
  gradclip trend run/step-*/ --step-from 'step-(\\d+)' --cache run.jsonl
  gradclip trend run/*.safetensors --plot norms.png
  gradclip trend run/*.safetensors --cache run.jsonl --suggest""",
)
def trend(
    steps: Steps = None,
    step_from: StepFrom = None,
    spike: Spike = None,
    suggest: Suggest = False,
    plot: Plot = None,
    force: Force = False,
    cache: Cache = None,
    include: Include = None,
    exclude: Exclude = None,
    everything: Everything = False,
    quiet: Quiet = False,
    form: ReportFormat = None,
    json: Json = False,
    workers: WorkerCount = None,
) -> None:
    """Follow a run over its steps: when and where it went wrong."""
    form = _one_format(form, json)
    given = _given(steps)
    if plot is not None:
        _check_plot(plot, force, [*given, *([cache] if cache else [])])
    from gradclip_cli.commands.trend import trend as follow
    from gradclip_cli.series.spikes import rule_of

    rule = None if spike is None else rule_of(spike)
    with _progress(hidden=quiet) as progress:
        out = None if quiet else _follower(form, everything, suggest, progress)
        report = follow(
            *given,
            step_from=step_from,
            spike=rule,
            cache=cache,
            include=include or (),
            exclude=exclude or (),
            workers=workers,
            progress=progress,
            audience=out,
        )
    if out is not None:
        out.end(report)
    if plot is not None:
        _draw(report, plot, force)


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
    if dry_run or not (output in (None, "-") or _is_stdout(output)):
        return False
    if boundary.stdout().isatty():
        raise GradclipError(
            "-o",
            "the clipped bytes would go to the terminal",
            "name a file with -o, add --in-place, or pipe them on",
        )
    return True


def _is_stdout(path: str) -> bool:
    """Say whether a path such as /dev/stdout is a pipe or device that stdout is too."""
    try:
        there, here = os.stat(path), os.fstat(1)
    except OSError:
        return False
    return not stat.S_ISREG(there.st_mode) and os.path.samestat(there, here)


def _check_report(path: str, force: bool, others: Sequence[str]) -> None:
    """Refuse, before anything is done, a report that would take another file's place."""
    from gradclip_cli.rewrite.targets import check_place, is_special

    if is_special(path):
        return
    here = os.path.realpath(path)
    for other in map(os.path.realpath, others):
        inside = os.path.isdir(other) and here.startswith(other + os.sep) and os.path.exists(here)
        if here == other or inside:
            raise GradclipError(
                path, "the report would replace an input or the output", "name another file"
            )
    check_place(here, path, force)
    if not os.path.isdir(os.path.dirname(here)):
        raise GradclipError(path, "its folder does not exist", "make it first: mkdir -p FOLDER")


def _save(report: "Report", form: Format | None, path: str, force: bool) -> None:
    from gradclip_cli.files.staging import write_whole
    from gradclip_cli.render import plain

    write_whole(path, plain(report, form).encode("utf-8", "backslashreplace"), force)


@contextlib.contextmanager
def _progress(hidden: bool) -> Iterator["Meter | None"]:
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


def _follower(
    form: Format | None, everything: bool, suggesting: bool, meter: "Meter | None"
) -> "Follower":
    """Give what writes a run's rows to stdout as they become known."""
    from gradclip_cli.render.follower import follower

    stream = boundary.stdout()
    write = boundary.writer(stream)

    def say(text: str) -> None:
        if meter is not None and stream.isatty():  # the bar would stand in the way; it comes back
            meter.end()
        write(text.encode("utf-8", "backslashreplace"))

    return follower(form, stream, say, everything, suggesting)


def _check_plot(path: str, force: bool, others: Sequence[str]) -> None:
    from gradclip_cli.render import plot

    plot.check(path)
    _check_report(path, force, others)


def _draw(report: "Trend", path: str, force: bool) -> None:
    from gradclip_cli.files.staging import write_whole
    from gradclip_cli.render.plot import drawn

    write_whole(path, drawn(report, path), force)


def _print(
    report: "Report | Comparison", form: Format | None, stream: BinaryIO, everything: bool
) -> None:
    from gradclip_cli.render import render

    write = boundary.writer(stream)
    for piece in render(report, form, stream, everything):
        write(piece.encode("utf-8", "backslashreplace"))


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line and give its status."""

    def command() -> int:
        # Typer's own ways out would turn errors into frames of text and status 1.
        status = typer.main.get_command(app).main(
            list(arguments), "gradclip", standalone_mode=False
        )
        return int(status or 0)

    return boundary.run(command)
