"""What a store refuses, or fails to do, in words; whether it may pass if one waits a little.

Errors of libraries are known by their names and by what they carry, so that none is imported. Their
own texts are not told: they may hold a URL with a password or a signature in it.
"""

import contextlib
import errno
import os
from collections.abc import Iterator

from gradclip_cli.errors import (
    GradclipError,
    MissingFileError,
    NotAllowedError,
    SystemRefusedError,
)
from gradclip_cli.files.urls import named, scheme_of

_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_AGAIN_CODES = {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "BadDigest"}
_NO_KEYS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "SSOError",
    "DefaultCredentialsError",
    "RefreshError",
    "UnauthorizedSSOTokenError",
    "LocalTokenNotFoundError",
}
_SLOW = {
    "TimeoutError",
    "ReadTimeoutError",
    "ConnectTimeoutError",
    "ServerTimeoutError",
    "TimeoutException",
    "ReadTimeout",
    "ConnectTimeout",
}
_CUT = {
    "ClientPayloadError",
    "IncompleteReadError",
    "ServerDisconnectedError",
    "ShortError",
    "ConnectionClosedError",
    "ResponseStreamingError",
    "ClientOSError",
    "RemoteProtocolError",
    "ResponseParserError",
    "ConnectionResetError",
    "ReadError",
    "ChunkedEncodingError",
    "HTTPClientError",
}
_AWAY = {
    "EndpointConnectionError",
    "ClientConnectorError",
    "ConnectionRefusedError",
    "gaierror",
    "ConnectError",
    "OfflineModeIsEnabled",
}
_MISSING = {
    "FileNotFoundError",
    "EntryNotFoundError",
    "RepositoryNotFoundError",
    "RevisionNotFoundError",
}
_LOOK = {
    "s3": "is the name right? aws s3 ls shows what is there",
    "gs": "is the name right? gcloud storage ls shows what is there",
}
_KEYS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket: "
    "export FSSPEC_S3_ANON=true",
    "gs": "run: gcloud auth application-default login; or set GOOGLE_APPLICATION_CREDENTIALS",
    "hf": "run: hf auth login; or set HF_TOKEN",
}
_ADDRESS = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST", "hf": "HF_ENDPOINT"}


class ShortError(OSError):
    """An answer has not all bytes that it was to have."""


class ChangedError(Exception):
    """An answer is of another object than the first was."""


class NoRangesError(Exception):
    """A server gives whole files alone."""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(8):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}


def answer_of(error: BaseException) -> tuple[int, str]:
    """Give the status of HTTP and the code with which a store has answered; 0 where it has not."""
    for one in _chain(error):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            said = response.get("Error", {})
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = str(said.get("Code", ""))
            return int(status or (code if code.isdecimal() else 0)), code
        kinds = {kind.__name__ for kind in type(one).__mro__}
        status = getattr(response, "status_code", None)
        if not kinds.isdisjoint(("ClientResponseError", "HttpError")):  # of aiohttp and gcsfs
            status = getattr(one, "status", None) or getattr(one, "code", None)
        if str(status).isdecimal():
            return int(str(status)), ""
        if type(one).__name__ == "OSError" and str(one).startswith("Forbidden"):  # of gcsfs
            return 403, ""
    return 0, ""


def may_pass(error: Exception) -> bool:
    """Say whether it is worth to ask once more."""
    status, code = answer_of(error)
    if status or code:
        return status in _AGAIN or code in _AGAIN_CODES
    names = _names(error)
    if not names.isdisjoint(_NO_KEYS | _MISSING):
        return False
    return not names.isdisjoint(_SLOW | _CUT | _AWAY)


def worded(error: Exception, url: str) -> GradclipError:
    """Put into words why a store did not do what was asked of it, about an object at a URL."""
    if isinstance(error, GradclipError):
        return error
    url, scheme = str(named(url)).removesuffix("/") or url, scheme_of(url)
    status, code = answer_of(error)
    names = _names(error)
    if "ChangedError" in names or status == 412:
        return changed(url)
    if "NoRangesError" in names:
        return GradclipError(
            url,
            "its server gives whole files alone, and no ranges of them",
            "fetch it first: curl -O URL",
        )
    if not names.isdisjoint(_NO_KEYS):
        hint = _KEYS.get(scheme, "")
        return _refused(NotAllowedError, url, "no credentials are found", hint, errno.EACCES)
    if status in (401, 403):
        said = f" ({code})" if code and not code.isdecimal() else f" (status {status})"
        return _refused(
            NotAllowedError,
            url,
            f"access is denied{said}",
            _KEYS.get(scheme, "does it need a password, a signature or a proxy?"),
            errno.EACCES,
        )
    if status == 404 or (not status and not names.isdisjoint(_MISSING)):
        what = "no such bucket" if code == "NoSuchBucket" else "no such file or folder"
        hint = _LOOK.get(scheme, "is the name right?")
        return _refused(MissingFileError, url, what, hint, errno.ENOENT)
    if status:
        said = f" {code}" if code and not code.isdecimal() else ""
        hint = "wait a little, and try again" if status >= 500 else ""
        return _failed(url, f"the store has answered with status {status}{said}", hint)
    if not names.isdisjoint(_SLOW):
        return _failed(url, "the store is silent for too long", "wait a little, and try again")
    if not names.isdisjoint(_AWAY):
        where = f"{_ADDRESS[scheme]}, if it is set," if scheme in _ADDRESS else "the host's name"
        hint = f"is there a network, and is {where} right?"
        return _failed(url, "the store cannot be reached", hint)
    if not names.isdisjoint(_CUT):
        return _failed(url, "the store ends its answers too early", "wait a little, and try again")
    if "ImportError" in names:
        return missing(url)
    return _failed(url, f"it cannot be had: {type(error).__name__}", "")


def _refused(
    kind: type[SystemRefusedError], url: str, problem: str, hint: str, number: int
) -> GradclipError:
    return kind(url, problem, hint).refused(OSError(number, os.strerror(number), url))


def _failed(url: str, problem: str, hint: str) -> GradclipError:
    return _refused(SystemRefusedError, url, problem, hint, errno.EIO)


def changed(url: str) -> GradclipError:
    """Say that an object is another than it was."""
    return GradclipError(
        named(url),
        "changed while gradclip was reading it: another object took its place",
        "wait until the program that writes it has finished, then run gradclip again",
    )


def missing(url: str) -> GradclipError:
    """Say that what reaches stores is not installed."""
    return GradclipError(
        named(url),
        f"{scheme_of(url)}:// needs libraries that are not installed",
        "install them: pip install 'gradclip-cli[remote]'",
    )


@contextlib.contextmanager
def told(url: str) -> Iterator[None]:
    """Put into words whatever a library says of the object at a URL."""
    try:
        yield
    except Exception as error:
        raise worded(error, url) from None
