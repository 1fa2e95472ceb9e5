"""What every format must satisfy."""

import contextlib
import dataclasses
import io
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradclip_cli
from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import FileSource
from gradclip_cli.files.streams import Front
from gradclip_cli.formats import registry
from gradclip_cli.formats.opening import open_file
from gradclip_cli.formats.registry import Format

VALUES = [3.0, -4.0, 12.0]  # whose norm is 13


class FormatContract:
    """Inherit, and give the format and a file of it that holds `VALUES` as float32."""

    form: Format
    is_read_alone = False
    """Whether a library reads it, in a process of its own, and no copy is written."""

    @staticmethod
    def sample(values: list[float]) -> bytes:
        """Give a file whose one tensor has these values, as float32."""
        raise NotImplementedError

    @staticmethod
    def checksums(_raw: bytes) -> list[int]:
        """Give where a file has checksums, of four bytes, that a clip makes true."""
        return []

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / f"step-1{self.form.suffixes[0]}"
        path.write_bytes(self.sample(VALUES))
        return path

    def test_it_has_a_name_and_suffixes_that_begin_with_a_dot(self) -> None:
        assert self.form.name
        assert self.form.suffixes
        assert all(one.startswith(".") and one == one.lower() for one in self.form.suffixes)

    def test_its_files_are_recognised_and_by_no_other_format(self) -> None:
        head = self.sample(VALUES)[:4096]
        others = [form for form in registry.formats() if form.name != self.form.name]
        assert self.form.recognised(head)
        assert not [form.name for form in others if form.recognised(head)]

    def test_nothing_and_noise_are_not_recognised(self) -> None:
        assert not self.form.recognised(b"")
        assert not self.form.recognised(bytes(range(256)))

    def test_its_tensors_say_where_they_lie(self, path: Path) -> None:
        file = open_file(str(path), path.name)
        (tensor,) = file.tensors
        stored = path.read_bytes()[tensor.offset : tensor.offset + tensor.size]
        assert np.frombuffer(stored, tensor.dtype.words).tolist() == VALUES
        assert tensor.count == len(VALUES)
        assert file.format == self.form.name

    def test_its_tensors_cross_processes(self, path: Path) -> None:
        file = open_file(str(path), path.name)
        assert pickle.loads(pickle.dumps(file)) == file

    def test_its_norm_is_exact(self, path: Path) -> None:
        assert gradclip_cli.inspect(path).global_norm == 13.0

    def test_a_file_that_is_cut_short_is_refused_in_words(self, path: Path) -> None:
        whole = path.read_bytes()
        step = len(whole) // 9 if self.is_read_alone else 1  # each is a process
        for size in range(0, len(whole), step):
            path.write_bytes(whole[:size])
            with pytest.raises(GradclipError) as caught:
                gradclip_cli.inspect(path)
            assert caught.value.problem
            assert caught.value.hint

    def test_a_file_that_has_no_more_than_its_suffix_is_refused(self, path: Path) -> None:
        raw = path.read_bytes()
        path.write_bytes(bytes([raw[0] ^ 0xFF]) + raw[1:])
        with pytest.raises(GradclipError) as caught:
            gradclip_cli.inspect(path)
        assert caught.value.hint

    def test_bytes_behind_the_last_tensor_are_refused(self, path: Path) -> None:
        if self.is_read_alone:
            return  # it is for the library to say
        path.write_bytes(path.read_bytes() + b"\0")
        with pytest.raises(GradclipError, match="bytes follow the"):
            gradclip_cli.inspect(path)

    @settings(max_examples=60)
    @given(data=st.data())
    def test_a_damaged_file_is_read_or_refused_and_nothing_else(
        self, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        if self.is_read_alone:
            return  # so a kind of `tests.fuzz` tries it
        raw = bytearray(self.sample(VALUES))
        for _ in range(data.draw(st.integers(1, 3))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path_factory.mktemp("damaged") / f"x{self.form.suffixes[0]}"
        path.write_bytes(raw)
        norm = 0.0
        with contextlib.suppress(GradclipError):
            norm = gradclip_cli.inspect(path).global_norm
        assert norm >= 0 or math.isnan(norm)

    def test_what_is_clipped_is_the_same_file_but_for_its_values(
        self, path: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / f"out{self.form.suffixes[0]}"
        if self.is_read_alone:
            with pytest.raises(GradclipError, match="are read, and not written") as caught:
                gradclip_cli.apply(path, clip_norm=6.5, output=out)
            assert "clipped.safetensors" in caught.value.hint
            return
        gradclip_cli.apply(path, clip_norm=6.5, output=out)
        (tensor,) = open_file(str(out), out.name).tensors
        before, after = bytearray(path.read_bytes()), bytearray(out.read_bytes())
        end = tensor.offset + tensor.size
        for place in self.checksums(bytes(before)):
            after[place : place + 4] = before[place : place + 4]
        assert after[: tensor.offset] + after[end:] == before[: tensor.offset] + before[end:]
        halves = [value / 2 for value in VALUES]
        assert np.frombuffer(after[tensor.offset : end], tensor.dtype.words).tolist() == halves

    def test_within_the_limit_nothing_changes(self, path: Path, tmp_path: Path) -> None:
        if self.is_read_alone:
            return
        out = tmp_path / f"out{self.form.suffixes[0]}"
        gradclip_cli.apply(path, clip_norm=13.0, output=out)
        assert out.read_bytes() == path.read_bytes()

    def test_it_is_compared_followed_and_checked(self, path: Path, tmp_path: Path) -> None:
        out = tmp_path / f"step-2{self.form.suffixes[0]}"
        out.write_bytes(self.sample([value / 2 for value in VALUES]))
        assert gradclip_cli.diff(path, out).factor == 0.5
        assert [step.global_norm for step in gradclip_cli.trend(path, out).steps] == [13.0, 6.5]
        (checked,) = gradclip_cli.check(path)
        assert (checked.sound, checked.format, checked.tensors) == (True, self.form.name, 1)

    def test_a_folder_of_its_files_is_a_dump(self, path: Path) -> None:
        (path.parent / "notes.txt").write_text("beside")
        report = gradclip_cli.inspect(path.parent)
        assert (report.global_norm, report.ignored) == (13.0, 1)

    def test_it_is_read_forwards_alone(self, path: Path) -> None:
        if self.form.anywhere:
            return
        stream = io.BytesIO(path.read_bytes())
        front = Front(lambda count, _: stream.read(min(count, 3)))
        descriptor = os.open(path, os.O_RDONLY)
        try:
            source = FileSource.of(descriptor, str(path), "sample")
        finally:
            os.close(descriptor)
        tensors = self.form.read(front, source, "x")
        assert [dataclasses.replace(one, name=None).count for one in tensors] == [3]
