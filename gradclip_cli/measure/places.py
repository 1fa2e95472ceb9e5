"""Where in its tensor a value lies: from its number, as it is read, to its position in C order."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.frozen import frozen
from gradclip_cli.tensors.dump import Shape, multi_index

Mask = NDArray[np.bool_]


@frozen
class Places:
    """Values that are read in C order, number 0 at position `start`.

    `in_order` says whether later numbers have later positions, so that the first comes first.
    """

    start: int = 0

    in_order: ClassVar[bool] = True

    def at(self, number: int) -> int:
        """Give the position of a value."""
        return self.start + number

    def first(self, mask: Mask, begin: int = 0) -> int:
        """Give the first position where a mask, which begins with the number `begin`, is true."""
        return self.at(begin + int(mask.argmax()))


IN_ORDER = Places()
"""Where the values of a whole tensor lie that is read in C order."""


@frozen
class FortranPlaces(Places):
    """Values of a tensor of this shape whose first index runs fastest.

    >>> FortranPlaces(0, (2, 3)).at(1)
    3
    """

    shape: Shape = ()

    in_order: ClassVar[bool] = False

    def at(self, number: int) -> int:
        """Give the position of a value."""
        return self.first(np.ones(1, np.bool_), number)

    def first(self, mask: Mask, begin: int = 0) -> int:
        """Give the first position where a mask, which begins with the number `begin`, is true."""
        return int(self.of(np.flatnonzero(mask) + begin).min())

    def of(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """Give the positions of values."""
        index = np.unravel_index(numbers + self.start, self.shape, order="F")
        return np.ravel_multi_index(index, self.shape)


@frozen
class BoxPlaces(Places):
    """The values of a tensor from the multi-index `low` on, `sides` along each axis, in C order.

    >>> BoxPlaces(0, (1, 1), (1, 2), (3, 4)).at(1)
    6
    """

    low: Shape = ()
    sides: Shape = ()
    shape: Shape = ()

    def at(self, number: int) -> int:
        """Give the position of a value."""
        position = 0
        index = multi_index(number, self.sides)
        for at, low, side in zip(index, self.low, self.shape, strict=True):
            position = position * side + low + at
        return position


def places_of(fortran_shape: Shape | None, start: int = 0) -> Places:
    """Give the places of a tensor's values; `fortran_shape` where they do not lie in C order."""
    return Places(start) if fortran_shape is None else FortranPlaces(start, fortran_shape)
