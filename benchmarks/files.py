"""What the rows read: files of random gradients, by name, at full size or small.

This module only describes them, and so is free of NumPy; `making` writes them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

DType = Literal["F32", "BF16", "F16", "F8_E4M3"]
Size = Literal["full", "small"]

SIZES: tuple[Size, ...] = ("full", "small")
ITEMSIZES: Mapping[DType, int] = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1}

_TENSOR = 16 << 20  # bytes of a large tensor
_ACROSS = 4096


@dataclass(frozen=True, slots=True)
class File:
    """So many tensors of one dtype and shape in one safetensors file, or each as an `.npy` file.

    `label` is what a row calls it.
    """

    label: str
    dtype: DType
    tensors: int
    shape: tuple[int, ...]
    folder: bool = False

    @property
    def suffix(self) -> str:
        """How the name of the file ends: some programs go by that."""
        return "" if self.folder else ".safetensors"

    @property
    def tensor_size(self) -> int:
        """Bytes of each tensor."""
        return math.prod(self.shape) * ITEMSIZES[self.dtype]

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return self.tensors * self.tensor_size


def files(size: Size) -> Mapping[str, File]:
    """Give every file that a row may name: the large ones of 4, 2 and 1 GiB, or a 64th of that."""
    unit = (1 << 30) if size == "full" else (16 << 20)
    many, members = (100_000, 10_000) if size == "full" else (2_000, 500)
    return {
        "large": _large("float32", "F32", 4 * unit),
        "float32": _large("float32", "F32", 2 * unit),
        "loaded": _large("float32", "F32", unit),
        "bfloat16": _large("bfloat16", "BF16", 2 * unit),
        "float16": _large("float16", "F16", 2 * unit),
        "float8_e4m3": _large("float8_e4m3", "F8_E4M3", 2 * unit),
        "tensors": File(f"{many:,} tensors in one file", "F32", many, (64,)),
        "one": File("one tensor", "F32", 1, (many * 64,)),
        "arrays": File(f"{members:,} .npy files", "F32", members, (64,), folder=True),
        "tiny": File("TINY", "F32", 4, (4, 4)),
    }


def _large(name: str, dtype: DType, size: int) -> File:
    amount = f"{size >> 30} GiB" if size >> 30 else f"{size >> 20} MiB"
    shape = (_TENSOR // ITEMSIZES[dtype] // _ACROSS, _ACROSS)
    return File(f"{amount} of {name}", dtype, size // _TENSOR, shape)
