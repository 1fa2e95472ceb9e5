"""What a store is asked, in the words of each: a range of an object, its status, what lies below.

Each is given a file system of fsspec, whose connections and credentials it uses. What is asked for
is a coroutine, so that several answers are waited for at once.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, Protocol

from gradclip_cli.files.outages import NoRangesError, ShortError, answer_of
from gradclip_cli.files.urls import parts_of, whole_of
from gradclip_cli.frozen import frozen

_RANGE = re.compile(r"bytes \d+-\d+/(\d+)")


@frozen
class Status:
    """The number of bytes of an object, and what is another for each that takes its place."""

    size: int
    version: str


class Service(Protocol):
    """A store."""

    async def piece(self, url: str, start: int, end: int) -> tuple[Status, bytes]:
        """Give a range of an object, and what this was then; of an empty object nothing."""

    async def status(self, url: str) -> Status:
        """Give what an object is now."""

    def below(self, url: str, most: int) -> AsyncIterator[tuple[str, Status]]:
        """Give the objects below a folder, by their names there; `most` where they are many."""


def _bare(etag: object) -> str:
    return str(etag or "").strip('"')


def _checked(status: Status, data: bytes, start: int, end: int) -> tuple[Status, bytes]:
    if len(data) != max(min(end, status.size) - start, 0):
        raise ShortError
    return status, data


class S3:
    """Amazon S3 and what speaks as it does, by s3fs."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    async def call(self, method: str, url: str, **asked: Any) -> Any:
        """Ask for what boto3 calls so, of the object at a URL."""
        bucket, key = parts_of(url)
        return await self.fs._call_s3(method, Bucket=bucket, Key=key, **asked)

    async def piece(self, url: str, start: int, end: int) -> tuple[Status, bytes]:
        """Give a range."""
        try:
            answer = await self.call("get_object", url, Range=f"bytes={start}-{end - 1}")
        except Exception as error:
            if answer_of(error)[1] in ("InvalidRange", "416") and not start:  # it is empty
                return await self.status(url), b""
            raise
        try:
            data = await answer["Body"].read()
        finally:
            answer["Body"].close()
        said = _RANGE.match(answer.get("ContentRange", ""))
        status = Status(int(said[1]) if said else answer["ContentLength"], _bare(answer["ETag"]))
        return _checked(status, data, start, end)

    async def status(self, url: str) -> Status:
        """Give what it is now."""
        answer = await self.call("head_object", url)
        return Status(answer["ContentLength"], _bare(answer["ETag"]))

    async def below(self, url: str, most: int) -> AsyncIterator[tuple[str, Status]]:
        """Give what lies below."""
        bucket, prefix = parts_of(url)
        asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
        if most:
            asked["MaxKeys"] = most
        while True:
            page = await self.fs._call_s3("list_objects_v2", **asked)
            for one in page.get("Contents", ()):
                name = one["Key"].removeprefix(prefix)
                if name and not name.endswith("/"):
                    yield name, Status(one["Size"], _bare(one["ETag"]))
            if most or not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]


