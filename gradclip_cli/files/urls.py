"""Names of objects: URLs, which are read as paths are, and shown without what lets one in.

A `Url` is the text that everybody may see. What is asked of the network is its `whole`, with the
password before the host and the query behind the path, which may be a signature.
"""

import re
from collections.abc import Iterable

from gradclip_cli.errors import GradclipError

READ = ("s3", "gs", "hf", "https", "http")
WRITTEN = ("s3", "gs")
_WEB = ("https", "http")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class Url(str):
    """A URL as it is shown, which is not `whole`."""

    __slots__ = ("whole",)

    whole: str

    def __reduce__(self) -> tuple[object, ...]:
        """Let a copy in another process be as whole."""
        return named, (self.whole,)


def is_url(path: str) -> bool:
    """Say whether a path is a URL.

    >>> is_url("s3://bucket/key"), is_url("a/b"), is_url("C:/b"), is_url("x://y/../z")
    (True, False, False, True)
    """
    return "://" in path and _SCHEME.match(path) is not None


def scheme_of(path: str) -> str:
    """Give the scheme of a URL; of a path that is none nothing.

    >>> scheme_of("S3://bucket/key"), scheme_of("a/b")
    ('s3', '')
    """
    found = _SCHEME.match(path) if "://" in path else None
    return found[1].lower() if found else ""


def named(path: str) -> str:
    """Give a path as it is shown; it is a `Url` where this is not all of it.

    >>> named("https://me:secret@host/a.npy?X-Amz-Signature=1#b"), named("a.npy?")
    ('https://host/a.npy', 'a.npy?')
    """
    scheme = scheme_of(path)
    if not scheme or isinstance(path, Url):
        return path
    rest = path.partition("://")[2]
    rest = rest[_of_user(scheme, rest) :]
    if scheme in _WEB:
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    shown = f"{scheme}://{rest}"
    if shown == path:
        return path
    url = Url(shown)
    url.whole = path
    return url


def _of_user(scheme: str, rest: str) -> int:
    """Give how many characters of a URL, behind the scheme, are a user's or a password's.

    A password may hold what ends a host elsewhere, and names of the hub have a revision behind @.

    >>> [_of_user("s3", text) for text in ("me:a/b@bucket/k", "bucket/a@b", "bucket:90/a@b")]
    [7, 0, 0]
    """
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in host and (scheme != "hf" or ":" in host):
        return host.rindex("@") + 1
    return rest.rfind("@") + 1 if re.search(r":(?![0-9]*$)", host) else 0


def whole_of(path: str) -> str:
    """Give all of a URL."""
    return path.whole if isinstance(path, Url) else path


def check_read(path: str) -> None:
    """Raise `GradclipError` for a URL that is not read."""
    scheme = scheme_of(path)
    if scheme not in READ:
        raise GradclipError(
            named(path),
            f"{scheme}:// is not read",
            f"gradclip reads {_listed(READ)}, and paths",
        )
    rest = whole_of(path).partition("://")[2]
    if not rest.strip("/") or rest.startswith("/"):
        raise GradclipError(named(path), "names no bucket and no host", "write its name behind //")
    if scheme not in _WEB and _of_user(scheme, rest):
        raise GradclipError(
            named(path),
            "a key or a password in a URL is not used",
            "let the library of the store find it: docs/remote.md says where it looks",
        )


def check_local(path: str, what: str, hint: str) -> None:
    """Raise `GradclipError` where a path is a URL, and `what` can be in a file alone."""
    if is_url(path):
        raise GradclipError(named(path), f"{what} cannot be at a URL", hint)


def check_written(path: str) -> None:
    """Raise `GradclipError` for a URL at which nothing is written."""
    scheme = scheme_of(path)
    if scheme not in WRITTEN:
        raise GradclipError(
            named(path),
            f"{scheme}:// is {'read, and ' if scheme in READ else ''}not written",
            f"name a file, or {_listed(WRITTEN)} with -o",
        )
    check_read(path)


def _listed(schemes: Iterable[str]) -> str:
    *others, last = (f"{one}://" for one in schemes)
    return f"{', '.join(others)} and {last}"


def parts_of(url: str) -> tuple[str, str]:
    """Give the bucket, or host, and the key.

    >>> parts_of("s3://bucket/a/b/"), parts_of("gs://bucket")
    (('bucket', 'a/b/'), ('bucket', ''))
    """
    bucket, _, key = url.partition("://")[2].partition("/")
    return bucket, key
