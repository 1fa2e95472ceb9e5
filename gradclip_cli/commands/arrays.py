"""Arrays in memory as a dump: whatever NumPy takes, read where it lies.

An array that lies in C or in Fortran order is not copied. Others are, in C order.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.commands.given import shown
from gradclip_cli.errors import GradclipError
from gradclip_cli.files.memory import MemorySource
from gradclip_cli.tensors.codecs import Stored
from gradclip_cli.tensors.dtypes import DType, numeric, without_letter
from gradclip_cli.tensors.dump import Dump, DumpFile, Tensor

Array = NDArray[Any]

_NUMBERS = "gradclip reads float4 to float64, bfloat16, complex and whole numbers"


def dump_of(named: Mapping[str, Array], label: str) -> tuple[Dump, MemorySource]:
    """Give a dump of arrays, and where its bytes come from."""
    source = MemorySource.of(label, [*map(bytes_of, named.values())])
    tensors, offset = [], 0
    for name, array in named.items():
        dtype, fortran = _dtype(name, array), is_fortran(array)
        tensors.append(Tensor(name, dtype, array.shape, source, offset, array.nbytes, fortran))
        offset += array.nbytes
    return Dump((DumpFile(source, label, "memory", tuple(tensors)),)), source


def is_fortran(array: Array) -> bool:
    """Say whether the first index of an array runs fastest, and no other order is as true."""
    return array.flags.f_contiguous and not array.flags.c_contiguous


def bytes_of(array: Array) -> Stored:
    """Give the bytes of an array in the order in which they lie."""
    flat = array.T if is_fortran(array) else np.ascontiguousarray(array)
    return flat.reshape(-1).view(np.uint8)


def of_dict(given: Sequence[Any]) -> Dump:
    """Give the dump of a dict of arrays by their names, which is named alone.

    An entry of None is left out, as one without a gradient. Whole numbers beside floating ones are
    no gradients, as in a file.
    """
    if len(given) > 1:
        raise GradclipError("paths", "a dict of arrays cannot go with others", "give one dict")
    arrays: dict[str, Array] = {}
    for name, value in given[0].items():
        if not isinstance(name, str):
            raise GradclipError("paths", f"the name {shown(name)} is not a text", "name it in one")
        if value is not None:
            arrays[name] = array_of(repr(name), value, counts=False)
    if not any(array.dtype.kind not in "iub" for array in arrays.values()):
        arrays |= {name: _floating(one) for name, one in arrays.items() if one.dtype.kind != "b"}
    dump, _ = dump_of(arrays, "memory")
    return dump


def listed(name: str, given: Any) -> dict[int, Any]:
    """Give the entries of a list by their numbers, but for those that are None."""
    is_one = any(hasattr(given, sign) for sign in ("__array__", "__dlpack__", "dtype"))
    if is_one or isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        hint = f"give one in a list: [{name}]"
        if isinstance(given, Mapping):
            hint = f"give its values: [*{name}.values()]"
        raise GradclipError(name, f"{shown(given)} is not a list of arrays", hint)
    return dict(enumerate(given))


def array_of(name: str, value: Any, counts: bool = True) -> Array:
    """Give a value as an array of numbers; whole ones that count are floating ones.

    Raises `GradclipError` where NumPy does not take it, or it holds no numbers.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise GradclipError(
            name, "is a masked array, whose mask would be lost", f"give {name}.filled(0)"
        )
    try:
        array = _asked(value)
    except Exception as error:  # of any library, for any reason
        raise _untaken(name, value, error) from error
    kind = array.dtype.kind
    if kind == "O":
        raise GradclipError(
            name, f"{shown(value)} is no array of numbers", "give what numpy.asarray makes one of"
        )
    if kind == "b" and counts:
        raise GradclipError(name, "holds True and False, not numbers", f"leave {name} out")
    if kind in "iu" and counts:
        return _floating(array)
    _dtype(name, array)
    return array


def _asked(value: Any) -> Array:
    """Give what a value says that its array is; raises what its library does where it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return np.asarray(float(value))
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    try:
        return np.asarray(value)
    except Exception:
        if not hasattr(value, "numpy"):
            raise
        return np.asarray(value.numpy())  # TensorFlow's bfloat16 without dimensions knows only so


def _floating(array: Array) -> Array:
    return array.astype(np.float64, order="K")


def _dtype(name: str, array: Array) -> DType:
    dtype = array.dtype
    bits = 8 * dtype.itemsize
    odd = without_letter(dtype.name)
    if odd is not None:
        return odd
    if dtype.kind in "iub" or (dtype.kind, bits) in _FLOATS:
        return numeric(dtype.kind, bits, ">" if dtype.str[0] == ">" else "<")
    wide = "complex128" if dtype.kind == "c" else "float64"
    is_number = dtype.kind in "fc" or dtype.name.startswith(("float", "int", "uint"))
    hint = f"{_NUMBERS}: {name}.astype('{wide}')" if is_number else _NUMBERS
    raise GradclipError(name, f"is {dtype}, which is not a number that gradclip reads", hint)


_FLOATS = {("f", 16), ("f", 32), ("f", 64), ("c", 64), ("c", 128)}


def _untaken(name: str, value: Any, error: Exception) -> GradclipError:
    """Say why NumPy does not take a value, and the line that makes it take it."""
    said = " ".join(str(error).split()) or type(error).__name__
    return GradclipError(name, f"NumPy cannot take it: {said}", _line(name, value))


def _line(name: str, value: Any) -> str:
    dtype = str(getattr(value, "dtype", "")).rpartition(".")[2]
    odd = without_letter(dtype)
    if hasattr(value, "detach"):
        line = name
        line += ".detach()" if getattr(value, "requires_grad", False) else ""
        line += "" if str(getattr(value, "device", "cpu")).startswith("cpu") else ".cpu()"
        if odd is not None:
            words = "int16" if odd.bits == 16 else "uint8"
            return f"give {line}.view(torch.{words}).numpy().view(ml_dtypes.{dtype})"
        return f"give {line}.numpy()"
    if hasattr(value, "get") and not isinstance(value, Mapping):
        return f"give {name}.get()"
    return "give what numpy.asarray makes an array of"
