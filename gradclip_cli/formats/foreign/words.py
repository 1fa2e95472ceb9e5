"""The words of both sides for dtypes: those of NumPy and ml_dtypes."""

import re
from typing import Any

from gradclip_cli.tensors.dtypes import DType, numeric, without_letter

_NUMERIC = re.compile(
    r"(float)(16|32|64)|(complex)(64|128)|(int)(8|16|32|64)|(uint)(8|16|32|64)|(bool)(8)?"
)
_LETTERS = {"float": "f", "complex": "c", "int": "i", "uint": "u", "bool": "b"}


def known(name: str, order: str = "<") -> DType | None:
    """Give the dtype that is called so; None where it is none that gradclip reads.

    >>> known("float32", ">").words, known("bfloat16").bits, known("int4")
    ('>f4', 16, None)
    """
    found = _NUMERIC.fullmatch(name)
    if found is None:
        return without_letter(name)
    word, *bits = filter(None, found.groups())
    return numeric(_LETTERS[word], int(bits[0]) if bits else 8, order)


def entry(name: str) -> dict[str, Any] | None:
    """Say what a dtype is in a listing; None where it is no number that counts.

    >>> entry("float8_e4m3"), entry("int4")
    ({'dtype': 'float8_e4m3', 'bits': 8}, None)
    """
    if known(name) is not None:
        return {"dtype": name}
    return {"dtype": name, "bits": 8} if name.startswith("float8_") else None


def dtype_of(entry: dict[str, Any]) -> DType:
    """Give the dtype that an entry of a listing says."""
    if "bits" in entry:
        return DType(entry["dtype"], "void" if entry.get("void") else "opaque", entry["bits"])
    found = known(entry["dtype"], entry.get("order", "<"))
    assert found is not None, "the other side knows the same dtypes"
    return found
