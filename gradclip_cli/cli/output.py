"""Where a command's result goes: standard output, a file, a terminal with a bar of progress."""

import contextlib
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

import typer

from gradclip_cli.cli import boundary
from gradclip_cli.cli.declared import Given
from gradclip_cli.errors import GradclipError, together
from gradclip_cli.options import UNSET, is_number

if TYPE_CHECKING:
    from gradclip_cli.render.progress import Bar
    from gradclip_cli.results.columns import Result
    from gradclip_cli.results.report import Report
    from gradclip_cli.results.trend import Trend


def form_of(given: Given) -> str | None:
    """Give the output format that is wished; raises `GradclipError` where two are."""
    form: str | None = given.form
    if given.json and form not in (None, "json"):
        raise GradclipError("--json", f"cannot go with --format {form}", "give one of the two")
    return "json" if given.json else form


def operands(
    paths: Sequence[str] | None, hint: str = "is an option missing before it?"
) -> Sequence[str]:
    """Give the operands; none means standard input, if something is sent there.

    Raises `GradclipError` for an empty path, and for a number that names no file: its option was
    forgotten.
    """
    if paths:
        if "" in paths:
            raise GradclipError("", "a path is empty", f"name a file or a folder; {UNSET}")
        for path in filter(is_stray, paths):
            raise GradclipError(path, "a number, and there is no file of that name", hint)
        return paths
    with contextlib.suppress(OSError):
        mode = os.fstat(0).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode):
            return ["-"]
    raise GradclipError(
        "", "no file is named, and nothing is piped in", "name files or folders, or - for a pipe"
    )


def is_stray(path: str) -> bool:
    """Say whether an operand is a number, and names no file."""
    return is_number(path) and not os.path.lexists(path)


def form_of_file(path: str) -> str | None:
    """Give the output format that a file's ending names, if there is one of that name."""
    from gradclip_cli.render.registry import RENDERERS

    ending = os.path.splitext(path)[1].removeprefix(".").lower()
    return ending if ending in RENDERERS else None


@contextlib.contextmanager
def progress(hidden: bool) -> Iterator["Bar | None"]:
    """Show progress on stderr if that is a terminal."""
    if hidden or not sys.stderr or not sys.stderr.isatty():
        yield None
        return
    from gradclip_cli.render.progress import Bar

    bar = Bar()
    try:
        yield bar
    finally:
        bar.end()


def show(result: "Result", form: str | None, stream: BinaryIO, everything: bool) -> None:
    """Write a result to a stream."""
    from gradclip_cli.render.registry import renderer
    from gradclip_cli.render.renderer import pieces

    write = boundary.writer(stream)
    for piece in pieces(result, renderer(form, result.sheet, stream, everything)):
        write(piece.encode("utf-8", "backslashreplace"))


def remark(found: "Trend", form: str | None) -> None:
    """Say at a terminal what was found, where stdout leads elsewhere and has rows alone."""
    watched = sys.stderr is not None and sys.stderr.isatty() and not boundary.stdout().isatty()
    if watched and form in (None, "tsv", "csv", "md"):
        boundary.say(f"gradclip: {found.says}")


def judge(found: "Report | Trend", quiet: bool, unreadable: Sequence[GradclipError] = ()) -> None:
    """Say why gates failed, a line each, and what could not be read; end with the status."""
    for gate in found.gates:
        if gate.status and not quiet:
            boundary.say(f"gradclip: {gate.says}")
    if unreadable:
        raise together(unreadable)
    if found.status:
        raise typer.Exit(found.status)


def is_among(file: str | int, operands: Sequence[str]) -> bool:
    """Say whether a file, at a path or open, is a regular one of those that operands name.

    The operand - is standard input.
    """
    from gradclip_cli.commands.opening import read_by

    try:
        there = os.stat(file)
    except OSError:
        return False  # it is still to be made
    if not stat.S_ISREG(there.st_mode):
        return False
    for path in (*read_by(operands), *([0] if "-" in operands else ())):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(path), there):
                return True
    return False


def save(result: "Result", form: str | None, path: str, force: bool) -> None:
    """Write a result to a file: TSV if no format is asked for, a table in 80 columns."""
    from gradclip_cli.files.staging import write_whole
    from gradclip_cli.render.registry import renderer
    from gradclip_cli.render.renderer import pieces

    text = "".join(pieces(result, renderer(form, result.sheet, None, everything=True)))
    write_whole(path, text.encode("utf-8", "backslashreplace"), force)


def check_place(path: str, force: bool, others: Sequence[str], what: str = "the report") -> None:
    """Refuse, before anything is done, a file that would take another file's place."""
    from gradclip_cli.files import places, urls

    urls.check_local(path, what.replace("the", "a"), "name a file of this machine")
    if places.is_special(path):
        return
    here = os.path.realpath(path)
    for other in map(os.path.realpath, others):
        inside = os.path.isdir(other) and here.startswith(other + os.sep) and os.path.exists(here)
        if here == other or inside or is_among(here, [other]):
            raise GradclipError(
                path,
                f"{what} would replace an input, the output or a backup",
                "name another file",
            )
    places.check_place(here, path, force)
    if not os.path.isdir(os.path.dirname(here)):
        raise GradclipError(path, "its folder does not exist", "make it first: mkdir -p FOLDER")
