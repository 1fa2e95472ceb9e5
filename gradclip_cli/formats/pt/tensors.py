"""From views of storages to tensors that say where they lie, and to a copy that PyTorch loads."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import Reader, Source, WholeSource
from gradclip_cli.files.streams import Front
from gradclip_cli.formats.archives import sealed
from gradclip_cli.formats.layouts import Layout, are_alike
from gradclip_cli.formats.pt import containers
from gradclip_cli.formats.pt.allowed import WAY_OUT, View, shown
from gradclip_cli.formats.pt.containers import Held
from gradclip_cli.formats.pt.contents import contents
from gradclip_cli.formats.pt.format import is_stream, is_tar
from gradclip_cli.formats.pt.opcodes import PickleError
from gradclip_cli.formats.registry import NotWrittenError
from gradclip_cli.tensors.dtypes import DType
from gradclip_cli.tensors.dump import DumpFile, Tensor

# How much larger an expanded view may be than its storage, and how large in any case, in bytes.
_REPEATED, _LARGE = 16, 1 << 27
_HEAD = 512  # bytes by which a container is known
_MOST = 1 << 30  # bytes, of all views together, beyond so many times the file

_Read = Callable[[WholeSource, Reader, Front], Held]


def locate(front: Front, source: Source, name: str | None) -> tuple[Tensor, ...]:
    """Give the tensors that count, in the order of the file.

    Raises `GradclipError` for what is none of torch.save, what would run code, and a view that lies
    beyond its storage.
    """
    assert isinstance(source, WholeSource), "it is read from anywhere"
    tensors, _ = _found(front, source, name)
    total = sum([tensor.size for tensor in tensors])
    if total > _REPEATED * source.size + _MOST:
        raise GradclipError(
            source.label,
            f"its tensors repeat {source.size:,} bytes to {total:,}",
            "the file is damaged, or was made to mislead",
        )
    return tensors


_Found = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]


def _found(front: Front, source: WholeSource, name: str | None) -> _Found:
    """Give the tensors that count, and those that do not."""
    read = _container(front.peek(_HEAD), source)
    try:
        with source.opened() as reader:
            held = read(source, reader, front)
        found = contents(held.root, name, front, source.label)
        counted, uncounted = (
            tuple([tensor_of(called, view, held, source) for called, view in some.items()])
            for some in (found.counted, found.uncounted)
        )
    except PickleError as error:
        hint = error.hint or "the file is damaged: save it again with torch.save"
        raise GradclipError(source.label, error.problem, hint) from error
    return counted, uncounted


def _container(head: bytes, source: Source) -> _Read:
    if head.startswith(b"PK\x03\x04"):
        return containers.archive
    if is_stream(head):
        return containers.stream
    if is_tar(head):
        return containers.tar
    if not head:
        raise GradclipError(source.label, "empty: 0 bytes", "was the copy interrupted?")
    raise GradclipError(
        source.label,
        "no file of torch.save: it begins as none of its archives",
        "the file is damaged, or its name has the wrong suffix",
    )


def tensor_of(name: str | None, view: View, held: Held, source: WholeSource) -> Tensor:
    """Find a view's bytes; what does not lie within its storage is refused before it is read."""
    called = f"tensor {shown(name or '')}"
    storage = view.storage
    place = held.places.get(storage.key)
    if place is None:
        raise GradclipError(
            source.label, f"{called}: its storage {shown(storage.key)} is not in the file", WAY_OUT
        )
    begin, end = place
    item = view.dtype.size_of(1)
    if end - begin != storage.dtype.size_of(storage.count):
        raise GradclipError(
            source.label,
            f"{called}: its storage has {end - begin:,} bytes, where "
            f"{storage.dtype.size_of(storage.count):,} were said",
            "was the copy or download interrupted? save the file again",
        )
    count = math.prod(view.shape)
    pairs = [(side, stride) for side, stride in zip(view.shape, view.strides, strict=True)]
    last = view.offset + (sum((side - 1) * stride for side, stride in pairs) + 1 if count else 0)
    if last * item > end - begin or count * item >= 1 << 63:
        raise GradclipError(
            source.label,
            f"{called} lies beyond its storage: it would end at byte {last * item:,} of "
            f"{end - begin:,}",
            "the file is damaged, or was made to mislead",
        )
    if count * item > max(_REPEATED * (end - begin), _LARGE):
        raise GradclipError(
            source.label,
            f"{called} repeats {end - begin:,} bytes to {count * item:,}",
            "save what it repeats, or a copy of it: tensor.contiguous()",
        )
    dtype, swapped = (view.dtype, 0) if held.is_little else _swapped(view.dtype)
    start = begin + view.offset * item
    if not swapped and _are_packed(pairs):
        return Tensor(name, dtype, view.shape, source, start, count * item)
    if not swapped and _are_packed(pairs[::-1]):
        return Tensor(name, dtype, view.shape, source, start, count * item, fortran=True)
    from gradclip_cli.files.strided import StridedSource  # hardly ever needed

    strides = tuple(stride * item for stride in view.strides)
    apart = StridedSource(source, start, view.shape, strides, item, swapped)
    return Tensor(name, dtype, view.shape, apart, 0, count * item)


def _swapped(dtype: DType) -> tuple[DType, int]:
    """Give a dtype with its great end first, or the size of the words that have to be turned."""
    if dtype.kind in ("float", "complex", "integer") and dtype.name != "bfloat16":
        words = dtype.words
        return (replace(dtype, words=">" + words[1:]) if words[:1] == "<" else dtype), 0
    return dtype, dtype.bits // 8 if dtype.bits > 8 else 0


def _are_packed(pairs: Sequence[tuple[int, int]]) -> bool:
    """Say whether values lie one after the other, the last side the fastest."""
    expected = 1
    for side, stride in reversed(pairs):
        if side == 0:
            return True
        if side > 1 and stride != expected:
            return False
        expected *= side
    return True


def copied(file: DumpFile, tensors: Sequence[Tensor]) -> Layout:
    """Lay out a copy with the same bytes but those of the values, and true checksums."""
    assert isinstance(file.source, WholeSource), "it is read from anywhere"
    with file.source.opened() as reader:
        data = bytearray(min(_HEAD, file.source.size))
        reader.read_exactly(memoryview(data), 0)
    head = bytes(data)
    if is_tar(head):
        raise NotWrittenError(
            file.source.label,
            "a tar of PyTorch's first versions, which nothing writes any more",
            "write it as safetensors: -o clipped.safetensors",
        )
    if not are_alike(file.tensors, tensors):
        raise NotWrittenError(
            file.source.label,
            "holds nothing but integers, and its pickle says so of each of them",
            "write them as float64 into another kind of file: -o clipped.safetensors",
        )
    seal = partial(sealed, only_known=True) if head.startswith(b"PK") else None
    kept = _found(Front(lambda *_: b"", head), file.source, None)[1] if file.uncounted else ()
    return Layout(file.tensors, file.tensors, seal=seal, kept=kept)
