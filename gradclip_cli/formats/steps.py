"""Files that are steps of a run, and not parts of one gradient: what their names say, and headers.

A name reads as a step where a number stands beside a word for one; those of all ranks, and of all
tensors that have a file each, are one step. Only names are looked at, and only where two of them
read as steps a header of each, for steps have the same tensors.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.formats.folders import Place
from gradclip_cli.formats.opening import open_regular
from gradclip_cli.formats.paths import STEP, number_of, starred, token
from gradclip_cli.formats.paths import shared as pattern_of
from gradclip_cli.formats.registry import ending_of
from gradclip_cli.frozen import frozen
from gradclip_cli.tensors.dump import Shape
from gradclip_cli.tensors.names import natural
from gradclip_cli.tensors.renaming import Renaming

_BARE = re.compile("^[0-9]+(?=[./\n]|$)", re.MULTILINE)
# Below these a number counts parts of a model or of a cluster.
_PARTS = re.compile(
    r"(?<![a-z])(?:h|layer|block|expert|head|stage|module|param|rank|shard|worker)s?[^a-z]*$",
    re.IGNORECASE,
)
_NUMBER = re.compile("[0-9]+")
_AS_THEY_ARE = Renaming()


@frozen
class Series:
    """Steps that a folder holds, or operands are: each a path with its files, in natural order.

    Where several paths make a step it has the pattern that they fit.

    `others` are files beside them that belong to no numbered step. A series of operands has no
    folder.
    """

    folder: str
    steps: Mapping[str, tuple[Place, ...]]
    others: tuple[Place, ...]

    def common(self, aligned: Renaming = _AS_THEY_ARE) -> "Contents | None":
        """Give what steps hold; None where they have not most names and shapes in common.

        Names are `aligned` first. A header of each is read; one that is unreadable says nothing.
        """
        first: Contents | None = None
        for step, places in self.steps.items():
            found = _contents(step, places, aligned, first)
            first = first or found
            if first and found and not first.resembles(found):
                return None
        return first or Contents(frozenset(), "", frozenset())

    def beside(
        self, common: "Contents", aligned: Renaming = _AS_THEY_ARE
    ) -> Iterator[tuple[str, bool]]:
        """Give what stands beside the numbered steps, and of each whether it is a step too.

        It is where it holds what they have in common, or cannot be read.
        """
        step, places = next(iter(self.steps.items()))
        is_file = step == places[0].path
        found: dict[str, list[Place]] = {}
        for place in self.others:
            folder = os.path.dirname(step)
            below = os.path.relpath(place.path, folder) if folder else place.path
            name, *rest = below.split(os.sep)
            beside = os.path.join(folder, name)
            is_sibling = place.path.startswith(beside) and (not rest) == is_file
            found.setdefault(beside if is_sibling else place.path, []).append(place)
        for path, some in found.items():
            held = _contents(path, some, aligned, common)
            yield path, held is None or common.resembles(held)


@frozen
class Contents:
    """The names of a step's files, and the tensors in one, without what tells steps apart."""

    files: frozenset[str]
    file: str
    tensors: frozenset[tuple[str | None, Shape]]

    @property
    def has_names(self) -> bool:
        """Whether the file names its tensors, which no two files of one gradient may share."""
        return any(name is not None for name, _ in self.tensors)

    def resembles(self, other: "Contents") -> bool:
        """Say whether most files and tensors are in both."""
        if not _mostly(self.tensors, other.tensors):
            return False
        # One file that names its tensors may itself have any name.
        is_one = self.has_names and len(self.files) == len(other.files) == 1
        return is_one or _mostly(self.files, other.files)


def series(places: Sequence[Place], least: int = 2) -> list[Series]:
    """Give what is, by names, a series of two steps or more: in folders, and among operands.

    A folder that holds one, and no other dumps, is a series only where `least` is 1.
    """
    folders: dict[str, list[Place]] = {}
    for place in places:
        if place.relative:  # else it is a stream
            folder = place.path.removesuffix(place.relative) if place.member else ""
            folders.setdefault(folder, []).append(place)
    found = []
    for folder, some in folders.items():
        names = [place.relative if folder else place.path for place in some]
        bare = bool(folder) and not _PARTS.search(os.path.abspath(folder))
        everything = "\n".join(names)
        if not (STEP.search(everything) or (bare and _BARE.search(everything))):
            steps = _numbered(some, names)
            if len(steps) > 1:
                found.append(_series(folder, steps, ()))
            continue
        begun: dict[str, list[Place]] = {}
        others = []
        for name, place in zip(names, some, strict=True):
            step = _step_of(name, bare)
            if step is None:
                others.append(place)
            else:
                begun.setdefault(os.path.join(folder, step), []).append(place)
        steps = _together({step: some for held in begun.items() for step, some in _apart(*held)})
        if len(steps) > 1 or (steps and least == 1 and not others and STEP.search(everything)):
            found.append(_series(folder, steps, others))
    return found


