"""Objects in stores as sources: read in ranges, some of them ahead, no byte twice.

An answer takes long to come, however small it is. So what is expected is got in large pieces, some
at once; what a header is looked for in is got in blocks, which are kept for whoever reads on.
"""

import contextlib
import hashlib
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from gradclip_cli.files import stores
from gradclip_cli.files.outages import changed
from gradclip_cli.files.services import Status
from gradclip_cli.files.source import Reader, WholeSource
from gradclip_cli.files.urls import whole_of
from gradclip_cli.frozen import frozen

if TYPE_CHECKING:
    from concurrent.futures import Future

BLOCK = 1 << 14  # bytes that are got for less
_MOSTBLOCKS = 16  # where one reads on and on
_PIECE = 8 << 20  # bytes
_AHEAD = 3  # pieces
_GAP = 1 << 10  # bytes between two ranges that are better got than left out
KEPT = 48 << 20  # bytes of blocks


class _Blocks:
    """Blocks of objects that have been got, the latest of them."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[Any, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, number: int) -> bytes | None:
        with self._lock:
            return self._found.get((key, number))

    def put(self, key: Any, start: int, data: bytes) -> None:
        with self._lock:
            for at in range(0, len(data), BLOCK):
                self._found[key, (start + at) // BLOCK] = data[at : at + BLOCK]
            while len(self._found) > KEPT // BLOCK:
                self._found.popitem(last=False)


BLOCKS = _Blocks()


@frozen
class ObjectSource(WholeSource):
    """An object of a store, as it was when it was found; each reader asks for it anew.

    `version` is what the store says of it: an ETag, a generation. It stands in each answer.
    """

    path: str
    label: str
    size: int
    version: str
    changed_ns: int = 0

    sampled: ClassVar[bool] = True

    @property
    def modified_ns(self) -> int:  # type: ignore[override] # is never set
        """A number of the version."""
        return int.from_bytes(hashlib.sha256(self.version.encode()).digest()[:7])

    @property
    def identity(self) -> tuple[int | str, ...]:
        """Its URL."""
        return (whole_of(self.path),)

    @property
    def stamp(self) -> tuple[int, ...]:
        """Size and version."""
        return self.size, self.modified_ns

    @property
    def status(self) -> Status:
        """Size and version, as a store says them."""
        return Status(self.size, self.version)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        """Give a reader; raises `GradclipError` where what it reads is another object by now."""
        reader = _ObjectReader(self)
        try:
            yield reader
        finally:
            reader.close()

    def check(self) -> None:
        """Raise `GradclipError` if another object is there by now."""
        check_all([self])


def check_all(sources: Sequence[ObjectSource]) -> None:
    """Do as `check` of each, all at once."""
    asked = [(one, stores.begun(one.path, partial(_now, one.path))) for one in sources]
    for one, future in asked:
        if future.result() != one.status:
            raise changed(one.path)


async def _now(url: str, what: Any) -> Status:
    found: Status = await what.status(url)
    return found


class _Range:
    """A range that is got, or will be."""

    def __init__(self, start: int, end: int, data: bytes | None = None) -> None:
        self.start, self.end, self.data = start, end, data
        self.future: Future[bytes] | None = None


class _ObjectReader(Reader):
    def __init__(self, source: ObjectSource) -> None:
        super().__init__(source.label)
        self._source = source
        self._key = whole_of(source.path), source.version
        self._expected: list[list[int]] = []
        self._ahead: deque[_Range] = deque()
        self._begins: list[int] = []
        self._next, self._step = -1, 1  # where a header is read on, and by how many blocks

    def close(self) -> None:
        """Give up what has been asked for."""
        while self._ahead:
            future = self._ahead.popleft().future
            if future is not None:
                future.cancel()

    def expect(self, offset: int, size: int) -> None:
        end = min(offset + size, self._source.size)
        if self._expected and 0 <= offset - self._expected[-1][1] <= _GAP:
            self._expected[-1][1] = end
        elif offset < end:
            self._expected.append([offset, end])
        self._begins.append(offset)

    def read_into(self, view: memoryview, offset: int) -> int:
        size = min(len(view), self._source.size - offset)
        if size <= 0:
            return 0
        found = self._from_ahead(offset)
        if found is None:
            found = self._looked_at(offset, size)
        got = min(size, len(found))
        view[:got] = found[:got]
        return got

    # What is expected

    def _from_ahead(self, offset: int) -> memoryview | None:
        """Give bytes from an offset on that were expected; None where they were not."""
        self._plan(offset)
        at = next((n for n, one in enumerate(self._ahead) if one.start <= offset < one.end), None)
        if at is None:
            return None
        for _ in range(at):
            passed = self._ahead.popleft()
            if passed.future is not None:
                passed.future.cancel()
        for one in [*self._ahead][: 1 + _AHEAD]:
            if one.data is None and one.future is None:
                one.future = self._ask(one.start, one.end)
        first = self._ahead[0]
        if first.data is None:
            assert first.future is not None, "it was asked for"
            first.data, first.future = first.future.result(), None
            self._keep_beginnings(first.start, first.end, first.data)
        return memoryview(first.data)[offset - first.start :]

    def _keep_beginnings(self, start: int, end: int, data: bytes) -> None:
        """Keep the blocks in which tensors begin: some are looked at again."""
        inside = {at // BLOCK + more for at in self._begins if start <= at < end for more in (0, 1)}
        self._begins = [at for at in self._begins if at >= end]
        for number in sorted(inside):
            at = number * BLOCK
            if start <= at and min(at + BLOCK, self._source.size) <= end:
                BLOCKS.put(self._key, at, data[at - start : at - start + BLOCK])

    def _plan(self, offset: int) -> None:
        """Plan to get the range that is expected around an offset, and the smaller ones behind."""
        ranges = enumerate(self._expected)
        number = next((at for at, (start, end) in ranges if start <= offset < end), None)
        if number is None:
            return
        due, self._expected = self._expected[number:], []
        for start, end in due:
            self._ahead += self._cut(start, end)

    def _cut(self, start: int, end: int) -> Iterator[_Range]:
        """Cut a range into pieces; of what is kept as blocks none is got once more."""
        while start < end:
            number, within = divmod(start, BLOCK)
            kept = BLOCKS.get(self._key, number)
            if kept is not None and within < len(kept):
                data = kept[within : within + end - start]
                yield _Range(start, start + len(data), data)
                start += len(data)
                continue
            stop = min(end, start + _PIECE)
            for later in range(number + 1, -(-stop // BLOCK)):
                if BLOCKS.get(self._key, later) is not None:
                    stop = later * BLOCK
                    break
            yield _Range(start, stop)
            start = stop

    def _ask(self, start: int, end: int) -> "Future[bytes]":
        source = self._source

        async def ask(what: Any) -> bytes:
            status, data = await what.piece(source.path, start, end)
            if status != source.status:
                raise changed(source.path)
            found: bytes = data
            return found

        return stores.begun(source.path, ask)

    # What is not

    def _looked_at(self, offset: int, size: int) -> memoryview:
        """Give bytes that nobody expected: those of a header, by blocks."""
        number, within = divmod(offset, BLOCK)
        kept = BLOCKS.get(self._key, number)
        if kept is None and size >= 4 * BLOCK:
            return memoryview(self._ask(offset, offset + min(size, _PIECE)).result())
        if kept is None:
            self._step = min(2 * self._step, _MOSTBLOCKS) if number == self._next else 1
            count = max(-(-(within + size) // BLOCK), self._step)
            while count > 1 and BLOCKS.get(self._key, number + count - 1) is not None:
                count -= 1
            start = number * BLOCK
            end = min(start + count * BLOCK, self._source.size)
            found = self._ask(start, end).result()
            BLOCKS.put(self._key, start, found)
            self._next = number + count
            return memoryview(found)[within:]
        return memoryview(kept)[within:]
