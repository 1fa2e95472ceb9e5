"""The formats that there are, and what a format says of itself.

A line here, and the file that it names, is all that a new one takes. A package of somebody else's
brings one by the entry point `gradclip.formats`, whose name is the suffix: it is looked up only
where no format of gradclip's own fits, and loaded only for that suffix.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import Source
from gradclip_cli.files.streams import Front
from gradclip_cli.formats.layouts import Layout, are_alike, unchanged
from gradclip_cli.frozen import frozen
from gradclip_cli.registry import load
from gradclip_cli.tensors.dump import DumpFile, Tensor
from gradclip_cli.tensors.names import ends_in

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

FORMATS = [
    "gradclip_cli.formats.dcp.format:DCP",
    "gradclip_cli.formats.npy:NPY",
    "gradclip_cli.formats.npz.format:NPZ",
    "gradclip_cli.formats.pt.format:PT",
    "gradclip_cli.formats.safetensors:SAFETENSORS",
    "gradclip_cli.formats.hdf5.format:HDF5",
    "gradclip_cli.formats.flax.format:FLAX",
    "gradclip_cli.formats.zarr.format:ZARR",
]

GROUP = "gradclip.formats"


class NotWrittenError(GradclipError):
    """A format is read, and files of it are not written."""


def _never(_name: str) -> bool:
    return False


def ranges(file: DumpFile, tensors: Sequence[Tensor]) -> Layout:
    """Lay out a copy with the same bytes, ranges of which are rewritten."""
    if any(tensor.source is not file.source for tensor in tensors):
        raise NotWrittenError(
            file.source.label,
            "its tensors are no ranges of its bytes, so that no copy of it can be clipped",
            "write them as another kind of file: -o clipped.safetensors",
        )
    if not are_alike(file.tensors, tensors):
        raise NotWrittenError(
            file.source.label,
            "holds nothing but integers, and this format cannot be laid out anew with float64",
            "save the gradients as floating numbers",
        )
    return unchanged(file.tensors)


@frozen
class Format:
    """A kind of file: its suffixes, how its first bytes look, and where its tensors lie.

    `recognised` is given the first bytes of a file. `read` is given its front, its source and the
    name for a tensor that the file does not name; it gives the tensors in the order of the header,
    or raises `GradclipError` where the file is none of its kind. `copied` says how a clipped copy
    is laid out in which tensors become these, which are others in their dtypes alone: the same
    bytes with ranges rewritten, if nothing else is said. `laid_out` gives a new file for any
    tensors, in C order and with little ends; a format without it is not written for others.

    `suffixes` are in small letters, and those of files may have capitals. What has one and begins
    with `magic` is taken for such a file even if it is not recognised. One that is read from
    `anywhere`, and not from the front to the end of its tensors, itself checks the size of the
    file; of a stream such a format gets a copy in a file.

    A folder that holds a file of one of the names `marks` is one dump, with all that is in it, and
    files of the suffixes `parts` lie nowhere else. In other folders, files of a format that
    `yields` do not count beside those of others, and never those whose names `is_beside` matches.

    `is_named_by_file` says that the one tensor has no name of its own. `confirm`, if there is one,
    asks the format's own library about the file at a path, which messages call by a label. `extra`
    is that of gradclip which brings the library, `package` the one from which the format itself is.
    """

    name: str
    suffixes: tuple[str, ...]
    recognised: Callable[[bytes], bool]
    read: Callable[[Front, Source, str | None], tuple[Tensor, ...]]
    copied: Callable[[DumpFile, Sequence[Tensor]], Layout] = ranges
    laid_out: Callable[[Sequence[Tensor]], Layout] | None = None
    magic: bytes = b""
    anywhere: bool = False
    marks: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    yields: bool = False
    is_beside: Callable[[str], object] = _never
    is_named_by_file: bool = False
    confirm: Callable[[str, str], None] | None = None
    extra: str = ""
    package: str = ""


def lazily(name: str) -> Callable[..., Any]:
    """Give a function of a dotted name, which is imported when it is first called."""

    def called(*arguments: Any) -> Any:
        return load(name)(*arguments)

    return called


def formats() -> tuple[Format, ...]:
    """Give gradclip's own formats."""
    return _loaded(tuple(FORMATS))


