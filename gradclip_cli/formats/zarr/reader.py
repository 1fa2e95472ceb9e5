"""The arrays of a Zarr or Orbax folder, as tensorstore reads them: in a process of its own.

A folder holds arrays of Zarr 2 (`.zarray`) or 3 (`zarr.json`), in groups, as files or, as Orbax
writes them, in a database of files (OCDBT). `_METADATA` of Orbax says what its tree is made of.
Nothing but files of that folder is read.
"""

import contextlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorstore as ts

from gradclip_cli.files import tree
from gradclip_cli.files.urls import is_url, parts_of, scheme_of
from gradclip_cli.formats.foreign import words
from gradclip_cli.formats.foreign.child import Alive, Opened, RefusedError
from gradclip_cli.formats.foreign.slabs import Slabs
from gradclip_cli.tensors.names import listed, plural, quoted

OTHERS = "no numbers that gradclip reads"
_SCALARS = "scalars of Python"
_MANIFEST = "manifest.ocdbt"
_ARRAYS = {"zarr.json": "zarr3", ".zarray": "zarr"}
_PART = re.compile(r"ocdbt\.process_[0-9]+")
_TEMPORARY = ".orbax-checkpoint-tmp"
_CHUNK = 1 << 30  # bytes
_MOST = 10_000_000  # keys
_SPARSE, _LARGE = 2000, 1 << 30  # how much more than is stored arrays may claim, in bytes
_JSON = 64 << 20  # bytes of metadata
_DAMAGED = "the folder is damaged, or was made to mislead: copy or save it again"
_UNFINISHED = "take an earlier step: what was being saved then is not whole"
_WORD = re.compile(r"[<>|=]?([fciu])(1|2|4|8|16)|[<>|=]?(b)1")


def library() -> tuple[str, Callable[[str], Opened]]:
    """Say what reads, and give what opens a folder."""
    from importlib.metadata import version

    return f"tensorstore {version('tensorstore')}", _Folder


