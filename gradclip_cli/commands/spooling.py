"""Streams that have to be read twice: kept in an unnamed file while they are measured."""

import contextlib
import dataclasses
import errno
import os
from collections.abc import Mapping

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.holes import reserve
from gradclip_cli.files.source import FileSource
from gradclip_cli.files.spools import spool_file, spool_folder
from gradclip_cli.files.streams import StreamSource
from gradclip_cli.files.system import room
from gradclip_cli.tensors.dump import Dump, DumpFile, end_of


def has_stream(dump: Dump) -> bool:
    """Say whether a part of the dump can be read only once, in order."""
    return any(not file.source.rereadable for file in dump.files)


def spool(dump: Dump, stack: contextlib.ExitStack) -> dict[int, str]:
    """Let each stream be kept in `$TMPDIR` while it is read; gives paths by file index.

    The files go with the stack. Raises `GradclipError` where space is short.
    """
    return {
        index: _kept(file.source, file, stack)
        for index, file in enumerate(dump.files)
        if isinstance(file.source, StreamSource)
    }


def _kept(source: StreamSource, file: DumpFile, stack: contextlib.ExitStack) -> str:
    size = end_of(file.tensors, len(source.stream.header))
    folder = spool_folder()
    stream, path = stack.enter_context(spool_file())
    descriptor = stream.fileno()
    try:
        if room(folder)[0] < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reserve(descriptor, size)
    except OSError as error:
        raise GradclipError(
            folder,
            f"too little space for the {size:,} bytes of {source.label}",
            "set TMPDIR to a folder with more room, or save the stream to a file first",
        ) from error
    source.stream.keep_in(descriptor)
    return path


def finish(dump: Dump) -> None:
    """Read each stream to its end; raises `GradclipError` if it ends too early or too late.

    What readers do not each look at for changes is looked at, too.
    """
    dump.check()
    for file in dump.files:
        if isinstance(file.source, StreamSource):
            file.source.finish(end_of(file.tensors, len(file.source.stream.header)))


def settled(dump: Dump, spools: Mapping[int, str]) -> Dump:
    """Give the dump with its streams replaced by the files that now hold them."""
    files = list(dump.files)
    for index, path in spools.items():
        file = files[index]
        with open(path, "rb", buffering=0) as stream:
            source = FileSource.of(stream.fileno(), path, file.source.label)
        tensors = (*(dataclasses.replace(tensor, source=source) for tensor in file.tensors),)
        files[index] = dataclasses.replace(file, source=source, tensors=tensors)
    return dataclasses.replace(dump, files=tuple(files))
