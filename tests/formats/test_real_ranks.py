"""Real runs of two and four processes give the norm that one process has with the same batch.

PyTorch is not installed for the plain tests; `.ci/run` has it.
"""

import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import gradclip_cli
from tests.frameworks import installed
from tests.running import TOP, Run, environment

TRUE = {
    "ddp": {},
    "ddp-pt": {},
    "ddp-before": {"": "mean"},
    "ddp-sum": {"": "sum"},
    "fsdp": {"": "pieces"},
    "fsdp-pt": {"": "pieces"},
    "fsdp-full": {},
    "fsdp-dcp": {},
    "tp": {"": "pieces"},
    "tp-pt": {"": "pieces"},
    "tp-one": {"": "pieces", "scale": "copies"},
    "tp-one-pt": {"": "pieces", "scale": "copies"},
    "hsdp": {"": "pieces"},
    "2d": {"": "pieces", "scale": "copies"},
}
"""What whoever made a folder knows of its files, by the names that gradclip may ask for."""

by_count = pytest.mark.parametrize(
    ("name", "count"),
    [
        pytest.param(
            name, count, marks=pytest.mark.xdist_group(f"{count} ranks"), id=f"{name}, {count}"
        )
        for name in TRUE
        for count in (2, 4)
        if count == 4 or name not in ("hsdp", "2d")
    ],
)


@cache
def made(count: int) -> TemporaryDirectory[str]:
    """Train with so many processes."""
    folder = TemporaryDirectory()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "tests.ranks", folder.name, f"{port}"]
    subprocess.run([*command, f"{count}"], cwd=TOP, env=environment({}), timeout=240, check=True)
    return folder


def asked(run: Run, folder: Path, true: Mapping[str, str]) -> list[str]:
    """Give the options that messages name one after the other, each as is true."""
    options: list[str] = []
    for _ in range(3):
        said = run("inspect", folder, "-q", *options)
        if not said.status:
            break
        hint = " ".join(said.err.partition("hint: ")[2].split())
        choices = re.findall(r"[\w=.*]+", re.sub(r"^.*?--combine |;.*", "", hint))
        answers = [f"{name}={way}" if name else way for name, way in true.items()]
        options += ["--combine", next(one for one in answers if one in choices)]
    return options


@by_count
def test_ranks_give_the_norm_of_one_process_by_what_messages_name(
    name: str, count: int, run: Run
) -> None:
    installed("torch")
    folder = Path(made(count).name)
    options = asked(run, folder / name, TRUE[name])
    assert len(options) == 2 * len(TRUE[name])
    report = gradclip_cli.inspect(folder / name, combine=options[1::2])
    alone = gradclip_cli.inspect(folder / "alone.safetensors")
    assert report.global_norm == pytest.approx(alone.global_norm, rel=1e-6)
    norms = {row.name: row.norm for row in alone.tensors}
    assert {(row.name or "").removeprefix("module."): row.norm for row in report.tensors} == {
        name: pytest.approx(norm, rel=1e-5, abs=1e-7) for name, norm in norms.items()
    }
