"""Where the process meets its surroundings: standard streams, signals, errors, exit statuses.

`run` is the one place that turns errors into messages and statuses.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import BinaryIO

from gradclip_cli.errors import GradclipError, Status, unimported, worded
from gradclip_cli.files.system import HANGUP
from gradclip_cli.options import nearest
from gradclip_cli.tensors.names import printable

_SIGNALS: dict[int, Status] = {
    signal.SIGINT: Status.INTERRUPTED,
    signal.SIGTERM: Status.TERMINATED,
}
if HANGUP is not None:
    _SIGNALS[HANGUP] = Status.HANGUP


class _Stopped(BaseException):
    """Somebody else ended the run: a signal, or the reader of a pipe that went away."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


def run(command: Callable[[], int]) -> int:
    """Run a command and give its status; every error ends here, in words."""
    _fill_standard_streams()
    for number, status in _SIGNALS.items():
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, _stopper(status))
    try:
        return _flushed(_status_of(command))
    except _Stopped as stopped:
        _silence(1)
        return stopped.status


def _status_of(command: Callable[[], int]) -> int:
    try:
        return command()
    except GradclipError as error:
        return _complain(error)
    except OSError as error:
        return _complain(worded(error))
    except ImportError as error:
        return _complain(unimported(error))
    except KeyboardInterrupt:
        return Status.INTERRUPTED
    except SystemExit as left:  # Typer's way of saying that nobody reads its help
        return Status.READER_GONE if left.code == 1 else int(left.code or 0)
    except Exception as error:
        if hasattr(error, "format_message"):  # one of Typer's complaints about arguments
            return _complain(_worded(error))
        _say(traceback.format_exc())
        _say("gradclip: this is a bug in gradclip; the traceback above says where\n")
        return Status.BUG


def _flushed(status: int) -> int:
    """Flush what is left in stdout; give the status, or a worse one if that fails."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        _silence(1)
        return Status.READER_GONE
    except OSError as error:
        _silence(1)
        return status or _complain(_unwritable("standard output", error))
    return status


def stdout() -> BinaryIO:
    """Give standard output; raises `GradclipError` if it is closed."""
    if sys.stdout is None:
        raise GradclipError("standard output", "is closed", "redirect it to a file or /dev/null")
    return sys.stdout.buffer


def stderr() -> BinaryIO:
    """Give standard error, or a place for what nobody wants to read."""
    return sys.stderr.buffer if sys.stderr is not None else open(os.devnull, "wb")


class Sink:
    """A stream that is written to at once, and that says where if it cannot be."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._name = "standard output" if stream.fileno() == 1 else str(stream.name)

    def fileno(self) -> int:
        """Give its descriptor."""
        return self._stream.fileno()

    def write(self, data: bytes) -> None:
        """Write bytes, all of them."""
        rest = memoryview(data)
        try:
            while rest:  # with PYTHONUNBUFFERED a stream may take less than it is given
                rest = rest[self._stream.write(rest) :]
            self._stream.flush()
        except BrokenPipeError:
            raise _Stopped(Status.READER_GONE) from None
        except OSError as error:
            raise _unwritable(self._name, error) from error


def writer(stream: BinaryIO) -> Callable[[bytes], None]:
    """Give a function that writes bytes at once, and says where if it cannot."""
    return Sink(stream).write


def _unwritable(name: str, error: OSError) -> GradclipError:
    problem = (error.strerror or str(error)).lower()
    return GradclipError(name, f"cannot be written to: {problem}", "send it somewhere else")


def _fill_standard_streams() -> None:
    """Keep files from taking the numbers of standard streams that came closed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _stopper(status: Status) -> Callable[[int, FrameType | None], None]:
    def stop(*_: object) -> None:
        # A second signal must not disturb the tidying up. It is caught, not ignored: Python writes
        # a traceback about one that came before it was ignored.
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        raise _Stopped(status)

    return stop


def _worded(error: Exception) -> GradclipError:
    """Turn one of Typer's complaints into one line and a hint."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "gradclip"
    declared = getattr(getattr(context, "command", None), "declared", None)
    unknown = getattr(error, "possibilities", None) is not None
    if unknown and declared is not None:
        known = {option.flag: option.elsewhere for option in declared.options}
        meant = nearest(getattr(error, "option_name", ""), known, known)
        question = f". Did you mean {meant}?" if meant else ""
        message = f"{message.partition(' (Possible')[0]}{question}"
    # "Value error" is what Pydantic, which Typer asks about choices, puts before its own words.
    lines = message.replace(": Value error, ", ": ").strip().splitlines()
    first = f"{lines[0][0].lower()}{lines[0][1:].rstrip('.')}" if lines else "no command is given"
    return GradclipError("", first, f"{command} --help shows what can be given")


def say(line: str) -> None:
    """Write a line to standard error."""
    _say_lines([line])


def link(words: str, name: str, target: str) -> None:
    """Write at a terminal a line that ends in a name, which leads to a target where it is opened.

    Hyperlinks in terminals: OSC 8 (https://gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda).
    """
    if sys.stderr is None or not sys.stderr.isatty():
        return
    shown = printable(name)
    if os.environ.get("TERM") != "dumb":
        shown = f"\x1b]8;;{_quoted(target)}\x1b\\{shown}\x1b]8;;\x1b\\"
    _say(f"{printable(words)}{shown}\n")


def _quoted(target: str) -> str:
    """Write a URL in ASCII, what is special in it escaped (RFC 3986)."""
    plain = b"-._~/:" + b"".join(bytes([one]) for one in range(128) if chr(one).isalnum())
    return "".join(chr(one) if one in plain else f"%{one:02X}" for one in os.fsencode(target))


def _complain(error: GradclipError) -> int:
    subject = f"{error.subject}: " if error.subject else ""
    lines = [f"gradclip: {subject}{error.problem}", *(f"  {detail}" for detail in error.details)]
    if error.hint:
        lines.append(f"hint: {error.hint}")
    _say_lines(lines)
    return error.status


_FURTHER = "    "  # more than the details of an error, which are lines of their own


def _say_lines(lines: Sequence[str]) -> None:
    """Write lines to standard error, on a terminal in as many as its width takes."""
    safe = [*map(printable, lines)]
    if sys.stderr is not None and sys.stderr.isatty():
        from gradclip_cli.render.screen import of
        from gradclip_cli.render.words import message

        width = of(sys.stderr.buffer).width
        safe = [part for line in safe for part in message(line, width, _FURTHER)]
    _say("".join(f"{line}\n" for line in safe))


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
