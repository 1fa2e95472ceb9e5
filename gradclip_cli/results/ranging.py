"""What a dtype with fewer bits would make of values: how many it cannot hold, or not in full.

The numbers come from how many values have which exponent (`measure.exponents`), so they are known
of every loss scale that is a power of two. Formats: IEEE 754-2019 binary16; bfloat16; and the FP8
formats of Micikevicius et al., arXiv:2209.05433.
"""

import math
from types import SimpleNamespace

from gradclip_cli.frozen import constant, frozen
from gradclip_cli.measure.exponents import CUTS, ZONES, Counts
from gradclip_cli.measure.moments import Moments
from gradclip_cli.measure.statistics import EXPONENTS
from gradclip_cli.measure.tallies import pairs
from gradclip_cli.results.columns import Column
from gradclip_cli.results.phrases import steps


@constant
class Format:
    """A float of few bits: `name`, and from where on values overflow, turn normal, and are not 0.

    Each is a power of two and the part of it at which rounding to nearest, ties to even, goes over:
    what is at it or above does, for the last what is above.
    """

    name: str
    overflows: tuple[int, float]
    is_normal: tuple[int, float]
    vanishes: int

    def key_of(self, place: tuple[int, float]) -> int:
        """Give the key of the first zone that goes over."""
        exponent, part = place
        return exponent * ZONES + CUTS.index(part)


FORMATS = {
    "fp16": Format("float16", (15, 2 - 2.0**-11), (-15, 2 - 2.0**-10), -25),
    "bf16": Format("bfloat16", (127, 2 - 2.0**-8), (-127, 2 - 2.0**-7), -134),
    "e4m3": Format("float8_e4m3fn", (8, 1.8125 + 2.0**-52), (-7, 1.875), -10),
    "e5m2": Format("float8_e5m2", (15, 1.875), (-15, 1.75), -17),
}
FORMATS |= {"fp8": FORMATS["e4m3"], **{one.name: one for one in FORMATS.values()}}
"""By the names that `--range` takes."""

_LEGIBLE = 31  # powers of two that are as well written out
_SCALES = range(-64, 65)  # powers of two that are tried as loss scales


@frozen
class Lost:
    """How many of `count` values a format cannot hold: too large, subnormal, or zero."""

    overflowing: int
    subnormal: int
    vanishing: int
    count: int

    @property
    def shares(self) -> tuple[float | None, ...]:
        """The parts of all values; None of no values."""
        counts = (self.overflowing, self.subnormal, self.vanishing)
        return tuple([some / self.count if self.count else None for some in counts])

    @property
    def says(self) -> str:
        """What becomes of the values, in words."""
        kinds = zip(self.shares, ("overflow", "turn subnormal", "become 0"), strict=True)
        said = [f"{steps(share)} {what}" for share, what in kinds if share]
        return ", ".join(said) or "all values are within its range"


@frozen
class Ranging:
    """A format that was asked about, by its name, and the power of two that suits a dump best."""

    name: str
    power: int

    @property
    def format(self) -> Format:
        """The format."""
        return FORMATS[self.name]

    def of(self, moments: Moments) -> "Ranged":
        """Give what the format makes of values from their moments."""
        counts: Counts = dict(moments.further).get(EXPONENTS.name, ())
        scales = (0, self.power)
        return Ranged(*[lost(counts, moments.count, self.format, power) for power in scales])

    def says(self, moments: Moments) -> str:
        """Say it in a sentence."""
        found = self.of(moments)
        said = f"in {self.format.name}: {found.now.says}"
        if not self.power:
            return f"{said}; no loss scale would do better"
        scale = f"2^{self.power}"
        if 0 <= self.power < _LEGIBLE:
            scale = f"{1 << self.power:,}"
        return f"{said}; with a loss scale of {scale}: {found.scaled.says}"

    def values(self) -> dict[str, object]:
        """Give what JSON says of it."""
        scale = math.ldexp(1.0, self.power)
        return {"format": self.name, "dtype": self.format.name, "loss_scale": scale}


@frozen
class Ranged:
    """What a format makes of values as they are, and at the loss scale that suits the dump best."""

    now: Lost
    scaled: Lost

    @property
    def shares(self) -> SimpleNamespace:
        """The shares by the names of columns."""
        return SimpleNamespace(
            **dict(zip(_NAMES, self.now.shares + self.scaled.shares, strict=True))
        )


COLUMNS = tuple(
    Column(f"{when}_{what}", f"ranged.shares.{when}_{what}", doc + at, title, "steps", rank=rank)
    for when, at, head, rank in (
        ("would", ", as they are", "", 1),
        ("scaled", ", at the loss scale that suits the dump best", "scaled: ", 2),
    )
    for what, doc, title in (
        ("overflow", "part of the values that `--range` makes infinite", f"{head}overflow"),
        ("be_subnormal", "part of them that it makes subnormal", f"{head}subnormal"),
        ("vanish", "part of them that it makes 0", f"{head}to 0"),
    )
)
_NAMES = tuple(column.name for column in COLUMNS)


def ranging_of(name: str, moments: Moments) -> Ranging:
    """Give a format that is asked about, with the loss scale that suits values best."""
    counts: Counts = dict(moments.further).get(EXPONENTS.name, ())
    return Ranging(name, best_scale(counts, FORMATS[name]))


def lost(counts: Counts, count: int, form: Format, power: int = 0) -> Lost:
    """Give what a format makes of values that are multiplied by a power of two."""
    shift = power * ZONES
    overflows, normal = form.key_of(form.overflows) - shift, form.key_of(form.is_normal) - shift
    zero = (form.vanishes - power) * ZONES  # the zone of that power of two alone
    overflowing = subnormal = vanishing = 0
    for key, number in pairs(counts):
        if key >= overflows:
            overflowing += number
        elif key <= zero:
            vanishing += number
        elif key < normal:
            subnormal += number
    return Lost(overflowing, subnormal, vanishing, count)


def best_scale(counts: Counts, form: Format) -> int:
    """Give the power of two at which fewest values overflow, then vanish, then turn subnormal.

    Of several that are as good it is the one nearest to 1.
    """

    def badness(power: int) -> tuple[int, ...]:
        found = lost(counts, 0, form, power)
        return found.overflowing, found.vanishing, found.subnormal, abs(power), -power

    return min(_SCALES, key=badness)
