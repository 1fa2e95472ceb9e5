"""The datasets of an HDF5 file, as h5py finds them: this runs in a process of its own.

Only what hangs in the file by hard links is walked, each object once. Nothing is opened that lies
elsewhere: external links, external storage and virtual datasets of other files are refused. Values
are given as they are stored, without conversion.
"""

import contextlib
import os
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5f, h5fd, h5g, h5l, h5o, h5p, h5s, h5t, h5z

from gradclip_cli.files import tree
from gradclip_cli.files.urls import is_url
from gradclip_cli.formats.counted import SHARED
from gradclip_cli.formats.foreign.child import Alive, Opened, RefusedError
from gradclip_cli.formats.foreign.slabs import Slabs
from gradclip_cli.tensors.names import listed, plural, quoted

OTHERS = "no numbers: text, records, references or nothing"
VIEWS = "virtual datasets, whose values stand in others"
_CHUNK = 1 << 30  # bytes; of a larger one the library would hold more than is promised
_MOST = 1_000_000  # links
_DEEPEST = 200  # groups in groups
_SPARSE, _LARGE = 2000, 1 << 30  # how much more than is stored a dataset may claim, in bytes
_FLOATS: dict[Any, str] = {  # by size, places and lengths of sign, exponent and fraction, and bias
    (2, (15, 10, 5, 0, 10), 15): "float16",
    (2, (15, 7, 8, 0, 7), 127): "bfloat16",
    (4, (31, 23, 8, 0, 23), 127): "float32",
    (8, (63, 52, 11, 0, 52), 1023): "float64",
    (1, (7, 2, 5, 0, 2), 15): "float8_e5m2",
}
_Path = tuple[bytes, ...]
_LEADS = "what counts must lie in one file: copy it into this one, or take the link out"


def library() -> tuple[str, Callable[[str], Opened]]:
    """Say what reads, and give what opens a file."""
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401 - knows more ways of packing
    return f"h5py {h5py.__version__} (HDF5 {h5py.version.hdf5_version})", _File


class _File:
    def __init__(self, path: str) -> None:
        access = h5p.create(h5p.FILE_ACCESS)
        access.set_fclose_degree(h5f.CLOSE_STRONG)
        # Of what has no name the library would look for it.
        if path.startswith("/dev/fd/") or is_url(path):
            self._stream = tree.stream_of(path)
            access.set_fileobj_driver(h5fd.fileobj_driver, self._stream)
        self._file = h5f.open(os.fsencode(path), h5f.ACC_RDONLY, access)
        self._open: tuple[str, Slabs] | None = None

    def close(self) -> None:
        """Let go of the file."""
        self._open = None
        self._file.close()

    def listing(self, alive: Alive) -> dict[str, Any]:
        """Give the datasets, and what else there is."""
        return _Walk(self._file, alive).said()

    def read(self, key: str, start: int, count: int) -> memoryview:
        """Give bytes of the dataset at a path, in C order."""
        if self._open is None or self._open[0] != key:
            dataset = h5d.open(self._file, key.encode("utf-8", "surrogateescape"))
            self._open = key, _slabs(dataset)
        return self._open[1].read(start, count)


