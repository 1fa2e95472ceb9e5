"""Distributed checkpoints as torch writes them, put together chunk by chunk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests import pts
from tests.pts import Global, Raw, opcodes

METADATA = "torch.distributed.checkpoint.metadata"
FILES = "torch.distributed.checkpoint.filesystem"
Shape = tuple[int, ...]


def record(kind: str, state: Any, module: str = METADATA) -> Raw:
    """Give the opcodes of a record."""
    return Raw(opcodes(Global(module, kind)) + b")\x81" + opcodes(state) + b"b")


@dataclass(frozen=True)
class Chunk:
    """A box of a tensor: where it begins, its values, and the file that they are in."""

    low: Shape
    values: Any
    file: str = "__0_0.distcp"


def write(
    folder: Path,
    tensors: Mapping[str, tuple[Shape, Sequence[Chunk]]],
    dtype: str = "float32",
    besides: Mapping[str, Any] | None = None,
    **about: Any,
) -> None:
    """Write a checkpoint into a folder; `about` is what else its places say."""
    folder.mkdir(exist_ok=True)
    files: dict[str, bytes] = {}
    named: dict[str, Any] = {}
    places: dict[Any, Any] = {}
    for name, (shape, chunks) in tensors.items():
        said = []
        for chunk in chunks:
            sides = record(
                "ChunkStorageMetadata",
                {"offsets": size(chunk.low), "sizes": size(chunk.values.shape)},
            )
            said.append(sides)
            stored, view = pts.tensor("0", chunk.values)
            data = pts.archive(view, [stored])
            begin = len(files.setdefault(chunk.file, b""))
            files[chunk.file] += data
            key = record("MetadataIndex", {"fqn": name, "offset": size(chunk.low), "index": 0})
            place = {"relative_path": chunk.file, "offset": begin, "length": len(data), **about}
            places[key] = record("_StorageInfo", place, FILES)
        properties = record("TensorProperties", (Global("torch", dtype), None, False, None, False))
        named[name] = record(
            "TensorStorageMetadata", {"properties": properties, "size": size(shape), "chunks": said}
        )
    whole = {"state_dict_metadata": named, "planner_data": {}, "storage_data": places}
    for path, raw in files.items():
        (folder / path).write_bytes(raw)
    raw = pts.pickled(record("Metadata", whole | dict(besides or {})))
    (folder / ".metadata").write_bytes(raw)


def size(shape: Sequence[int]) -> pts.Call:
    """Give a `torch.Size`."""
    return pts.Call(Global("torch", "Size"), (tuple(map(int, shape)),))


def split(values: Any, cuts: Sequence[Sequence[int]], files: int = 2) -> list[Chunk]:
    """Cut an array along each axis, and spread the boxes over files."""
    axes = [[0, *sorted({*some}), side] for some, side in zip(cuts, values.shape, strict=True)]
    boxes = np.ndindex(*(len(axis) - 1 for axis in axes))
    found = []
    for number, box in enumerate(boxes):
        ranges = [(axis[at], axis[at + 1]) for axis, at in zip(axes, box, strict=True)]
        part = values[tuple(slice(*one) for one in ranges)]
        low = tuple(begin for begin, _ in ranges)
        found.append(Chunk(low, np.ascontiguousarray(part), f"__{number % files}_0.distcp"))
    return found
