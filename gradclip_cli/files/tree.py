"""Files and folders by their names, be they paths or URLs: what is there, what is in it.

The system is asked about paths, as ever; about URLs, whose objects make folders of what their names
have in common, a store. Nothing of that is imported before there is a URL.
"""

import contextlib
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import FileSource, Source, WholeSource, check_regular
from gradclip_cli.files.streams import Front
from gradclip_cli.files.system import NO_WAIT, open_raw, read_at
from gradclip_cli.files.urls import check_read, is_url, named, scheme_of, whole_of

_HEAD = 4096  # bytes, in which nearly always the whole header of a file is
_FOLDERS: dict[str, bool] = {}  # URLs that were folders, or objects, when they were looked at


def begun(paths: Sequence[str]) -> list[str]:
    """Begin a run over operands, whose objects are looked at anew; gives them as they are shown."""
    _FOLDERS.clear()
    urls = [path for path in paths if is_url(path)]
    if urls:
        from gradclip_cli.files import looking

        looking.forget()
    for url in urls:
        check_read(url)
    return [*map(named, paths)]


def is_folder(path: str) -> bool:
    """Say whether a path leads to a folder."""
    if not is_url(path):
        return os.path.isdir(path)
    if path.endswith("/") or path.count("/") == 2:
        return True
    if scheme_of(path) in ("http", "https"):
        return False
    if path not in _FOLDERS:
        from gradclip_cli.files import looking, stores

        try:
            looking.found(path, path, again=False)
            _FOLDERS[path] = False
        except FileNotFoundError:
            if not stores.below(f"{path}/", most=1):
                return False
            _FOLDERS[path] = True
    return _FOLDERS[path]


def exists(path: str) -> bool:
    """Say whether there is anything at a path, also a link that leads nowhere."""
    if not is_url(path):
        return os.path.lexists(path)
    if path in _FOLDERS:
        return True
    from gradclip_cli.files import stores

    try:
        stores.status(path)
    except FileNotFoundError:
        return bool(stores.below(f"{path.rstrip('/')}/", most=1))
    return True


def is_link(path: str) -> bool:
    """Say whether a path is a symbolic link."""
    return not is_url(path) and os.path.islink(path)


def real(path: str) -> str:
    """Give the path that all names of a file have in common."""
    return whole_of(path) if is_url(path) else os.path.realpath(path)


def absolute(path: str) -> str:
    """Give a path that does not depend on where one works."""
    return str(path) if is_url(path) else os.path.abspath(path)


def below(path: str, folder: str) -> str:
    """Give a path as it is named from a folder on."""
    if not is_url(path):
        return os.path.relpath(path, folder)
    return path.removeprefix(folder.rstrip("/")).strip("/") or os.curdir


def folder_of(path: str) -> str:
    """Give the folder in which a path lies."""
    return os.path.dirname(path) or os.curdir


