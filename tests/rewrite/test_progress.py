"""What progress is told of writing adds up to what it was told at the beginning."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from gradclip_cli.engine.crew import Progress
from tests import pts
from tests.dumps import floats, npz_bytes, write_npy, write_safetensors


class Added(Progress):
    """Adds up each pass: what was to come, and what came."""

    def __init__(self) -> None:
        self.passes: list[tuple[str, int, int]] = []

    def begin(self, doing: str, size: int) -> None:
        self.passes.append((doing, size, 0))

    def advance(self, size: int, label: str) -> None:
        doing, whole, done = self.passes[-1]
        self.passes[-1] = doing, whole, done + size


def dump(folder: Path, kind: str) -> Path:
    """Write a file whose clipped copy is made in a way of its own."""
    values = [float(number) for number in range(600)]
    if kind == "view":
        storage = pts.Stored.of("0", np.array(values, "<f4"))
        (folder / "g.pt").write_bytes(
            pts.archive({"w": storage.view(0, (20, 30), (1, 20))}, [storage])
        )
        return folder / "g.pt"
    if kind in ("archive", "packed archive"):
        method = zipfile.ZIP_DEFLATED if kind == "packed archive" else zipfile.ZIP_STORED
        (folder / "g.npz").write_bytes(npz_bytes({"w": floats("<f4", (600,), values)}, method))
        return folder / "g.npz"
    if kind == "array":
        return write_npy(folder / "g.npy", floats("<f4", (600,), values))
    tensors = {"w": floats("F32", (600,), values), "steps": ("I64", (2,), bytes(16))}
    return write_safetensors(folder / "g.safetensors", tensors)


@pytest.mark.parametrize("kind", ["array", "tensors", "archive", "packed archive", "view"])
@pytest.mark.parametrize("limit", [1.0, 1e9])
def test_what_came_is_what_was_to_come(kind: str, limit: float, tmp_path: Path) -> None:
    path, added = dump(tmp_path, kind), Added()
    output = tmp_path / f"out{path.suffix}"
    gradclip_cli.apply(path, clip_norm=limit, output=output, progress=added)
    assert {"measuring", "writing"} <= {doing for doing, *_ in added.passes}
    for doing, size, done in added.passes:
        assert size == done, doing