class Google:
    """Google Cloud Storage, by gcsfs."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    async def piece(self, url: str, start: int, end: int) -> tuple[Status, bytes]:
        """Give a range."""
        asked = {"Range": f"bytes={start}-{end - 1}"}
        try:
            headers, data = await self.fs._call(
                "GET", self.fs.url("/".join(parts_of(url))), headers=asked
            )
        except Exception as error:
            if answer_of(error)[0] == 416 and not start:
                return await self.status(url), b""
            raise
        found = {str(name).lower(): value for name, value in headers.items()}
        said = _RANGE.match(found.get("content-range", ""))
        if "x-goog-generation" not in found or said is None:
            status = await self.status(url)
        else:
            status = Status(int(said[1]), found["x-goog-generation"])
        return _checked(status, data, start, end)

    async def status(self, url: str) -> Status:
        """Give what it is now."""
        bucket, key = parts_of(url)
        said = await self.fs._call("GET", "b/{}/o/{}", bucket, key, json_out=True)
        return Status(int(said["size"]), str(said["generation"]))

    async def below(self, url: str, most: int) -> AsyncIterator[tuple[str, Status]]:
        """Give what lies below."""
        bucket, prefix = parts_of(url)
        asked: dict[str, Any] = {"prefix": prefix}
        if most:
            asked["maxResults"] = most
        while True:
            page = await self.fs._call("GET", "b/{}/o", bucket, json_out=True, **asked)
            for one in page.get("items", ()):
                name = one["name"].removeprefix(prefix)
                if name and not name.endswith("/"):
                    yield name, Status(int(one["size"]), str(one["generation"]))
            if most or not page.get("nextPageToken"):
                return
            asked["pageToken"] = page["nextPageToken"]


class Web:
    """Any server of HTTP that gives ranges, by aiohttp; it lists nothing."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    async def piece(self, url: str, start: int, end: int) -> tuple[Status, bytes]:
        """Give a range; raises `NoRangesError` where the server would send all of the file."""
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        session = await self.fs.set_session()
        async with session.get(self.fs.encode_url(whole_of(url)), headers=headers) as answer:
            if answer.status == 416 and not start:
                return Status(0, _version(answer.headers)), b""
            answer.raise_for_status()
            said = _RANGE.match(answer.headers.get("Content-Range", ""))
            if answer.status == 200 and answer.headers.get("Content-Length") == "0":
                return Status(0, _version(answer.headers)), b""
            if said is None:
                answer.close()
                raise NoRangesError
            status = Status(int(said[1]), _version(answer.headers))
            return _checked(status, await answer.read(), start, end)

    async def status(self, url: str) -> Status:
        """Give what it is now: of a byte, as a signature may be for GET alone."""
        return (await self.piece(url, 0, 1))[0]

    async def below(self, url: str, most: int) -> AsyncIterator[tuple[str, Status]]:
        """Give nothing."""
        for name in await asyncio.sleep(0, ""):
            yield name, Status(0, "")


def _version(headers: Any) -> str:
    return _bare(str(headers.get("ETag") or headers.get("Last-Modified") or "").removeprefix("W/"))


class Hub:
    """The hub of Hugging Face, by its own library, which waits in threads."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    async def piece(self, url: str, start: int, end: int) -> tuple[Status, bytes]:
        """Give a range."""
        path = _of_hub(url)
        status = _hub_status(await asyncio.to_thread(self.fs.info, path))
        if start >= status.size:
            return status, b""
        asked = {"start": start, "end": min(end, status.size), "cache_type": "none"}
        data = await asyncio.to_thread(self.fs.cat_file, path, **asked)
        return _checked(status, data, start, end)

    async def status(self, url: str) -> Status:
        """Give what it is now."""
        path = _of_hub(url)

        def look() -> Any:
            self.fs.invalidate_cache(path)
            return self.fs.info(path)

        return _hub_status(await asyncio.to_thread(look))

    async def below(self, url: str, most: int) -> AsyncIterator[tuple[str, Status]]:
        """Give what lies below."""
        folder = _of_hub(url).rstrip("/")
        found = await asyncio.to_thread(self.fs.find, folder, detail=True, refresh=True)
        folder = await asyncio.to_thread(lambda: self.fs.resolve_path(folder).unresolve())
        for path, said in sorted(found.items()):
            if path != folder:
                yield path.removeprefix(folder).lstrip("/"), _hub_status(said)


def _of_hub(url: str) -> str:
    return str(url).partition("://")[2]


def _hub_status(said: Any) -> Status:
    if said.get("type") == "directory":
        raise FileNotFoundError(said.get("name"))
    about = said.get("lfs") or {}
    version = about.get("sha256") or said.get("blob_id") or said.get("oid") or said.get("etag")
    return Status(int(said["size"] or 0), str(version or ""))


SERVICES: dict[str, Any] = {"s3": S3, "gs": Google, "https": Web, "http": Web, "hf": Hub}
