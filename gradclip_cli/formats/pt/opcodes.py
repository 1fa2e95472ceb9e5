"""A reader of pickles that runs nothing: opcodes become plain values, or are refused.

The opcodes are those of `Lib/pickletools.py`, protocols 0 to 5. What a pickle would import is a
`Global`, a pair of names; what it would call goes to a `Calls`, which knows a few of them. Work and
memory are bounded by the number of opcodes, for lengths and marks are never believed.
"""

import struct
from collections.abc import Callable
from typing import Any, Protocol

from gradclip_cli.frozen import frozen

MOST_OPCODES = 20_000_000
MOST_BYTES = 1 << 29
_NEWEST = 5  # protocol
_LONGEST_LINE = 10_000
_LONGEST_NUMBER = 1_024
_LONGEST_TEXT = 1 << 20


class PickleError(ValueError):
    """A pickle that cannot be read, or not without running something; `hint` is the way out."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.problem, self.hint = problem, hint


@frozen
class Global:
    """What a pickle would import."""

    module: str
    name: str

    def __str__(self) -> str:
        """Give its dotted name."""
        return f"{self.module}.{self.name}"


class Bytes(Protocol):
    """Where a pickle comes from."""

    def read(self, size: int, /) -> bytes:
        """Give so many bytes; fewer only at the end."""

    def readline(self, size: int, /) -> bytes:
        """Give bytes up to a line feed, at most so many."""

    def tell(self) -> int:
        """Give the offset of what is read next."""

    def seek(self, offset: int, /) -> int:
        """Read on from an offset."""


class Calls(Protocol):
    """What may be made of globals; each raises `PickleError` for all that it does not know."""

    def known(self, named: Global) -> Any:
        """Give what stands for a global itself."""

    def called(self, what: Any, arguments: tuple[Any, ...]) -> Any:
        """Give what a call of it would."""

    def built(self, what: Any, state: Any) -> Any:
        """Give a value that has been given a state."""

    def persistent(self, said: Any) -> Any:
        """Give what is stored outside of the pickle."""


class Key:
    """What `Calls` make that may be a key: each is equal to itself alone."""


_MARK = object()
_UNHASHED = "a key is neither text nor a number"


def read_pickle(stream: Bytes, calls: Calls) -> Any:
    """Read one pickle; raises `PickleError`."""
    return _Machine(stream, calls).run()


class _Machine:
    def __init__(self, stream: Bytes, calls: Calls) -> None:
        self._stream = stream
        self._calls = calls
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._left = MOST_BYTES

    def run(self) -> Any:
        try:
            return self._run()
        except (UnicodeDecodeError, OverflowError) as error:
            raise PickleError(f"the pickle is damaged: {error}") from error

    def _run(self) -> Any:
        read, does = self._stream.read, _DOES
        for _ in range(MOST_OPCODES):
            code = read(1)
            if code == b".":
                return self._pop()
            do = does.get(code)
            if do is None:
                if not code:
                    raise PickleError("the pickle is cut short")
                raise PickleError(f"the pickle has an opcode that is not read: {code!r}")
            do(self)
        raise PickleError(f"the pickle takes more than {MOST_OPCODES:,} steps")

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise PickleError("the pickle takes what is not there")
        return self._stack.pop()

    def _top(self, kind: type) -> Any:
        if not self._stack or type(self._stack[-1]) is not kind:
            raise PickleError(f"the pickle fills what is no {kind.__name__}")
        return self._stack[-1]

    def _from_mark(self) -> list[Any]:
        stack = self._stack
        for at in range(len(stack) - 1, -1, -1):
            if stack[at] is _MARK:
                found = stack[at + 1 :]
                del stack[at:]
                return found
        raise PickleError("the pickle has no mark where it goes back to one")

    def piece_of(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise PickleError("the pickle is cut short")
        self._left -= size
        if self._left < 0:
            raise PickleError(f"the pickle has more than {MOST_BYTES:,} bytes")
        return data

    def line(self) -> str:
        data = self._stream.readline(_LONGEST_LINE)
        if not data.endswith(b"\n"):
            raise PickleError("a line of the pickle has no end, or is too long")
        return data[:-1].decode("utf-8", "surrogateescape")

    def number(self, form: struct.Struct) -> Any:
        return form.unpack(self.piece_of(form.size))[0]

    def text(self, form: struct.Struct) -> str:
        return self.piece(form).decode("utf-8", "surrogatepass")

    def piece(self, form: struct.Struct, most: int = _LONGEST_TEXT) -> bytes:
        size = self.number(form)
        if not 0 <= size <= most:
            raise PickleError(f"the pickle has {size:,} bytes in one piece, more than {most:,}")
        return self.piece_of(size)

    # What opcodes do

    def put(self, key: int) -> None:
        if not self._stack:
            raise PickleError("the pickle keeps what is not there")
        self._memo[key] = self._stack[-1]

    def check_protocol(self, number: int) -> None:
        if number > _NEWEST:
            raise PickleError(f"a pickle of protocol {number}, which there is not")

    def check_frame(self, size: int) -> None:
        """Check that a frame is there; what is in it is read as all else."""
        begin = self._stream.tell()
        self._stream.seek(begin + min(size, MOST_BYTES) - 1 if size else begin)
        if size and not self._stream.read(1):
            raise PickleError("a frame of the pickle is cut short")
        self._stream.seek(begin)

    def get(self, key: int) -> None:
        if key not in self._memo:
            raise PickleError("the pickle takes what it has not kept")
        self._stack.append(self._memo[key])

    def memoize(self) -> None:
        self.put(len(self._memo))

    def set_items(self, pairs: list[Any]) -> None:
        target = self._top(dict)
        if len(pairs) % 2:
            raise PickleError("a key of the pickle has no value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[_hashed(key)] = value

    def append_all(self, values: list[Any]) -> None:
        self._top(list).extend(values)

    def tuple(self, count: int) -> None:
        parts = [self._pop() for _ in range(count)]
        self._stack.append((*parts[::-1],))

    def globally(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("a global of the pickle has no name")
        self._stack.append(self._calls.known(Global(module, name)))

    def call(self) -> None:
        arguments, what = self._pop(), self._pop()
        if type(arguments) is not tuple:
            raise PickleError("the pickle calls something without arguments")
        self._stack.append(self._calls.called(what, arguments))

    def call_with_names(self) -> None:
        names = self._pop()
        if names:
            raise PickleError("the pickle calls something with named arguments")
        self.call()

    def build(self) -> None:
        state, what = self._pop(), self._pop()
        self._stack.append(self._calls.built(what, state))

    def persist(self, said: Any) -> None:
        self._stack.append(self._calls.persistent(said))

    def take(self) -> Any:
        """Take the value on top."""
        return self._pop()

    def take_marked(self) -> list[Any]:
        """Take what stands above the last mark."""
        return self._from_mark()

    def global_on_top(self) -> None:
        name, module = self._pop(), self._pop()
        self.globally(module, name)

    def double(self) -> None:
        self._stack.append(self._stack[-1] if self._stack else self._pop())

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def drop(self) -> None:
        """Forget what is on top, a mark or a value."""
        if not self._stack:
            raise PickleError("the pickle takes what is not there")
        self._stack.pop()


def _hashed(key: Any) -> Any:
    """Give a key of a dict, if it is plain: a nested one could exhaust the machine."""
    plain = (str, int, float, bool, bytes, type(None))
    if isinstance(key, (*plain, Key)) or (
        type(key) is tuple and all(isinstance(part, plain) for part in key)
    ):
        return key
    raise PickleError(_UNHASHED)


def _integer(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _decimal(text: str) -> int | bool:
    if text in ("00", "01"):
        return text == "01"
    try:
        return int(text.removesuffix("L"))
    except ValueError as error:
        raise PickleError("a number of the pickle is none") from error


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise PickleError("a number of the pickle is none") from error


def _quoted(text: str) -> str:
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"" or "\\" in text:
        raise PickleError("a text of the pickle is not written plainly")
    return text[1:-1]


_U1, _U2, _U4, _U8 = map(struct.Struct, ("<B", "<H", "<I", "<Q"))
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")
_Do = Callable[[_Machine], object]
_DOES: dict[bytes, _Do] = {
    b"\x80": lambda m: m.check_protocol(m.number(_U1)),
    b"\x95": lambda m: m.check_frame(m.number(_U8)),
    b"(": lambda m: m.push(_MARK),
    b"0": lambda m: m.drop(),
    b"1": lambda m: m.take_marked(),
    b"2": lambda m: m.double(),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": lambda m: m.push(_decimal(m.line())),
    b"L": lambda m: m.push(_decimal(m.line())),
    b"J": lambda m: m.push(m.number(_I4)),
    b"K": lambda m: m.push(m.number(_U1)),
    b"M": lambda m: m.push(m.number(_U2)),
    b"\x8a": lambda m: m.push(_integer(m.piece(_U1))),
    b"\x8b": lambda m: m.push(_integer(m.piece(_I4, _LONGEST_NUMBER))),
    b"F": lambda m: m.push(_float(m.line())),
    b"G": lambda m: m.push(m.number(_F8)),
    b"S": lambda m: m.push(_quoted(m.line())),
    b"T": lambda m: m.push(m.text(_I4)),
    b"U": lambda m: m.push(m.text(_U1)),
    b"V": lambda m: m.push(m.line()),
    b"X": lambda m: m.push(m.text(_U4)),
    b"\x8c": lambda m: m.push(m.text(_U1)),
    b"\x8d": lambda m: m.push(m.text(_U8)),
    b"B": lambda m: m.push(m.piece(_U4)),
    b"C": lambda m: m.push(m.piece(_U1)),
    b"\x8e": lambda m: m.push(m.piece(_U8)),
    b"\x96": lambda m: m.push(m.piece(_U8)),
    b"]": lambda m: m.push([]),
    b"a": lambda m: m.append_all([m.take()]),
    b"e": lambda m: m.append_all(m.take_marked()),
    b"l": lambda m: m.push(m.take_marked()),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push((*m.take_marked(),)),
    b"\x85": lambda m: m.tuple(1),
    b"\x86": lambda m: m.tuple(2),
    b"\x87": lambda m: m.tuple(3),
    b"}": lambda m: m.push({}),
    b"s": lambda m: m.set_items([m.take(), m.take()][::-1]),
    b"u": lambda m: m.set_items(m.take_marked()),
    b"\x8f": lambda m: m.push([]),  # a set, of which the order does not matter
    b"\x90": lambda m: m.append_all(m.take_marked()),
    b"\x91": lambda m: m.push(m.take_marked()),
    b"p": lambda m: m.put(int(_decimal(m.line()))),
    b"q": lambda m: m.put(m.number(_U1)),
    b"r": lambda m: m.put(m.number(_U4)),
    b"g": lambda m: m.get(int(_decimal(m.line()))),
    b"h": lambda m: m.get(m.number(_U1)),
    b"j": lambda m: m.get(m.number(_U4)),
    b"\x94": lambda m: m.memoize(),
    b"c": lambda m: m.globally(m.line(), m.line()),
    b"\x93": lambda m: m.global_on_top(),
    b"R": lambda m: m.call(),
    b"\x81": lambda m: m.call(),
    b"\x92": lambda m: m.call_with_names(),
    b"b": lambda m: m.build(),
    b"Q": lambda m: m.persist(m.take()),
    b"P": lambda m: m.persist(m.line()),
}
