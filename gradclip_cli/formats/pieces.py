"""Tensors in pieces, each a box of values: none in two of them, and none in no one.

Files of safetensors say of their tensors where these begin in the whole, as the writer of
`torch/distributed/checkpoint/hf_storage.py` notes it in their metadata.
"""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.files.joined import JoinedSource, Piece
from gradclip_cli.formats.strict_json import parsed
from gradclip_cli.tensors.dump import DumpFile, Tensor
from gradclip_cli.tensors.names import quoted

Shape = tuple[int, ...]
Box = tuple[Shape, Shape]
"""The index at which it begins, and its sides."""

SHARDING = "DCP_SHARDING_INFO"
"""The key of metadata under which it says where its tensors begin."""

_HINT = "was every file of the checkpoint copied? give its folder, or save it again"


def begins(text: str, label: str) -> dict[str, Shape]:
    """Give where tensors begin in the whole ones, by name, from what metadata says."""
    try:
        said = parsed(text)
        if not isinstance(said, dict):
            raise TypeError
        return {name: _index(about["saved_offsets"]) for name, about in said.items()}
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        raise GradclipError(
            label, f"{SHARDING} does not say where tensors begin", "save the checkpoint again"
        ) from error


def _index(said: object) -> Shape:
    if not isinstance(said, list) or not all(type(one) is int and one >= 0 for one in said):
        raise TypeError
    return (*said,)


def put_together(files: Sequence[DumpFile]) -> list[DumpFile]:
    """Give the same files, their tensors whole: each in the first file that has a piece of it.

    Files belong together that lie in one folder; what one holds alone may be less than the whole.
    Raises `GradclipError` as `joined`.
    """
    folders: dict[str, dict[str, list[tuple[int, Tensor, Shape]]]] = {}
    for number, file in enumerate(files):
        begin = dict(file.begins)
        for tensor in file.tensors if begin else ():
            if tensor.name in begin:
                names = folders.setdefault(os.path.dirname(file.source.path or ""), {})
                names.setdefault(tensor.name, []).append((number, tensor, begin[tensor.name]))
    whole: dict[int, dict[str | None, Tensor]] = {}
    parts: dict[int, set[str | None]] = {}
    for name, some in (item for names in folders.values() for item in names.items()):
        if len(some) == 1 and not any(some[0][2]):
            continue
        for number, _, _ in some:
            parts.setdefault(number, set()).add(name)
        first, _, _ = some[0]
        whole.setdefault(first, {})[name] = _whole(name, some, files[first].source.label)
    found = [_with(file, whole.get(n, {}), parts.get(n, set())) for n, file in enumerate(files)]
    places = [os.path.dirname(file.source.path or "") if file.begins else None for file in files]
    return [
        _perhaps_alone(file) if place is not None and places.count(place) == 1 else file
        for file, place in zip(found, places, strict=True)
    ]


def _perhaps_alone(file: DumpFile) -> DumpFile:
    folder, own = os.path.split(file.source.path or "")
    others = [name for name in tree.names_in(folder or os.curdir) if name.endswith(".safetensors")]
    if others == [own] or not own:
        return file
    said = "tensors that may go on in the files beside it, which only their folder counts"
    return dataclasses.replace(file, strays=(*file.strays, said))


def _whole(name: str, some: Sequence[tuple[int, Tensor, Shape]], label: str) -> Tensor:
    shapes = {(len(low), len(tensor.shape), tensor.dtype) for _, tensor, low in some}
    if len(shapes) > 1:
        what = f"pieces of tensor {quoted(name)} have several dtypes or numbers of axes"
        raise GradclipError(label, what, _HINT)
    ends = [map(sum, zip(low, tensor.shape, strict=True)) for _, tensor, low in some]
    shape = (*map(max, zip(*ends, strict=True)),)
    boxes = [(low, tensor.shape, tensor) for _, tensor, low in some if tensor.size]
    return joined(name, shape, boxes, label) if boxes else some[0][1]


def _with(file: DumpFile, whole: Mapping[str | None, Tensor], parts: set[str | None]) -> DumpFile:
    if not parts:
        return file
    kept = [whole.get(tensor.name, tensor) for tensor in file.tensors]
    tensors = [one for one in kept if one.name not in parts or one.name in whole]
    return dataclasses.replace(file, tensors=(*tensors,))


