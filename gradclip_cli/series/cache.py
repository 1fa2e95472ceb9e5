"""The cache of a run: what was measured of each step, one JSON object a line, in a file to keep.

A step is known again by its paths, their sizes and times, and the selection: of modification, and
of the last change of anything, which nobody can put back. (Not by the inode, which some mounts
number anew.) Lines are only ever appended, each in one go as soon as its step is measured: a run
that is stopped leaves whole lines and at most one that is torn, which is measured again. Each ends
in its own check sum: no number of a line that was damaged since is taken for a measurement.
"""

import contextlib
import dataclasses
import json
import math
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.files.marks import locked
from gradclip_cli.files.system import open_raw, write_at
from gradclip_cli.files.urls import check_local
from gradclip_cli.measure.statistics import EXPONENTS, STATISTICS, Asked
from gradclip_cli.series.restored import restored
from gradclip_cli.series.trajectory import Layout, Measured, Nonfinite
from gradclip_cli.tensors.renaming import Renaming
from gradclip_cli.tensors.selection import Selection

_NAMES = {one.name for one in STATISTICS}
_OPTIONAL = {EXPONENTS.name}  # what a run measures only where it is asked
_VERSION = 3  # 2 had no check sums nor all floats, 1 other fingerprints
_BEGINNINGS = [f'{{"gradclip_trend": {one}, "step": '.encode() for one in (1, 2, _VERSION)]
_END = ', "crc32": "{:08x}"}}\n'

FileKey = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Key:
    """What a step is known by: its operand, its files as `(path, size, modified_ns)`, selection.

    `changed` are the times of the last change of anything, in nanoseconds.
    """

    operand: str
    files: tuple[FileKey, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    changed: tuple[int, ...] = field(default=(), compare=False)
    void_as: str = ""
    combine: tuple[str, ...] = ()
    strip_prefix: tuple[str, ...] = ()
    rename: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        operand: str,
        files: tuple[FileKey, ...],
        selection: Selection,
        changed: tuple[int, ...] = (),
        void_as: str = "",
        combine: tuple[str, ...] = (),
        aligned: Renaming | None = None,
    ) -> "Key":
        """Give the key of a step; paths are made absolute."""
        places = tuple((tree.absolute(path), size, time) for path, size, time in files)
        include, exclude = sorted(selection.include), sorted(selection.exclude)
        return cls(
            tree.absolute(operand),
            places,
            tuple(include),
            tuple(exclude),
            changed,
            void_as,
            combine,
            aligned.prefixes if aligned else (),
            aligned.texts if aligned else (),
        )

    @property
    def wish(self) -> tuple[object, ...]:
        """What it has in common with the key of the same step before its files changed."""
        asked = self.include, self.exclude, self.void_as, self.combine
        return self.operand, *asked, self.strip_prefix, self.rename


class Cache:
    """The steps that a cache file holds; `keep` adds one to it.

    With `trust_mtime` a step whose files have their size and time of modification is known. One of
    which not all that is `asked` was measured is not.
    """

    def __init__(
        self, path: str, descriptor: int, trust_mtime: bool = False, asked: Asked = ()
    ) -> None:
        self._path = path
        self._asked = asked
        self._descriptor = descriptor
        self._trusts = trust_mtime
        self._known: dict[Key, tuple[Key, Measured]] = {}
        self._looked: dict[Key, set[str]] = {}  # for which statistics, of a report in vain
        self._wishes: set[tuple[object, ...]] = set()
        self._older: set[tuple[object, ...]] = set()
        self._layouts: dict[Layout, Layout] = {}
        self._end = 0
        self._read()

    def known(self, key: Key) -> Measured | None:
        """Give what was measured of a step; None if it is not known, or has changed."""
        kept, measured = self._known.get(key, (key, None))
        if measured is None or not self._has_all(key):
            return None
        return measured if self._trusts or kept.changed == key.changed else None

    def _has_all(self, key: Key) -> bool:
        return self._looked.get(key, set()).issuperset(self._asked)

    def anew(self, key: Key) -> str | None:
        """Say why a step that is not known has to be measured anew; None if it is a new one."""
        if key in self._known:
            if not self._has_all(key):
                return "more is asked of them than was kept"
            return (
                "copied, restored, or changed behind their times; --trust-mtime takes them as kept"
            )
        if key.wish in self._wishes:
            return "their files have changed"
        return "kept by an older gradclip" if key.wish in self._older else None

    def keep(self, key: Key, step: int | str, measured: Measured) -> None:
        """Add a step to the file at once; an `OSError` names the file."""
        found = _written(key, step, measured) | {
            name: measured.further.get(name) for name in self._asked
        }
        line = signed(json.dumps(found, allow_nan=False).encode())
        write_at(self._descriptor, line, self._end, self._path)
        self._end += len(line)
        self._known[key], self._looked[key] = (key, measured), found.keys() & _NAMES

    def _read(self) -> None:
        """Read all whole lines; what is torn at the end is cut off."""
        torn = b""
        with open(self._descriptor, "rb", closefd=False) as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    torn = line
                elif not line.startswith((*_BEGINNINGS,)):
                    raise self._foreign(number)
                else:
                    self._take(line, number)
                    self._end += len(line)
        if torn:
            length = None if self._end == 0 else len(torn)
            if not torn.startswith(tuple(one[:length] for one in _BEGINNINGS)):
                raise self._foreign(0)
            os.ftruncate(self._descriptor, self._end)

    def _take(self, line: bytes, number: int) -> None:
        is_ours = line.startswith(_BEGINNINGS[-1])
        if is_ours and line != signed(line[: -len(_END.format(0))] + b"}"):
            raise GradclipError(
                self._path,
                f"line {number:,} is damaged: its check sum is not that of its text",
                "remove that line, or the file: the steps that it kept are measured anew",
            )
        try:
            found = json.loads(line)
            key = _key(found)
            if not is_ours or any(
                one.name not in found for one in STATISTICS if one.name not in _OPTIONAL
            ):
                self._older.add(key.wish)
                return  # it was written before there was such a statistic
            measured = _measured(found)
            self._wishes.add(key.wish)
            # Thousands of steps share the names of their tensors.
            layout = self._layouts.setdefault(measured.layout, measured.layout)
            self._known[key] = key, dataclasses.replace(measured, layout=layout)
            self._looked[key] = found.keys() & _NAMES
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
            raise self._foreign(number) from None

    def _foreign(self, number: int) -> GradclipError:
        where = f", see line {number:,}" if number else ""
        return GradclipError(
            self._path,
            f"not a cache that gradclip trend wrote{where}",
            "name another file with --cache; one that does not exist is made",
        )