@functools.cache
def _loaded(names: tuple[str, ...]) -> tuple[Format, ...]:
    return tuple(load(name) for name in names)


def suffixes() -> tuple[str, ...]:
    """Give the suffixes of gradclip's own formats."""
    return tuple(suffix for form in formats() for suffix in form.suffixes)


def of_suffix(path: str) -> Format | None:
    """Give gradclip's own format whose suffix a path has."""
    return next((form for form in formats() if ends_in(path, form.suffixes)), None)


def ending_of(path: str) -> str:
    """Give the suffix of a path by which it is known for a dump; none is empty."""
    own = next((suffix for suffix in suffixes() if ends_in(path, suffix)), "")
    return own or (f".{_suffix(path)}" if is_of_package(path) else "")


def called(name: str) -> Format:
    """Give the format of this name, one of gradclip's own or one that a package has brought."""
    return next(form for form in (*formats(), *_brought.values()) if form.name == name)


def copied(file: DumpFile, tensors: Sequence[Tensor]) -> Layout:
    """Lay out a copy of a file in which its tensors become these, of other dtypes at the most."""
    return called(file.format).copied(file, tensors)


def mark_of(names: Iterable[str]) -> str:
    """Give the name, of those of a folder's files, that makes it one dump; else nothing."""
    found = {*names}
    for form in formats():
        if not form.parts or any(is_part(name) for name in found):
            for mark in form.marks:
                if mark in found:
                    return mark
    return ""


def marked(path: str) -> Format | None:
    """Give the format of a folder that a file at this path marks."""
    name = os.path.basename(path)
    return next((form for form in formats() if name in form.marks), None)


def is_part(path: str) -> bool:
    """Say whether a path is that of a part of a dump, and no dump by itself."""
    return path.endswith(tuple(suffix for form in formats() for suffix in form.parts))


def written_suffixes() -> tuple[str, ...]:
    """Give the suffixes of formats in which any dump can be written."""
    return tuple(form.suffixes[0] for form in formats() if form.laid_out is not None)


def list_of_suffixes() -> str:
    """Say what is read, for messages."""
    *others, last = suffixes()
    return f"{', '.join(others)} and {last}"


# Formats of other packages

_brought: dict[str, Format] = {}


def is_of_package(path: str) -> bool:
    """Say whether an installed package reads files with this path's suffix; none is loaded."""
    return bool(_suffix(path)) and _suffix(path) in _entry_points()


def of_package(path: str) -> Format | None:
    """Give the format that an installed package has for this path's suffix.

    Raises `GradclipError` where the package is broken.
    """
    suffix = _suffix(path)
    if suffix not in _brought and is_of_package(path):
        _brought[suffix] = _load(_entry_points()[suffix], path)
    return _brought.get(suffix)


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].removeprefix(".").lower()


@functools.cache
def _entry_points() -> dict[str, "EntryPoint"]:
    from importlib.metadata import entry_points  # takes as long as a small measurement

    return {point.name.removeprefix(".").lower(): point for point in entry_points(group=GROUP)}


def _load(point: "EntryPoint", path: str) -> Format:
    package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
    try:
        form = point.load()
        if not isinstance(form, Format):
            raise TypeError(f"{point.value} is no gradclip_cli.formats.registry.Format")
    except Exception as error:
        raise GradclipError(
            path,
            f"{package} is installed to read {_suffix(path)} files and cannot be loaded: {error}",
            "update that package, or remove it",
        ) from error
    return dataclasses.replace(form, package=package)
