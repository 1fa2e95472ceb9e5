"""What has to be the same on two machines for their numbers to be the same."""

import platform
from collections.abc import Collection, Sequence
from functools import cache
from importlib.metadata import version

from gradclip_cli.errors import GradclipError

PACKAGE = "gradclip-cli"

Versions = tuple[str, str, str, str]
"""Of gradclip and NumPy, which have to be the same; of Python, and of the kind of processor."""


@cache
def versions() -> Versions:
    """Give those of this process."""
    import numpy as np

    simd = np.show_config(mode="dicts").get("SIMD Extensions", {})
    kind = [platform.machine(), *simd.get("baseline", []), *simd.get("found", [])]
    return version(PACKAGE), np.__version__, platform.python_version(), " ".join(kind)


def check(worker: str, found: Sequence[str], own: Versions) -> None:
    """Refuse a worker that would not give the same numbers; one without gradclip has no versions.

    Of the versions that are found the first are compared.
    """
    if not found:
        raise GradclipError(
            worker,
            "this worker has no gradclip",
            f"install the same there: pip install '{PACKAGE}[dask]=={own[0]}'",
        )
    names = {"gradclip": PACKAGE, "NumPy": "numpy"}
    for (what, name), there, wanted in zip(names.items(), found, own, strict=False):
        if there != wanted:
            raise GradclipError(
                worker,
                f"this worker has {what} {there}, and here is {wanted}",
                f"install the same there: pip install {name}=={wanted}",
            )


def differences(found: Collection[Versions], own: Versions) -> list[str]:
    """Say what else is another on workers than here."""
    said = []
    pythons = {python for _, _, python, _ in found} - {own[2]}
    if pythons:
        said.append(f"Python {', '.join(sorted(pythons))} on workers, and {own[2]} here")
    others = sum(kind != own[3] for *_, kind in found)
    if others:
        what = f"{others:,} of {len(found):,} workers have another kind of processor"
        said.append(f"{what}: the last digit of a norm may differ")
    return said
