"""What a fuzzer finds, and the limits within which each of its cases has to end."""

import contextlib
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from gradclip_cli import GradclipError

SECONDS = 10  # for one case; most take a millisecond
LONGEST = 400  # characters of a message

TAKEN, REFUSED = "taken by both", "refused by both"


class Finding(AssertionError):  # noqa: N818 - what a fuzzer looks for, not an error of its own
    """A case that breaks a law."""


class _TooSlow(BaseException):
    """So that nothing which catches exceptions can catch it."""


def fresh(path: Path, raw: bytes) -> Path:
    """Write a new file; to overwrite an old one costs a flush to the disk."""
    path.unlink(missing_ok=True)
    path.write_bytes(raw)
    return path


@contextlib.contextmanager
def limits(seconds: float = SECONDS) -> Iterator[None]:
    """Make a warning an error, and end what takes too long."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise _TooSlow(f"not done after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def nothing_else() -> Iterator[None]:
    """Let nothing be raised but what gradclip says, soon and without a warning."""
    try:
        with limits():
            yield
    except (GradclipError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the panic of a library in Rust is no Exception
        raise Finding(f"raised {error!r}") from error


def check_fit(error: GradclipError, has_hint: bool = True) -> None:
    """Raise `Finding` for a message that is no line to read, or that has no hint and should."""
    is_line = len(error.problem) <= LONGEST and error.problem.isprintable()
    if not is_line or (has_hint and not error.hint):
        raise Finding(f"the message is unfit: {error.problem}") from error
