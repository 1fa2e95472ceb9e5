"""What a pickle of PyTorch may name: tensors, storages, dtypes and plain containers, nothing else.

The functions are those of `torch/_utils.py` and `torch/_tensor.py`, as the pickles of all versions
call them. None of them is run: what they would give is noted.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gradclip_cli.formats.pt.opcodes import Global, PickleError
from gradclip_cli.frozen import frozen
from gradclip_cli.tensors.dtypes import BFLOAT16, E8M0, DType, narrow, numeric

WAY_OUT = (
    "load it where it was made and save plain tensors: "
    "torch.save({name: p.grad for name, p in model.named_parameters()}, path)"
)


@frozen
class Storage:
    """Memory of a tensor: its key in the file, and as what it was saved: `count` of a dtype.

    Of an untyped one the dtype is that of bytes. `start` is where a view of it begins, in values.
    """

    key: str
    dtype: DType
    count: int
    start: int = 0


@frozen
class View:
    """A tensor: values of a storage from an offset on, by strides, in values."""

    storage: Storage
    dtype: DType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


UNTYPED = DType("untyped", "opaque", 8, "|u1")
_DTYPES: dict[str, DType] = {
    **{f"float{bits}": numeric("f", bits) for bits in (16, 32, 64)},
    **{f"int{bits}": numeric("i", bits) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": numeric("u", bits) for bits in (8, 16, 32, 64)},
    "half": numeric("f", 16),
    "float": numeric("f", 32),
    "double": numeric("f", 64),
    "short": numeric("i", 16),
    "int": numeric("i", 32),
    "long": numeric("i", 64),
    "bool": numeric("b", 8),
    "bfloat16": BFLOAT16,
    "complex64": numeric("c", 64),
    "complex128": numeric("c", 128),
    "complex32": DType("complex32", "opaque", 32),
    "chalf": DType("complex32", "opaque", 32),
    "float8_e8m0fnu": E8M0,
    "float4_e2m1fn_x2": DType("float4_e2m1fn_x2", "opaque", 8),
    **{
        name: narrow(name)
        for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
    },
}
_STORAGES = {
    "Half": "float16",
    "Float": "float32",
    "Double": "float64",
    "BFloat16": "bfloat16",
    "Char": "int8",
    "Byte": "uint8",
    "Short": "int16",
    "Int": "int32",
    "Long": "int64",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}
_QUANTIZED = {"QInt8", "QInt32", "QUInt8", "QUInt4x2", "QUInt2x4"}
_KINDS = {"torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer", "torch.Tensor"}
_BUILTINS = ("builtins", "__builtin__")
_PLAIN: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("set", "frozenset", "list"), lambda values=(): [*_values(values)]),
    **dict.fromkeys(("complex", "bytearray", "bytes", "slice"), lambda *_parts: None),
    "dict": lambda pairs=(): dict(_pairs(pairs)),
    "tuple": lambda values=(): (*_values(values),),
}
_EMPTY: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": lambda pairs=(): dict(_pairs(pairs)),
    "collections.Counter": lambda counts=(): dict(_pairs(counts)),
    "collections.defaultdict": lambda _factory=None, pairs=(): dict(_pairs(pairs)),
    **{f"{module}.{name}": made for module in _BUILTINS for name, made in _PLAIN.items()},
    "_codecs.encode": lambda text, encoding: _latin(text, encoding),
    "torch.Size": lambda sides=(): (*_values(sides),),
    "torch.device": lambda *_parts: None,
    "torch.serialization._get_layout": lambda *_names: None,
}


class Allowed:
    """Makes values of what a pickle names; `storages` are what stands outside of it, by key."""

    def __init__(self, known: Mapping[str, Any] | None = None) -> None:
        self._known = known

    def known(self, named: Global) -> Any:
        """Give a global itself, or the dtype that it is; raises `PickleError` for a foreign one."""
        said = str(named)
        if named.module == "torch" and named.name in _DTYPES:
            return _DTYPES[named.name]
        if said in _EMPTY or said in _CALLS or said in _KINDS or _storage_of(named) is not None:
            return named
        if said in _MODES:
            return None
        raise refused(named)

    def called(self, what: Any, arguments: tuple[Any, ...]) -> Any:
        """Give what a call would: a view, or a plain container."""
        said = _named(what)
        do = _CALLS.get(said) or _EMPTY.get(said)
        if do is None:
            raise refused(what) if said else PickleError("the pickle calls what is no function")
        try:
            return do(*arguments)
        except (TypeError, ValueError) as error:
            if isinstance(error, PickleError):
                raise
            raise PickleError(f"the pickle calls {said} with what it does not take") from error

    def built(self, what: Any, _state: Any) -> Any:
        """Give the same: what a dict or a tensor has besides is not looked at."""
        if isinstance(what, dict | View):
            return what
        raise PickleError("the pickle gives a state to what has none")

    def persistent(self, said: Any) -> Any:
        """Give a storage, from `('storage', type, key, place, count)` and perhaps a view of it."""
        if self._known is not None:
            return self._of_old(said)
        if type(said) is not tuple or len(said) not in (5, 6) or said[0] != "storage":
            if type(said) is tuple and said[:1] == ("module",):
                raise PickleError(
                    "the pickle holds a whole module, whose code it would run", WAY_OUT
                )
            raise PickleError("the pickle refers to something outside that is no storage", WAY_OUT)
        kind, key, _place, count = said[1:5]
        dtype = _storage_of(kind)
        if dtype is None or type(key) not in (str, int) or not _is_size(count):
            raise PickleError("the pickle refers to a storage in words that it does not have")
        found = Storage(str(key), dtype, count)
        if len(said) == 6 and said[5] is not None:
            if type(said[5]) is not tuple or len(said[5]) != 3:
                raise PickleError("the pickle refers to a view in words that it does not have")
            _, start, size = said[5]
            if not (_is_size(start) and _is_size(size) and start + size <= count):
                raise PickleError(f"a view lies beyond the storage {shown(key)}")
            found = replace(found, start=start)
        return found

    def _of_old(self, said: Any) -> Any:
        """Give a tensor by the number that the oldest files have for it, or a container's name."""
        assert self._known is not None, "so the pickle is one of the oldest"
        if type(said) is tuple and said:
            return said[0]
        key = str(said) if type(said) in (str, int) else ""
        if key not in self._known:
            raise PickleError(f"the pickle refers to {shown(key)}, which is not in the file")
        return self._known[key]


