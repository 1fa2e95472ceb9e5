"""Writes one of the files: `python -m benchmarks.making SIZE NAME PATH`.

It is a program of its own because the peak memory of a process that has just been started counts
from that of the process that started it: whatever measures others must stay small itself.
"""

import json
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.files import ITEMSIZES, SIZES, DType, File, files

_PATTERN = 64 << 20  # bytes that are drawn at random; a larger file repeats them
_SEED = 345


def make(file: File, path: Path) -> None:
    """Write a file, or a folder of `.npy` files, with values from N(0, 1)."""
    pattern = _pattern(file)
    if file.folder:
        path.mkdir()
        for index, values in enumerate(pattern.view("<f4").reshape(file.tensors, *file.shape)):
            np.save(path / f"layer.{index}.npy", values)
        return
    with path.open("wb") as stream:
        stream.write(_header(file))
        stream.writelines(_repeated(pattern, file.size))


def _pattern(file: File) -> NDArray[np.uint8]:
    """Draw the bytes that the file repeats."""
    count = min(file.size, _PATTERN) // ITEMSIZES[file.dtype]
    values = np.random.default_rng(_SEED).standard_normal(count, np.float32)
    return _STORED[file.dtype](values).view(np.uint8)


def _float8(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Cut float16 down to float8 e4m3: three bits of fraction, a bias less by eight.

    What is too small becomes a zero, and what is drawn from N(0, 1) is never too large.
    """
    bits = values.astype("<f2").view("<u2")
    sizes = np.maximum((bits & 0x7FFF) >> 7, 8 << 3) - (8 << 3)
    codes: NDArray[np.uint8] = (sizes | bits >> 8 & 0x80).astype(np.uint8)
    return codes


_STORED: dict[DType, Callable[[NDArray[np.float32]], NDArray[Any]]] = {
    "F32": lambda values: values.astype("<f4"),
    "BF16": lambda values: (values.view(np.uint32) >> 16).astype("<u2"),
    "F16": lambda values: values.astype("<f2"),
    "F8_E4M3": _float8,
}


def _repeated(pattern: NDArray[np.uint8], size: int) -> Iterator[memoryview]:
    for begin in range(0, size, pattern.size):
        yield pattern[: size - begin].data


def _header(file: File) -> bytes:
    """Give the head of a safetensors file: a length, then JSON, padded to a multiple of eight."""
    entries = {
        f"layers.{index}.weight": {
            "dtype": file.dtype,
            "shape": file.shape,
            "data_offsets": [index * file.tensor_size, (index + 1) * file.tensor_size],
        }
        for index in range(file.tensors)
    }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def main(size: str, name: str, path: str) -> None:
    """Make the file of that name and size."""
    (known,) = (other for other in SIZES if other == size)
    make(files(known)[name], Path(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
