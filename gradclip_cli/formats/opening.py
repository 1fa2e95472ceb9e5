"""From paths to a dump: the table of formats, and what their files have in common.

A format is one function that says where its tensors lie. A single file's format is recognised by
its content; a folder's members are chosen by suffix and must then parse.
"""

import io
import os
import stat
import tempfile
from collections.abc import Callable, Container, Iterable, Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.marks import is_ours
from gradclip_cli.files.source import Source, Stream, kind_of_file
from gradclip_cli.formats import npy, safetensors
from gradclip_cli.frozen import frozen
from gradclip_cli.tensors.dump import Companion, Dump, DumpFile, Tensor
from gradclip_cli.tensors.names import escape, natural, quoted, shortened

Read = Callable[[int], bytes]


class RepeatedNameError(GradclipError):
    """Two files of one gradient have a tensor of the same name."""


@frozen
class Format:
    """A kind of file: its suffix, how its first bytes look, and where its tensors lie.

    `locate` takes a reader, the source and the name for a tensor that the file does not name.
    `promoted` gives the header of the same file with the named integer tensors as float64.
    """

    name: str
    suffix: str
    recognised: Callable[[bytes], bool]
    locate: Callable[[Read, Source, str | None], tuple[Tensor, ...]]
    promoted: Callable[[bytes, Sequence[Tensor], Container[str | None]], bytes]


FORMATS = (
    Format(
        "npy",
        ".npy",
        npy.recognised,
        npy.locate,
        lambda _header, tensors, _names: npy.promoted(tensors),
    ),
    Format(
        "safetensors",
        ".safetensors",
        safetensors.recognised,
        lambda read, source, _: safetensors.locate(read, source),
        lambda header, _, names: safetensors.promoted(header, names),
    ),
)
INDEX_SUFFIX = ".safetensors.index.json"

STDIN = "-"
_HEAD = 4096

# What people hand to gradclip by mistake: how it begins, what it is, what to do.
_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run: git lfs pull"),
    (b"<!DOCTYPE", "an HTML page", "the download failed and saved the error page: fetch it again"),
    (b"<html", "an HTML page", "the download failed and saved the error page: fetch it again"),
    (
        b"PK\x03\x04",
        "a ZIP archive, as NumPy's .npz and PyTorch's .pt are",
        "save the tensors with safetensors, or unpack an .npz with: unzip FILE -d FOLDER",
    ),
    (b"\x1f\x8b", "compressed with gzip", "unpack it first: gunzip FILE"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first: unzstd FILE"),
    (b"\x89HDF", "an HDF5 file", "save the tensors with safetensors"),
    *(
        (
            bytes((0x80, protocol)),
            "a Python pickle, which can run code and is never opened",
            "save the tensors with safetensors: safetensors.torch.save_file(tensors, path)",
        )
        for protocol in range(2, 6)
    ),
)


@frozen
class Place:
    """Where a file is said to be: an operand of its own, or a member of a folder.

    `relative` is its path below that folder; standard input, `-`, has none.
    """

    path: str
    relative: str
    member: bool = False

    def open(self) -> DumpFile:
        """Read the file's header; raises `GradclipError` where it is no sound dump."""
        if self.member:  # nobody named it, so a FIFO among them would be waited for in vain
            return _open_regular(self.path, self.relative)
        return open_file(self.path, self.relative)


@frozen
class Found:
    """What operands name: files, shard indexes, and the number of other files in folders."""

    files: tuple[Place, ...]
    companions: tuple[Companion, ...]
    ignored: int

    @property
    def folders(self) -> set[str]:
        """The folders in which the files really lie."""
        paths = (place.path for place in self.files if place.path != STDIN)
        folders = {
            os.path.dirname(os.path.realpath(path) if os.path.islink(path) else path)
            for path in paths
        }
        return set(map(os.path.realpath, folders))

    def open(self) -> Dump:
        """Read the headers of all files, as one gradient.

        Raises `GradclipError` for a path that is no file, a file that is no sound dump, and a
        tensor name that stands in two files.
        """
        files = [place.open() for place in self.files]
        _check_different(files)
        return Dump(tuple(files), self.companions, self.ignored)