def refused(named: Any) -> PickleError:
    """Refuse what is not known, by name."""
    said = str(named)
    if named.name.removesuffix("Storage") in _QUANTIZED or "_qtensor" in said:
        return PickleError("a quantized tensor is not read", f"dequantize it; {WAY_OUT}")
    if "_sparse_" in said:
        return PickleError("a sparse tensor is not read", f"make it dense; {WAY_OUT}")
    if "DTensor" in said:
        return PickleError(
            "a distributed tensor (DTensor) is not read from here",
            "save the checkpoint with torch.distributed.checkpoint, or full_tensor() of each",
        )
    return PickleError(
        f"the pickle would import {shown(said)}, and no foreign code is run", WAY_OUT
    )


def _named(what: Any) -> str:
    """Give the name of a global; empty for all else, which may be nested without end."""
    return str(what) if isinstance(what, Global) else ""


def shown(text: Any) -> str:
    """Write a name from a file."""
    from gradclip_cli.tensors.names import quoted

    return quoted(str(text))


def _storage_of(named: Any) -> DType | None:
    """Give the dtype of a typed storage or tensor of that name; None where it is none."""
    if not isinstance(named, Global):
        return None
    if str(named) in ("torch.storage.UntypedStorage", "torch.UntypedStorage"):
        return UNTYPED
    name = named.name
    if named.module not in ("torch", "torch.cuda"):
        return None
    for end in ("Storage", "Tensor"):
        if name.endswith(end) and name.removesuffix(end) in _STORAGES:
            return _DTYPES[_STORAGES[name.removesuffix(end)]]
    return None


def _view(storage: Any, offset: Any, shape: Any, strides: Any, dtype: DType | None = None) -> View:
    if not isinstance(storage, Storage) or not _is_size(offset):
        raise PickleError("a tensor of the pickle has no storage")
    if not (_are_sizes(shape) and _are_sizes(strides) and len(shape) == len(strides)):
        raise PickleError("a tensor of the pickle has no shape and strides")
    kind = storage.dtype if dtype is None else dtype
    if kind == UNTYPED:
        raise PickleError("a tensor of the pickle has no dtype")
    return View(storage, kind, storage.start + offset, (*shape,), (*strides,))


def _as_stored(metadata: tuple[Any, ...]) -> None:
    """Refuse a tensor whose values are negatives or conjugates of what is stored."""
    said = metadata[0] if metadata and isinstance(metadata[0], dict) else {}
    for key, what in (("neg", "negated"), ("conj", "conjugated")):
        if said.get(key):
            raise PickleError(
                f"a lazily {what} tensor is not read: its storage has other values",
                f"save tensor.resolve_{key}()",
            )


def _v2(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> View:
    _as_stored(rest[2:])
    return _view(storage, offset, shape, strides)


def _v3(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    _grad: Any,
    _hooks: Any,
    dtype: Any,
    *rest: Any,
) -> View:
    _as_stored(rest)
    if not isinstance(dtype, DType):
        raise PickleError("a tensor of the pickle has no dtype")
    return _view(storage, offset, shape, strides, dtype)


def _parameter(data: Any, *_rest: Any) -> Any:
    if not isinstance(data, View):
        raise PickleError("a parameter of the pickle is no tensor")
    return data


def _from_type(function: Any, kind: Any, arguments: Any, _state: Any = None) -> Any:
    if _named(kind) not in _KINDS and _storage_of(kind) is None:
        raise refused(kind) if isinstance(kind, Global) else PickleError("a tensor has no type")
    if type(arguments) is not tuple:
        raise PickleError("a tensor of the pickle is made of nothing")
    do = _CALLS.get(_named(function))
    if do is None or do is _from_type:
        raise PickleError("a tensor of the pickle is made in a way that is not known")
    return do(*arguments)


_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _v2,
    "torch._utils._rebuild_tensor_v2": _v2,
    "torch._utils._rebuild_tensor_v3": _v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
}
_MODES = {"torch.strided", "torch.contiguous_format", "torch.preserve_format"}


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _are_sizes(values: Any) -> bool:
    return type(values) in (tuple, list) and len(values) <= 64 and all(map(_is_size, values))


def _latin(text: Any, encoding: Any) -> bytes:
    """Give the bytes that pickles up to protocol 2 write as a text."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise TypeError("it encodes by Latin-1")
    return text.encode("latin-1")


def _pairs(values: Any) -> Any:
    if isinstance(values, dict):
        return values.items()
    plain = (str, int, float, bool, bytes, type(None))
    found = [*_values(values)]
    if not all(type(one) in (tuple, list) and len(one) == 2 for one in found):
        raise PickleError("the pickle makes a dict of what are no pairs")
    if not all(isinstance(key, plain) for key, _ in found):
        raise PickleError("a key is neither text nor a number")
    return found


def _values(values: Any) -> Any:
    if type(values) not in (tuple, list):
        raise PickleError("the pickle makes a container of what is none")
    return values
