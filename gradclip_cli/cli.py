"""The command line: arguments in, a report or a one-line error out.

Options are declared once; a command's body is the flow of data, in order. `run` is the one boundary
that turns errors into messages and statuses. Nothing here imports NumPy before a command needs it,
so help, version and completion answer at once.
"""

import contextlib
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Annotated, BinaryIO, NoReturn

import typer
import typer.main

from gradclip_cli import __version__
from gradclip_cli.choices import Format, Nonfinite
from gradclip_cli.errors import GradclipError, Status
from gradclip_cli.names import printable

if TYPE_CHECKING:
    from gradclip_cli.report import Report

app = typer.Typer(
    name="gradclip",
    help="Inspect and clip gradients on disk: exact, streaming, safe.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
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


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise GradclipError("--workers", f"{text!r} is not a number of workers", "give 1 or more")
    return int(text)


Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATH]...",
        help="Files or folders; all together are one gradient.",
        show_default=False,
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="GLOB",
        help="Only tensors whose whole name matches; may be given again.",
        show_default=False,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="Not these tensors; wins over --include.",
        show_default=False,
    ),
]
WorkerCount = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        parser=_count,
        help="Threads to work with; one for each processor if not given.",
        show_default=False,
    ),
]
ReportFormat = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="How to print: table on a terminal, tsv in a pipe if not given.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
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
        help="A file, a folder for several results, or - for standard output.",
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
        help="NaN and infinities: refuse to clip, write 0 for them, skip their tensors, or let "
        "them propagate.",
    ),
]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gradclip {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command()
def inspect(
    paths: Paths = None,
    include: Include = None,
    exclude: Exclude = None,
    workers: WorkerCount = None,
    form: ReportFormat = None,
    json: Json = False,
) -> None:
    """Say how large the gradients are, each tensor's and all together."""
    from gradclip_cli import commands

    report = commands.inspect(
        *_given(paths), include=include or (), exclude=exclude or (), workers=workers
    )
    _print(report, form, json, sys.stdout.buffer)


@app.command()
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
    workers: WorkerCount = None,
    report_file: ReportFile = None,
    form: ReportFormat = None,
    json: Json = False,
) -> None:
    """Clip the gradients by their global norm and write them."""
    from gradclip_cli import commands

    to_stdout = _writes_to_stdout(output, in_place, dry_run)
    with _report_stream(report_file, force, to_stdout) as stream:
        report = commands.apply(
            *_given(paths),
            clip_norm=clip_norm,
            output=sys.stdout.buffer.write if to_stdout else output,
            in_place=in_place,
            force=force,
            dry_run=dry_run,
            nonfinite=nonfinite,
            use_norm=use_norm,
            include=include or (),
            exclude=exclude or (),
            workers=workers,
        )
        sys.stdout.buffer.flush()
        _print(report, form, json, stream)


def _given(paths: Sequence[str] | None) -> Sequence[str]:
    if not paths:
        raise GradclipError("", "no file is named", "name files or folders: gradclip inspect PATH")
    return paths


def _writes_to_stdout(output: str | None, in_place: bool, dry_run: bool) -> bool:
    if in_place:
        if output is not None:
            raise GradclipError("--in-place", "cannot go with -o", "give one of the two")
        return False
    if dry_run or output not in (None, "-"):
        return False
    if sys.stdout.isatty():
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
        yield sys.stderr.buffer if to_stdout else sys.stdout.buffer
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


def _print(report: "Report", form: Format | None, json: bool, stream: BinaryIO) -> None:
    from gradclip_cli.render import render

    if json and form not in (None, "json"):
        raise GradclipError("--json", f"cannot go with --format {form}", "give one of the two")
    terminal = stream.isatty()
    chosen: Format = "json" if json else form or ("table" if terminal else "tsv")
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    text = render(report, chosen, shutil.get_terminal_size((80, 24)).columns, colour)
    stream.write(text.encode("utf-8", "backslashreplace"))
    stream.flush()


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line and give its status; every error ends here, in words."""
    for number, status in ((signal.SIGTERM, Status.TERMINATED), (signal.SIGHUP, Status.HANGUP)):
        signal.signal(number, _stopper(status))
    try:
        command = typer.main.get_command(app)
        status = command.main(list(arguments), "gradclip", standalone_mode=False)
        sys.stdout.flush()
        return int(status or 0)
    except GradclipError as error:
        return _complain(error)
    except _usage_error as error:
        return _complain(_worded(error))
    except BrokenPipeError:
        _silence_stdout()
        return Status.READER_GONE
    except OSError as error:
        path = error.filename if isinstance(error.filename, str) else ""
        return _complain(GradclipError(path, error.strerror or str(error)))
    except KeyboardInterrupt:
        return Status.INTERRUPTED
    except _Stopped as stopped:
        return stopped.status
    except Exception:
        traceback.print_exc()
        _say("gradclip: this is a bug in gradclip; the traceback above says where\n")
        return Status.BUG


def _stopper(status: Status) -> Callable[[int, FrameType | None], None]:
    def stop(*_: object) -> None:
        raise _Stopped(status)

    return stop


# The base of all of Typer's complaints about arguments; it has no public name.
_usage_error: type[Exception] = typer.BadParameter.__bases__[0].__bases__[0]


def _worded(error: Exception) -> GradclipError:
    """Turn one of Typer's complaints into one line and a hint."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    name = context.command_path if context is not None else "gradclip"
    first, *_ = message.strip().splitlines() or ["give a command"]
    return GradclipError("", first, f"{name} --help shows what can be given")


def _complain(error: GradclipError) -> int:
    subject = f"{error.subject}: " if error.subject else ""
    lines = [f"gradclip: {subject}{error.problem}", *(f"  {detail}" for detail in error.details)]
    if error.hint:
        lines.append(f"hint: {error.hint}")
    _say("".join(f"{printable(line)}\n" for line in lines))
    return error.status


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(text.encode("utf-8", "backslashreplace").decode("utf-8"))
        sys.stderr.flush()


def _silence_stdout() -> None:
    """Let nothing more go to a reader that went away, not even at the interpreter's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
