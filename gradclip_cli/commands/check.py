"""What `gradclip check` does: everything that can be known of a dump without its values."""

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import chain, starmap

from gradclip_cli.commands.measuring import listed as named
from gradclip_cli.commands.spooling import finish
from gradclip_cli.errors import GradclipError, worded
from gradclip_cli.files.streams import StreamSource
from gradclip_cli.formats.folders import Place, find
from gradclip_cli.formats.opening import is_no_dump
from gradclip_cli.formats.shards import UNINDEXED
from gradclip_cli.options import Path
from gradclip_cli.results.soundness import Checked, Soundness
from gradclip_cli.tensors.dtypes import VoidAs
from gradclip_cli.tensors.dump import Dump
from gradclip_cli.tensors.names import listed, plural

_UNINDEXED = "they do not count: add them to the index, or take them out of the file"


def check(*paths: Path | Sequence[Path], void_as: VoidAs | None = None) -> Soundness:
    """Check files, and those of folders, each by itself: header, names, shapes, sizes.

    The values of a file are read only where they have a checksum; a stream is read to its end.
    What is surely no dump is ignored, unless nothing else is there. `void_as` is the dtype of
    arrays whose files say no more than the size of their values.
    """
    operands = named(paths)
    ignored = [operand for operand in operands if is_no_dump(operand)]
    if len(ignored) == len(operands):
        ignored = []
    links: list[str] = []
    files = chain.from_iterable(
        _checked_all(one, void_as, links) for one in operands if one not in ignored
    )
    return Soundness(tuple(files), tuple(ignored), tuple(links))


def _checked_all(operand: str, void_as: str | None, links: list[str]) -> Iterator[Checked]:
    try:
        found = find([operand], void_as or "")
    except (GradclipError, OSError) as error:
        yield _unsound(operand, error)
    else:
        links += found.links
        places = [*found.files, *(place for _, place in found.aside)]
        yield from starmap(_unsound, _of_indexes(places).items())
        yield from (_checked(_by_itself(place)) for place in places)


def _of_indexes(places: Sequence[Place]) -> dict[str, GradclipError]:
    """Give what is wrong with the indexes of files, by the indexes."""
    return {
        place.problem.subject: place.problem
        for place in places
        if place.problem is not None and place.problem.subject != place.path
    }


def _by_itself(place: Place) -> Place:
    """Give a file without what is wrong with its index."""
    if place.problem is None or place.problem.subject == place.path:
        return place
    return dataclasses.replace(place, problem=None)


def _checked(place: Place) -> Checked:
    try:
        file = place.open()
        finish(Dump((file,)))
        file.prove()
    except (GradclipError, OSError) as error:
        return _unsound(place.path, error)
    unindexed = [name for what, some in file.uncounted if what == UNINDEXED for name in some]
    if unindexed:
        problem = f"holds {plural(len(unindexed), 'tensor')} in no shard index: {listed(unindexed)}"
        return Checked(file.source.label, problem=problem, hint=_UNINDEXED)
    source = file.source
    size = source.stream.position if isinstance(source, StreamSource) else source.size
    return Checked(file.source.label, file.format, len(file.tensors), size, strays=file.strays)


def _unsound(path: str, error: GradclipError | OSError) -> Checked:
    said = error if isinstance(error, GradclipError) else worded(error)
    return Checked(said.subject or path, problem=said.problem, hint=said.hint)
