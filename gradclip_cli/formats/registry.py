"""The formats that there are, and what a format says of itself.

A line here, and the file that it names, is all that a new one takes. A package of somebody else's
brings one by the entry point `gradclip.formats`, whose name is the suffix: it is looked up only
where no format of gradclip's own fits, and loaded only for that suffix.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import Front, Source
from gradclip_cli.frozen import frozen
from gradclip_cli.registry import load
from gradclip_cli.tensors.dump import Tensor

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

FORMATS = [
    "gradclip_cli.formats.npy:NPY",
    "gradclip_cli.formats.safetensors:SAFETENSORS",
]

GROUP = "gradclip.formats"


def _cannot_grow(_header: bytes, tensors: Sequence[Tensor], _names: Container[str | None]) -> bytes:
    raise GradclipError(
        tensors[0].source.label,
        "holds nothing but integers, and this format cannot be laid out anew with float64",
        "save the gradients as floating numbers",
    )


@frozen
class Format:
    """A kind of file: its suffixes, how its first bytes look, and where its tensors lie.

    `recognised` is given the first bytes of a file. `read` is given its front, its source and the
    name for a tensor that the file does not name; it gives the tensors in the order of the header,
    or raises `GradclipError` where the file is none of its kind. A clipped copy has the same bytes
    with ranges rewritten; only where integers become float64 is it laid out anew, and `promoted`
    gives that header: from the old one, the tensors, and the names of those that do.

    `is_named_by_file` says that the one tensor has no name of its own. `confirm`, if there is one,
    asks the format's own library about the file at a path, which messages call by a label. `extra`
    is that of gradclip which brings the library, `package` the one from which the format itself is.
    """

    name: str
    suffixes: tuple[str, ...]
    recognised: Callable[[bytes], bool]
    read: Callable[[Front, Source, str | None], tuple[Tensor, ...]]
    promoted: Callable[[bytes, Sequence[Tensor], Container[str | None]], bytes] = _cannot_grow
    is_named_by_file: bool = False
    confirm: Callable[[str, str], None] | None = None
    extra: str = ""
    package: str = ""


def formats() -> tuple[Format, ...]:
    """Give gradclip's own formats."""
    return _loaded(tuple(FORMATS))


@functools.cache
def _loaded(names: tuple[str, ...]) -> tuple[Format, ...]:
    return tuple(load(name) for name in names)


def suffixes() -> tuple[str, ...]:
    """Give the suffixes of gradclip's own formats."""
    return tuple(suffix for form in formats() for suffix in form.suffixes)


def ending_of(path: str) -> str:
    """Give the suffix of a path by which it is known for a dump; none is empty."""
    own = next((suffix for suffix in suffixes() if path.endswith(suffix)), "")
    return own or (f".{_suffix(path)}" if is_of_package(path) else "")


def called(name: str) -> Format:
    """Give the format of this name, one of gradclip's own or one that a package has brought."""
    return next(form for form in (*formats(), *_brought.values()) if form.name == name)


def list_of_suffixes() -> str:
    """Say what is read, for messages."""
    return " and ".join(suffixes())


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
    return os.path.splitext(path)[1].removeprefix(".")


@functools.cache
def _entry_points() -> dict[str, "EntryPoint"]:
    from importlib.metadata import entry_points  # takes as long as a small measurement

    return {point.name.removeprefix("."): point for point in entry_points(group=GROUP)}


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