def open_dump(operands: Sequence[str]) -> Dump:
    """Read the headers of all files that the operands name; as `find` and `Found.open` do it."""
    return find(operands).open()


def find(operands: Sequence[str]) -> Found:
    """Give the files that operands name, opening none; `-` is standard input.

    Raises `GradclipError` for a folder without dumps.
    """
    files: list[Place] = []
    companions: list[Companion] = []
    ignored = 0
    if operands.count(STDIN) > 1:
        raise GradclipError(STDIN, "standard input can be read only once", "give - once")
    for operand in operands:
        if not os.path.isdir(operand):
            files.append(Place(operand, "" if operand == STDIN else os.path.basename(operand)))
            continue
        dumps, indexes, others = _members(operand)
        if not dumps:
            raise GradclipError(
                operand,
                f"a folder without dumps ({others:,} other files)",
                f"gradclip reads {' and '.join(form.suffix for form in FORMATS)} files",
            )
        files += (Place(os.path.join(operand, member), member, True) for member in dumps)
        companions += (Companion(os.path.join(operand, index), index) for index in indexes)
        ignored += others
    return Found(tuple(files), tuple(companions), ignored)


def open_file(operand: str, relative: str) -> DumpFile:
    """Read the header of what an operand names: a file, a FIFO, or standard input.

    `relative` is its path below the folder that it was found in; standard input has none.
    """
    if operand == STDIN:
        if stat.S_ISREG(os.fstat(0).st_mode) and os.lseek(0, 0, os.SEEK_CUR) == 0:
            return _open_regular("/dev/stdin", "", "standard input")
        return _open_stream(Stream(0), "standard input", "")
    if stat.S_ISFIFO(os.stat(operand).st_mode):
        return _open_stream(Stream(os.open(operand, os.O_RDONLY)), operand, relative)
    return _open_regular(operand, relative)


def _open_regular(path: str, relative: str, label: str | None = None) -> DumpFile:
    label = label or path
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):  # before opening: a FIFO would wait for its writer
        raise GradclipError(
            label,
            f"a {kind_of_file(mode)}, not a regular file",
            "gradclip reads files, folders of files, and standard input",
        )
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        source = Source.of(descriptor, path, label)
        reader = _Reader(descriptor)
        form = _format(reader.head, label)
        tensors = form.locate(reader.read, source, _stem(relative))
    finally:
        os.close(descriptor)
    _check_size(tensors, source, reader.position)
    if form.name == "safetensors":
        _ask_reference(path, label)
    return DumpFile(source, relative, form.name, tensors)


class _Reader:
    """Reads a file from the front, a short header in one go: a buffered stream asks five times."""

    def __init__(self, descriptor: int) -> None:
        self.head = os.pread(descriptor, _HEAD, 0)
        self.position = 0
        self._descriptor = descriptor

    def read(self, count: int) -> bytes:
        """Give the next bytes; fewer than `count` only at the end."""
        data = self.head[self.position : self.position + count]
        while rest := count - len(data):
            more = os.pread(self._descriptor, rest, self.position + len(data))
            if not more:
                break
            data += more
        self.position += len(data)
        return data


def _open_stream(stream: Stream, label: str, relative: str) -> DumpFile:
    source = Source("", label, stream=stream)
    form = _format(stream.peek(_HEAD), label)
    tensors = form.locate(stream.read, source, _stem(relative))
    if form.name == "safetensors":
        # The reference reads only files: it is given the header and a hole for the values.
        with tempfile.TemporaryFile() as stand_in:
            stand_in.write(stream.header)
            stand_in.truncate(end_of(tensors, len(stream.header)))
            stand_in.flush()
            _ask_reference(f"/dev/fd/{stand_in.fileno()}", label)
    return DumpFile(source, relative, form.name, tensors)


def end_of(tensors: Iterable[Tensor], data_start: int = 0) -> int:
    """Give the offset at which a file with these tensors ends."""
    return max((tensor.offset + tensor.size for tensor in tensors), default=data_start)


