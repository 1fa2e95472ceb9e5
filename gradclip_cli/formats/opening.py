"""One file, opened: recognised by its content, its header read, its size checked."""

import codecs
import dataclasses
import os
import re
import stat
from collections.abc import Callable, Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.files.source import Source, WholeSource
from gradclip_cli.files.spools import Spool, spool_file
from gradclip_cli.files.streams import Front, Stream, StreamSource
from gradclip_cli.files.system import open_fifo, path_of
from gradclip_cli.files.urls import is_url
from gradclip_cli.formats import registry
from gradclip_cli.formats.endings import DUMPS
from gradclip_cli.formats.registry import Format
from gradclip_cli.tensors.dtypes import VOID_AS, said_to_be
from gradclip_cli.tensors.dump import DumpFile, Tensor, end_of
from gradclip_cli.tensors.names import ends_in, quoted, shortened

STDIN = "-"
_HEAD = 4096

# A ZIP archive begins with the name of its first member, behind 26 bytes about it.
_ZIP = rb"PK\x03\x04"
_MEMBER = _ZIP + rb".{26}[^\x00-\x1f]*?"

# What people hand to gradclip by mistake: a pattern of how it begins, what it is, what to do.
_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run: git lfs pull"),
    (b"<!DOCTYPE", "an HTML page", "the download failed and saved the error page: fetch it again"),
    (b"<html", "an HTML page", "the download failed and saved the error page: fetch it again"),
    (_ZIP, "a ZIP archive", "unpack it first: unzip FILE -d FOLDER"),
    (rb"\x1f\x8b", "compressed with gzip", "unpack it first: gunzip FILE"),
    (rb"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first: unzstd FILE"),
    (b"GGUF", "a GGUF file", "save the tensors with safetensors"),
    (
        rb"Loss,[^\n]*\n(?:Param|Grad),",
        "a log of fairchem with the mean of |g| of each parameter, from which no norm follows",
        "save the gradients themselves where they are logged: "
        "torch.save({name: p.grad for name, p in model.named_parameters()}, path)",
    ),
    (
        rb"\x80[\x02-\x05]",
        "a Python pickle, which can run code and is never opened",
        "save plain tensors where it was made: "
        "torch.save({name: p.grad for name, p in model.named_parameters()}, path)",
    ),
)

_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"%PDF")
_CONTROLS = "\t\n\f\r\x08\x1b"  # of logs


def is_no_dump(path: str) -> bool:
    """Say whether a file is surely none: text, a picture or nothing, and not named as a dump."""
    if ends_in(path, (*registry.suffixes(), *DUMPS)) or registry.is_of_package(path):
        return False
    head = tree.head(path, _HEAD)
    if head is None:
        return False
    if any(form.recognised(head) for form in registry.formats()):
        return False
    return head.startswith(_PICTURES) or _is_text(head)


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # which may end in a character
    except UnicodeDecodeError:
        return False
    return all(character >= " " or character in _CONTROLS for character in text)


def open_file(operand: str, relative: str, void_as: str = "") -> DumpFile:
    """Read the header of what an operand names: a file, a FIFO, or standard input.

    `relative` is its path below the folder that it was found in; standard input has none. Bytes of
    which the file does not say what they mean are `void_as`, the name of a dtype. Raises
    `GradclipError` where it is no sound dump.
    """
    if operand == STDIN:
        path = path_of(0)
        if path and stat.S_ISREG(os.fstat(0).st_mode) and os.lseek(0, 0, os.SEEK_CUR) == 0:
            return open_regular(path, "", "standard input", void_as)
        return _open_stream(Stream(0), "standard input", "", void_as)
    if not is_url(operand) and stat.S_ISFIFO(os.stat(operand).st_mode):
        return _open_stream(Stream(open_fifo(operand)), operand, relative, void_as)
    return open_regular(operand, relative, void_as=void_as)


def open_regular(path: str, relative: str, label: str | None = None, void_as: str = "") -> DumpFile:
    """Read the header of a regular file; what is none is not waited for."""
    label = label or (path if registry.marked(path) is None else tree.folder_of(path))
    with tree.beginning(path, label) as (source, front, head):
        form = registry.marked(path) or _format(head, label)
        tensors = _read(form, front, source, relative, void_as)
        if not form.anywhere:
            _check_size(tensors, source, front.position)
        if form.confirm is not None and not is_url(path):
            form.confirm(path, label)
        elif form.confirm is not None:
            header = bytearray(front.position)
            with source.opened() as reader:
                reader.read_exactly(memoryview(header), 0)
            _confirm(form.confirm, bytes(header), tensors, label)
    return _file(source, relative, form, tensors, front)


def _confirm(
    confirm: Callable[[str, str], None], header: bytes, tensors: Sequence[Tensor], label: str
) -> None:
    """Ask a library, which reads only files: it is given the header and a hole for the values."""
    with spool_file() as (stand_in, path):
        stand_in.write(header)
        stand_in.truncate(end_of(tensors, len(header)))
        stand_in.flush()
        confirm(path, label)


def _open_stream(stream: Stream, label: str, relative: str, void_as: str) -> DumpFile:
    source = StreamSource(label, stream)
    form = _format(stream.peek(_HEAD), label, is_stream=True)
    if form.anywhere:
        return _open_kept(stream, label, relative, void_as)
    tensors = _read(form, stream, source, relative, void_as)
    if form.confirm is not None:
        _confirm(form.confirm, stream.header, tensors, label)
    return _file(source, relative, form, tensors, stream)