class _Folder:
    def __init__(self, path: str) -> None:
        self._root = os.path.dirname(path)
        self._context = ts.Context({"data_copy_concurrency": {"limit": 1}})
        self._orbax = _metadata_of_orbax(self._root)
        self._is_database = tree.exists(os.path.join(self._root, _MANIFEST))
        _check_finished(self._root, self._orbax, self._is_database)
        self._store = self._kvstore("")
        self._open: tuple[str, Slabs] | None = None

    def _kvstore(self, key: str) -> Any:
        base = _place(self._root)
        if self._is_database:
            spec = {"driver": "ocdbt", "base": base, "path": key}
        else:
            spec = {**base, "path": f"{base['path']}{key}"}
        return ts.KvStore.open(spec, context=self._context).result()

    def close(self) -> None:
        """Let go of the folder."""
        self._open = None

    def listing(self, alive: Alive) -> dict[str, Any]:
        """Give the arrays, and what else there is."""
        arrays = self._arrays(alive)
        stored = sum(size for _, size in tree.sizes(self._root))
        paths, scalars = _tree(self._orbax)
        tensors, missing = [], []
        claimed = 0
        for name, (driver, chunks) in sorted(arrays.items(), key=lambda pair: _natural(pair[0])):
            alive()
            path = paths.get(name) or name.split("/" if self._orbax is None else ".")
            entry: dict[str, Any] = {"path": path if name else [], "key": f"{driver} {name}"}
            if name in scalars:
                entry["what"] = _SCALARS
            else:
                entry |= self._about(name, driver)
            if "dtype" in entry:
                expected = entry.pop("chunks")
                claimed += words.dtype_of(entry).size_of(math.prod(entry["shape"]))
                if chunks < expected:
                    missing.append(f"{expected - chunks:,} of {expected:,} of {quoted(name)}")
            tensors.append(entry)
        if claimed > _SPARSE * stored + _LARGE:
            raise RefusedError(
                f"claims {claimed:,} bytes of values, where {stored:,} are stored", _DAMAGED
            )
        lost = [name for name in paths if name not in arrays and name not in scalars]
        if lost:
            raise RefusedError(
                f"_METADATA names {plural(len(lost), 'array')} that are not there: {listed(lost)}",
                _DAMAGED,
            )
        strays = [f"chunks that are not stored read as the fill value: {listed(missing)}"]
        return {"tensors": tensors, "strays": strays if missing else [], "besides": []}

    def read(self, key: str, start: int, count: int) -> memoryview:
        """Give bytes of an array, in C order."""
        if self._open is None or self._open[0] != key:
            driver, _, name = key.partition(" ")
            self._open = key, _slabs(self._array(name, driver))
        return self._open[1].read(start, count)

    def _arrays(self, alive: Alive) -> dict[str, tuple[str, int]]:
        """Give each array's driver and the number of its chunks."""
        keys: Iterable[str] = (name for name, _ in tree.sizes(self._root))
        if self._is_database:
            keys = (key.decode("utf-8", "backslashreplace") for key in self._store.list().result())
        drivers: dict[str, str] = {}
        counts: dict[str, int] = {}
        others: list[str] = []
        for number, key in enumerate(keys):
            alive()
            if number > _MOST:
                raise RefusedError(f"holds more than {_MOST:,} chunks", _DAMAGED)
            above, _, name = key.rpartition("/")
            if name == "zarr.json" or (name == ".zarray" and above not in drivers):
                drivers[above] = _ARRAYS[name]
            elif name == ".zgroup":
                self._json(above, name)  # is it whole?
            elif not name.startswith(".z"):
                others.append(above)
        arrays = {name: how for name, how in drivers.items() if how == "zarr" or self._is_one(name)}
        for above in others:
            while above and above not in arrays:
                above = above.rpartition("/")[0]
            counts[above] = counts.get(above, 0) + 1
        return {name: (how, counts.get(name, 0)) for name, how in arrays.items()}

    def _is_one(self, name: str) -> bool:
        """Say whether `zarr.json` is that of an array, not of a group."""
        return self._json(name, "zarr.json").get("node_type") == "array"

    def _json(self, name: str, file: str) -> dict[str, Any]:
        key = f"{name}/{file}" if name else file
        found = self._store.read(key).result()
        if len(found.value) > _JSON:
            raise RefusedError(f"{quoted(key)} is too long for metadata", _DAMAGED)
        try:
            said = json.loads(found.value)
        except (RecursionError, ValueError):
            said = None
        if not isinstance(said, dict):
            raise RefusedError(f"{quoted(key)} is no JSON object", _DAMAGED)
        return said

    def _about(self, name: str, driver: str) -> dict[str, Any]:
        """Say what an array is."""
        is_new = driver == "zarr3"
        said = self._json(name, "zarr.json" if is_new else ".zarray")
        word = _dtype(said.get("data_type" if is_new else "dtype"))
        if word is None or words.entry(word) is None:
            return {"what": OTHERS}
        array = self._array(name, driver)
        entry = words.entry(array.dtype.name)
        if entry is None:
            return {"what": OTHERS}
        shape = [*map(int, array.shape)]
        chunk, unit = _chunk(array.chunk_layout.read_chunk), _chunk(array.chunk_layout.write_chunk)
        held = math.prod(map(min, chunk, shape)) * words.dtype_of(entry).bits // 8
        if held > _CHUNK:
            raise RefusedError(
                f"array {quoted(name)} has chunks of {held:,} bytes, each of which must be held in "
                "memory",
                "write it anew with smaller chunks",
            )
        chunks = math.prod(-(-side // step) for side, step in zip(shape, unit, strict=True))
        return {**entry, "shape": shape, "chunks": chunks, "parted": _slabs(array).is_parted}

    def _array(self, name: str, driver: str) -> Any:
        spec = {"driver": driver, "kvstore": self._kvstore(f"{name}/" if name else "").spec()}
        return ts.open(spec, read=True, open=True, context=self._context).result()


def _slabs(array: Any) -> Slabs:
    def read(box: tuple[slice, ...]) -> Any:
        return np.ascontiguousarray(array[box].read().result())

    shape = tuple(map(int, array.shape))
    item = array.dtype.numpy_dtype.itemsize
    return Slabs(shape, _chunk(array.chunk_layout.read_chunk), item, read)


def _chunk(grid: Any) -> tuple[int, ...]:
    return tuple(map(int, grid.shape or ()))  # None where there are no sides


def _dtype(said: Any) -> str | None:
    """Give the word for a dtype, by that of Zarr 2 or 3; None for records and the like."""
    if not isinstance(said, str):
        return None
    found = _WORD.fullmatch(said)
    if found is None:
        return said
    if found[3]:
        return "bool"
    kind = {"f": "float", "c": "complex", "i": "int", "u": "uint"}[found[1]]
    return f"{kind}{8 * int(found[2])}"


# Folders


def _place(root: str) -> dict[str, str]:
    """Say where a folder is, in the words of tensorstore."""
    if not is_url(root):
        return {"driver": "file", "path": f"{root}/"}
    bucket, key = parts_of(root)
    found = {"bucket": bucket, "path": f"{key}/" if key else ""}
    if scheme_of(root) == "gs":
        return {"driver": "gcs", **found}
    if scheme_of(root) != "s3":
        raise RefusedError(
            f"Zarr and Orbax are not read from {scheme_of(root)}://",
            "fetch the folder first: hf download NAME",
        )
    said = {name: os.environ.get(f"AWS_{name}") for name in ("REGION", "DEFAULT_REGION")}
    region = said["REGION"] or said["DEFAULT_REGION"]
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        found |= {"endpoint": endpoint, "aws_region": region or "us-east-1"}
    elif region:
        found |= {"aws_region": region}
    return {"driver": "s3", **found}


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(0, len(one.lstrip("0")), one) if one.isdecimal() else (1, 0, one) for one in parts]


# Orbax


def _metadata_of_orbax(root: str) -> dict[str, Any] | None:
    """Give what Orbax says of its tree; None where it says nothing."""
    with contextlib.suppress(FileNotFoundError):
        found = tree.whole(os.path.join(root, "_METADATA"), _JSON)
        try:
            said = json.loads(found)
            nodes = said["tree_metadata"]
            assert all(isinstance(one["key_metadata"], list) for one in nodes.values())
        except (AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            raise RefusedError("_METADATA is not that of Orbax", _DAMAGED) from None
        return dict(said)
    return None


def _check_finished(root: str, orbax: dict[str, Any] | None, is_database: bool) -> None:
    """Raise `RefusedError` for a checkpoint that Orbax has begun and not finished."""
    name = os.path.basename(root)
    if _PART.fullmatch(name):
        raise RefusedError(
            "what one process wrote of an Orbax checkpoint, which was never put together",
            _UNFINISHED,
        )
    if _TEMPORARY in root:
        raise RefusedError("an Orbax checkpoint that was not finished", _UNFINISHED)
    if orbax is not None and orbax.get("use_ocdbt") and not is_database:
        raise RefusedError(
            f"an Orbax checkpoint that was not finished: {_MANIFEST} is missing", _UNFINISHED
        )


def _tree(orbax: dict[str, Any] | None) -> tuple[dict[str, list[str]], set[str]]:
    """Give the paths of Orbax's arrays by the names they are stored under, and its scalars."""
    paths: dict[str, list[str]] = {}
    scalars: set[str] = set()
    for about in (orbax or {}).get("tree_metadata", {}).values():
        path = [str(key.get("key")) for key in about["key_metadata"] if isinstance(key, dict)]
        value = about.get("value_metadata")
        kind = value.get("value_type") if isinstance(value, dict) else None
        name = ".".join(path)
        if kind == "scalar":
            scalars.add(name)
        elif kind in ("jax.Array", "np.ndarray"):
            paths[name] = path
    return paths, scalars
