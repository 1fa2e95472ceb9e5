"""Every source keeps the contract; a toy that reads a member of an archive shows that one can."""

import contextlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import gradclip_cli
from gradclip_cli.errors import GradclipError
from gradclip_cli.files.memory import MemorySource
from gradclip_cli.files.source import FileSource, Reader, Source
from gradclip_cli.files.streams import Front, Stream, StreamSource
from gradclip_cli.formats import registry
from gradclip_cli.formats.registry import Format
from gradclip_cli.frozen import frozen
from gradclip_cli.tensors.dtypes import numeric
from gradclip_cli.tensors.dump import Tensor
from tests.contracts.sources import DATA, SourceContract
from tests.dumps import floats


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


class TestMemory(SourceContract):
    """Buffers, one behind the other."""

    @pytest.fixture
    def source(self) -> Source:
        return MemorySource.of(
            "data", [b"", DATA[:100], b"", b"", bytearray(DATA[100:101]), DATA[101:], b""]
        )


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


# Through the commands: a format whose tensors lie in members


def _read(front: Front, source: Source, name: str | None) -> tuple[Tensor, ...]:
    assert isinstance(source, FileSource)
    with zipfile.ZipFile(source.path) as archive:
        members = [(one.filename, one.file_size) for one in archive.infolist()]
    front.read(source.size)
    return tuple(
        Tensor(
            member,
            numeric("f", 32),
            (size // 4,),
            Member(source, member, f"{source.label}: {member}", size),
            0,
            size,
        )
        for member, size in members
    )


ZIPPED = Format("zipped", (".zipped",), lambda head: head.startswith(b"PK\x03\x04"), _read)
LINE = "tests.contracts.test_sources:ZIPPED"


@pytest.fixture
def zipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(registry, "FORMATS", [*registry.FORMATS, LINE])
    path = tmp_path / "a.zipped"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", floats("F32", (3,), [3, -4, 12])[2])
        archive.writestr("b", floats("F32", (100_000,), [0.0] * 99_999 + [84.0])[2])
    return path


def test_members_are_measured_checked_compared_and_followed(zipped: Path) -> None:
    report = gradclip_cli.inspect(zipped)
    assert {row.name: row.norm for row in report.rows} == {"a": 13.0, "b": 84.0}
    assert report.global_norm == 85.0
    (checked,) = gradclip_cli.check(zipped)
    assert checked.sound
    assert checked.tensors == 2
    assert gradclip_cli.diff(zipped, zipped).same
    other = shutil.copy(zipped, zipped.with_name("b.zipped"))
    assert [step.global_norm for step in gradclip_cli.trend(zipped, other).steps] == [85.0, 85.0]


def test_what_is_no_range_of_its_file_is_not_clipped_into_a_copy(
    zipped: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(zipped, "a") as archive:  # nor is it measured first
        archive.writestr("c", floats("F32", (1,), [float("nan")])[2])
    whole = zipped.read_bytes()
    for where in ({"dry_run": True}, {"output": tmp_path / "out.zipped"}, {"in_place": True}):
        with pytest.raises(GradclipError, match="are no ranges of its bytes"):
            gradclip_cli.apply(zipped, clip_norm=1.0, **where)
    assert zipped.read_bytes() == whole
    assert [*tmp_path.iterdir()] == [zipped]
