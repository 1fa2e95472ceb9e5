"""The units of a tensor, its slices along some axes: how many there are, and whose a value is."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.tensors.dump import Shape


def units_of(shape: Shape, axes: Sequence[int]) -> Shape:
    """Give the shape of the array of units: 1 along each of the axes that a norm is over.

    >>> units_of((3, 3, 16, 32), (0, 1, 2))
    (1, 1, 1, 32)
    """
    return tuple(1 if axis in axes else side for axis, side in enumerate(shape))


def unit_numbers(
    shape: Shape, axes: Sequence[int], first: int, count: int, fortran: bool = False
) -> NDArray[np.intp]:
    """Give the number of the unit of each of `count` values, from value `first` on.

    Values are in memory order, units in C order of `units_of`: what a block of a tensor needs to
    add up the norms of its units, and to take its coefficients.

    >>> unit_numbers((2, 3), (0,), 1, 4), unit_numbers((2, 3), (1,), 1, 4)
    (array([1, 2, 0, 1]), array([0, 0, 1, 1]))
    """
    sides = units_of(shape, axes)
    positions = np.arange(first, first + count)
    numbers = np.zeros_like(positions)
    for axis, side in enumerate(sides):
        if side > 1:
            stride = math.prod(shape[:axis] if fortran else shape[axis + 1 :])
            numbers += positions // stride % side * math.prod(sides[axis + 1 :])
    return numbers
