"""Tensors that share values in their file: what is written once must be the same for both."""

from collections.abc import Iterator, Sequence

import numpy as np

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.strided import StridedSource
from gradclip_cli.rewrite.edits import Edit
from gradclip_cli.rewrite.outputs import Edits, Output
from gradclip_cli.tensors.dump import Tensor
from gradclip_cli.tensors.names import quoted

_MOST = 1 << 28  # bytes in which it is found out, value by value, whether views share any

Placed = tuple[int, int, Tensor, Edit | None]
"""Where the values of a tensor begin and end in its file, and what is done to them."""


def refuse_overlaps(output: Output, edits: Edits) -> None:
    """Raise `GradclipError` where tensors share values, and these would become different.

    So it may be of two, of a tensor that counts and one that does not, and within a view in which
    a value stands several times.
    """
    if output.layout.is_new or not output.changes(edits):
        return
    layout = output.layout
    pairs = [*zip(layout.given, output.own(edits), strict=True)]
    for tensor, edit in pairs:
        if edit is not None and edit.is_positional and _repeats(tensor):
            raise GradclipError(
                tensor.source.label,
                f"values stand several times in {quoted(tensor.name)}, and would become different",
                "clip it by one norm, or write it by itself: -o clipped.safetensors",
            )
    pairs += [(tensor, None) for tensor in layout.kept]
    placed = sorted(
        ((*_range(tensor), tensor, edit) for tensor, edit in pairs if tensor.size),
        key=lambda one: one[:2],
    )
    for some in _clusters(placed):
        if any(edit != some[0][3] for _, _, _, edit in some):
            _refuse_shared(some)


def _repeats(tensor: Tensor) -> bool:
    """Say whether a view may have a value twice: whether a stride is less than what lies within."""
    source = tensor.source
    if not isinstance(source, StridedSource) or not tensor.size:
        return False
    end = source.item
    for stride, side in sorted(zip(source.strides, source.shape, strict=True)):
        if side > 1 and stride < end:
            return True
        end += (side - 1) * stride
    return False


def _range(tensor: Tensor) -> tuple[int, int]:
    source = tensor.source
    if isinstance(source, StridedSource):
        return source.start, source.end
    return tensor.offset, tensor.offset + tensor.size


def _clusters(placed: Sequence[Placed]) -> Iterator[list[Placed]]:
    """Give tensors whose ranges overlap, those that do so with each other or with one between."""
    some: list[Placed] = []
    end = 0
    for one in placed:
        if some and one[0] >= end:
            if len(some) > 1:
                yield some
            some, end = [], 0
        some.append(one)
        end = max(end, one[1])
    if len(some) > 1:
        yield some


def _refuse_shared(some: Sequence[Placed]) -> None:
    """Raise `GradclipError` unless the views have no value in common that becomes another."""
    begin, end = some[0][0], max(one[1] for one in some)
    if end - begin > _MOST:
        raise _shared(some[0][2], some[1][2])
    owners = np.zeros(end - begin, np.uint32)
    for number, (at, _, tensor, edit) in enumerate(some, 1):
        item = tensor.dtype.size_of(1)
        source = tensor.source
        strides = source.strides if isinstance(source, StridedSource) else tensor.strides
        bytes_of = np.ndarray(
            (*tensor.shape, item),
            np.uint32,
            owners.data,
            4 * (at - begin),
            tuple(4 * stride for stride in (*strides, 1)),
        )
        for other in np.unique(bytes_of):
            if other and some[other - 1][3] != edit:
                raise _shared(some[other - 1][2], tensor)
        bytes_of[...] = number


def _shared(one: Tensor, other: Tensor) -> GradclipError:
    return GradclipError(
        one.source.label,
        f"{quoted(one.name)} and {quoted(other.name)} share values, and would become different",
        "clip all by one norm, or write each by itself: -o clipped.safetensors",
    )
