"""The command line: arguments in, a report or a one-line error out.

Options are declared once; a command's body is the flow of data, in order. `run` is the one boundary
that turns errors into messages and statuses. Nothing here imports NumPy before a command needs it,
so help, version and completion answer at once.
"""

import contextlib
import errno
import os
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Annotated, BinaryIO, NoReturn

import typer
import typer.main

from gradclip_cli import __version__
from gradclip_cli.choices import Format, Nonfinite, Sort
from gradclip_cli.errors import GradclipError, Status
from gradclip_cli.names import printable

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


class _Stopped(BaseException):
    """A signal asked the process to end."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


def _number(option: str, example: str) -> Callable[[str], float]:
    """Give a parser for an option's number that says in one line what is wrong."""

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise GradclipError(
                option, f"{text!r} is not a number", f"give one, for example {example}"
            ) from None

    return number


def _count(option: str) -> Callable[[str], int]:
    """Give a parser for an option that counts something."""

    def count(text: str) -> int:
        if text.isdecimal() and len(text) < 10 and int(text) > 0:
            return int(text)
        raise GradclipError(option, f"{text!r} is not a whole number above 0", "give 1 or more")

    return count


Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH",
        help="Files, folders, or - for standard input; together one gradient.",
        show_default=False,
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="GLOB",
        help="Only tensors whose whole name matches; repeatable.",
        show_default=False,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="Not these tensors; wins over --include; repeatable.",
        show_default=False,
    ),
]
WorkerCount = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        parser=_count("--workers"),
        help="Threads; one for each processor if not given.",
        show_default=False,
    ),
]
ReportFormat = Annotated[
    Format | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="table, tsv, csv, json, jsonl or md; table on a terminal, else tsv.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; the status tells.")]
