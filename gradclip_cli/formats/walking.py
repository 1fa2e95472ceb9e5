"""What a folder holds: dumps, by their names, in it and in the folders below."""

import os
from dataclasses import dataclass, field

from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.files.marks import is_ours
from gradclip_cli.formats import registry
from gradclip_cli.formats.shards import is_index
from gradclip_cli.tensors.names import natural

DEEPEST = 250  # folders in folders: Python goes through each by a call in a call


@dataclass
class Inside:
    """What a folder holds, in natural order: dumps, shard indexes and links to folders.

    `parts` are files of folders that are one dump, `others` is the number of all other files, of
    which one is the `first`.
    """

    dumps: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    others: int = 0
    first: str = ""


def held(folder: str) -> Inside:
    """Look into a folder and those below it; raises `OSError` where one cannot be read."""
    found = Inside()
    for place, folders, names in tree.walk(folder, onerror=_raise):
        folders[:] = (name for name in folders if not is_ours(name))
        if mark := registry.mark_of(names):
            marking = os.path.join(place, mark)
            found.dumps.append(tree.below(marking, folder))
            found.parts += parts_of(marking)
            folders.clear()
            continue
        paths = [os.path.join(place, name) for name in folders]
        found.links += filter(tree.is_link, paths)
        below = tree.below(place, folder)
        if below.count(os.sep) >= DEEPEST:
            raise GradclipError(
                folder,
                f"it holds folders in folders, more than {DEEPEST} deep",
                "give the folder that the dumps are in",
            )
        for name in names:
            member = name if below == os.curdir else os.path.join(below, name)
            if is_ours(name):
                continue
            if is_index(name):
                found.indexes.append(member)
            elif registry.ending_of(name) or registry.is_part(name):
                found.dumps.append(member)
            else:
                found.others += 1
                found.first = min(found.first or member, member)
    for some in (found.dumps, found.indexes, found.links):
        some.sort(key=natural)
    return found


def parts_of(marking: str) -> list[str]:
    """Give the paths of all other files of the folder that a file makes one dump.

    Where parts are known by their names, what is a dump by itself is none of them.
    """
    form = registry.marked(marking)
    are_known = form is not None and form.parts
    found = [
        os.path.join(place, name)
        for place, _, names in tree.walk(tree.folder_of(marking), onerror=_raise)
        for name in names
        if not (are_known and registry.ending_of(name))
    ]
    return sorted(path for path in found if os.path.normpath(path) != os.path.normpath(marking))


def _raise(error: OSError) -> None:
    raise error
