"""What may become of a cluster and of work that it was given, in words."""

import os

from gradclip_cli.errors import GradclipError


def unnamed() -> GradclipError:
    """Say that a configuration has no address of a scheduler."""
    return GradclipError(
        "--scheduler",
        "Dask's own configuration names no scheduler",
        "set DASK_SCHEDULER_ADDRESS, or give its address: --scheduler tcp://HOST:8786",
    )


def silent(address: str) -> GradclipError:
    """Say that there is no scheduler at an address."""
    certificates = " tls:// needs the certificates of Dask's own configuration."
    return GradclipError(
        address,
        "no Dask scheduler answers there",
        "is it running, and may it be reached from here? docs/cluster.md says how to start one."
        + certificates * address.startswith("tls"),
    )


class LostError(GradclipError):
    """A scheduler does not answer any more."""


def lost(address: str) -> LostError:
    """Say that a scheduler does not answer any more."""
    return LostError(
        address,
        "the Dask scheduler was lost; nothing took its place",
        "is it still running? start it, then run gradclip again",
    )


def deserted(address: str, what: str) -> GradclipError:
    """Say that a scheduler is without workers."""
    return GradclipError(address, f"the scheduler {what}", f"start some: dask worker {address}")


def unseen(error: FileNotFoundError, worker: str) -> GradclipError:
    """Say that a worker does not see a file."""
    return GradclipError(
        os.fsdecode(error.filename or ""),
        f"is not there on worker {worker}",
        "workers read and write by the same paths: put files where all see them",
    )


def worded(error: Exception, file: str, address: str) -> Exception:
    """Put into words what went wrong with a batch of a file; what the work itself says stays."""
    kind = type(error).__name__
    if "Cancelled" in kind or "CommClosed" in kind:  # the latter is an OSError
        return lost(address)
    if isinstance(error, GradclipError | OSError):
        return error
    if kind == "KilledWorker":
        return GradclipError(
            file,
            "every worker that was given a part of it ended while it worked on that",
            "had they too little memory? `dask worker` can be given more; their logs say why",
        )
    if isinstance(error, MemoryError):
        return GradclipError(file, "a worker ran out of memory", "give it more, or fewer threads")
    if isinstance(error, ImportError):
        return GradclipError(
            file,
            f"a worker lacks what it needs to read it: {error.name or error}",
            "install the same there as here",
        )
    return error
