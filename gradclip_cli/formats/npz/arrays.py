"""Where the arrays of an `.npz` file lie: a ZIP archive whose members are `.npy` files.

From `numpy/lib/_npyio_impl.py` (`savez`, `NpzFile`): an array is called as its member, without
`.npy`; members are stored as they are, or compressed. The archive is read by the standard library,
and its checksums are verified as NumPy does it: of everything that is read.
"""

import dataclasses
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from operator import add, sub
from zipfile import ZIP_STORED

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.members import PackedSource, StoredSource
from gradclip_cli.files.source import Reader, Source, WholeSource
from gradclip_cli.files.streams import Front
from gradclip_cli.formats import npy
from gradclip_cli.formats.archives import (
    abouts_of,
    like,
    members_of,
    packing,
    sealed,
)
from gradclip_cli.formats.layouts import Layout, are_alike, check_names, laid
from gradclip_cli.tensors.dump import DumpFile, Tensor
from gradclip_cli.tensors.names import quoted

_SUFFIX = ".npy"
_LONGEST = 65_535 - len(_SUFFIX)  # bytes of a name
_HEAD = npy.HEADER_LIMIT + 12  # bytes; a longer header is refused


def locate(front: Front, source: Source, _name: str | None = None) -> tuple[Tensor, ...]:
    """Give the arrays in the archive's order.

    Raises `GradclipError` for an archive that is damaged, a member that is no array, and for two
    that NumPy would call the same.
    """
    assert isinstance(source, WholeSource), "archives are read from files"
    if not front.peek(1):
        raise GradclipError(source.label, "empty: 0 bytes", "was the copy interrupted?")
    if front.peek(4) not in (b"PK\3\4", b"PK\5\6"):
        raise GradclipError(
            source.label,
            "not an .npz file: it does not begin as a ZIP archive does",
            "the file is damaged, or its name has the wrong suffix",
        )
    with source.opened() as reader:
        tensors = (*_tensors(front, source, reader),)
    names: set[str | None] = set()
    for tensor in tensors:
        if tensor.name in names:
            raise GradclipError(
                source.label,
                f"two arrays are called {quoted(tensor.name)}",
                "readers differ in which of the two they take: save the file again",
            )
        names.add(tensor.name)
    return tensors


def _tensors(front: Front, source: WholeSource, reader: Reader) -> Iterator[Tensor]:
    for member in members_of(source, reader):
        name = member.name.removesuffix(_SUFFIX)
        packed = PackedSource.within(source, member)
        try:
            yield _tensor(front, source, packed, name, reader)
        except GradclipError as error:
            raise GradclipError(
                source.label, f"array {quoted(name)}: {error.problem}", error.hint
            ) from error


def _tensor(
    front: Front, file: WholeSource, packed: PackedSource, name: str, reader: Reader
) -> Tensor:
    """Find the array of a member, whose header is read."""
    member = packed.member
    head = bytearray(min(member.size, _HEAD))
    if member.method == ZIP_STORED:
        reader.read_exactly(memoryview(head), member.start)
    else:
        packed.made_from(reader).read_exactly(memoryview(head), 0)
    beginning = Front(_nothing_more, bytes(head))
    if not npy.recognised(bytes(head[:6])):
        raise GradclipError(
            packed.label,
            "the member is no array: an .npz file holds .npy files alone",
            "take it out of the archive: zip -d FILE MEMBER",
        )
    (tensor,) = npy.locate(beginning, packed, name)
    front.strays += (f"array {quoted(name)}: {stray}" for stray in beginning.strays)
    end = tensor.offset + tensor.size
    if end != member.size:
        raise GradclipError(
            packed.label,
            f"{abs(end - member.size):,} of its {end:,} bytes are missing"
            if end > member.size
            else f"{member.size - end:,} bytes follow its values",
            "the file is damaged: save it again",
        )
    if member.method != ZIP_STORED:
        return tensor
    stored = StoredSource.within(file, member, bytes(head[: tensor.offset]))
    return dataclasses.replace(tensor, source=stored, offset=member.start + tensor.offset)


def _nothing_more(_count: int, _position: int) -> bytes:
    return b""


def copied(file: DumpFile, tensors: Sequence[Tensor]) -> Layout:
    """Lay out a copy: with ranges rewritten, or packed anew where that is not all.

    So it is where a member is compressed, or becomes another dtype.
    """
    source = file.source
    assert isinstance(source, WholeSource), "archives are read from files"
    is_stored = [isinstance(tensor.source, StoredSource) for tensor in file.tensors]
    given = [
        dataclasses.replace(tensor, source=source) if stored else tensor
        for tensor, stored in zip(file.tensors, is_stored, strict=True)
    ]
    if all(is_stored) and are_alike(file.tensors, tensors):
        return Layout((*given,), (*given,), seal=sealed)
    with source.opened() as reader:
        abouts = [like(about) for about in abouts_of(source, reader)]
    headers = map(_header, file.tensors, tensors)
    return dataclasses.replace(_packed(tensors, [*headers], abouts), given=(*given,))


def laid_out(tensors: Sequence[Tensor]) -> Layout:
    """Lay out arrays in an archive as `np.savez` writes it, not compressed."""
    npy.check_written(tensors, ".npz")
    names = {tensor.name for tensor in tensors}

    def problem_of(name: str) -> str:
        if "\0" in name:
            return "it would end at its NUL byte"
        if len(name.encode()) > _LONGEST:
            return "it is too long for a member of an archive"
        short = name.removesuffix(_SUFFIX)
        is_taken = short != name and short in names
        return f"readers would take {quoted(short)} for it" if is_taken else ""

    check_names(tensors, problem_of, ".npz")
    abouts = [zipfile.ZipInfo(f"{tensor.name}{_SUFFIX}") for tensor in tensors]
    return _packed(tensors, [*map(npy.header_of, tensors)], abouts)


def _packed(
    tensors: Sequence[Tensor], headers: Sequence[bytes], abouts: Sequence[zipfile.ZipInfo]
) -> Layout:
    """Lay out the members one after the other, as they go into the archive."""
    sizes = [tensor.dtype.size_of(tensor.count) for tensor in tensors]
    ends = [*accumulate(map(add, map(len, headers), sizes), initial=0)]
    literals = (*zip(ends, headers, strict=False),)
    members = [*zip(abouts, map(sub, ends[1:], ends), strict=True)]
    offsets = [end - size for end, size in zip(ends[1:], sizes, strict=True)]
    layout = laid(tensors, offsets, literals)
    is_stored = all(about.compress_type == ZIP_STORED for about in abouts)
    return dataclasses.replace(layout, pack=partial(packing, members=members), stored=is_stored)


def _header(tensor: Tensor, target: Tensor) -> bytes:
    """Give the header of a member: what it has, or where the dtype changes a new one."""
    if tensor.dtype != target.dtype:
        return npy.header_of(target)
    start = tensor.source.member.start if isinstance(tensor.source, StoredSource) else 0
    header = bytearray(tensor.offset - start)
    with tensor.source.opened() as reader:
        reader.read_exactly(memoryview(header), start)
    return bytes(header)
