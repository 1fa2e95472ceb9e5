"""What copies learn in other processes reaches what they are copies of."""

import pickle
import zlib

from hypothesis import given
from hypothesis import strategies as st

from gradclip_cli.engine.learnt import learnt, listening
from gradclip_cli.files.checksums import Tally

DATA = bytes(range(200))


def test_pieces_that_copies_have_read_make_up_the_whole() -> None:
    original = Tally(len(DATA))
    for begin in (100, 0):  # two batches, the second of which is done first
        copy = pickle.loads(pickle.dumps(original))
        with listening() as facts:
            copy.add(begin, begin + 100, zlib.crc32(DATA[begin : begin + 100]))
        assert not original.is_whole
        learnt(pickle.loads(pickle.dumps(facts)))
    assert (original.is_whole, original.known) == (True, (200, zlib.crc32(DATA)))


def test_a_copy_of_a_copy_is_one_of_the_original() -> None:
    original = Tally(1)
    copy = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(original))))
    with listening() as facts:
        copy.add(0, 1, 5)
    learnt(facts)
    assert original.is_whole


def test_nobody_listens_outside_and_originals_tell_nothing() -> None:
    original = Tally(1)
    copy = pickle.loads(pickle.dumps(original))
    with listening() as facts:
        Tally(1).add(0, 1, 5)
    copy.add(0, 1, 5)
    assert facts == []
    assert not original.is_whole


def test_what_is_gone_learns_nothing() -> None:
    copy = pickle.loads(pickle.dumps(Tally(1)))
    with listening() as facts:
        copy.add(0, 1, 5)
    learnt(facts)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.randoms())
def test_any_pieces_in_any_order_are_the_whole(sizes: list[int], chance: object) -> None:
    data = bytes(number % 251 for number in range(sum(sizes)))
    original = Tally(len(data))
    begin, pieces = 0, []
    for size in sizes:
        pieces.append((begin, begin + size))
        begin += size
    chance.shuffle(pieces)  # type: ignore[attr-defined] # as `random` does
    for start, end in pieces:
        copy = pickle.loads(pickle.dumps(original))
        with listening() as facts:
            copy.add(start, end, zlib.crc32(data[start:end]))
        learnt(facts)
    assert original.known == (len(data), zlib.crc32(data))
