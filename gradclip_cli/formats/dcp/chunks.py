"""Where the tensors of a distributed checkpoint lie: each chunk is an archive of its own in a file.

The layout is that of `FileSystemWriter` in `torch/distributed/checkpoint/filesystem.py`.
"""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.files.members import RangeStream
from gradclip_cli.files.places import leads_out
from gradclip_cli.files.source import Source, WholeSource
from gradclip_cli.files.streams import Front
from gradclip_cli.formats.counted import gradients_among, kind_of
from gradclip_cli.formats.dcp.plan import Planned, Record
from gradclip_cli.formats.pieces import Shape, in_c_order, joined
from gradclip_cli.formats.pt.allowed import WAY_OUT, View, shown
from gradclip_cli.formats.pt.containers import archive
from gradclip_cli.formats.pt.opcodes import PickleError, read_pickle
from gradclip_cli.formats.pt.tensors import tensor_of
from gradclip_cli.tensors.dtypes import DType
from gradclip_cli.tensors.dump import Tensor

_DAMAGED = "was every file of the checkpoint copied? save it again"


def locate(front: Front, source: Source, _name: str | None) -> tuple[Tensor, ...]:
    """Give the tensors that the metadata names, each from its chunks; replicas are saved once.

    Raises `GradclipError` for a chunk that is missing or another than was said, for values that are
    in no chunk, and for such as are in two.
    """
    assert isinstance(source, WholeSource), "it is read from anywhere"
    try:
        with source.opened() as reader:
            stream = io.BufferedReader(RangeStream(reader, 0, source.size))
            plan = _Plan.of(read_pickle(stream, Planned()), source, front)
        counted, _ = gradients_among(plan.tensors, front)
        return tuple([plan.tensor(name, about) for name, about in counted.items()])
    except PickleError as error:
        raise GradclipError(source.label, error.problem, error.hint or _DAMAGED) from error


@dataclass
class _Plan:
    """What the metadata says: tensors by name, and the files and places of their chunks."""

    source: WholeSource
    front: Front
    tensors: dict[str | None, tuple[str, Record]]
    places: Mapping[tuple[str, Shape], Record]
    files: dict[str, WholeSource] = field(default_factory=dict)

    @classmethod
    def of(cls, metadata: Any, source: WholeSource, front: Front) -> "_Plan":
        """Read the records; what is no tensor is counted, and what is no gradient named."""
        if not isinstance(metadata, Record) or metadata.kind != "Metadata":
            raise PickleError("not the metadata of a distributed checkpoint", WAY_OUT)
        named, stored = metadata.get("state_dict_metadata"), metadata.get("storage_data")
        if not isinstance(named, dict) or not isinstance(stored, dict):
            raise PickleError("the metadata does not say what lies where")
        paths = metadata.get("planner_data")
        found = cls(source, front, {}, {**_places(stored)})
        others = 0
        for name, about in named.items():
            if not isinstance(about, Record) or about.kind != "TensorStorageMetadata":
                others += 1
            elif what := kind_of(_containers(name, paths)):
                front.uncounted.setdefault(what, []).append(str(name))
            else:
                found.tensors[str(name)] = str(name), about
        if others:
            front.besides.append(f"{others:,} values that are no tensors")
        return found

    def tensor(self, name: str | None, about: tuple[str, Record]) -> Tensor:
        """Find a tensor that is stored under a name of its own."""
        stored, record = about
        called = f"tensor {shown(stored)}"
        shape, chunks = _shape(record.get("size")), record.get("chunks")
        dtype = _dtype(record.get("properties"))
        if dtype is None or type(chunks) is not list:
            raise PickleError(f"{called} is not described")
        boxes = []
        for chunk in chunks:
            if not isinstance(chunk, Record):
                raise PickleError(f"{called} has a chunk that is not described")
            low, sides = _shape(chunk.get("offsets")), _shape(chunk.get("sizes"))
            if 0 not in sides:
                boxes.append((low, sides, self._chunk(stored, called, low, sides, dtype)))
        if not boxes and 0 in shape:
            return Tensor(name, dtype, shape, self.source, 0, 0)
        return joined(name, shape, boxes, self.source.label)

    def _chunk(self, name: str, called: str, low: Shape, sides: Shape, dtype: DType) -> Tensor:
        """Find the values of a chunk, in C order."""
        where = f"{called}: its chunk at {list(low)}"
        place = self.places.get((name, low))
        if place is None:
            raise PickleError(f"{where} is in no file")
        path, begin, size = (place.get(key) for key in ("relative_path", "offset", "length"))
        if type(path) is not str or type(begin) is not int or type(size) is not int:
            raise PickleError(f"{where} is in a file that is not named")
        if place.get("transform_descriptors"):
            raise PickleError(
                f"{where} is compressed, or changed by an extension",
                "save the checkpoint without extensions",
            )
        file = self._file(path, where)
        if begin < 0 or size < 0 or begin + size > file.size:
            raise PickleError(f"{where} lies beyond the end of {shown(path)}")
        try:
            with file.opened() as reader:
                held = archive(file, reader, self.front, (begin, begin + size))
        except (GradclipError, PickleError) as error:
            raise PickleError(f"{where} is not sound: {error.problem}", error.hint) from error
        view = held.root
        if not isinstance(view, View) or view.dtype != dtype or view.shape != sides:
            raise PickleError(f"{where} is not what the metadata says")
        return in_c_order(tensor_of(name, view, held, file))

    def _file(self, path: str, where: str) -> WholeSource:
        if "\0" in path or leads_out(path):
            raise PickleError(f"{where} would lie outside of the folder")
        if path not in self.files:
            whole = os.path.join(os.path.dirname(self.source.path), path)
            try:
                self.files[path] = tree.source_of(whole, whole)
            except FileNotFoundError as error:
                raise PickleError(f"{where} is in {shown(path)}, which is not there") from error
            if self.files[path].sampled:
                self.front.proofs.append(self.files[path])
        return self.files[path]


def _places(stored: Mapping[Any, Any]) -> Mapping[tuple[str, Shape], Record]:
    """Give where chunks lie, by the name of the tensor and the offset in it."""
    return {
        (str(key.get("fqn")), _shape(key.get("offset"))): place
        for key, place in stored.items()
        if isinstance(key, Record) and isinstance(place, Record) and key.get("offset") is not None
    }


def _containers(name: Any, paths: Any) -> tuple[str, ...]:
    """Give the keys of the dicts in which a value stood that is stored under a name."""
    path = paths.get(name) if isinstance(paths, dict) else None
    if isinstance(path, tuple | list):
        return (*map(str, path[:-1]),)
    return (*str(name).split(".")[:1],)


def _dtype(properties: Any) -> DType | None:
    """Give the dtype that properties of a tensor say: fields, or in newer versions their values."""
    said = properties.state if isinstance(properties, Record) else None
    dtype = said[0] if isinstance(said, tuple) and said else None
    if isinstance(said, dict):
        dtype = said.get("dtype")
    return dtype if isinstance(dtype, DType) else None


def _shape(said: Any) -> Shape:
    if type(said) not in (tuple, list) or not all(type(one) is int and one >= 0 for one in said):
        raise PickleError("a shape of the metadata is none")
    return (*said,)
