"""Where clipped files go. Everything that can be refused is refused before a value is read."""

import contextlib
import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.files.places import NEW_ONLY, Target, check_folder, check_name, target
from gradclip_cli.files.refusals import check_replaceable
from gradclip_cli.files.system import REPLACES
from gradclip_cli.files.urls import check_local, is_url
from gradclip_cli.formats import endings
from gradclip_cli.formats.registry import called, ending_of, written_suffixes
from gradclip_cli.formats.shards import is_index
from gradclip_cli.tensors.dump import Companion, Dump, DumpFile
from gradclip_cli.tensors.gradients import holds_only_integers
from gradclip_cli.tensors.names import ends_in, escape, plural


@dataclass(frozen=True, slots=True)
class Targets:
    """Where each file of a dump goes, in the dump's order, and what is copied along.

    `labels` are what all of them are called by whoever named the place: a file, or `named`, a
    folder. `folder` is one that does not exist yet and is to hold them all, or None.
    """

    files: tuple[Target, ...]
    companions: tuple[tuple[Companion, Target], ...] = ()
    folder: str | None = None
    labels: tuple[str, ...] = ()
    named: str = ""

    @property
    def all(self) -> tuple[Target, ...]:
        """Every target."""
        return (*self.files, *(place for _, place in self.companions))


def in_place(dump: Dump, suffix: str = "") -> Targets:
    """Let each file take its own place, or that of the file its symbolic link points to.

    With a `suffix` what stands there is to be kept beside it, under its name and that.
    """
    targets = []
    for file in dump.files:
        check_local(file.source.path, "what is replaced in place", "write with -o s3://BUCKET/KEY")
    if not REPLACES:
        raise GradclipError("--in-place", "a file may not be replaced here", NEW_ONLY)
    for file in dump.files:
        path = os.path.realpath(file.source.path)
        check_name(path, file.source.label)
        links = os.stat(path).st_nlink
        if links > 1:
            raise GradclipError(
                file.source.label,
                f"the file has {links} hard links; replacing it would leave the others as they are",
                "write to another file with -o, or make it a file of its own first: cp FILE NEW",
            )
        check_replaceable(path, file.source.label)
        if not os.access(path, os.W_OK):
            raise GradclipError(
                file.source.label, "the file is read-only", "allow writing with: chmod u+w FILE"
            )
        check_folder(os.path.dirname(path), file.source.label)
        targets.append(Target(path, True, suffix))
        if suffix:
            _check_backup(targets[-1].backup)
    indexes = dump.companions if holds_only_integers(dump) else ()  # which say how large all is
    places = (Target(os.path.realpath(one.path), True, suffix) for one in indexes)
    labels = (*(file.source.label for file in dump.files), *(one.path for one in indexes))
    return Targets(tuple(targets), tuple(zip(indexes, places, strict=True)), labels=labels)


def check_suffix(suffix: str) -> None:
    """Refuse what can be no suffix of a file that is kept."""
    if not suffix or os.sep in suffix or "\0" in suffix:
        raise GradclipError(
            "--backup",
            f"{suffix!r} is no suffix to keep a file under its name and that",
            "give letters that make the name another in the same folder, such as .orig",
        )


def _check_backup(path: str) -> None:
    """Refuse a name for an original under which it would be lost, or be taken for a dump."""
    check_name(path, path)
    name = os.path.basename(path)
    if ending_of(name) or is_index(name):
        raise GradclipError(
            "--backup",
            f"{escape(name)} would be read as a part of the dump wherever its folder is",
            "give another suffix, such as .orig",
        )
    with contextlib.suppress(FileNotFoundError):
        os.lstat(path)
        raise GradclipError(
            path,
            "already exists",
            "a backup is never replaced: move it away, or give another --backup SUFFIX",
        )


def anew(output: str, force: bool, inputs: Sequence[Dump]) -> Targets:
    """Put one result for all files where `-o OUTPUT` says, in the place of none of `inputs`."""
    return Targets((_unlike(output, output, inputs, force),), labels=(output,))


