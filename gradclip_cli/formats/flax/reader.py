"""Where the arrays of a Flax file lie, as msgpack walks it: this runs in a process of its own.

From `flax/serialization.py` (`msgpack_serialize`): a tree of maps; an array is an extension of type
1, itself a list of shape, dtype and bytes in C order; type 2 is a complex number, type 3 a scalar
of NumPy. An array of more than 1 GiB is a map with the key `__msgpack_chunked_array__`, whose
`shape` and `chunks` are maps by number. No value is read here but on demand.
"""

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import msgpack

from gradclip_cli.files import tree
from gradclip_cli.formats.foreign import words
from gradclip_cli.formats.foreign.child import Alive, Opened, RefusedError
from gradclip_cli.tensors.names import plural, quoted

OTHERS = "no numbers that gradclip reads"
_CHUNKED = "__msgpack_chunked_array__"
_MOST = 10_000_000  # values
_DEEPEST = 200  # maps in maps
_KEY = 1 << 16  # bytes of a key
_INTERRUPTED = "was the copy or download interrupted, or is the file still being written?"
_DAMAGED = "the file is damaged, or is none of Flax"
# What is not unpacked, by its first byte: how many bytes its size takes, or its size, and whether
# a type follows.
_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_FIXED = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}

_Path = tuple[str, ...]


def library() -> tuple[str, Callable[[str], Opened]]:
    """Say what reads, and give what opens a file."""
    return f"msgpack {'.'.join(map(str, msgpack.version))}", _File


class _File:
    def __init__(self, path: str) -> None:
        self._stream = tree.stream_of(path)

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()

    def listing(self, alive: Alive) -> dict[str, Any]:
        """Give the arrays, and what else there is."""
        return _Walk(_Cursor(self._stream), alive).said()

    def read(self, key: str, start: int, count: int) -> bytes:
        """Give bytes of an array that lies in pieces."""
        for offset, size in json.loads(key):
            if start < size:
                return _at(self._stream, min(count, size - start), offset + start)
            start -= size
        return b""


def _at(stream: BinaryIO, count: int, offset: int) -> bytes:
    """Read bytes at an offset, and stay where one is."""
    here = stream.tell()
    stream.seek(offset)
    found = stream.read(count)
    stream.seek(here)
    return found


