"""Where the results of `apply` go: files, each in its place, or a stream."""

import contextlib
import errno
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gradclip_cli.engine.crew import Crew
from gradclip_cli.errors import GradclipError
from gradclip_cli.files.places import is_special
from gradclip_cli.files.spools import spool_file
from gradclip_cli.files.system import open_raw
from gradclip_cli.formats.registry import Format
from gradclip_cli.options import Path
from gradclip_cli.rewrite import targets
from gradclip_cli.rewrite.outputs import Output, Plan
from gradclip_cli.rewrite.passes import Outcome
from gradclip_cli.rewrite.streams import STREAM_BYTES, rewrite_all, rewrite_to_stream
from gradclip_cli.tensors.dump import Dump
from gradclip_cli.tensors.names import escape

Write = Callable[[bytes], object]
Outcomes = Mapping[int, Outcome]


@dataclass(frozen=True, slots=True)
class Way:
    """How results are to be written: as `apply` was given it, over no file of what is `read`."""

    output: Path | Write | None
    in_place: bool
    suffix: str
    force: bool
    dry_run: bool
    read: Sequence[Dump]


def destination(
    dump: Dump,
    operands: Sequence[str],
    way: Way,
    stack: contextlib.ExitStack,
    form: Format | None,
) -> targets.Targets | Write | None:
    """Give where the results go; whatever can be refused is refused here.

    It is None in a dry run that was told of no place, so that there is none to be checked.
    """
    if way.in_place:
        for file in dump.files:
            if not (file.relative and file.source.rereadable and file.spool is None):
                problem = f"{escape(file.source.label)} has no place"
                raise GradclipError("--in-place", problem, "write with -o FILE")
        return targets.in_place(dump, way.suffix)
    if way.output is None:
        if way.dry_run:
            return None
        raise GradclipError(
            "-o", "nothing says where the result goes", "name a file with -o, or add --in-place"
        )
    if way.output == "-":  # the command line gives a function
        raise GradclipError("-o", "- is no file", "give sys.stdout.buffer.write for that stream")
    if form is not None and not callable(way.output):
        return targets.anew(os.fspath(way.output), way.force, way.read)
    if not callable(way.output) and not is_special(os.fspath(way.output)):
        return targets.beside(dump, operands, os.fspath(way.output), way.force, way.read)
    if len(dump.files) != 1:
        raise GradclipError(
            "-o",
            f"{len(dump.files):,} files cannot go to one stream",
            "name a folder with -o FOLDER/, or clip one file",
        )
    if callable(way.output):
        targets.check_unlike(_stream_of(way.output), way.read, "the output")
        return way.output
    path = os.fspath(way.output)
    targets.check_unlike(path, way.read, path)
    return _through(path, way.dry_run, stack)


def _stream_of(write: Write) -> int:
    """Give the descriptor of the stream that a method writes to; -1 where it has none."""
    try:
        return int(write.__self__.fileno())  # type: ignore[attr-defined]
    except (AttributeError, OSError, TypeError, ValueError):
        return -1


def _through(path: str, dry_run: bool, stack: contextlib.ExitStack) -> Write:
    """Give what writes through a device, a FIFO or a file without a name: none is replaced."""
    if dry_run:  # a FIFO that is opened waits for its reader
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return len
    stream = stack.enter_context(open(open_raw(path, os.O_WRONLY), "wb"))  # noqa: SIM115
    if not os.path.isfile(path):
        return stream.write

    def write(data: bytes) -> None:  # what is refused leaves the file as it is
        if not stream.tell():
            stream.truncate()
        stream.write(data)

    return write


def sent(output: Output, plan: Plan, crew: Crew, write: Write) -> tuple[Outcomes, bytes]:
    """Write a result to a stream, but for its last bytes; gives these, and what came of tensors.

    What is not known in the order of its bytes is made in a file first.
    """
    if output.layout.is_in_order:
        return rewrite_to_stream(output, plan, crew, write)
    with spool_file() as (file, path):
        file.truncate(output.size)
        outcomes = rewrite_all([output.at(path)], plan, crew.here)  # which alone has it open
        last = b""
        while data := file.read(STREAM_BYTES):
            if last:
                write(last)
            last = data
    return outcomes, last
