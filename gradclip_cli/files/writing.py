"""How the bytes of a result reach its file: past the page cache, while the next are computed.

The kernel takes longer to find and fill new pages of its cache than gradclip takes to clip what
goes into them, so large pieces are written directly (`O_DIRECT` of open(2)) where the file system
can do that. Directly means whole pages, in the file as in memory: what a piece has besides at its
ends is written in the ordinary way.
"""

import errno
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from gradclip_cli.engine.scratch import PAGE, Bytes, paged
from gradclip_cli.files.holes import Holes, between
from gradclip_cli.files.system import (
    AT_ONCE,
    control,
    naming,
    open_direct,
    open_raw,
    sync,
    write_at,
    write_back,
    write_some,
)
from gradclip_cli.frozen import frozen

PIECE = 4 << 20
"""Most bytes that may be asked room for at once, and what is written at once."""

_PIECES = 3  # one that is filled, and two that wait for the disk

DIRECT = 1 << 20
"""Fewer bytes are not worth going past the cache."""

Room = Callable[[int, int], Bytes]
"""Gives an array for so many bytes at an offset, which are written once it has been filled."""


@frozen
class Site:
    """A file that is there to be written to, called `label`.

    The path has to lead to the file of `status`, if that is known: an unnamed file is found by the
    number of its descriptor, which after an interrupt may be another file's before a worker
    notices. In the `holes` of the new file zeros are not written: they are there. One that
    `is_shared` has writers of other machines, whose caches know nothing of each other: of a page of
    which each writes a part it writes that alone, at once.
    """

    path: str
    label: str
    status: os.stat_result | None = None
    holes: Holes = ()
    is_shared: bool = False


class Writer:
    """Writes one file, best in order: each piece in a thread while the next is filled.

    `writer.room(0, 3)[:] = (71, 78, 85)` writes three bytes. An `OSError` names the file by its
    label.
    """

    def __init__(self, site: Site) -> None:
        self._label = site.label
        self._holes = site.holes
        self._is_shared = site.is_shared
        with naming(site.label):
            self._plain = open_raw(site.path, os.O_WRONLY | (AT_ONCE if site.is_shared else 0))
        if site.status and not os.path.samestat(os.fstat(self._plain), site.status):
            os.close(self._plain)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), site.label)
        self._direct: int | None = None
        self._hand: ThreadPoolExecutor | None = None
        # Pieces in turns. `_base` is where the present one's first byte would lie in the file,
        # a multiple of `PAGE`; the bytes from `_begin` to `_end` are to be written.
        self._turn = 0
        self._under_way: list[list[Future[None]]] = [[] for _ in range(_PIECES)]
        self._base = self._begin = self._end = 0

    def room(self, offset: int, size: int) -> Bytes:
        """Give an array to be filled with the file's bytes from `offset` on, at most `PIECE`.

        It is written once a piece is full, or at the end.
        """
        if offset != self._end or self._end + size > self._base + PIECE + PAGE:
            self._next_piece(offset)
        start = self._end - self._base
        self._end += size
        return self._piece()[start : start + size]

    def _piece(self) -> Bytes:
        return paged(f"piece {self._turn}", PIECE + PAGE)

    def _next_piece(self, offset: int) -> None:
        """Write what there is, but for a part of a page that the next piece completes."""
        written = self._end
        if offset == self._end:
            written = max(self._end // PAGE * PAGE, self._begin)
        self._write(written)
        rest = self._piece()[written - self._base : self._end - self._base]
        self._turn = (self._turn + 1) % _PIECES
        self._wait(self._turn)
        self._begin = written if rest.size else offset
        self._end = offset
        self._base = self._begin // PAGE * PAGE
        self._piece()[self._begin - self._base : self._end - self._base] = rest

    def _write(self, end: int) -> None:
        """Write what lies before `end`, but for zeros in holes."""
        begin = self._begin
        for start, stop in between(self._holes, begin, end):
            self._fill(begin, start)
            self._write_range(start, stop)
            begin = stop
        self._fill(begin, end)

    def _fill(self, begin: int, end: int) -> None:
        """Write a part of a hole, if it is one no more."""
        if begin < end and self._piece()[begin - self._base : end - self._base].any():
            self._write_range(begin, end)

    def _write_range(self, begin: int, end: int) -> None:
        """Write a range: whole pages in the thread, if there are enough of them."""
        first = min(-(-begin // PAGE) * PAGE, end)
        last = max(end // PAGE * PAGE, first)
        if last - first < DIRECT:
            first = last = end
        data = self._piece().data
        for start, stop in ((begin, first), (last, end)):
            part = data[start - self._base : stop - self._base]
            write_at(self._plain, part, start, self._label)
        if first < last:
            self._begin_to_write(data[first - self._base : last - self._base], first)

    def _begin_to_write(self, pages: memoryview, offset: int) -> None:
        self._hand = self._hand or ThreadPoolExecutor(1, "gradclip-writer")
        try:
            self._under_way[self._turn].append(self._hand.submit(self._write_pages, pages, offset))
        except RuntimeError:  # no more threads are allowed here
            self._hand = None
            self._write_pages(pages, offset)

    def _write_pages(self, pages: memoryview, offset: int) -> None:
        done = 0
        if self._direct is None:
            self._direct = open_direct(self._plain)
        if self._direct >= 0:
            try:
                done = write_some(self._direct, pages, offset)
            except OSError as error:
                if error.errno != errno.EINVAL:  # larger pages than ours, or none at all
                    error.filename = self._label
                    raise
        if done < len(pages):
            write_at(self._plain, pages[done:], offset + done, self._label)
            write_back(self._plain, offset + done, len(pages) - done)

    def _wait(self, turn: int) -> None:
        futures, self._under_way[turn] = self._under_way[turn], []
        for future in futures:
            future.result()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Write the rest, unless something went wrong before, and wait until all is written."""
        try:
            if kind is None:
                self._write(self._end)
                for turn in range(_PIECES):
                    self._wait(turn)
                if self._is_shared:  # who waits for the disk at last knows nothing of our cache
                    with naming(self._label):
                        sync(self._plain)
        finally:
            self._close()

    def _close(self) -> None:
        try:
            if self._hand is not None:
                self._wait_for_all(self._hand)
        finally:
            os.close(self._plain)
            if self._direct is not None and self._direct >= 0:
                os.close(self._direct)

    @staticmethod
    def _wait_for_all(hand: ThreadPoolExecutor) -> None:
        try:
            hand.shutdown()
        except BaseException:  # an interrupt; but the descriptors may still be written to
            hand.shutdown()
            raise


_FICLONE = 0x40049409  # of linux/fs.h; see ioctl_ficlone(2)


def cloned(source: int, path: str, label: str) -> bool:
    """Let a file share all blocks of an open one; False where the file system cannot do it."""
    with naming(label):
        target = open_raw(path, os.O_WRONLY)
    try:
        return control(target, _FICLONE, source)
    finally:
        os.close(target)
