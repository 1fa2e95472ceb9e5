"""What a library has found in a file: tensors that are ranges of it, or that the library reads."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from typing import Any, NoReturn

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.checksums import Tally
from gradclip_cli.files.derived import DerivedSource
from gradclip_cli.files.source import Reader, Source, WholeSource
from gradclip_cli.files.streams import Front
from gradclip_cli.formats import counted
from gradclip_cli.formats.foreign.helper import Helper, helped
from gradclip_cli.formats.foreign.words import dtype_of
from gradclip_cli.formats.registry import NotWrittenError
from gradclip_cli.frozen import frozen
from gradclip_cli.tensors.dump import DumpFile, Tensor
from gradclip_cli.tensors.names import quoted

_PIECE = 1 << 20
_DAMAGED = "the file is damaged, or was made to mislead"


@frozen
class ForeignSource(DerivedSource):
    """A tensor of a file which a library reads, in C order.

    `key` is what the library's side knows it by. One that is not `parted` is best read in order;
    of one that is `proven` the library compares checksums as it reads.
    """

    reader: str
    key: str
    size: int
    parted: bool
    proven: bool
    tally: Tally = field(compare=False, repr=False)

    @property
    def seeks(self) -> bool:  # type: ignore[override]
        """Whether several may read it."""
        return self.parted

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        """Give a reader; raises `GradclipError` if the file is no longer the same."""
        with self.base.opened(), helped(self.reader, self.base) as helper:
            yield _ForeignReader(helper, self)

    def prove(self) -> None:
        """Read what nobody has read, if that proves anything."""
        if not self.proven or self.tally.is_whole:
            return
        piece = memoryview(bytearray(min(_PIECE, self.size)))
        with self.opened() as reader:
            for begin in range(0, self.size, _PIECE):
                reader.read_exactly(piece[: self.size - begin], begin)


class _ForeignReader(Reader):
    def __init__(self, helper: Helper, source: ForeignSource) -> None:
        super().__init__(source.label)
        self._helper = helper
        self._source = source

    def read_into(self, view: memoryview, offset: int) -> int:
        view = view[: max(self._source.size - offset, 0)]
        if not view:
            return 0
        request = {"key": self._source.key, "start": offset, "count": len(view)}
        got: int = self._helper.ask(request, view)
        self._source.tally.add(offset, offset + got, 0)
        return got


def located(reader: str, front: Front, source: Source, name: str | None) -> tuple[Tensor, ...]:
    """Give the tensors that count of what a library finds, in its order.

    Raises `ImportError` where the library is missing, and `GradclipError` for what it cannot read.
    """
    with source.opened(), helped(reader, source) as helper:
        said = helper.ask({})
    front.strays += said["strays"]
    front.besides += said["besides"]
    found: dict[str | None, Tensor] = {}
    if [(one["path"], "dtype" in one) for one in said["tensors"]] == [([], True)]:  # has no name
        front.is_named_by_file = name is not None
        return (replace(_tensor(name or "", said["tensors"][0], reader, source), name=name),)
    for entry in said["tensors"]:
        path = [*map(str, entry["path"])]
        called = ".".join(path)
        what = entry.get("what") or counted.kind_of(path[:-1]) or counted.kind(path[-1], True)
        if what:
            front.uncounted.setdefault(what, []).append(called)
            continue
        if called in found:
            raise counted.repeated(called, source.label)
        found[called] = _tensor(called, entry, reader, source)
    kept, _ = counted.gradients_among(found, front)
    tensors = tuple([replace(tensor, name=called) for called, tensor in kept.items()])
    return counted.named_by_file(front, tensors, name)


def _tensor(name: str, entry: dict[str, Any], reader: str, source: Source) -> Tensor:
    dtype = dtype_of(entry)
    shape = tuple(entry["shape"])
    size = dtype.size_of(math.prod(shape))
    if size >= 1 << 63:
        raise GradclipError(
            source.label, f"tensor {quoted(name)} would have {size:,} bytes", _DAMAGED
        )
    offset = entry.get("offset")
    if offset is None:
        whole = ForeignSource(
            source,
            reader,
            entry["key"],
            size,
            entry.get("parted", True),
            entry.get("proven", False),
            Tally(size),
        )
        return Tensor(name, dtype, shape, whole, 0, size)
    assert isinstance(source, WholeSource), "ranges are those of a file"
    if size and not 0 <= offset <= source.size - size:
        raise GradclipError(
            source.label,
            f"tensor {quoted(name)} would end at byte {offset + size:,} of {source.size:,}",
            "was the copy or download interrupted, or is the file still being written?",
        )
    return Tensor(name, dtype, shape, source, offset if size else 0, size)


def not_written(file: DumpFile, _tensors: Sequence[Tensor]) -> NoReturn:
    """Say that a format is read alone."""
    raise NotWrittenError(
        file.source.label,
        f"{file.format} files are read, and not written",
        "write the result as another kind of file: -o clipped.safetensors",
    )
