"""Whether float32 values have no more digits than float16: what computing in float16 leaves."""

import numpy as np

from gradclip_cli.measure.spans import blocks, cut
from gradclip_cli.tensors.dump import Tensor

_BEYOND = 0x1FFF  # bits of a float32 that float16 has not, and those that bfloat16 has not
_BEYOND_BFLOAT16 = 0xFFFF
_FIRST = 4096  # values that are looked at before others
_LEAST = 64  # values that are not 0


def are_of_float16(tensor: Tensor) -> bool:
    """Say whether the first values of a float32 tensor have the digits of float16, not fewer."""
    if tensor.dtype.words != "<f4" or not tensor.source.rereadable or not tensor.count:
        return False
    with tensor.source.opened() as reader:
        first = np.empty(min(tensor.count, _FIRST), "<u4")
        reader.read_exactly(first.view("u1").data, tensor.offset)
        if np.any(first & _BEYOND):  # so it is nearly always
            return False
        work = next(iter(cut([tensor], [0])))
        _, stored = next(iter(blocks(reader, work.span)))
        bits = stored.view("<u4")
        filled = np.count_nonzero(bits & 0x7FFFFFFF)
        return bool(
            filled >= _LEAST
            and not np.any(bits & _BEYOND)
            and np.any(bits & _BEYOND_BFLOAT16)  # else it may be bfloat16, which needs no scale
        )