class _Walk:
    """All objects of a file, once each."""

    def __init__(self, file: Any, alive: Alive) -> None:
        self._file, self._alive = file, alive
        self._seen: set[Any] = set()
        self._tensors: list[dict[str, Any]] = []
        self._soft: list[_Path] = []
        self._lost: list[str] = []
        self._kinds = self._claimed = self._stored = 0

    def said(self) -> dict[str, Any]:
        """Give what there is, each group before what is in it."""
        root = h5g.open(self._file, b"/")
        self._seen.add(_place(root))
        due = _links((), root)
        links = 0
        while due:
            path, group, name, kind = due.pop()
            self._alive()
            links += 1
            if links > _MOST or len(path) > _DEEPEST:
                raise RefusedError(
                    f"holds more than {_MOST:,} links, or groups more than {_DEEPEST} deep",
                    "the file is damaged, or was made to mislead",
                )
            if kind == h5l.TYPE_SOFT:
                self._soft.append(path)
            elif kind == h5l.TYPE_HARD:
                found = self._object(path, h5o.open(group, name))
                if found is not None:
                    due += _links(path, found)
            else:
                raise _leading(path, group, name, kind)
        if self._claimed > _SPARSE * self._stored + _LARGE:
            raise RefusedError(
                f"claims {self._claimed:,} bytes of values, where {self._stored:,} are stored",
                "the file is damaged, or was made to mislead",
            )
        self._follow()
        strays = [f"links that lead nowhere: {listed(self._lost)}"] if self._lost else []
        strays += self._unwritten()
        besides = [plural(self._kinds, "named datatype")] if self._kinds else []
        return {"tensors": self._tensors, "strays": strays, "besides": besides}

    def _object(self, path: _Path, found: Any) -> Any:
        """Take note of a dataset; gives a group that has not been looked into."""
        place = _place(found)
        if isinstance(found, h5d.DatasetID):
            entry = {"path": [_text(part) for part in path], "key": _key(path)}
            entry |= {"what": SHARED} if place in self._seen else _about(found, path)
            self._weigh(entry)
            self._tensors.append(entry)
        elif isinstance(found, h5t.TypeID):
            self._kinds += 1
        elif place not in self._seen:
            self._seen.add(place)
            return found
        self._seen.add(place)
        return None

    def _weigh(self, entry: dict[str, Any]) -> None:
        """Add up what a dataset claims, and what of it is stored."""
        claimed, stored = entry.pop("bytes", 0), entry.pop("stored", 0)
        entry["unwritten"] = claimed and not stored
        self._claimed += claimed
        self._stored += stored

    def _follow(self) -> None:
        """Say of soft links to datasets that they are other names; no link leads out by now."""
        for path in self._soft:
            self._alive()
            try:
                found = h5o.open(self._file, b"/" + b"/".join(path))
            except (KeyError, OSError, RuntimeError, ValueError):
                self._lost.append(quoted("/".join(map(_text, path))))
                continue
            if isinstance(found, h5d.DatasetID):
                self._tensors.append({"path": [*map(_text, path)], "key": "", "what": SHARED})

    def _unwritten(self) -> list[str]:
        names = [".".join(one["path"]) for one in self._tensors if one.pop("unwritten", False)]
        if not names:
            return []
        said = plural(len(names), "dataset")
        return [f"{said} without stored values, which read as the fill value: {listed(names)}"]


def _links(path: _Path, group: Any) -> list[tuple[_Path, Any, bytes, int]]:
    """Give the links of a group, the first of them last."""
    names = [*group][::-1]
    return [((*path, name), group, name, group.links.get_info(name).type) for name in names]


def _place(found: Any) -> tuple[int, int]:
    about = h5o.get_info(found)
    return about.fileno, about.addr


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _key(path: _Path) -> str:
    return b"/".join((b"", *path)).decode("utf-8", "surrogateescape")


def _leading(path: _Path, group: Any, name: bytes, kind: int) -> RefusedError:
    called = quoted("/".join(map(_text, path)))
    if kind != h5l.TYPE_EXTERNAL:
        return RefusedError(f"link {called} is of a kind that only its writer knows", _LEADS)
    file, _ = group.links.get_val(name)
    return RefusedError(f"link {called} leads out of the file, to {quoted(_text(file))}", _LEADS)


# Datasets


def _about(dataset: Any, path: _Path) -> dict[str, Any]:
    """Say what a dataset is: its dtype and shape, and where its values lie."""
    made = dataset.get_create_plist()
    called = f"dataset {quoted('/'.join(map(_text, path)))}"
    _check_inside(made, called)
    said = _dtype(dataset.get_type())
    if said is None or dataset.get_space().get_simple_extent_type() == h5s.NULL:
        return {"what": OTHERS}
    layout = made.get_layout()
    if layout == h5d.VIRTUAL:
        return {"what": VIEWS}
    turned = said.pop("turned", False)
    said["shape"] = [int(side) for side in dataset.shape]
    size = dataset.get_type().get_size() * int(np.prod(said["shape"], dtype=object))
    if layout == h5d.CHUNKED and size:
        said["proven"] = _check_packing(dataset, made, called)
        said["parted"] = _slabs(dataset).is_parted
    said["bytes"], said["stored"] = size, dataset.get_storage_size()
    offset = dataset.get_offset() if layout == h5d.CONTIGUOUS and not turned else None
    return said if offset is None else {**said, "offset": int(offset)}


def _check_inside(made: Any, called: str) -> None:
    """Raise `RefusedError` where values lie in other files."""
    if made.get_external_count():
        name = quoted(_text(made.get_external(0)[0]))
        raise RefusedError(f"{called} has its values in another file, {name}", _LEADS)
    if made.get_layout() == h5d.VIRTUAL:
        names = [made.get_virtual_filename(at) for at in range(made.get_virtual_count())]
        others = [name for name in names if name != "."]
        if others:
            raise RefusedError(
                f"{called} is virtual: its values lie in another file, {quoted(others[0])}", _LEADS
            )