def beside(
    dump: Dump, operands: Sequence[str], output: str, force: bool, inputs: Sequence[Dump]
) -> Targets:
    """Put the results where `-o OUTPUT` says: one file, or a folder.

    It is a folder where it exists as one, ends in a slash, or has more than one file to hold. None
    may take the place of one of `inputs`.
    """
    for file in dump.files:
        if file.relative:  # standard input has no name
            check_name(tree.real(file.source.path), file.source.label)
    plain = output.rstrip(os.sep) or os.sep
    into_folder = (
        output.endswith(os.sep)
        or os.path.isdir(output)
        or len(operands) > 1
        or any(tree.is_folder(one) or is_index(one) for one in operands)
    )
    check_ending(output, dump.files, into_folder)
    if not into_folder:
        return Targets((_unlike(output, output, inputs, force),), labels=(output,))
    if os.path.lexists(plain) and not os.path.isdir(plain):
        raise GradclipError(
            output, "a file stands where a folder is needed", "name another folder with -o"
        )
    if not all(file.relative for file in dump.files):
        raise GradclipError(
            output, "standard input has no file name to use in a folder", "name a file with -o"
        )
    places: dict[str, str] = {}
    found, labels = [], []
    for relative, label in (
        *zip(relatives(dump), (file.source.label for file in dump.files), strict=True),
        *((companion.relative, companion.path) for companion in dump.companions),
    ):
        labels.append(os.path.join(plain, relative))
        place = _unlike(labels[-1], plain, inputs, force)
        if place.path in places:
            raise GradclipError(
                labels[-1],
                f"both {escape(places[place.path])} and {escape(label)} would be written here",
                "clip them in two runs, into two folders",
            )
        places[place.path] = label
        found.append(place)
    files, others = found[: len(dump.files)], found[len(dump.files) :]
    folder = None if os.path.isdir(plain) else os.path.realpath(plain)
    companions = tuple(zip(dump.companions, others, strict=True))
    return Targets(tuple(files), companions, folder, tuple(labels), output)


def relatives(dump: Dump) -> list[str]:
    """Give where the files of a dump go below a folder: those of ranks are told apart."""
    found = [file.relative for file in dump.files]
    if len({*found}) == len(found) or not dump.origins:
        return found
    paths = [tree.absolute(file.source.path) for file in dump.files]
    if not any(map(is_url, paths)):
        common = os.path.commonpath([*map(os.path.dirname, paths)])
        return [os.path.relpath(path, common) for path in paths]
    split = [path.split("/") for path in paths]
    alike = itertools.takewhile(lambda parts: len({*parts}) == 1, zip(*split, strict=False))
    count = len([*alike])
    return ["/".join(parts[count:]) for parts in split]


def check_ending(output: str, files: Sequence[DumpFile], into_folder: bool) -> None:
    """Refuse a name that promises another kind of file than is written."""
    ending = ending_of(output) or endings.foreign(output)
    if not ending or os.path.isdir(output):
        return
    if into_folder:
        raise GradclipError(
            output,
            f"is named as a file, and a folder is needed for {plural(len(files), 'file')}",
            f"clip the file itself: {escape(files[0].source.label)}"
            if len(files) == 1
            else f"name a folder, or say that this is one: -o {escape(output)}{os.sep}",
        )
    (file,) = files
    own = called(file.format).suffixes
    if ending not in own and not ends_in(file.source.path, ending):
        raise GradclipError(
            output,
            f"is named as a {ending} file, and what is written stays {file.format}",
            _renamed(output, ending, own),
        )


def _renamed(output: str, ending: str, own: Sequence[str]) -> str:
    """Say which names would do in the place of one that promises another kind of file."""
    *others, last = dict.fromkeys([*own[:1], *written_suffixes()])
    hint = f"let the name end in {', '.join(others)} or {last}"
    if ending in endings.PACKED:
        return f"{hint}, and pack it afterwards"
    report = f"; a report goes to --report {escape(output)}"
    return hint + report * (ending in endings.REPORTS)


def _unlike(label: str, top: str, inputs: Iterable[Dump], force: bool) -> Target:
    """Give the target behind a path; refuse one that is an input itself."""
    check_unlike(label, inputs, label)
    return target(label, top, force)


def check_unlike(output: str | int, inputs: Iterable[Dump], label: str) -> None:
    """Refuse an output, at a path or open as a descriptor, that is an input itself."""
    try:
        status = os.stat(output)
    except OSError:
        return
    if any(dump.reads(status) for dump in inputs):
        raise GradclipError(
            label,
            "the output is the input itself",
            "name another; to replace what is clipped, say --in-place instead of -o",
        )
