"""How many values have which key: pairs, one after the other, of a whole number and a count."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.tensors.codecs import Values

Tally = tuple[int, ...]


def merged(parts: list[Tally]) -> Tally:
    """Give the tally of the whole."""
    total: dict[int, int] = {}
    for part in parts:
        for key, count in pairs(part):
            total[key] = total.get(key, 0) + count
    return tuple(number for pair in sorted(total.items()) for number in pair)


def moved(tally: Tally, by: int) -> Tally:
    """Give the tally with other keys, all larger by so much."""
    return tuple(number for key, count in pairs(tally) for number in (key + by, count))


def pairs(tally: Tally) -> Iterator[tuple[int, int]]:
    """Give the keys and how many values each has."""
    return zip(tally[::2], tally[1::2], strict=True)


def of_counts(counts: NDArray[np.int64], lowest: int) -> Tally:
    """Give the tally of an array of counts, the first of which is that of the key `lowest`."""
    places = np.flatnonzero(counts)
    found = np.stack([places + lowest, counts[places]], axis=1)
    return tuple(found.reshape(-1).tolist())


def parts(values: Values) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Give the mantissas, from 0.5 to 1, and the exponents of what is finite and not zero."""
    sizes = np.abs(values.astype(np.float64))
    mantissas, exponents = np.frexp(sizes[(sizes > 0) & np.isfinite(sizes)])
    return mantissas, exponents.astype(np.int64)


def larger(values: Values, lanes: int) -> Values:
    """Give one value for each: of a complex one its larger part."""
    return np.maximum(np.abs(values[0::2]), np.abs(values[1::2])) if lanes == 2 else values
