"""What every source must satisfy."""

import pickle

import pytest

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import Source

DATA = bytes(range(256)) * 5


class SourceContract:
    """Inherit, and give a fresh source of `DATA`, called "data"."""

    @pytest.fixture
    def source(self) -> Source:
        raise NotImplementedError

    def test_it_knows_its_size_or_that_only_the_end_tells(self, source: Source) -> None:
        assert source.size in (None, len(DATA))

    def test_it_is_read_in_order_in_pieces_of_any_size(self, source: Source) -> None:
        found = bytearray(len(DATA))
        with source.opened() as reader:
            for begin in range(0, len(DATA), 77):
                reader.read_exactly(memoryview(found)[begin : begin + 77], begin)
        assert bytes(found) == DATA

    def test_it_skips_forward_to_an_offset(self, source: Source) -> None:
        found = bytearray(3)
        with source.opened() as reader:
            reader.read_exactly(memoryview(found), 1000)
        assert bytes(found) == DATA[1000:1003]

    def test_there_is_nothing_behind_the_end(self, source: Source) -> None:
        with source.opened() as reader:
            assert reader.read_into(memoryview(bytearray(9)), len(DATA)) == 0

    def test_too_few_bytes_are_an_error_that_names_it(self, source: Source) -> None:
        with source.opened() as reader, pytest.raises(GradclipError) as caught:
            reader.read_exactly(memoryview(bytearray(9)), len(DATA) - 4)
        assert caught.value.subject == source.label == "data"
        assert f"{len(DATA):,} bytes" in caught.value.problem

    def test_it_is_read_again_and_crosses_processes(self, source: Source) -> None:
        if not source.rereadable:
            return
        for some in (source, pickle.loads(pickle.dumps(source))):
            assert some == source
            assert some.stamp == source.stamp
            found = bytearray(len(DATA))
            with some.opened() as reader:
                reader.read_exactly(memoryview(found), 0)
            assert bytes(found) == DATA

    def test_its_stamp_stays_while_its_bytes_do(self, source: Source) -> None:
        stamp = source.stamp
        if source.rereadable:
            source.check()
        assert source.stamp == stamp