class _Cursor:
    """A place in a file, from which msgpack reads on."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.end = stream.seek(0, os.SEEK_END)
        self.go(0)

    def go(self, place: int) -> None:
        """Go to a place, which lies in the file."""
        if place > self.end:
            raise RefusedError(
                f"ends after {self.end:,} bytes, in the middle of a value of which "
                f"{place - self.end:,} bytes are missing",
                _INTERRUPTED,
            )
        self._stream.seek(place)
        self._base = place
        self.unpacker = msgpack.Unpacker(
            self._stream,
            read_size=4096,
            max_buffer_size=1 << 20,
            max_str_len=_KEY,
            max_bin_len=_KEY,
            strict_map_key=False,
            unicode_errors="backslashreplace",
        )

    @property
    def at(self) -> int:
        """The place."""
        return self._base + int(self.unpacker.tell())

    def first(self) -> int:
        """Give the byte there, which says what comes."""
        found = _at(self._stream, 1, self.at)
        if not found:
            raise RefusedError(
                f"ends after {self.end:,} bytes, in the middle of a map", _INTERRUPTED
            )
        return found[0]

    def sized(self) -> tuple[int, int, int]:
        """Give of a text, bytes or an extension its type, -1 for none, its begin and its end."""
        first, at = self.first(), self.at
        head = _at(self._stream, 6, at)
        if first in _FIXED:
            return _signed(head, 1), at + 2, at + 2 + _FIXED[first]
        if 0xA0 <= first <= 0xBF:
            return -1, at + 1, at + 1 + first - 0xA0
        width = _SIZED.get(first) or _EXTENSIONS[first]
        begin = at + 1 + width
        kind = -1
        if first in _EXTENSIONS:
            kind, begin = _signed(head, 1 + width), begin + 1
        return kind, begin, begin + int.from_bytes(head[1 : 1 + width], "big")


def _signed(head: bytes, at: int) -> int:
    return int.from_bytes(head[at : at + 1], "big", signed=True)


@dataclass
class _Level:
    """A map or a list, of which so many values are left."""

    path: _Path
    left: int
    is_map: bool
    number: int = 0
    numbers: dict[str, int] = field(default_factory=dict)


class _Walk:
    def __init__(self, cursor: _Cursor, alive: Alive) -> None:
        self._cursor, self._alive = cursor, alive
        self._tensors: list[dict[str, Any]] = []
        self._parted: dict[_Path, dict[str, dict[str, Any]]] = {}
        self._shapes: dict[_Path, dict[str, int]] = {}
        self._others = 0

    def said(self) -> dict[str, Any]:
        """Go through all of it, and give what there is."""
        levels: list[_Level] = []
        self._value((), levels)
        values = 1
        while levels:
            level = levels[-1]
            if not level.left:
                levels.pop()
                continue
            level.left -= 1
            values += 1
            self._alive()
            if values > _MOST or len(levels) > _DEEPEST:
                raise RefusedError(
                    f"holds more than {_MOST:,} values, or maps more than {_DEEPEST} deep", _DAMAGED
                )
            key = self._key() if level.is_map else str(level.number)
            level.number += 1
            self._value((*level.path, key), levels)
        if self._cursor.at < self._cursor.end:
            behind = self._cursor.end - self._cursor.at
            raise RefusedError(f"{behind:,} bytes follow the last value", _DAMAGED)
        self._join()
        if not self._tensors:
            raise RefusedError(f"holds {plural(values, 'value')}, none of them an array", _DAMAGED)
        besides = [f"{self._others:,} values that are no tensors"] if self._others else []
        return {"tensors": self._tensors, "strays": [], "besides": besides}

    def _key(self) -> str:
        first = self._cursor.first()
        if first >= 0x80 and not 0xA0 <= first <= 0xBF and first not in (*_SIZED, 0xCC, 0xCD):
            raise RefusedError("a key of a map is no text", _DAMAGED)
        key = self._cursor.unpacker.unpack()
        return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)

    def _value(self, path: _Path, levels: list[_Level]) -> None:
        """Go past a value, and take note of what it is."""
        first = self._cursor.first()
        unpacker = self._cursor.unpacker
        if 0x80 <= first <= 0x8F or first in (0xDE, 0xDF):
            levels.append(_Level(path, unpacker.read_map_header(), True))
        elif 0x90 <= first <= 0x9F or first in (0xDC, 0xDD):
            levels.append(_Level(path, unpacker.read_array_header(), False))
        elif first in _SIZED or first in _EXTENSIONS or first in _FIXED or 0xA0 <= first <= 0xBF:
            kind, begin, end = self._cursor.sized()
            if kind == 1:
                self._array(path, begin, end)
            else:
                self._others += 1
            self._cursor.go(end)
        else:
            value = unpacker.unpack()
            if path[-1:] == (_CHUNKED,):
                self._parted.setdefault(path[:-1], {})
                self._shapes.setdefault(path[:-1], {})
            elif path[-2:-1] == ("shape",) and path[:-2] in self._parted and type(value) is int:
                self._shapes[path[:-2]][path[-1]] = value
            else:
                self._others += 1

    def _array(self, path: _Path, begin: int, end: int) -> None:
        """Read what an array says of itself, and find its bytes."""
        called = f"tensor {quoted('.'.join(path))}"
        cursor = self._cursor
        cursor.go(begin)
        if cursor.unpacker.read_array_header() != 3:
            raise RefusedError(f"{called} is no list of shape, dtype and bytes", _DAMAGED)
        shape, name = cursor.unpacker.unpack(), cursor.unpacker.unpack()
        name = name.decode("latin-1") if isinstance(name, bytes) else name
        is_shape = isinstance(shape, list) and all(type(one) is int and one >= 0 for one in shape)
        if not is_shape or not isinstance(name, str) or cursor.first() not in _SIZED:
            raise RefusedError(f"{called} is no list of shape, dtype and bytes", _DAMAGED)
        _, start, stop = cursor.sized()
        said = words.entry(name)
        entry: dict[str, Any] = {"path": [*path], "key": "", "shape": shape, "offset": start}
        entry |= said or {"what": OTHERS}
        item = words.dtype_of(said).bits // 8 if said else 0
        wanted = math.prod(shape) * item if said else stop - start
        if stop != end or wanted != stop - start:
            raise RefusedError(
                f"{called} has {stop - start:,} bytes, where its shape takes {wanted:,}", _DAMAGED
            )
        if path[-2:-1] == ("chunks",) and path[:-2] in self._parted:
            self._parted[path[:-2]][path[-1]] = {**entry, "size": stop - start}
        else:
            self._tensors.append(entry)

    def _join(self) -> None:
        """Put the pieces of long arrays together."""
        for path, pieces in self._parted.items():
            shape = [one for _, one in sorted(self._shapes[path].items(), key=_by_number)]
            parts = [piece for _, piece in sorted(pieces.items(), key=_by_number)]
            counts = sum(math.prod(part["shape"]) for part in parts)
            if len({part.get("dtype") for part in parts}) != 1 or counts != math.prod(shape):
                raise RefusedError(
                    f"tensor {quoted('.'.join(path))} is in pieces that do not make up its shape",
                    _DAMAGED,
                )
            key = json.dumps([(part["offset"], part["size"]) for part in parts])
            whole = {**parts[0], "path": [*path], "key": key, "shape": shape, "offset": None}
            self._tensors.append(whole)


def _by_number(pair: tuple[str, Any]) -> tuple[int, str]:
    return len(pair[0]), pair[0]