def reopened(file: DumpFile) -> DumpFile:
    """Give a file that comes from a stream as one that is read from anywhere."""
    assert isinstance(file.source, StreamSource), "a stream"
    void_as = next((tensor.dtype.name for tensor in file.tensors), "")
    return _open_kept(file.source.stream, file.source.label, file.relative, void_as)


def _open_kept(stream: Stream, label: str, relative: str, void_as: str) -> DumpFile:
    """Keep all of a stream in a file, and read that from anywhere."""
    spool = Spool(stream)
    file = open_regular(spool.path, relative, label, void_as)
    return dataclasses.replace(file, spool=spool)


def _read(
    form: Format, front: Front, source: Source, relative: str, void_as: str
) -> tuple[Tensor, ...]:
    try:
        tensors = form.read(front, source, _stem(relative, form))
    except ImportError as error:
        what = f"gradclip-cli[{form.extra}]" if form.extra else error.name or "what reads it"
        raise GradclipError(
            source.label,
            f"a {form.name} file, which needs {error.name or 'a library'} to be read, and that is "
            "not installed",
            f"install it: pip install '{what}'",
        ) from error
    if any(tensor.dtype.kind == "void" for tensor in tensors):
        named = not (form.is_named_by_file or front.is_named_by_file)
        tensors = tuple([_with_meaning(tensor, void_as, named) for tensor in tensors])
        front.strays.append(f"bytes without a meaning, taken for {void_as}")
    return tensors


def _with_meaning(tensor: Tensor, void_as: str, named: bool) -> Tensor:
    """Give a tensor of mere bytes the dtype that the user says it has.

    Raises `GradclipError` where it has no such; one that its file has `named` is named.
    """
    if tensor.dtype.kind != "void":
        return tensor
    bits = tensor.dtype.bits
    meant = said_to_be(void_as, bits)
    if meant is not None:
        return dataclasses.replace(tensor, dtype=meant)
    fitting = [name for name in VOID_AS if said_to_be(name, bits)]
    raise GradclipError(
        tensor.source.label,
        (f"array {quoted(tensor.name)}: " if named else "")
        + f"the array's dtype is {shortened(repr(tensor.dtype.name))}: bytes without a meaning, as "
        "NumPy saves the bfloat16 and float8 of ml_dtypes",
        f"if you know what they are, say so: --void-as {' or '.join(fitting[:2])}; or save the "
        "array as safetensors, which names these dtypes, or as float32",
    )


def _file(
    source: Source, relative: str, form: Format, tensors: tuple[Tensor, ...], front: Front
) -> DumpFile:
    return DumpFile(
        source,
        relative,
        form.name,
        tensors,
        form.is_named_by_file or front.is_named_by_file,
        form.package,
        tuple(front.strays),
        tuple((what, tuple(names)) for what, names in front.uncounted.items()),
        tuple(front.proofs),
        tuple(front.besides),
        tuple(front.begins.items()),
    )


def _stem(relative: str, form: Format) -> str | None:
    """Give the name of a file's one tensor: the file's; a stream has none."""
    for suffix in form.suffixes:
        if ends_in(relative, suffix):
            relative = relative[: -len(suffix)]
    return relative.replace(os.sep, ".") or None


def name_by_file(relative: str) -> str | None:
    """Give the name that a file of this path gives its one tensor; None where it has its own."""
    for form in registry.formats():
        if form.is_named_by_file and ends_in(relative, form.suffixes):
            return _stem(relative, form)
    return None


def _format(head: bytes, path: str, is_stream: bool = False) -> Format:
    """Recognise a file by its content; where that fails, by its suffix, for the better message."""
    if registry.is_part(path):
        raise GradclipError(
            path,
            "a part of a distributed checkpoint, which is a whole folder",
            "give the folder; if it holds no .metadata, copy that too: its name begins with a dot",
        )
    for form in registry.formats():
        if form.recognised(head):
            return form
    if not is_stream and not ends_in(path, registry.suffixes()):
        brought = registry.of_package(path)
        if brought is not None:
            return brought
    for form in registry.formats():
        if form.magic and head.startswith(form.magic) and ends_in(path, form.suffixes):
            return form
    if known := _foreign(head):
        raise GradclipError(path, f"not a dump of tensors but {known[0]}", known[1])
    for form in registry.formats():
        if ends_in(path, form.suffixes):
            return form
    raise GradclipError(
        path,
        "an unknown kind of file" if head else "empty: 0 bytes",
        f"gradclip reads {registry.list_of_suffixes()} files",
    )


def foreign_in(path: str) -> tuple[str, str] | None:
    """Say what a file that is no dump is, and what to do with it; None where it is not known."""
    head = tree.head(path, _HEAD)
    return None if head is None else _foreign(head)


def _foreign(head: bytes) -> tuple[str, str] | None:
    for start, what, hint in _FOREIGN:
        if re.match(start, head.lstrip(), re.IGNORECASE | re.DOTALL):
            return what, hint
    return None


def _check_size(tensors: Sequence[Tensor], source: WholeSource, data_start: int) -> None:
    own = [tensor for tensor in tensors if tensor.source is source]
    if tensors and not own:
        return  # they lie in sources of their own, whose sizes are the format's business
    end = end_of(own, data_start)
    if source.size < end:
        first = min(
            (tensor for tensor in own if tensor.offset + tensor.size > source.size),
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
