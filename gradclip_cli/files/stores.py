"""Where stores are reached: the one room of fsspec, its thread, and the patience with both.

A thread of fsspec's own asks and waits for answers, so that one worker has several under way. What
fails for a moment is asked for again, a few times and each time later.
"""

import asyncio
import logging
import os
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from gradclip_cli.engine.crew import INTERRUPTED
from gradclip_cli.files import outages
from gradclip_cli.files.services import SERVICES, Status
from gradclip_cli.files.system import after_forks
from gradclip_cli.files.urls import check_read, scheme_of

if TYPE_CHECKING:
    from concurrent.futures import Future

CONNECT, SILENCE = 5, 20  # seconds
PAUSES = (0.1, 0.3, 0.8, 2.0, 4.0)  # seconds, before each further try
_AT_ONCE = 64  # connections
_LOGGERS = (
    *("s3fs", "fsspec", "gcsfs", "aiobotocore", "botocore", "aiohttp", "huggingface_hub"),
    *("google", "asyncio"),
)
_SAYS = ("AWS_", "GOOGLE_", "STORAGE_", "HF_", "FSSPEC_", "HTTP", "http", "no_proxy", "NO_PROXY")

Given = TypeVar("Given")
Ask = Callable[[Any], Coroutine[Any, Any, Given]]
"""Asks a service for something."""

_UNDER_WAY: "weakref.WeakSet[Future[Any]]" = weakref.WeakSet()
_KNOWN: dict[tuple[Any, ...], Any] = {}


def _interrupt() -> None:
    for future in [*_UNDER_WAY]:
        future.cancel()


INTERRUPTED.append(_interrupt)
after_forks(_KNOWN.clear)


def service(url: str) -> Any:
    """Give the service that has the object at a URL; raises `GradclipError` where there is none."""
    check_read(url)
    scheme = scheme_of(url)
    said = [pair for pair in os.environ.items() if pair[0].startswith(_SAYS)]
    key = scheme, *sorted(said)
    if key not in _KNOWN:
        try:
            _KNOWN[key] = SERVICES[scheme](_file_system(scheme))
        except ImportError as error:
            raise outages.missing(url) from error
        except Exception as error:
            raise outages.worded(error, url) from None
    return _KNOWN[key]


def _file_system(scheme: str) -> Any:
    import fsspec

    for name in _LOGGERS:  # whose last resort would be to write to standard error
        logging.getLogger(name).addHandler(logging.NullHandler())
    asked: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if scheme == "s3":
        asked["config_kwargs"] = {
            "connect_timeout": CONNECT,
            "read_timeout": SILENCE,
            "retries": {"mode": "standard", "total_max_attempts": 1},
            "max_pool_connections": _AT_ONCE,
        }
    elif scheme != "hf":
        import aiohttp

        patience = aiohttp.ClientTimeout(None, None, SILENCE, CONNECT)
        asked |= (
            {"requests_timeout": patience}
            if scheme == "gs"
            else {"client_kwargs": {"timeout": patience, "trust_env": True}}  # as for a proxy
        )
    found = fsspec.filesystem(scheme, **asked)
    # What asks again here asks patiently enough: libraries that do so as well take minutes.
    found.retries = 1
    impatient = getattr(getattr(type(found), "_request", None), "__wrapped__", None)
    if impatient is not None:
        found._request = partial(impatient, found)
    return found


async def _patiently(url: str, what: Any, ask: Ask[Given]) -> Given:
    pauses = PAUSES[:1] if scheme_of(url) == "gs" else PAUSES  # gcsfs has patience of its own
    for pause in (*pauses, None):
        try:
            return await ask(what)
        except Exception as error:
            if pause is None or not outages.may_pass(error):
                raise outages.worded(error, url) from None
        await asyncio.sleep(pause)
    raise AssertionError("the last try has ended")


def begun(url: str, ask: Ask[Given], lasts: bool = False) -> "Future[Given]":
    """Begin to ask the service of a URL for something; errors are `GradclipError`s.

    What `lasts` goes on where the run is interrupted.
    """
    what = service(url)
    from fsspec.asyn import get_loop

    future = asyncio.run_coroutine_threadsafe(_patiently(url, what, ask), get_loop())
    if not lasts:
        _UNDER_WAY.add(future)
    return future


def asked(url: str, ask: Ask[Given]) -> Given:
    """Ask the service of a URL for something, and wait for it; as `begun`."""
    return begun(url, ask).result()


def forget() -> None:
    """Let libraries forget what they have listed."""
    for one in _KNOWN.values():
        one.fs.invalidate_cache()


# What is asked for everywhere


def status(url: str) -> Status:
    """Give what an object is now."""

    async def ask(what: Any) -> Status:
        found: Status = await what.status(url)
        return found

    return asked(url, ask)


def below(url: str, most: int = 0) -> list[tuple[str, Status]]:
    """Give what lies below a folder, by its name there."""

    async def ask(what: Any) -> list[tuple[str, Status]]:
        found: AsyncIterator[tuple[str, Status]] = what.below(url, most)
        return [one async for one in found]

    return asked(url, ask)