@contextlib.contextmanager
def cache(path: str, trust_mtime: bool = False, asked: Asked = ()) -> Iterator[Cache]:
    """Open a cache, or make it; raises `GradclipError` where it is none, or in use."""
    if path == "-":
        problem = "a cache is read and written, which standard streams cannot be"
        raise GradclipError("--cache", problem, "name a file, such as run.jsonl")
    check_local(path, "a cache", "name a file of this machine, such as run.jsonl")
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise GradclipError(path, "a cache has to be a regular file", "name another file")
    descriptor = open_raw(path, os.O_RDWR | os.O_CREAT)
    try:
        is_ours = locked(descriptor)
        if is_ours is None:
            raise GradclipError(
                path,
                "its file system has no locks, so that two runs might write to it at once",
                "name a cache on another disk",
            )
        if not is_ours:
            raise GradclipError(
                path, "another gradclip is writing to it", "wait until that has finished"
            )
        yield Cache(path, descriptor, trust_mtime, asked)
    finally:
        os.close(descriptor)


def signed(text: bytes) -> bytes:
    """Give a line for the text of a JSON object: the same, with a check sum as its last entry."""
    body = text[:-1]
    return body + _END.format(zlib.crc32(body)).encode()


def _written(key: Key, step: int | str, measured: Measured) -> dict[str, Any]:
    layout = measured.layout
    return {
        "gradclip_trend": _VERSION,
        "step": step,
        "global_norm": _or_null(measured.global_norm),
        "finite_norm": _or_null(measured.finite_norm),
        "nonfinite": sum(bad.count for bad in measured.nonfinite.values()),
        "operand": key.operand,
        "files": key.files,
        "changed": key.changed,
        "include": key.include,
        "exclude": key.exclude,
        "void_as": key.void_as,
        "combine": key.combine,
        "strip_prefix": key.strip_prefix,
        "rename": key.rename,
        "notes": measured.notes,
        "unread": measured.unread,
        "names": layout.names,
        "dtypes": layout.dtypes,
        "counts": layout.counts,
        "norms": [_or_null(norm) for norm in measured.norms],
        "max_abs": [_or_null(size) for size in measured.sizes],
        "nonfinite_at": [
            [tensor, bad.nan, bad.posinf, bad.neginf, bad.first]
            for tensor, bad in measured.nonfinite.items()
        ],
        # What a report has not got is unknown here, too; it would be kept anew at every look.
        **{
            one.name: measured.further.get(one.name)
            for one in STATISTICS
            if one.name in measured.further or one.name not in _OPTIONAL
        },
    }


def _or_null(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _key(line: dict[str, Any]) -> Key:
    return Key(
        line["operand"],
        tuple((path, size, time) for path, size, time in line["files"]),
        tuple(line["include"]),
        tuple(line["exclude"]),
        tuple(line.get("changed", ())),
        line.get("void_as", ""),
        tuple(line.get("combine", ())),
        tuple(line.get("strip_prefix", ())),
        tuple(line.get("rename", ())),
    )


def _measured(line: dict[str, Any]) -> Measured:
    return restored(
        Layout(tuple(line["names"]), tuple(line["dtypes"]), tuple(line["counts"])),
        line["norms"],
        line["max_abs"],
        {
            tensor: Nonfinite(nan, posinf, neginf, tuple(first))
            for tensor, nan, posinf, neginf, first in line["nonfinite_at"]
        },
        line["finite_norm"],
        line["notes"],
        {one.name: line[one.name] for one in STATISTICS if line.get(one.name) is not None},
        line["unread"],
    )