SortBy = Annotated[
    Sort | None,
    typer.Option(
        "--sort",
        metavar="KEY",
        help="name, norm, size, max or file; worst first if not given.",
        show_default=False,
    ),
]
Reverse = Annotated[bool, typer.Option("--reverse", help="Turn the order round.")]
Top = Annotated[
    int | None,
    typer.Option(
        "--top",
        metavar="N",
        parser=_count("--top"),
        help="Only the first N rows.",
        show_default=False,
    ),
]
Everything = Annotated[
    bool, typer.Option("--all", help="All rows, also those that the terminal has no room for.")
]
BadOnly = Annotated[bool, typer.Option("--bad-only", help="Only rows with NaN or infinities.")]
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="N|REGEX",
        help="A row a group: by N name parts, or by a pattern's first group.",
        show_default=False,
    ),
]
FailAbove = Annotated[
    float | None,
    typer.Option(
        "--fail-above",
        metavar="NORM",
        parser=_number("--fail-above", "100"),
        help="Status 1 unless the global norm is finite and at most NORM.",
        show_default=False,
    ),
]
FailNonfinite = Annotated[
    bool, typer.Option("--fail-nonfinite", help="Status 1 if a value is NaN or infinite.")
]
ClipNorm = Annotated[
    float,
    typer.Option(
        "--clip-norm",
        metavar="C",
        parser=_number("--clip-norm", "1.0"),
        help="The limit for the global norm.",
    ),
]
UseNorm = Annotated[
    float | None,
    typer.Option(
        "--use-norm",
        metavar="N",
        parser=_number("--use-norm", "12.5"),
        help="Go by this global norm instead of measuring it.",
        show_default=False,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="A file, a folder for several results, or - for stdout.",
        show_default=False,
    ),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the files themselves.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Measure and decide; write nothing.")]
ReportFile = Annotated[
    str | None,
    typer.Option(
        "--report", metavar="FILE", help="Write the report to this file.", show_default=False
    ),
]
OnNonfinite = Annotated[
    Nonfinite,
    typer.Option(
        "--nonfinite",
        metavar="POLICY",
        help="NaN and infinities: refuse, zero, skip or propagate.",
    ),
]


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
        _print(arranged(report, wish), form, _stdout(), everything or top is not None)
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

    stdout = _stdout()
    with _report_stream(report_file, force, to_stdout) as stream:
        with _progress(hidden=quiet or to_stdout) as progress:
            report = clip(
                *_given(paths),
                clip_norm=clip_norm,
                output=_writer(stdout) if to_stdout else output,
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
    if _stdout().isatty():
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
        yield sys.stderr.buffer if to_stdout else _stdout()
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

    _writer(stream)(render(report, form, stream, everything).encode("utf-8", "backslashreplace"))


def _stdout() -> BinaryIO:
    if sys.stdout is None:
        raise GradclipError("standard output", "is closed", "redirect it to a file or /dev/null")
    return sys.stdout.buffer


def _writer(stream: BinaryIO) -> Callable[[bytes], None]:
    """Give a function that writes bytes at once, and says where if it cannot."""
    name = "standard output" if stream.fileno() == 1 else str(stream.name)

    def write(data: bytes) -> None:
        try:
            stream.write(data)
            stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise GradclipError(name, f"cannot be written to: {error.strerror}") from error

    return write


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    status = run(sys.argv[1:])
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        status = status or Status.TROUBLE
        _silence(1)
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and give its status; every error ends here, in words."""
    _fill_standard_streams()
    for number, status in ((signal.SIGTERM, Status.TERMINATED), (signal.SIGHUP, Status.HANGUP)):
        signal.signal(number, _stopper(status))
    try:
        command = typer.main.get_command(app)
        returned = command.main(list(arguments), "gradclip", standalone_mode=False)
        if sys.stdout:
            sys.stdout.flush()
        return int(returned or 0)
    except GradclipError as error:
        return _complain(error)
    except _USAGE_ERROR as error:
        return _complain(_worded(error))
    except BrokenPipeError:
        _silence(1)
        return Status.READER_GONE
    except OSError as error:
        path = error.filename if isinstance(error.filename, str) else ""
        problem = (error.strerror or str(error)).lower()
        return _complain(GradclipError(path, problem, _WAYS_OUT.get(error.errno or 0, "")))
    except (KeyboardInterrupt, typer.Abort):
        return Status.INTERRUPTED
    except _Stopped as stopped:
        return stopped.status
    except Exception:
        _say(traceback.format_exc())
        _say("gradclip: this is a bug in gradclip; the traceback above says where\n")
        return Status.BUG


_WAYS_OUT = {
    errno.ENOENT: "is the name right? ls shows what is there",
    errno.EACCES: "ask its owner for the right to it, or change its mode with chmod",
    errno.EPERM: "ask its owner for the right to it, or change its mode with chmod",
    errno.ENOSPC: "free some space on that disk, or write elsewhere with -o",
    errno.EDQUOT: "free some of your quota, or write elsewhere with -o",
    errno.EMFILE: "let a process open more files: ulimit -n 4096",
    errno.EROFS: "that file system is read-only: write elsewhere with -o",
    errno.ENAMETOOLONG: "give a shorter name with -o",
    errno.EIO: "the disk or the network has a fault: copy the file elsewhere and look again",
}


def _fill_standard_streams() -> None:
    """Keep files from taking the numbers of standard streams that came closed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _stopper(status: Status) -> Callable[[int, FrameType | None], None]:
    def stop(*_: object) -> None:
        raise _Stopped(status)

    return stop


# The base of all of Typer's complaints about arguments; it has no public name.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0].__bases__[0]


def _worded(error: Exception) -> GradclipError:
    """Turn one of Typer's complaints into one line and a hint."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "gradclip"
    lines = message.strip().splitlines()
    first = f"{lines[0][0].lower()}{lines[0][1:].rstrip('.')}" if lines else "no command is given"
    return GradclipError("", first, f"{command} --help shows what can be given")


def _complain(error: GradclipError) -> int:
    subject = f"{error.subject}: " if error.subject else ""
    lines = [f"gradclip: {subject}{error.problem}", *(f"  {detail}" for detail in error.details)]
    if error.hint:
        lines.append(f"hint: {error.hint}")
    _say("".join(f"{printable(line)}\n" for line in lines))
    return error.status


def _say(text: str) -> None:
    if sys.stderr is None:
        return
    try:
        sys.stderr.buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stderr.flush()
    except OSError:
        _silence(2)


def _silence(descriptor: int) -> None:
    """Let nothing more go to a stream that failed, not even at the interpreter's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
