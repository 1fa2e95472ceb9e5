"""From operands to the files that they name: a file, a folder of them, or standard input.

A single file's format is recognised by its content; a folder's members are chosen by suffix and
must then parse.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gradclip_cli.errors import GradclipError, worded
from gradclip_cli.files import tree
from gradclip_cli.files.urls import is_url
from gradclip_cli.formats import registry
from gradclip_cli.formats.opening import STDIN, foreign_in, open_file, open_regular
from gradclip_cli.formats.pieces import put_together
from gradclip_cli.formats.relating import origins, related
from gradclip_cli.formats.shards import (
    UNINDEXED,
    Shard,
    companion,
    incomplete,
    is_index,
    is_split,
    shards_of,
)
from gradclip_cli.formats.walking import Inside, held, parts_of
from gradclip_cli.formats.ways import Ways
from gradclip_cli.frozen import frozen
from gradclip_cli.tensors.dump import Companion, Dump, DumpFile
from gradclip_cli.tensors.names import escape, listed, natural
from gradclip_cli.tensors.renaming import Renaming

_SPELLED = ("name=", ".parameters_grad.", "sampled_gradients")  # what a path says of one file
BESIDE = "beside the dump; to count one, name it"


class NoDumpsError(GradclipError):
    """A folder holds no dumps."""


@frozen
class Place:
    """Where a file is said to be: an operand of its own, or a member of a folder.

    `relative` is its path below that folder; standard input, `-`, has none. Bytes of which the file
    does not say what they mean are `void_as`, if that is the name of a dtype. Of a `shard` its
    index says which tensors count. What is known to be wrong before it is opened is a `problem`.
    Where a file does not name its one tensor its path may say how this is `called`, and that there
    is but a `sample` of it.
    """

    path: str
    relative: str
    member: bool = False
    void_as: str = ""
    shard: Shard | None = None
    problem: GradclipError | None = None
    called: str = ""
    sample: str = ""

    def open(self) -> DumpFile:
        """Read the file's header; raises `GradclipError` where it is no sound dump."""
        file = self._open()
        if not file.is_named_by_file or not self.called:
            return file
        tensors = tuple([replace(one, name=self.called) for one in file.tensors])
        strays = (*file.strays, *([self.sample] if self.sample else []))
        return replace(file, tensors=tensors, strays=strays)

    def _open(self) -> DumpFile:
        if self.problem is not None:
            raise self.problem
        if self.shard is not None:
            return self._open_shard(self.shard)
        if self.member:  # nobody named it, so a FIFO among them would be waited for in vain
            return open_regular(self.path, self.relative, void_as=self.void_as)
        return open_file(self.path, self.relative, self.void_as)

    def _open_shard(self, shard: Shard) -> DumpFile:
        try:
            file = open_regular(self.path, self.relative, void_as=self.void_as)
        except FileNotFoundError as error:
            raise shard.failed("does not exist", "fetch or save it again") from error
        except (GradclipError, OSError) as error:
            said = error if isinstance(error, GradclipError) else worded(error)
            raise shard.failed(f"is not sound: {said.problem}", said.hint) from error
        uncounted = shard.of(file)
        if not uncounted:
            return file
        tensors = (*(tensor for tensor in file.tensors if tensor.name in shard.names),)
        return replace(file, tensors=tensors, uncounted=(*file.uncounted, *uncounted))


Unreadable = tuple[Place, GradclipError]
"""A file that cannot be read, and why."""