def in_c_order(tensor: Tensor) -> Tensor:
    """Give a tensor whose values are read in C order."""
    if tensor.fortran_shape is None:
        return tensor
    from gradclip_cli.files.strided import StridedSource  # hardly ever needed

    item = tensor.dtype.size_of(1)
    apart = StridedSource(tensor.source, tensor.offset, tensor.shape, tensor.strides, item)
    return Tensor(tensor.name, tensor.dtype, tensor.shape, apart, 0, tensor.size)


def in_a_row(
    name: str | None, tensors: Sequence[Tensor], labels: Sequence[str], among: Sequence[Tensor]
) -> Tensor:
    """Give pieces as one tensor: along the axis in which they differ, else as rows of a new one.

    Those `among` which they are, and which hold nothing, tell the axis, too.
    """
    first = tensors[0]
    if len(tensors) == 1:
        return first
    if len({(tensor.dtype, len(tensor.shape)) for tensor in tensors}) > 1:
        raise GradclipError(
            labels[0],
            f"the pieces of {quoted(name)} have several dtypes or numbers of axes",
            "are they pieces of one tensor?",
        )
    parts = [in_c_order(tensor) for tensor in tensors]
    axes = _differing_axes([tensor.shape for tensor in tensors])
    if not axes:
        alike = [tensor.shape for tensor in among if len(tensor.shape) == len(first.shape)]
        told = _differing_axes(alike)
        axes = told if len(told) == 1 else []
    if len(axes) > 1:
        raise GradclipError(
            labels[0],
            f"the pieces of {quoted(name)} differ along several axes",
            "are they pieces of one tensor?",
        )
    if axes or len(first.shape) == 1:
        axis = axes[0] if axes else 0
        boxes, begin = [], 0
        for part in parts:
            low = tuple(begin if one == axis else 0 for one in range(len(part.shape)))
            boxes.append((low, part.shape, part))
            begin += part.shape[axis]
        shape = tuple(begin if one == axis else side for one, side in enumerate(first.shape))
    else:
        boxes = [
            ((row, *(0 for _ in part.shape)), (1, *part.shape), part)
            for row, part in enumerate(parts)
        ]
        shape = (len(parts), *first.shape)
    return joined(name, shape, boxes, labels[0])


def _differing_axes(shapes: Sequence[Shape]) -> list[int]:
    return [axis for axis, sides in enumerate(zip(*shapes, strict=True)) if len({*sides}) > 1]


def joined(
    name: str | None, shape: Shape, parts: Sequence[tuple[Shape, Shape, Tensor]], label: str
) -> Tensor:
    """Give the tensor of a shape whose boxes are these tensors, each in C order.

    Raises `GradclipError` for values in two boxes, or in none, and for a box beyond the shape.
    """
    if problem := _problem(shape, sorted((low, sides) for low, sides, _ in parts)):
        raise GradclipError(label, f"tensor {quoted(name)} {problem}", _HINT)
    first = parts[0][2]
    if len(parts) == 1:
        return Tensor(name, first.dtype, shape, first.source, first.offset, first.size)
    if first.dtype.bits % 8:
        raise GradclipError(
            label,
            f"tensor {quoted(name)} has values of {first.dtype.bits} bits, of which pieces are not "
            "put together",
            "save it whole",
        )
    pieces = (*(Piece(part.source, part.offset, low, sides) for low, sides, part in parts),)
    item = first.dtype.size_of(1)
    source = JoinedSource(label, shape, item, (*sorted(pieces, key=lambda piece: piece.low),))
    return Tensor(name, first.dtype, shape, source, 0, source.size)


def _problem(shape: Shape, boxes: Sequence[Box]) -> str:
    """Say what is wrong with boxes, in the order of where they begin; nothing if they cover all."""
    for number, (low, sides) in enumerate(boxes):
        if not len(low) == len(sides) == len(shape):
            return f"has a chunk at {list(low)} of another number of axes"
        if any(at + side > most for at, side, most in zip(low, sides, shape, strict=True)):
            return f"has a chunk at {list(low)} beyond its shape"
        for at in range(number + 1, len(boxes)):
            other, others = boxes[at]
            if shape and other[0] >= low[0] + sides[0]:
                break
            if len(other) == len(low) and _overlap((low, sides), (other, others)):
                return f"has chunks at {list(low)} and {list(other)} that overlap"
    missing = math.prod(shape) - sum(math.prod(sides) for _, sides in boxes)
    return f"has {missing:,} values that are in no chunk" if missing else ""


def _overlap(one: Box, other: Box) -> bool:
    axes = zip(*one, *other, strict=True)
    return all(a < b + d and b < a + c for a, c, b, d in axes)
