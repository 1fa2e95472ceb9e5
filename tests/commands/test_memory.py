"""Memory: what a file claims or holds does not matter, only blocks and workers do."""

import json
from pathlib import Path

import pytest

from tests.running import ALLOWED, TOP, measured

IMPORTS = "import gradclip_cli.cli.app, gradclip_cli.commands.apply, gradclip_cli.render.json"


def sparse(path: Path, size: int) -> Path:
    """Write so many bytes of float32 zeros that hardly take space."""
    literal = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({size // 4},), }}"
    with path.open("wb") as stream:
        stream.write(b"\x93NUMPY\x01\x00\x76\x00" + literal.ljust(117).encode() + b"\n")
        stream.truncate(128 + size)
    return path


@pytest.fixture(scope="module")
def imports() -> int:
    """Give the peak of a process that only imports, in MiB."""
    status, _, peak = measured(["-c", IMPORTS])
    assert status == 0
    return peak


@pytest.mark.heavy
def test_a_sparse_file_of_six_gibibytes_is_inspected_in_little_memory(
    imports: int, tmp_path: Path
) -> None:
    size = 6 << 30
    path = sparse(tmp_path / "sparse.npy", size)
    status, said, peak = measured(["-m", "gradclip_cli", "inspect", path, "--json"])
    assert status == 0
    assert json.loads(said)["count"] == size // 4
    assert json.loads(said)["global_norm"] == 0
    assert peak < imports + ALLOWED


@pytest.mark.heavy
def test_the_memory_of_trend_does_not_grow_with_the_size_of_a_step(
    imports: int, tmp_path: Path
) -> None:
    for number in (1, 2):
        sparse(tmp_path / f"step-{number}.npy", 3 << 30)
    status, said, peak = measured(["-m", "gradclip_cli", "trend", *tmp_path.iterdir(), "--json"])
    assert status == 0
    assert [step["global_norm"] for step in json.loads(said)["steps"]] == [0, 0]
    assert peak < imports + ALLOWED


def test_a_small_file_that_claims_four_terabytes_is_refused_in_little_memory(imports: int) -> None:
    path = TOP / "tests" / "bad_files" / "npy" / "npy_shape_bomb_1t" / "x.npy"
    assert path.stat().st_size == 136
    status, said, peak = measured(["-m", "gradclip_cli", "inspect", path])
    assert status == 2
    assert "3,999,999,999,992 of 4,000,000,000,128 bytes are missing" in said
    assert peak < imports + ALLOWED
