"""Objects are found by a look at their first bytes, which tells of a header and of the object, too.

Whoever looks again asks only whether it is the same still; in one run once is enough, but where
values are to be read.
"""

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gradclip_cli.files import stores
from gradclip_cli.files.members import RangeStream
from gradclip_cli.files.objects import BLOCK, BLOCKS, KEPT, ObjectSource
from gradclip_cli.files.services import Status
from gradclip_cli.files.urls import whole_of

if TYPE_CHECKING:
    from concurrent.futures import Future

HEAD = 1 << 16  # bytes
_LOOKS_AT_ONCE = 16


def found(url: str, label: str, again: bool = True) -> tuple[ObjectSource, bytes]:
    """Give an object and its first bytes: as it is now, or was when this run looked at it first."""
    begun = _LOOKS.begun.pop(whole_of(url), None)
    if begun is None and (kept := _kept(url, again)) is not None:
        status, head = kept
    else:
        status, head = (begun or _look(url)).result()
        _LOOKS.more()
        BLOCKS.put((whole_of(url), status.version), 0, head)
        _LOOKED[whole_of(url)] = status
        _LOOKS.fresh.add(whole_of(url))
        if len(_LOOKED) > KEPT // HEAD:
            _LOOKED.pop(next(iter(_LOOKED)))
    return ObjectSource(url, str(label), status.size, status.version), head


def _look(url: str) -> "Future[tuple[Status, bytes]]":
    async def ask(what: Any) -> tuple[Status, bytes]:
        answer: tuple[Status, bytes] = await what.piece(url, 0, HEAD)
        return answer

    return stores.begun(url, ask)


def _kept(url: str, again: bool) -> tuple[Status, bytes] | None:
    """Give what an object was when it was looked at, if it is the same still."""
    was = now = _LOOKED.get(whole_of(url))
    if was is None or not was.version:  # what tells nothing may be another
        return None
    if again or whole_of(url) not in _LOOKS.fresh:
        now = stores.status(url)
    if now is None or now != was:
        return None
    _LOOKS.fresh.add(whole_of(url))
    blocks = [BLOCKS.get((whole_of(url), now.version), number) for number in range(HEAD // BLOCK)]
    head = b"".join(block for block in blocks if block is not None)
    return (now, head) if len(head) == min(HEAD, now.size) else None


_LOOKED: dict[str, Status] = {}


class _Looks:
    """Looks at objects that are soon to be found, some of which have begun."""

    def __init__(self) -> None:
        self.due: deque[str] = deque()
        self.begun: dict[str, Future[tuple[Status, bytes]]] = {}
        self.fresh: set[str] = set()  # those that this run has looked at

    def more(self) -> None:
        while self.due and len(self.begun) < _LOOKS_AT_ONCE:
            url = self.due.popleft()
            self.begun[whole_of(url)] = _look(url)


_LOOKS = _Looks()


def forget() -> None:
    """Begin a run, which looks at everything anew."""
    _LOOKS.fresh.clear()
    stores.forget()


@contextlib.contextmanager
def looked_at(urls: Sequence[str]) -> Iterator[None]:
    """Look at objects some at a time, while they are found one after the other."""
    each = {whole_of(url): url for url in urls}
    _LOOKS.due.extend(url for key, url in each.items() if key not in _LOOKED)
    try:
        _LOOKS.more()
        yield
    finally:
        _LOOKS.due.clear()
        for future in _LOOKS.begun.values():
            future.cancel()
        _LOOKS.begun.clear()


class ObjectStream(RangeStream):
    """An object as a library takes an open file."""

    def __init__(self, url: str) -> None:
        source, _ = found(url, url)
        self._open = contextlib.ExitStack()
        super().__init__(self._open.enter_context(source.opened()), 0, source.size)

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fill a buffer, or some of it."""
        if len(buffer) >= HEAD:
            self._reader.expect(self._at, len(buffer))
        return super().readinto(buffer)

    def close(self) -> None:
        """Let go of it."""
        self._open.close()
        super().close()


def whole(url: str, most: int = -1) -> bytes:
    """Give all bytes of an object, which is small, or no more than so many."""
    source, head = found(url, url)
    data = bytearray(source.size if most < 0 else min(source.size, most))
    data[: len(head)] = head[: len(data)]
    with source.opened() as reader:
        reader.expect(len(head), len(data) - len(head))
        reader.read_exactly(memoryview(data)[len(head) :], len(head))
    return bytes(data)
