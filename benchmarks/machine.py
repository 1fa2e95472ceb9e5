"""What the figures were measured on, without a host name or a path."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

_ASK = "import sys, importlib.metadata as m; sys.stdout.write(m.version(sys.argv[1]))"


def installed(interpreter: str, module: str) -> str | None:
    """Give the version of a module that an interpreter has; None if it has none."""
    try:
        asked = subprocess.run(
            [interpreter, "-c", _ASK, module], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return asked.stdout


def answers(command: Sequence[str]) -> bool:
    """Say whether a command is there and ends well.

    >>> answers(["true"]), answers(["false"]), answers(["no such command"])
    (True, False, False)
    """
    try:
        return (
            subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
        )
    except OSError:
        return False


def describe(torch_python: str, folder: Path) -> Mapping[str, str]:
    """Describe the processor, the memory, the file system and the programs, a word for each."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "file system": _file_system(folder),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "NumPy": version("numpy"),
        "safetensors": version("safetensors"),
        "torch": installed(torch_python, "torch") or "not installed",
    }


def _processor() -> str:
    """Give the processor's model as the kernel knows it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _file_system(folder: Path) -> str:
    """Give the kind of file system that a folder lies on."""
    kinds = {}
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        kinds[place] = kind
    return next(
        (kinds[place] for parent in (folder, *folder.parents) if (place := str(parent)) in kinds),
        "unknown",
    )
