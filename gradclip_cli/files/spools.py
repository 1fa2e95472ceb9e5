"""Files that hold for a while what comes from a stream, in the folder for temporary ones."""

import contextlib
import os
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any, BinaryIO

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.streams import Stream
from gradclip_cli.files.system import path_of

_PIECE = 1 << 20


class Spool:
    """All bytes of a stream, in a file that is there as long as this is; `path` leads to it."""

    def __init__(self, stream: Stream) -> None:
        """Read the stream to its end; raises `GradclipError` where there is no room for it."""
        stack = contextlib.ExitStack()
        weakref.finalize(self, stack.close)
        file, self.path = stack.enter_context(spool_file())
        file.write(stream.header)
        piece = memoryview(bytearray(_PIECE))
        while got := stream.read_into(piece):
            with _refused(spool_folder()):
                file.write(piece[:got])
                file.flush()


@contextlib.contextmanager
def spool_file() -> Iterator[tuple[BinaryIO, str]]:
    """Give a file for a while, and a path that leads to it; it has no name where it needs none.

    Raises `GradclipError` where there is no folder for it.
    """
    folder = spool_folder()
    with contextlib.ExitStack() as stack:
        with _refused(folder):
            stream: Any = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            path = path_of(stream.fileno())
            if path is None:  # it can be opened once more by its name alone
                stack.close()
                folder = stack.enter_context(tempfile.TemporaryDirectory(dir=folder))
                path = os.path.join(folder, "spool")
                stream = stack.enter_context(open(path, "w+b"))
        try:
            yield stream, path
        except OSError as error:
            error.filename = error.filename or folder
            raise


def spool_folder() -> str:
    """Give the folder for temporary files; one that is named in vain is not passed over."""
    named = os.environ.get("TMPDIR")
    if named and not os.path.isdir(named):
        raise GradclipError(
            named,
            "no such folder, though TMPDIR names it as the one for temporary files",
            "make it: mkdir -p FOLDER, or name another: export TMPDIR=FOLDER",
        )
    with _refused(named or "TMPDIR"):
        return named or tempfile.gettempdir()


@contextlib.contextmanager
def _refused(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GradclipError(
            folder,
            f"no temporary file can be made: {(error.strerror or str(error)).lower()}",
            "name another folder for them: export TMPDIR=FOLDER",
        ) from error
