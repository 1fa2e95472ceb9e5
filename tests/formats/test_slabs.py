"""Arrays in chunks, read in C order: every byte is where it belongs, however boxes are cut."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradclip_cli.formats.foreign import slabs
from gradclip_cli.formats.foreign.slabs import Slabs

SIDES = st.lists(st.integers(1, 6), max_size=4).map(tuple)


@settings(max_examples=150)
@given(shape=SIDES, data=st.data())
@pytest.mark.parametrize("sizes", [(16, 64, 24), (8, 8, 8), (1 << 20, 1 << 30, 1 << 30)])
def test_all_bytes_come_in_order_and_no_box_is_larger_than_it_may_be(
    sizes: tuple[int, int, int], shape: tuple[int, ...], data: st.DataObject
) -> None:
    whole = np.arange(math.prod(shape), dtype="<f4").reshape(shape)
    chunk = data.draw(st.tuples(*(st.integers(1, 7) for _ in shape)))
    largest = 0

    def read(box: tuple[slice, ...]) -> Any:
        nonlocal largest
        largest = max(largest, whole[box].nbytes)
        return np.ascontiguousarray(whole[box])

    with pytest.MonkeyPatch.context() as patch:
        for name, size in zip(("_ENOUGH", "_LARGE", "_PART"), sizes, strict=True):
            patch.setattr(slabs, name, size)
        found = Slabs(shape, chunk, 4, read)
        raw, piece = b"", data.draw(st.integers(1, 40))
        while part := found.read(len(raw), piece):
            raw += bytes(part)
        start = data.draw(st.integers(0, whole.nbytes - 1))
        again = bytes(found.read(start, 4))
    assert raw == whole.tobytes()
    assert whole.tobytes()[start:].startswith(again)
    assert again
    assert largest <= max(*sizes, 4)
