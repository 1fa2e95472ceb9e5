"""From a dump of any format to a file of one that its name promises."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from gradclip_cli.files import tree
from gradclip_cli.files.places import is_special
from gradclip_cli.formats import registry
from gradclip_cli.formats.opening import reopened
from gradclip_cli.formats.registry import Format, NotWrittenError
from gradclip_cli.tensors.dump import Dump, DumpFile, Tensor
from gradclip_cli.tensors.names import ends_in, listed, plural, quoted


def target_of(dump: Dump, operands: Sequence[str], output: Any) -> Format | None:
    """Give the format in which results are written anew; None where each is a copy of its file.

    So it is where the name of the output promises another format, or a file for several, and where
    a file's own is not written and goes to a stream. Raises `GradclipError` where a copy is to be
    made of what is not written.
    """
    if isinstance(output, str | os.PathLike) and _is_file(os.fspath(output)):
        form = _promised(os.fspath(output))
        is_same = form and len(dump.files) == 1 and dump.files[0].format == form.name
        if form is not None and not (is_same and not any(map(tree.is_folder, operands))):
            return form
    for one in dump.combined:
        if one.way in ("sum", "mean"):
            raise NotWrittenError(
                one.labels[0],
                f"{quoted(one.name)} is the {one.way} of what {len(one.labels):,} files hold, none "
                "of which has the values that are clipped",
                "write one file: -o clipped.safetensors",
            )
    try:
        for file in dump.as_stored.files:
            registry.copied(file, file.tensors)
    except NotWrittenError:
        if not callable(output) or len(dump.files) > 1:
            raise
        return registry.called("safetensors")
    return None


def _is_file(output: str) -> bool:
    return not (output.endswith(os.sep) or tree.is_folder(output) or is_special(output))


def _promised(output: str) -> Format | None:
    """Give the format of an output's suffix, if new files of it are written."""
    fitting = (form for form in registry.formats() if ends_in(output, form.suffixes))
    return next((form for form in fitting if form.laid_out is not None), None)


def converted(dump: Dump, form: Format, output: Any) -> Dump:
    """Give a dump as another format takes it: in C order, with little ends, and with names.

    Raises `GradclipError` where the format cannot hold a tensor.
    """
    name = _stem(output)
    files = [replace(file, tensors=(*_plain(file, name),)) for file in map(_kept, dump.files)]
    found = replace(dump, files=(*files,))
    assert form.laid_out is not None, "so it was chosen"
    form.laid_out(found.tensors)
    return found


def _stem(output: Any) -> str:
    """Give the name of an output's file, without its ending."""
    if not isinstance(output, str | os.PathLike):
        return "gradient"
    return os.path.splitext(os.path.basename(os.fspath(output)))[0]


def _kept(file: DumpFile) -> DumpFile:
    """Give a file that is read from anywhere, as it has to be where its values move."""
    if file.source.rereadable or not any(_is_turned(tensor) for tensor in file.tensors):
        return file
    return reopened(file)


def _is_turned(tensor: Tensor) -> bool:
    is_native = tensor.fortran_shape is None and tensor.dtype.words[:1] != ">"
    return not is_native or tensor.dtype.packed != tensor.dtype


def _plain(file: DumpFile, name: str) -> Iterator[Tensor]:
    for tensor in file.tensors:
        plain = replace(tensor, name=name) if tensor.name is None else tensor
        if _is_turned(tensor):
            from gradclip_cli.files.strided import StridedSource  # hardly ever needed

            dtype, item = tensor.dtype, tensor.dtype.size_of(1)
            source = StridedSource(
                tensor.source,
                tensor.offset,
                tensor.shape,
                tensor.strides,
                item,
                item // dtype.lanes if dtype.words[:1] == ">" else 0,
            )
            little = replace(dtype, words="<" + dtype.words[1:]) if source.swapped else dtype
            plain = replace(plain, dtype=little, source=source, offset=0, fortran=False)
        yield _packed(plain)


def _packed(tensor: Tensor) -> Tensor:
    """Give a tensor whose values of less than a byte share bytes, as new files have them."""
    dtype = tensor.dtype.packed
    if dtype == tensor.dtype:
        return tensor
    from gradclip_cli.files.packed import SubByteSource  # hardly ever needed

    count = tensor.count
    source = SubByteSource(tensor.source, tensor.offset, count, dtype.bits, dtype.name)
    return replace(tensor, dtype=dtype, source=source, offset=0, size=dtype.size_of(count))


def dropped(dump: Dump, form: Format, output: Any) -> list[str]:
    """Say what of a dump does not stand in a file of another format, at an output."""
    was = sorted({file.format for file in dump.files})
    said = [f"written as {form.name}" + (f", from {listed(was)}" if was != [form.name] else "")]
    lost: list[str] = []
    for file in dump.files:
        lost += file.besides
        lost += (f"{plural(len(names), 'tensor')} ({what})" for what, names in file.uncounted)
    if lost:
        said.append(f"not carried over: {listed([*dict.fromkeys(lost)], len(lost))}")
    name = _stem(output)
    for tensor in dump.tensors if form.is_named_by_file else ():
        if tensor.name != name:
            what = f"{quoted(tensor.name)} is called {quoted(name)} now"
            said.append(f"{what}: the one tensor of a {form.suffixes[0]} file is named after it")
    return said
