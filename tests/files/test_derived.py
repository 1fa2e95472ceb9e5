"""Sources that are made of others keep the contract, and see what happens to each of these."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.derived import MergedSource
from gradclip_cli.files.joined import JoinedSource, Piece
from gradclip_cli.files.packed import SubByteSource, pack
from gradclip_cli.files.source import Source
from gradclip_cli.formats.summed import SummedSource, summed
from gradclip_cli.tensors.dtypes import numeric
from gradclip_cli.tensors.dump import Tensor
from tests.contracts.sources import DATA, SourceContract
from tests.contracts.test_sources import of


def written(folder: Path, *parts: bytes) -> list[Source]:
    """Write files, and give them as sources called "data"."""
    for number, part in enumerate(parts):
        (folder / str(number)).write_bytes(part)
    return [of(folder / str(number), "data") for number in range(len(parts))]


def joined(folder: Path) -> JoinedSource:
    """Give `DATA` as two files: all its columns but the last, and that."""
    rows = np.frombuffer(DATA, "u1").reshape(-1, 5)
    left, right = written(folder, rows[:, :4].tobytes(), rows[:, 4:].tobytes())
    count = len(rows)
    pieces = Piece(left, 0, (0, 0), (count, 4)), Piece(right, 0, (0, 4), (count, 1))
    return JoinedSource("data", (count, 5), 1, pieces)


def added(folder: Path) -> SummedSource:
    """Give `DATA` as the sum of two files: itself, and zeros."""
    kind, count = numeric("f", 64), len(DATA) // 8
    files = written(folder, DATA, bytes(len(DATA)))
    parts = [Tensor("w", kind, (count,), file, 0, len(DATA)) for file in files]
    source = summed(parts, is_mean=False).source
    assert isinstance(source, SummedSource)
    return source


class TestJoined(SourceContract):
    """Pieces."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        return joined(tmp_path)


class TestSummed(SourceContract):
    """Partial sums."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        return added(tmp_path)


class TestSubByte(SourceContract):
    """Codes of four bits."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        codes = np.stack([np.frombuffer(DATA, "u1") & 15, np.frombuffer(DATA, "u1") >> 4], axis=1)
        packed = np.empty(len(DATA), "u1")
        pack(codes.reshape(-1), 4, packed)
        assert packed.tobytes() == DATA
        (file,) = written(tmp_path, b"?" + codes.tobytes())
        return SubByteSource(file, 1, 2 * len(DATA), 4, "float4_e2m1fn")


@pytest.mark.parametrize("made", [joined, added])
@pytest.mark.parametrize("changed", ["0", "1"])
def test_a_change_of_any_of_several_is_noticed(
    made: Callable[[Path], MergedSource], changed: str, tmp_path: Path
) -> None:
    source = made(tmp_path)
    source.check()
    path = tmp_path / changed
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(GradclipError, match="data: changed while gradclip was reading it"):
        source.check()
