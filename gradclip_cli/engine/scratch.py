"""Arrays that a thread uses again for each block of values.

A fresh temporary costs a page fault for every 4 KiB of it, which made the whole sweep three to five
times slower. Each thread therefore keeps one array a role, and every use of a role overwrites the
last one: a caller never holds a scratch array across a call that names the same role.
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Bytes = NDArray[np.uint8]

PAGE = 4096
_LARGE_PAGE = 2 << 20


class _Kept(threading.local):
    def __init__(self) -> None:
        self.arrays: dict[str, Bytes] = {}


_kept = _Kept()


def scratch(role: str, dtype: DTypeLike, count: int) -> NDArray[Any]:
    """Give an uninitialised array, shape `(count,)`, that is this thread's own for this role."""
    wanted = np.dtype(dtype)
    size = count * wanted.itemsize
    kept = _kept.arrays.get(role)
    if kept is None or kept.size < size:
        kept = _kept.arrays[role] = np.empty(size, np.uint8)
    return kept[:size].view(wanted)


def paged(role: str, size: int) -> Bytes:
    """Give an uninitialised array of so many bytes likewise, at the beginning of a page.

    It is a large page where NumPy gets one: a device takes what lies there in one go, what lies in
    many small pages it takes at half the speed.
    """
    array: Bytes = scratch(role, np.uint8, size + _LARGE_PAGE)
    begin = -array.__array_interface__["data"][0] % _LARGE_PAGE
    return array[begin : begin + size]