def promoted(file: DumpFile, names: Container[str | None]) -> tuple[bytes, tuple[Tensor, ...]]:
    """Lay the file out anew with the named integer tensors as float64: its header, its tensors."""
    start = min((tensor.offset for tensor in file.tensors), default=file.source.size)
    with file.source.opened() as descriptor:
        old = os.pread(descriptor, start, 0)
    form = next(form for form in FORMATS if form.name == file.format)
    header = form.promoted(old, file.tensors, names)
    return header, form.locate(io.BytesIO(header).read, file.source, file.tensors[0].name)


def _members(folder: str) -> tuple[list[str], list[str], int]:
    """Give a folder's dumps and shard indexes in natural order, and how many other files it has."""
    dumps, indexes, others = [], [], 0
    suffixes = tuple(form.suffix for form in FORMATS)
    for place, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = (name for name in folders if not is_ours(name))
        below = os.path.relpath(place, folder)
        for name in names:
            member = name if below == os.curdir else os.path.join(below, name)
            if is_ours(name):
                continue
            if name.endswith(INDEX_SUFFIX):
                indexes.append(member)
            elif name.endswith(suffixes):
                dumps.append(member)
            else:
                others += 1
    return sorted(dumps, key=natural), sorted(indexes, key=natural), others


def _raise(error: OSError) -> None:
    raise error


def _stem(relative: str) -> str | None:
    """Give the name of a file's one tensor: the file's; a stream has none."""
    return relative.removesuffix(".npy").replace(os.sep, ".") or None


def _format(head: bytes, path: str) -> Format:
    """Recognise a file by its content; where that fails, by its suffix, for the better message."""
    for form in FORMATS:
        if form.recognised(head):
            return form
    for start, what, hint in _FOREIGN:
        if head.lstrip()[: len(start)].lower() == start.lower():
            raise GradclipError(path, f"not a dump of tensors but {what}", hint)
    for form in FORMATS:
        if path.endswith(form.suffix):
            return form
    raise GradclipError(
        path,
        "an unknown kind of file" if head else "empty: 0 bytes",
        f"gradclip reads {' and '.join(form.suffix for form in FORMATS)} files",
    )


def _check_size(tensors: Sequence[Tensor], source: Source, data_start: int) -> None:
    end = end_of(tensors, data_start)
    if source.size < end:
        first = min(
            (tensor for tensor in tensors if tensor.offset + tensor.size > source.size),
            key=lambda tensor: tensor.offset,
        )
        raise GradclipError(
            source.label,
            f"truncated: {end - source.size:,} of {end:,} bytes are missing; the first tensor to "
            f"be cut is {quoted(first.name)}",
            "was the copy or download interrupted, or is the file still being written?",
        )
    if source.size > end:
        raise GradclipError(
            source.label,
            f"{source.size - end:,} bytes follow the last tensor, which ends at byte {end:,}",
            "two arrays in one file, a copy padded with zeros, or a transfer in text mode? "
            "gradclip reads only whole files",
        )


def _ask_reference(path: str, label: str) -> None:
    """Refuse whatever the safetensors library refuses, should gradclip's own rules have a gap."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        raise GradclipError(
            label,
            f"the safetensors library refuses the file: {shortened(escape(str(error)), 200)}",
            "the file is damaged or was written by a faulty program: save it again",
        ) from error


def _check_different(files: Sequence[DumpFile]) -> None:
    places: dict[str | None, DumpFile] = {}
    for file in files:
        for tensor in file.tensors:
            other = places.setdefault(tensor.name, file)
            if other is not file:
                raise RepeatedNameError(
                    file.source.label,
                    f"tensor {quoted(tensor.name)} also stands in {escape(other.source.label)}",
                    "all files together are one gradient; for several, make one run per file, or "
                    "follow the steps of a run with gradclip trend",
                )
    inodes: dict[tuple[int, int], DumpFile] = {}
    for file in files:
        if file.source.stream is None:
            other = inodes.setdefault((file.source.device, file.source.inode), file)
            if other is not file:
                raise GradclipError(
                    file.source.label,
                    f"is the same file as {escape(other.source.label)}",
                    "give each file once, or its values count twice",
                )
