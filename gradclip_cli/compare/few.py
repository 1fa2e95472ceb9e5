"""The values that changed, where they are few enough to be listed."""

import itertools
import operator
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.measure.places import IN_ORDER, Places
from gradclip_cli.tensors.codecs import Floats

Few = tuple[tuple[int, tuple[float, ...], tuple[float, ...]], ...]
"""Changed values: the position in C order, and in lanes what it is in A and in B."""

MOST = 8


def few(
    a: Floats, b: Floats, changed: NDArray[np.bool_], lanes: int = 1, places: Places = IN_ORDER
) -> Few | None:
    """Give the changed values, unless they are many."""
    if int(np.count_nonzero(changed)) > MOST:
        return None
    pairs_a, pairs_b = a.reshape(-1, lanes), b.reshape(-1, lanes)
    return tuple(
        (places.at(number), tuple(pairs_a[number].tolist()), tuple(pairs_b[number].tolist()))
        for number in np.flatnonzero(changed).tolist()
    )


def together(parts: Iterable[Few | None]) -> Few | None:
    """Give the changed values of all parts, unless they are many."""
    found: list[Few] = []
    for part in parts:
        if part is None:
            return None
        found.append(part)
    whole = (*sorted(itertools.chain(*found), key=operator.itemgetter(0)),)
    return whole if len(whole) <= MOST else None