@frozen
class Found:
    """What operands name: files, shard indexes, and the number of other files in folders.

    `links` are folders in these that are links, which are not followed: they may lead anywhere.
    `aside` are dumps that do not count, because of what stands beside them, and why; `parts` are
    the other files of folders that are one dump.
    """

    files: tuple[Place, ...]
    companions: tuple[Companion, ...]
    ignored: int
    links: tuple[str, ...] = ()
    aside: tuple[tuple[str, Place], ...] = ()
    parts: tuple[str, ...] = ()
    ways: Ways = Ways()
    aligned: Renaming = Renaming()

    @property
    def folders(self) -> set[str]:
        """The folders in which the files really lie."""
        paths = (one.path for one in self.files if one.path != STDIN and not is_url(one.path))
        folders = {
            os.path.dirname(os.path.realpath(path) if os.path.islink(path) else path)
            for path in paths
        }
        return set(map(os.path.realpath, folders))

    def open(self, unreadable: list[Unreadable] | None = None) -> Dump:
        """Read the headers of all files, as one gradient.

        Raises `GradclipError` for a path that is no file, a file that is no sound dump, and a
        tensor name that stands in two files. Members of folders that are none are put into
        `unreadable`, if that is given and others are sound.
        """
        files: list[DumpFile] = []
        with tree.looked_at([place.path for place in self.files]):
            for place in self.files:
                try:
                    files.append(place.open())
                except (GradclipError, OSError) as error:
                    if unreadable is None or not place.member:
                        raise
                    said = error if isinstance(error, GradclipError) else worded(error)
                    unreadable.append((place, said))
        if unreadable and not files:
            raise unreadable[0][1]
        _check_different(files)
        names = [tensor.name for file in files for tensor in file.tensors]
        stored = files
        files, combined = related(put_together(stored), self.ways, self.aligned)
        are_same = all(
            one.tensors is other.tensors for one, other in zip(stored, files, strict=True)
        )
        aside = tuple((why, place.path) for why, place in self.aside)
        return Dump(
            tuple(files),
            self.companions,
            self.ignored,
            self.links,
            aside,
            combined,
            self.parts,
            self.ways.unmatched(name and self.aligned(name) for name in names),
            (*self.aligned.misses(names), *self.ways.idle([one.name for one in combined])),
            () if are_same else (*stored,),
            () if are_same else origins(stored, files, combined, self.aligned),
        )


def find(
    operands: Sequence[str],
    void_as: str = "",
    combine: Sequence[str] = (),
    aligned: Renaming | None = None,
) -> Found:
    """Give the files that operands name, opening none but shard indexes; `-` is standard input.

    What tensors of one name in several of them are to each other `combine` says; names are
    `aligned` first.

    Raises `NoDumpsError` for a folder without dumps.
    """
    files: list[Place] = []
    companions: list[Companion] = []
    ignored = 0
    links: list[str] = []
    aside: list[tuple[str, Place]] = []
    parts: list[str] = []
    if operands.count(STDIN) > 1:
        raise GradclipError(STDIN, "standard input can be read only once", "give - once")
    for operand in operands:
        if is_index(operand) and not tree.is_folder(operand):
            folder, name = os.path.split(operand)
            companions.append(companion(operand, name))
            files += _sharded(folder, name, void_as).values()
            continue
        if not tree.is_folder(operand):
            name = "" if operand == STDIN else os.path.basename(operand)
            files.append(Place(operand, name, False, void_as))
            if registry.marked(operand):
                parts += parts_of(operand)
            continue
        inside = held(operand)
        if not inside.dumps and not inside.indexes:
            raise _empty(operand, inside)
        companions += (companion(os.path.join(operand, one), one) for one in inside.indexes)
        counted, left = _counted(operand, inside, void_as)
        if not counted:
            names = listed([place.relative for _, place in left])
            raise NoDumpsError(
                operand,
                f"a folder without dumps, but for what stands beside them: {names}",
                "name the files themselves",
            )
        files += counted
        aside += left
        ignored += inside.others
        links += inside.links
        parts += inside.parts
    files, others = _said(files)
    aside += others
    ways = Ways.of(combine)
    return Found(
        (*files,),
        (*companions,),
        ignored,
        (*links,),
        (*aside,),
        (*parts,),
        ways,
        aligned or Renaming(),
    )


