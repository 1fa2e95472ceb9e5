"""Who works: threads of this process, or the workers of a scheduler, where one is named."""

import contextlib
from collections.abc import Iterator

from gradclip_cli.engine.crew import Crew, Progress, threads, workers_here
from gradclip_cli.errors import GradclipError

_WORDS = ("env", "local")
_SCHEMES = ("tcp", "tls", "ucx", "ws", "wss")


@contextlib.contextmanager
def crew(
    workers: int | None = None, progress: Progress | None = None, scheduler: str | None = None
) -> Iterator[Crew]:
    """Give a crew of so many threads, None means one for each processor; or a `scheduler`'s.

    That is the address of one of Dask, `env` for the one that Dask's own configuration names, or
    `local` for so many processes of this machine.
    """
    with contextlib.ExitStack() as stack:
        if scheduler is None:
            yield threads(workers or workers_here(), progress, stack)
            return
        _check(scheduler, workers)
        from gradclip_cli.engine.cluster import cluster

        yield stack.enter_context(cluster(scheduler, workers, progress))


def _check(scheduler: str, workers: int | None) -> None:
    scheme, _, place = scheduler.partition("://")
    if scheduler not in _WORDS and not (scheme in _SCHEMES and place):
        raise GradclipError(
            "--scheduler",
            f"{scheduler.rpartition('@')[2]!r} is no address of a scheduler",
            "give one such as tcp://HOST:8786, or env, or local",
        )
    if workers is not None and scheduler != "local":
        raise GradclipError(
            "--workers",
            "is a number of workers of this machine, and a scheduler has its own",
            "leave it out, or give --scheduler local",
        )
