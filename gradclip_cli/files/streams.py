"""What is read from the front: the beginning of a file, which tells where the rest is; streams."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import ClassVar

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import Reader, Source, ended
from gradclip_cli.files.system import read_on, waiting_for, write_at
from gradclip_cli.frozen import frozen

_PIECE = 1 << 20  # a claim in a header must not make us allocate what may never come


class Front:
    """The beginning of a file or stream: looked at in advance, then read in order.

    `more(n, position)` gives at most n bytes from a position on, none only at the end; `ahead` are
    the first, where they have been read. `position` is the number of bytes consumed. A reader puts
    into `strays` what it takes all the same, though no writer should write it so; into `uncounted`
    the names of tensors that are none of the gradient's, by what they are; and into `proofs` what
    else has a checksum than the sources of tensors. `is_named_by_file` says that the one tensor has
    the name that the reader was given, and `besides` what else the file holds, in words. `begins`
    are the indices at which tensors begin that are pieces of larger ones, by name.
    """

    def __init__(self, more: Callable[[int, int], bytes], ahead: bytes = b"") -> None:
        self._more = more
        self._ahead = ahead
        self.position = 0
        self.strays: list[str] = []
        self.uncounted: dict[str, list[str]] = {}
        self.proofs: list[Source] = []
        self.is_named_by_file = False
        self.besides: list[str] = []
        self.begins: dict[str, tuple[int, ...]] = {}

    def peek(self, count: int) -> bytes:
        """Give the next bytes without consuming them; fewer than `count` only at the end."""
        parts, size = [self._ahead], len(self._ahead)
        while size < count:
            piece = self._more(min(count - size, _PIECE), self.position + size)
            if not piece:
                break
            parts.append(piece)
            size += len(piece)
        self._ahead = b"".join(parts)
        return self._ahead[:count]

    def read(self, count: int) -> bytes:
        """Consume the next bytes; fewer than `count` only at the end."""
        data = self.peek(count)
        self._ahead = self._ahead[len(data) :]
        self.position += len(data)
        return data


class Stream(Front):
    """Standard input or a FIFO: read once, from the front; where asked, kept in a spool file.

    `header` is what `read` consumed.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(self._more_of_it)
        self.header = b""
        self._descriptor = descriptor
        self._wait = waiting_for(descriptor)
        self._spool: int | None = None

    def read(self, count: int) -> bytes:
        """Consume the next bytes; fewer than `count` only at the end."""
        data = super().read(count)
        self.header += data
        return data

    def _more_of_it(self, count: int, _position: int) -> bytes:
        self._wait()
        return os.read(self._descriptor, count)

    def keep_in(self, spool: int) -> None:
        """Write everything to a file as well, from the header on."""
        write_at(spool, self.header, 0, "$TMPDIR")
        self._spool = spool

    def read_into(self, view: memoryview) -> int:
        """Consume bytes into a buffer; give their number, 0 only at the end."""
        if self._ahead:
            got = min(len(view), len(self._ahead))
            view[:got] = self._ahead[:got]
            self._ahead = self._ahead[got:]
        else:
            self._wait()
            got = read_on(self._descriptor, view)
        if self._spool is not None and got:
            write_at(self._spool, view[:got], self.position, "$TMPDIR")
        self.position += got
        return got


class _StreamReader(Reader):
    """Reads a stream, which is skipped forward to each offset."""

    def __init__(self, label: str, stream: Stream) -> None:
        super().__init__(label)
        self._stream = stream

    def read_into(self, view: memoryview, offset: int) -> int:
        self.skip_to(offset)
        return self._stream.read_into(view)

    def skip_to(self, offset: int) -> None:
        while self._stream.position < offset:
            piece = bytearray(min(offset - self._stream.position, _PIECE))
            if not self._stream.read_into(memoryview(piece)):
                raise ended(self.label, self._stream.position)


@frozen
class StreamSource(Source):
    """A stream: it has no path and no size, and is read by one worker, in order."""

    label: str
    stream: Stream
    path: str = ""
    size: int | None = None
    rereadable: ClassVar[bool] = False

    @property
    def is_here(self) -> bool:
        """Say that it is."""
        return True

    @property
    def stamp(self) -> tuple[int, ...]:
        """How much of it has been read."""
        return (self.stream.position,)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        """Give a reader."""
        yield _StreamReader(self.label, self.stream)

    def finish(self, end: int) -> None:
        """Read to the end, which is to be at an offset; raises `GradclipError` where it is not."""
        _StreamReader(self.label, self.stream).skip_to(end)
        if self.stream.peek(1):
            raise GradclipError(
                self.label,
                f"more bytes follow the last tensor, which ends at byte {self.stream.position:,}",
                "two dumps in one stream? send one at a time",
            )
