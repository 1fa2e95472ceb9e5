"""Every source keeps the contract; a toy that reads a member of an archive shows that one can."""

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import FileSource, Reader, Source, Stream, StreamSource
from gradclip_cli.frozen import frozen
from tests.contracts.sources import DATA, SourceContract


def of(path: Path, label: str) -> FileSource:
    """Describe a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return FileSource.of(descriptor, str(path), label)
    finally:
        os.close(descriptor)


class TestFiles(SourceContract):
    """A regular file."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        path = tmp_path / "data"
        path.write_bytes(DATA)
        return of(path, "data")

    @pytest.mark.parametrize("change", ["longer", "shorter", "other bytes", "another file"])
    def test_any_change_is_noticed(self, change: str, tmp_path: Path) -> None:
        path = tmp_path / "data"
        path.write_bytes(DATA)
        source = of(path, "data")
        if change == "another file":
            path.unlink()
        sizes = {"longer": DATA + b"x", "shorter": DATA[:-1]}
        path.write_bytes(sizes.get(change, DATA[::-1]))
        os.utime(path, ns=(1, 1))
        with pytest.raises(GradclipError, match="data: changed while gradclip was reading it"):
            source.check()
        assert of(path, "data").stamp != source.stamp


class TestStreams(SourceContract):
    """What is read once, in order."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Iterator[Source]:
        path = tmp_path / "data"
        path.write_bytes(DATA)
        with path.open("rb", buffering=0) as stream:
            yield StreamSource("data", Stream(stream.fileno()))


# A source of our own


class MemberReader(Reader):
    """Reads a member of an archive, which can be wound back."""

    def __init__(self, label: str, stream: zipfile.ZipExtFile) -> None:
        super().__init__(label)
        self._stream = stream

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill a buffer, or some of it, with the bytes at an offset."""
        self._stream.seek(offset)
        data = self._stream.read(len(view))
        view[: len(data)] = data
        return len(data)


@frozen
class Member(Source):
    """A compressed member of an archive that must not change."""

    archive: FileSource
    name: str
    label: str
    size: int | None
    path: str = ""

    @property
    def stamp(self) -> tuple[int, ...]:
        """That of the archive."""
        return self.archive.stamp

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        """Give a reader."""
        with self.archive.opened() as reader:
            file = os.fdopen(os.dup(reader.descriptor), "rb")
            with file, zipfile.ZipFile(file) as archive, archive.open(self.name) as stream:
                assert isinstance(stream, zipfile.ZipExtFile)
                yield MemberReader(self.label, stream)


class TestMembers(SourceContract):
    """A member of an archive, whose bytes are no range of the file."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data", DATA)
        return Member(of(path, "a.zip"), "data", "data", len(DATA))