def _check_packing(dataset: Any, made: Any, called: str) -> bool:
    """Say whether values have a checksum; raises `RefusedError` where they cannot be unpacked."""
    chunk = int(np.prod(made.get_chunk(), dtype=object)) * dataset.get_type().get_size()
    if chunk > _CHUNK:
        raise RefusedError(
            f"{called} has chunks of {chunk:,} bytes, each of which must be held in memory",
            "lay it out anew: h5repack -l CHUNK=1024x1024 FILE NEW",
        )
    codes = [made.get_filter(at) for at in range(made.get_nfilters())]
    for code, _, _, name in codes:
        if not h5z.filter_avail(code):
            word = _text(name).strip() or "unknown"
            raise RefusedError(
                f"{called} is packed with filter {code} ({quoted(word)}), which is not installed",
                "install what knows it: pip install hdf5plugin",
            )
    return bool({h5z.FILTER_FLETCHER32, h5z.FILTER_DEFLATE} & {code for code, *_ in codes})


def _dtype(kind: Any) -> dict[str, Any] | None:
    """Say what a dtype is called; None where it is no number."""
    size = int(kind.get_size())
    if isinstance(kind, h5t.TypeFloatID):
        return _float(kind, size)
    if isinstance(kind, h5t.TypeEnumID):
        is_bool = size == 1 and kind.get_nmembers() == 2
        names = {kind.get_member_name(at): kind.get_member_value(at) for at in range(2 * is_bool)}
        if names == {b"FALSE": 0, b"TRUE": 1}:  # as h5py writes it
            return {"dtype": "bool"}
        kind = kind.get_super()
    if isinstance(kind, h5t.TypeIntegerID):
        is_whole = kind.get_precision() == 8 * size and size in (1, 2, 4, 8)
        sign = "" if kind.get_sign() == h5t.SGN_2 else "u"
        return {"dtype": f"{sign}int{8 * size}", **_order(kind)} if is_whole else None
    if isinstance(kind, h5t.TypeCompoundID):
        return _complex(kind, size)
    if type(kind).__name__ == "TypeComplexID":  # from HDF5 2.0 on
        return _of_lanes(_dtype(kind.get_super()), size)
    if isinstance(kind, h5t.TypeOpaqueID) and size in (1, 2):
        return {"dtype": f"|V{size}", "bits": 8 * size, "void": True}
    return None


def _order(kind: Any) -> dict[str, Any]:
    return {"order": ">"} if kind.get_order() == h5t.ORDER_BE else {}


def _float(kind: Any, size: int) -> dict[str, Any]:
    fields = tuple(map(int, kind.get_fields()))
    name = _FLOATS.get((size, fields, kind.get_ebias()))
    is_plain = kind.get_norm() == h5t.NORM_IMPLIED and kind.get_order() != h5t.ORDER_VAX
    if name is None or not is_plain:
        _, _, exponent, _, fraction = fields
        return {"dtype": f"float{8 * size} (e{exponent}m{fraction})", "bits": 8 * size}
    if name == "bfloat16" and _order(kind):
        return {"dtype": name, "turned": True}
    return {"dtype": name, **_order(kind)}


def _complex(kind: Any, size: int) -> dict[str, Any] | None:
    """Know complex numbers as h5py writes them: a record of `r` and `i`, one behind the other."""
    if kind.get_nmembers() != 2 or [kind.get_member_name(at) for at in (0, 1)] != [b"r", b"i"]:
        return None
    lanes = [_dtype(kind.get_member_type(at)) for at in (0, 1)]
    if lanes[0] != lanes[1] or kind.get_member_offset(1) * 2 != size or kind.get_member_offset(0):
        return None
    return _of_lanes(lanes[0], size)


def _of_lanes(lane: dict[str, Any] | None, size: int) -> dict[str, Any] | None:
    known = {("float32", 8): "complex64", ("float64", 16): "complex128"}
    name = known.get((lane["dtype"], size)) if lane else None
    return {**lane, "dtype": name} if lane and name else None


def _slabs(dataset: Any) -> Slabs:
    """Give what reads a dataset, in boxes that fit its chunks."""
    made = dataset.get_create_plist()
    kind = dataset.get_type()
    shape = tuple(map(int, dataset.shape))
    is_chunked = made.get_layout() == h5d.CHUNKED
    chunk = tuple(map(int, made.get_chunk())) if is_chunked else (1,) * len(shape)
    turned = bool((_dtype(kind) or {}).get("turned"))
    words = np.dtype(f"V{kind.get_size()}")

    def read(box: tuple[slice, ...]) -> Any:
        sides = tuple(part.stop - part.start for part in box)
        values = np.empty(sides, words)
        space = dataset.get_space()
        if shape:
            space.select_hyperslab(tuple(part.start for part in box), sides)
            dataset.read(h5s.create_simple(sides), space, values, kind)
        else:
            dataset.read(h5s.ALL, h5s.ALL, values, kind)
        return values.view("u2").byteswap() if turned else values

    return Slabs(shape, chunk, kind.get_size(), read)
