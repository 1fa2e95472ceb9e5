"""How many values have which exponent: what another dtype, or a loss scale, would make of them.

Values of one exponent are told apart by where they lie between two powers of two, in `CUTS`: there
the dtypes of deep learning round to infinity, to zero, or to their smallest normal number. So what
is counted here tells, without the values, what becomes of each in those dtypes at any scale that is
a power of two.
"""

import numpy as np
from numpy.typing import NDArray

from gradclip_cli.engine.scratch import scratch
from gradclip_cli.measure import tallies
from gradclip_cli.measure.tallies import Tally
from gradclip_cli.tensors.codecs import Values

CUTS = (
    *(1.0, 1.0 + 2.0**-52, 1.75, 1.8125, 1.8125 + 2.0**-52, 1.875),
    *(2 - 2.0**-7, 2 - 2.0**-8, 2 - 2.0**-10, 2 - 2.0**-11),
)
"""Where the zones of an exponent begin, as parts of the power of two; two are of one number."""

ZONES = len(CUTS)

Counts = Tally
"""By an exponent times `ZONES` and the zone."""

_EXPONENTS = 2200  # of float64, subnormal ones included, and more than enough
_LOWEST = -1100
_HALVES = np.array(CUTS) / 2  # as `frexp` has mantissas


def measured(values: Values, lanes: int) -> Counts:
    """Count the values of a block, complex ones by their larger part.

    Zeros are not counted, nor is what is not finite.
    """
    values = tallies.larger(values, lanes)
    found = _single(values.view(np.uint32)) if values.dtype == np.float32 else _any(values)
    return tallies.of_counts(found.reshape(-1), _LOWEST * ZONES)


def _single(bits: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Count float32 by their bits: exponents with eight bits of the mantissa, then what is near."""
    size = bits.size
    sizes = np.bitwise_and(bits, 0x7FFFFFFF, out=scratch("exponents", np.uint32, size))
    cells = scratch("cells", np.int64, size)  # as they are counted, so that none are copied
    np.right_shift(sizes, 15, out=cells, casting="unsafe")
    rough = np.bincount(cells, minlength=256 * _CELLS).reshape(256, _CELLS)
    found = np.zeros((_EXPONENTS, ZONES), np.int64)
    normal = found[1 - 127 - _LOWEST :][:254]
    normal[:, _WIDE] = np.add.reduceat(rough[1:255], _ROUGH, axis=1)
    # A few cells hold several zones: what lies in them is looked at one by one.
    cells &= _CELLS - 1
    near = scratch("near", np.bool_, size)
    other = scratch("other", np.bool_, size)
    np.equal(cells, _MIXED[0], out=near)
    for cell in _MIXED[1:]:
        np.logical_or(near, np.equal(cells, cell, out=other), out=near)
    normal[:, _WIDE] -= np.add.reduceat(rough[1:255] * _IS_MIXED, _ROUGH, axis=1)
    few = sizes[near]
    found += _any(few[few >= 0x800000].view(np.float32))
    if rough[0].any():  # subnormal numbers, or zeros
        found += _any(sizes[sizes < 0x800000].view(np.float32))
    return found


_CELLS = 256  # of an exponent
_MIXED = (0, 0xD0, 0xFF)  # cells with the power of two itself, with 1.8125 times it, and the last
_IS_MIXED = np.isin(np.arange(_CELLS), _MIXED)
_WIDE = [1, 2, 4, 5, 6, 7]  # zones of whole cells, and where they begin among these
_ROUGH = np.array([round((CUTS[zone] - 1) * _CELLS) for zone in _WIDE])


def _any(values: Values) -> NDArray[np.int64]:
    """Count values of any float."""
    mantissas, exponents = tallies.parts(values)
    zones = np.searchsorted(_HALVES, mantissas, side="right") - 1
    keys = (exponents - 1 - _LOWEST) * ZONES + zones
    return np.bincount(keys, minlength=_EXPONENTS * ZONES).reshape(_EXPONENTS, ZONES)


def divided(counts: Counts, power: int) -> Counts:
    """Give the counts of values that are divided by a power of two."""
    return tallies.moved(counts, -power * ZONES)