def walk(
    folder: str, onerror: Callable[[OSError], object] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Go through a folder and those below it, as `os.walk`; folders taken out are passed over."""
    if not is_url(folder):
        yield from os.walk(folder, onerror=onerror)
        return
    inside: dict[str, tuple[dict[str, None], list[str]]] = {"": ({}, [])}
    for name in _listed(folder):
        above, _, last = name.rpartition("/")
        inside.setdefault(above, ({}, []))[1].append(last)
        while above:
            above, _, last = above.rpartition("/")
            inside.setdefault(above, ({}, []))[0][last] = None
    due = [""]
    while due:
        place = due.pop(0)
        folders, names = [*inside[place][0]], inside[place][1]
        here = os.path.join(folder, place) if place else folder
        _FOLDERS.update((os.path.join(here, one), one in inside[place][0]) for one in names)
        _FOLDERS.update((os.path.join(here, one), True) for one in folders)
        yield here, folders, names
        due += [f"{place}/{one}" if place else one for one in folders]


def names_in(folder: str) -> list[str]:
    """Give the names of what is in a folder."""
    if not is_url(folder):
        return os.listdir(folder)
    return [*dict.fromkeys(name.partition("/")[0] for name in _listed(folder))]


def _listed(folder: str) -> list[str]:
    """Give the names of all objects below a folder."""
    from gradclip_cli.files import outages, stores

    if scheme_of(folder) in ("http", "https"):
        problem = "a folder of a web server cannot be listed"
        raise GradclipError(folder, problem, "name the files themselves")
    found = [name for name, _ in stores.below(f"{folder.rstrip('/')}/")]
    if not found:
        raise outages.worded(FileNotFoundError(), folder)
    for name in found:
        if not {"", ".", ".."}.isdisjoint(name.split("/")):
            problem = f"holds an object called {name!r}, which is no name of a file"
            raise GradclipError(folder, problem, "name the files themselves")
    return found


@contextlib.contextmanager
def beginning(path: str, label: str) -> Iterator[tuple[WholeSource, Front, bytes]]:
    """Give a file, its front, and the first bytes, while it is open; anything else is refused."""
    if is_url(path):
        from gradclip_cli.files import looking

        found, head = looking.found(path, label)
        with found.opened() as reader:

            def more(count: int, position: int) -> bytes:
                data = bytearray(max(min(count, found.size - position), 0))
                reader.read_exactly(memoryview(data), position)
                return bytes(data)

            yield found, Front(more, head), head
        return
    check_regular(os.stat(path).st_mode, label)  # before opening: a FIFO would wait for its writer
    descriptor = open_raw(path, os.O_RDONLY)
    try:
        source = FileSource.of(descriptor, path, label)
        head = read_at(descriptor, _HEAD, 0)
        yield source, Front(lambda count, at: read_at(descriptor, count, at), head), head
    finally:
        os.close(descriptor)


def looked_at(paths: Sequence[str]) -> AbstractContextManager[None]:
    """Be told which files begin to be read next, in order: where each answer takes long."""
    urls = [path for path in paths if is_url(path)]
    if len(urls) < 2:
        return contextlib.nullcontext()
    from gradclip_cli.files import looking

    return looking.looked_at(urls)


def source_of(path: str, label: str) -> WholeSource:
    """Describe a file as it is now; raises `GradclipError` for anything else."""
    if is_url(path):
        from gradclip_cli.files import objects, stores

        status = stores.status(path)
        return objects.ObjectSource(path, str(label), status.size, status.version)
    check_regular(os.stat(path).st_mode, label)
    descriptor = open_raw(path, os.O_RDONLY | NO_WAIT)
    try:
        return FileSource.of(descriptor, path, label)
    finally:
        os.close(descriptor)


def check(sources: Iterable[Source]) -> None:
    """Raise `GradclipError` where one is no longer the same; objects are asked for all at once."""
    due = [*dict.fromkeys(sources)]
    if any(is_url(source.path) for source in due):
        from gradclip_cli.files import objects

        objects.check_all([one for one in due if isinstance(one, objects.ObjectSource)])
        due = [one for one in due if not isinstance(one, objects.ObjectSource)]
    for source in due:
        source.check()


def head(path: str, count: int) -> bytes | None:
    """Give the first bytes of a file; None where there is no regular one that can be read."""
    try:
        if is_url(path):
            from gradclip_cli.files import looking

            return looking.found(path, path, again=False)[1][:count]
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as stream:
            return stream.read(count)
    except (OSError, GradclipError):
        return None


def whole(path: str, most: int = -1) -> bytes:
    """Give all bytes of a file, which is a small one, or no more than so many."""
    if is_url(path):
        from gradclip_cli.files import looking

        return looking.whole(path, most)
    check_regular(os.stat(path).st_mode, path)
    with open(path, "rb") as stream:
        return stream.read(most)


def stream_of(path: str) -> BinaryIO:
    """Open a file for a library, until it is closed."""
    if is_url(path):
        from gradclip_cli.files import looking

        return io.BufferedReader(looking.ObjectStream(path), _HEAD)
    return open(path, "rb", buffering=0)


def sizes(folder: str) -> Iterator[tuple[str, int]]:
    """Give the names of all files below a folder, with slashes, and their sizes."""
    if is_url(folder):
        from gradclip_cli.files import stores

        yield from ((name, one.size) for name, one in stores.below(f"{folder.rstrip('/')}/"))
        return
    for place, _, names in os.walk(folder):
        inside = os.path.relpath(place, folder)
        for name in names:
            called = name if inside == os.curdir else f"{inside}/{name}".replace(os.sep, "/")
            yield called, os.path.getsize(os.path.join(place, name))


def known_by(path: str) -> tuple[int, int, int]:
    """Give what a file is known by: its size, what is another where bytes are, or anything is."""
    if is_url(path):
        from gradclip_cli.files import looking

        found, _ = looking.found(path, path, again=False)
        return found.size, found.modified_ns, found.changed_ns
    status = os.stat(path)
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return size, status.st_mtime_ns, status.st_ctime_ns
