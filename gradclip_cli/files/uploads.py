"""Objects that are written: in parts that nobody sees, until all are there and one call joins them.

An upload to S3 that was left half done is not seen either, but paid for. So the next one to the
same key takes away what gradclip has left there: it is known by its first part, of an odd length,
which is never joined to the others. What has no part at all holds nothing, and is taken away, too.
"""

import contextlib
import hashlib
import threading
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from gradclip_cli.errors import GradclipError, NotAllowedError
from gradclip_cli.files import outages, stores
from gradclip_cli.files.urls import parts_of, scheme_of

if TYPE_CHECKING:
    from concurrent.futures import Future

PART = 8 << 20  # bytes; a part has 5 MiB at least, but for the last
_DOUBLED = 1000  # parts, after which they are twice as large: there can be 10,000
_AT_ONCE = 3
_MARK, _SIGN = 1, b"begun by gradclip apply\n" * 43  # of a length that is nobody else's
_NOT_HERE = (403, 405, 501)  # who may write may not always list
_TAKEN = (409, 412)


def taken(url: str) -> GradclipError:
    """Say that there is an object already."""
    return GradclipError(url, "already exists", "to replace it, add --force")


def _digest(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class Upload(Protocol):
    """An object that is being written, as a context: what was not committed is gone at its end."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""

    def finish(self) -> None:
        """Send all that is still here."""

    def commit(self) -> None:
        """Let the object appear; raises `GradclipError` where there is one and none was allowed."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give up what was not committed."""


class _S3Upload:
    """An upload to S3: a single call where all fits into a part, else as many as there are."""

    def __init__(self, url: str, force: bool) -> None:
        self._url = url
        self._asked: dict[str, str] = {} if force else {"IfNoneMatch": "*"}
        self._buffer = bytearray()
        self._number: str | None = None  # of the upload, as S3 gives it
        self._numbered: Future[Any] | None = None
        self._known: threading.Event | None = None  # a signal may come before that is known
        self._parts: list[str] = []  # their checksums
        self._sending: deque[tuple[int, Future[Any]]] = deque()
        self._is_open = False

    def __enter__(self) -> Self:
        self._is_open = True
        _clear(self._url)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_open:
            return
        for _number, future in self._sending:
            future.cancel()
        with contextlib.suppress(GradclipError, TimeoutError):  # the next run clears it
            if self._number is None and self._numbered is not None:
                self._numbered.result(stores.SILENCE)
            elif self._number is None and self._known is not None:
                self._known.wait(stores.SILENCE)
            if self._number is not None:
                self._call("abort_multipart_upload", UploadId=self._number)
        self._is_open = False

    def _call(self, method: str, **asked: Any) -> Any:
        return self._begin(method, **asked).result()

    def _begin(self, method: str, **asked: Any) -> "Future[Any]":
        async def ask(what: Any) -> Any:
            return await what.call(method, self._url, **asked)

        return stores.begun(self._url, ask)

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._buffer += data
        while len(self._buffer) >= self._size:
            self._send(self._size)

    @property
    def _size(self) -> int:
        return int(PART << len(self._parts) // _DOUBLED)

    def _send(self, size: int) -> None:
        if self._number is None:
            self._known = threading.Event()
            self._numbered = stores.begun(self._url, self._create, lasts=True)
            self._numbered.result()
            self._call("upload_part", UploadId=self._number, PartNumber=_MARK, Body=_SIGN)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._parts.append(_digest(data))
        number = _MARK + len(self._parts)
        future = self._begin("upload_part", UploadId=self._number, PartNumber=number, Body=data)
        self._sending.append((number, future))
        self._settle(_AT_ONCE)

    async def _create(self, what: Any) -> None:
        answer = await what.call("create_multipart_upload", self._url)
        self._number = answer["UploadId"]
        if self._known is not None:
            self._known.set()

    def _settle(self, most: int) -> None:
        """Wait until at most so many parts are on their way."""
        while len(self._sending) > most:
            number, future = self._sending[0]
            self._parts[number - _MARK - 1] = future.result()["ETag"].strip('"')
            self._sending.popleft()

    def finish(self) -> None:
        """Send all that is still here, unless it is all there is."""
        if self._number is not None:
            if self._buffer:
                self._send(len(self._buffer))
            self._settle(0)

    def commit(self) -> None:
        """Let the object appear."""
        try:
            self._join()
        except GradclipError:
            if not self._is_there():  # perhaps only the answer was lost
                raise
        self._is_open = False

    def _join(self) -> None:
        async def ask(what: Any) -> Any:
            try:
                if self._number is None:
                    data = bytes(self._buffer)
                    return await what.call("put_object", self._url, Body=data, **self._asked)
                parts = [
                    {"PartNumber": number, "ETag": f'"{etag}"'}
                    for number, etag in enumerate(self._parts, _MARK + 1)
                ]
                return await what.call(
                    "complete_multipart_upload",
                    self._url,
                    UploadId=self._number,
                    MultipartUpload={"Parts": parts},
                    **self._asked,
                )
            except Exception as error:
                if outages.answer_of(error)[0] in _TAKEN or isinstance(error, FileExistsError):
                    raise taken(self._url) from None
                raise

        stores.asked(self._url, ask)

    def _is_there(self) -> bool:
        """Say whether the object is there, as this one would be."""
        try:
            if self._number is None:
                expected = _digest(bytes(self._buffer))
            else:
                sums = b"".join(map(bytes.fromhex, self._parts))
                expected = f"{_digest(sums)}-{len(self._parts)}"
            return stores.status(self._url).version == expected
        except (OSError, ValueError):  # of a store whose checksums are others, too
            return False


def _clear(url: str) -> None:
    """Take away what earlier runs of gradclip have left at a key of S3, where one may look."""

    async def ask(what: Any) -> None:
        _, key = parts_of(url)
        bucket = url[: len(url) - len(key)]
        try:
            found = await what.call("list_multipart_uploads", bucket, Prefix=key)
            for one in found.get("Uploads", ()):
                if one["Key"] == key and await _is_ours(what, url, one["UploadId"]):
                    await what.call("abort_multipart_upload", url, UploadId=one["UploadId"])
        except Exception as error:
            if outages.answer_of(error)[0] not in _NOT_HERE:
                raise

    stores.asked(url, ask)


async def _is_ours(what: Any, url: str, number: str) -> bool:
    try:
        found = await what.call("list_parts", url, UploadId=number, MaxParts=1)
        first = next(iter(found.get("Parts", ())), None)
        return first is None or (first["PartNumber"], first["Size"]) == (_MARK, len(_SIGN))
    except FileNotFoundError:  # it has ended meanwhile
        return False


class _GoogleUpload:
    """A resumable upload to Google Cloud Storage, which nobody sees and which ends by itself."""

    def __init__(self, url: str, force: bool) -> None:
        self._url = url
        self._mode = "wb" if force else "xb"
        self._file: Any = None

    def __enter__(self) -> Self:
        with outages.told(self._url):
            path = "/".join(parts_of(self._url))
            fs = stores.service(self._url).fs
            self._file = fs.open(path, self._mode, autocommit=False, block_size=PART)
        return self

    def __exit__(self, *_: object) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(Exception):  # it ends by itself, a week later
                file.discard()

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        with outages.told(self._url):
            self._file.write(data)

    def finish(self) -> None:
        """Send what is still here, but for the last piece, which makes the object."""
        with outages.told(self._url):
            self._file.flush(force=True)

    def commit(self) -> None:
        """Let the object appear."""
        with outages.told(self._url):
            try:
                self._file.commit()
            except Exception as error:
                if outages.answer_of(error)[0] in _TAKEN or isinstance(error, FileExistsError):
                    raise taken(self._url) from None
                raise
        self._file = None


def upload(url: str, force: bool) -> Upload:
    """Give an upload to a URL; raises `GradclipError` where there is an object, unless `force`."""
    check_free(url, force)
    kind: type[_S3Upload | _GoogleUpload] = _S3Upload if scheme_of(url) == "s3" else _GoogleUpload
    return kind(url, force)


def check_free(url: str, force: bool) -> None:
    """Raise `GradclipError` where an upload would be refused, as far as that can be known."""
    if not parts_of(url)[1]:
        raise GradclipError(url, "names a bucket, and no object", "name a key in it")
    with contextlib.suppress(NotAllowedError):  # who may write may not always look
        try:
            stores.status(url)
        except FileNotFoundError:
            stores.below(url[: len(url) - len(parts_of(url)[1])], most=1)  # is there its bucket?
            return
        if not force:
            raise taken(url)