def gathered(paths: Iterable[str], names_none: Callable[[str], bool]) -> dict[str, list[str]]:
    """Give steps, each by its path with itself, or by the pattern of the paths that make it.

    These differ in ranks alone, or are files of a step that `names_none` of its tensors.

    >>> gathered(["rank0_step_1.npz", "rank1_step_1.npz", "step_2.npz"], lambda _: False)
    {'rank*_step_1.npz': ['rank0_step_1.npz', 'rank1_step_1.npz'], 'step_2.npz': ['step_2.npz']}
    """
    alike: dict[str, list[str]] = {}
    for path in paths:
        alike.setdefault(starred(path), []).append(path)
    one_step: dict[tuple[str, str, str], list[str]] = {}
    for pattern in alike:
        place = os.path.dirname(pattern), token(pattern), ending_of(pattern)
        one_step.setdefault(place if all(place[1:]) else (pattern, "", ""), []).append(pattern)
    several = next((some for some in one_step.values() if len(some) > 1), None)
    if several and names_none(alike[several[0]][0]):
        groups = [[path for one in some for path in alike[one]] for some in one_step.values()]
    else:
        groups = [*alike.values()]
    return {some[0] if len(some) == 1 else pattern_of(some): some for some in groups}


def _together(steps: Mapping[str, Sequence[Place]]) -> dict[str, list[Place]]:
    groups = gathered(steps, lambda step: _names_none(steps[step][0]))
    return {
        called: [place for step in some for place in steps[step]] for called, some in groups.items()
    }


def _series(folder: str, steps: Mapping[str, Sequence[Place]], others: Sequence[Place]) -> Series:
    ordered = {step: tuple(steps[step]) for step in sorted(steps, key=natural)}
    return Series(folder, ordered, tuple(others))


def _numbered(places: Sequence[Place], names: Sequence[str]) -> dict[str, list[Place]]:
    """Give steps that have no word for it: by the one number that is none of a rank.

    Files of ranks that name their tensors are so numbered, and not one for each layer.
    """
    patterns = [*map(starred, names)]
    steps: dict[str, list[Place]] = {}
    for pattern, place in zip(patterns, places, strict=True):
        steps.setdefault(place.path.removesuffix(place.relative) + pattern, []).append(place)
    if len(steps) == len(places) or len(steps) < 2:
        return {}
    if len({_NUMBER.sub("#", pattern) for pattern in steps}) > 1:
        return {}
    words = _NUMBER.split(patterns[0])
    columns = [*map(set, zip(*map(_NUMBER.findall, patterns), strict=True))]
    varying = [before for before, column in zip(words, columns, strict=False) if len(column) > 1]
    if len(varying) != 1 or _PARTS.search(varying[0]) or _names_none(places[0]):
        return {}
    return steps


def _names_none(place: Place) -> bool:
    """Say whether a file names none of its tensors; one that cannot be read says nothing."""
    try:
        return open_regular(place.path, place.relative, void_as=place.void_as).is_named_by_file
    except (GradclipError, OSError):
        return False


def _step_of(name: str, bare: bool) -> str | None:
    """Give the part of a path to the end of what reads as a step: a folder, else the file."""
    *folders, last = name.split(os.sep)
    for depth in range(len(folders), 0, -1):
        if STEP.search(folders[depth - 1]):
            return os.sep.join(folders[:depth])
    if STEP.search(last):
        return name
    return name.split(os.sep)[0] if bare and _is_bare(name) else None


def _apart(step: str, places: list[Place]) -> Iterator[tuple[str, list[Place]]]:
    """Give the steps of an epoch's folder, where each file in it is a step of its own."""
    numbers = {number_of(os.path.basename(place.path)) for place in places}
    if len(places) > 1 and len(numbers) == len(places) and None not in numbers:
        yield from ((place.path, [place]) for place in places)
    else:
        yield step, places


def _is_bare(name: str) -> bool:
    stem, _ = os.path.splitext(name.split(os.sep)[0])
    return stem.isascii() and stem.isdecimal()


def _contents(
    step: str, places: Sequence[Place], aligned: Renaming, like: Contents | None = None
) -> Contents | None:
    """Look into one file of a step, that of another where it has it; None if it is unreadable.

    Of the ranks of a file it is the first that holds anything.
    """
    files: dict[str, list[Place]] = {}
    for place in places:
        files.setdefault(_NUMBER.sub("#", place.path.removeprefix(step)), []).append(place)
    name = like.file if like and like.file in files else next(iter(files))
    tensors: list[tuple[str | None, Shape]] = []
    try:
        for place in files[name]:  # a FIFO is read but once
            file = open_regular(place.path, place.relative, void_as=place.void_as)
            for one in file.tensors:
                called = None if file.is_named_by_file or one.name is None else aligned(one.name)
                tensors.append((called, one.shape))
            if tensors:
                break
    except (GradclipError, OSError):
        return None
    return Contents(frozenset(files), name, frozenset(tensors))


def _mostly(some: frozenset[object], others: frozenset[object]) -> bool:
    common = len(some & others)
    return 2 * common >= max(len(some), len(others)) and (common > 0 or some == others)
