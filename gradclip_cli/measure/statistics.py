"""The table of statistics: what is said of each tensor beside its name, shape and norm.

An entry says how a statistic is measured in a block, how the measurements of blocks and tensors
merge, and what its column is called. Every format, the documentation and the cache are made from
it, so an entry is all that a new one takes. What the gauge itself measures, in one sweep with the
norm, is a field of `Moments`; its column stands with those of the report.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from gradclip_cli.frozen import constant
from gradclip_cli.measure import exponents, fingerprint, powers, tallies
from gradclip_cli.measure.laws import Law
from gradclip_cli.tensors.codecs import Values


@constant
class Statistic:
    """A statistic of a tensor: a number, a text, or a tuple of whole numbers.

    `measure` takes a block of values, float32 or float64 of shape `(count * lanes,)`, lanes 2 for
    complex ones, and must not keep it. `name` is that of its column and its key in JSON, `doc` a
    sentence for the reference, `title` its head in a terminal's table, where it stands if there is
    one, written as the `words` of `render.words` that these name. One that is `asked` is measured
    only where somebody asks for it; without `measure` by the meter, of stored bytes. `each` does
    what `measure` does for many small tensors that lie next to each other, where it can do so in
    one go: it takes their values, real, and their sizes. `divided` is what it is of values that are
    divided by a power of two, where that is known.
    """

    name: str
    doc: str
    measure: Callable[[Values, int], Any] | None
    merge: Law
    title: str = ""
    words: str = "number"
    asked: bool = False
    divided: Callable[[Any, int], Any] | None = None
    each: Callable[[Values, Sequence[int]], list[Any]] | None = None


Further = tuple[tuple[str, Any], ...]
"""What the table asks for, by name."""

FINGERPRINT = Statistic(
    "fingerprint",
    "64 bits of dtype, position and bits, in hexadecimal digits; in `jsonl` alone",
    None,
    fingerprint.merged,
    words="text",
    asked=True,
)

EXPONENTS = Statistic(
    "exponents",
    f"how many values have which exponent: pairs of {exponents.ZONES} times the power of two, plus "
    "a part of the numbers up to the next, and a count; with `--range` alone",
    exponents.measured,
    tallies.merged,
    words="text",
    asked=True,
    divided=exponents.divided,
)

POWERS = Statistic(
    "powers",
    "how many values have which power of two: pairs of an exponent and a count; in Python alone, "
    "with `exponents`",
    powers.measured,
    tallies.merged,
    words="text",
    asked=True,
    divided=powers.divided,
    each=powers.each,
)

STATISTICS: list[Statistic] = [FINGERPRINT, EXPONENTS, POWERS]

Asked = tuple[str, ...]
"""The names of the statistics that somebody asks for."""

PRINTS: Asked = (FINGERPRINT.name,)


def of_values(asked: Asked = ()) -> list[Statistic]:
    """Give those that are measured of values: always, or because somebody asks for them."""
    return [one for one in STATISTICS if one.measure and (not one.asked or one.name in asked)]


def measured(values: Values, lanes: int, asked: Asked = ()) -> Further:
    """Give what each statistic says of a block."""
    found = of_values(asked)
    return tuple((one.name, one.measure(values, lanes)) for one in found if one.measure)


def measured_each(values: Values, counts: Sequence[int], asked: Asked = ()) -> list[Further]:
    """Give what each statistic says of tensors that lie next to each other, real."""
    ends = list(itertools.accumulate(counts))
    columns = [
        [
            (one.name, found)
            for found in (
                one.each(values, counts)
                if one.each
                else [
                    one.measure(values[end - count : end], 1)
                    for count, end in zip(counts, ends, strict=True)
                ]
            )
        ]
        for one in of_values(asked)
        if one.measure
    ]
    return list(zip(*columns, strict=True)) if columns else [()] * len(counts)


def divided(further: Further, power: int | None) -> Further:
    """Give what is known of values that are divided by a power of two, None for another number.

    What would be another then, nobody knows how, is left out; a fingerprint is of what is stored.
    """
    moved = {one.name: one.divided for one in STATISTICS if one.divided}
    found = []
    for name, value in further:
        move = moved.get(name)
        if move is None:
            found.append((name, value))
        elif power is not None:
            found.append((name, move(value, power)))
    return (*found,)


def together(parts: list[Further]) -> Further:
    """Give what each statistic says of the whole, by its own law."""
    found: dict[str, list[Any]] = {}
    for part in filter(None, parts):
        for name, value in part:
            found.setdefault(name, []).append(value)
    return tuple((one.name, one.merge(found[one.name])) for one in STATISTICS if one.name in found)