def _empty(folder: str, inside: Inside) -> NoDumpsError:
    """Say that a folder holds no dumps, and what it holds if that is known."""
    what = f"a folder without dumps ({inside.others:,} other files)"
    known = foreign_in(os.path.join(folder, inside.first)) if inside.first else None
    if known is not None:
        return NoDumpsError(folder, f"{what}; {escape(inside.first)} is {known[0]}", known[1])
    hint = f"gradclip reads {registry.list_of_suffixes()} files"
    if inside.links:
        hint = f"folders that are links are not followed: name {listed(inside.links)} itself"
    return NoDumpsError(folder, what, hint)


def _said(files: Sequence[Place]) -> tuple[list[Place], list[tuple[str, Place]]]:
    """Give places with what their paths say of tensors; apart those of none beside gradients."""
    if len(files) == 1 and not any(word in files[0].path for word in _SPELLED):
        return [*files], []
    from gradclip_cli.formats.paths import said_of  # one file needs none of it

    said = said_of([place.path for place in files], [place.relative for place in files])
    found = [
        (kind, replace(place, called=name, sample=sample) if name else place)
        for place, (name, kind, sample) in zip(files, said, strict=True)
    ]
    if all(kind for kind, _ in found):
        return [place for _, place in found], []
    return [place for kind, place in found if not kind], [one for one in found if one[0]]


def _counted(
    folder: str, inside: Inside, void_as: str
) -> tuple[list[Place], list[tuple[str, Place]]]:
    """Give the dumps of a folder that count, and those that do not, and why.

    An index decides of the safetensors files in its own folder, and of those that it names. What a
    trainer keeps besides does not count beside other dumps, nor in folders below them.
    """
    dumps, indexes = inside.dumps, inside.indexes
    counted: dict[str, Place] = {}
    wrong = {
        one: GradclipError(os.path.join(folder, one), error.problem, error.hint)
        for one, error in incomplete(dumps).items()
    }
    for index in indexes:
        at = os.path.dirname(index)
        beside = [one for one in dumps if os.path.dirname(one) == at and is_split(one)]
        try:
            counted |= _sharded(folder, index, void_as)
        except (GradclipError, OSError) as error:
            said = error if isinstance(error, GradclipError) else worded(error)
            wrong |= dict.fromkeys(beside or [index], said)
    governed = {os.path.dirname(index) for index in indexes}
    leading = governed | {os.path.dirname(one) for one in dumps if not _yields(one)}
    aside = []
    for one in dict.fromkeys([*dumps, *wrong]):
        place = Place(os.path.join(folder, one), one, True, void_as, problem=wrong.get(one))
        if one in counted:
            continue
        if is_split(one) and os.path.dirname(one) in governed and place.problem is None:
            aside.append((UNINDEXED, place))
        elif _is_beside(one) or (_yields(one) and not leading.isdisjoint(_folders_of(one))):
            aside.append((BESIDE, place))
        else:
            counted[one] = place
    return sorted(counted.values(), key=lambda place: natural(place.relative)), aside


def _yields(name: str) -> bool:
    form = registry.of_suffix(name)
    return form is not None and form.yields


def _is_beside(name: str) -> bool:
    form = registry.of_suffix(name)
    return form is not None and bool(form.is_beside(os.path.basename(name)))


def _folders_of(name: str) -> Iterator[str]:
    """Give the folder of a member, and those above it."""
    while name:
        name = os.path.dirname(name)
        yield name


def _sharded(folder: str, index: str, void_as: str) -> dict[str, Place]:
    """Give the places of an index's shards, by their paths below a folder."""
    inside = os.path.dirname(index)
    found = {}
    for relative, shard in shards_of(os.path.join(folder, index)).items():
        below = os.path.join(inside, relative)
        found[below] = Place(os.path.join(folder, below), below, True, void_as, shard)
    return found


def _check_different(files: Sequence[DumpFile]) -> None:
    inodes: dict[tuple[int | str, ...], DumpFile] = {}
    for file in files:
        if file.source.identity is not None:
            other = inodes.setdefault(file.source.identity, file)
            if other is not file:
                raise GradclipError(
                    file.source.label,
                    f"is the same file as {escape(other.source.label)}",
                    "give each file once, or its values count twice",
                )
