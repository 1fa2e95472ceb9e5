"""What lies apart in a file is gathered as NumPy gathers it, and put back where it was."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradclip_cli.files import strided
from gradclip_cli.files.source import Source
from gradclip_cli.files.strided import StridedSource
from tests.contracts.sources import DATA, SourceContract
from tests.contracts.test_sources import of

RAW = np.random.default_rng(16).bytes(60_000)


class TestViews(SourceContract):
    """A view whose values have another between them each time."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        path = tmp_path / "data"
        apart = np.zeros((len(DATA), 2), np.uint8)
        apart[:, 0] = np.frombuffer(DATA, np.uint8)
        path.write_bytes(b"\7" + apart.tobytes())
        return StridedSource(of(path, "data"), 1, (len(DATA) // 5, 5), (10, 2), 1)


@st.composite
def views(draw: st.DrawFn, overlapping: bool) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
    """Draw a shape, strides, the size of a value and of the words that are turned round."""
    item = draw(st.sampled_from([1, 2, 4, 8, 16]))
    shape = tuple(draw(st.lists(st.integers(1, 7), max_size=4)))
    strides = [0] * len(shape)
    reach = item * draw(st.integers(1, 2))
    for axis in draw(st.permutations(range(len(shape)))):
        strides[axis] = item * draw(st.integers(0, 7)) if overlapping else reach
        reach = reach * shape[axis] + item * draw(st.integers(0, 1))
    return shape, tuple(strides), item, draw(st.sampled_from([0, min(item, 8)]))


@pytest.fixture(autouse=True)
def _sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strided, "_BOX", 96)
    monkeypatch.setattr(strided, "_LITTLE", 24)


def whole(source: StridedSource, raw: bytes) -> strided.Bytes:
    """Give what NumPy makes of a view, as bytes in C order."""
    form = f"V{source.item}"
    view = np.ndarray(source.shape, form, raw, source.start, source.strides)
    flat = np.ascontiguousarray(view).reshape(-1).view(np.uint8).copy()
    if source.swapped:
        flat.view(f"u{source.swapped}").byteswap(inplace=True)
    return flat


@settings(max_examples=150)
@given(view=st.booleans().flatmap(views), start=st.integers(0, 99), pieces=st.data())
def test_a_view_is_gathered_as_numpy_does(
    view: tuple[tuple[int, ...], tuple[int, ...], int, int],
    start: int,
    pieces: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("view") / "data"
    path.write_bytes(RAW)
    shape, strides, item, swapped = view
    source = StridedSource(of(path, "data"), start, shape, strides, item, swapped)
    found = bytearray(source.size)
    with source.opened() as reader:
        at = 0
        while at < len(found):
            end = min(at + pieces.draw(st.integers(1, 300)), len(found))
            reader.read_exactly(memoryview(found)[at:end], at)
            at = end
    assert bytes(found) == whole(source, RAW).tobytes()


@settings(max_examples=150)
@given(view=views(overlapping=False), start=st.integers(0, 99), pieces=st.data())
def test_what_is_scattered_lies_where_the_view_is_and_nothing_else_changes(
    view: tuple[tuple[int, ...], tuple[int, ...], int, int],
    start: int,
    pieces: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("view") / "data"
    path.write_bytes(RAW)
    shape, strides, item, swapped = view
    source = StridedSource(of(path, "data"), start, shape, strides, item, swapped)
    new = np.frombuffer(RAW[: -source.size - 1 : -1], np.uint8)
    descriptor = os.open(path, os.O_RDWR)
    try:
        at = 0
        while at < new.size:
            end = min(at + pieces.draw(st.integers(1, 300)), new.size)
            source.scatter(descriptor, "data", at, new[at:end])
            at = end
    finally:
        os.close(descriptor)
    turned = new.copy()
    if swapped:
        turned.view(f"u{swapped}").byteswap(inplace=True)
    expected = np.frombuffer(RAW, np.uint8).copy()
    form = f"V{item}"
    np.ndarray(shape, form, expected.data, start, strides)[...] = turned.view(form).reshape(shape)
    assert path.read_bytes() == expected.tobytes()


def test_a_large_transpose_is_not_read_again_for_every_row(tmp_path: Path) -> None:
    path, side = tmp_path / "data", 60
    path.write_bytes(RAW)
    source = StridedSource(of(path, "data"), 0, (side, side), (4, 4 * side), 4)
    asked = []
    with source.opened() as reader:
        inner = reader._reader  # type: ignore[attr-defined]
        read = inner.read_exactly

        def noted(view: memoryview, at: int) -> None:
            asked.append(len(view))
            read(view, at)

        inner.read_exactly = noted
        reader.read_exactly(memoryview(bytearray(source.size)), 0)
    assert sum(asked) <= 24 / 4 * source.size
