"""Where B is A times one number: which number, and what it is likely to come from."""

import math

from gradclip_cli.compare.difference import Difference

_MOST_WORKERS = 4096  # larger whole numbers are no likely world size, and met by chance


def factor_of(whole: Difference) -> float | None:
    """Give the number that A is multiplied by in B; a round one where only that one is in reach."""
    lowest, highest = whole.factors
    ratio = whole.ratio
    if not ratio or math.isinf(ratio) or lowest > highest or lowest <= 0 <= highest:
        return None
    sign = math.copysign(1.0, lowest)
    low, high = sorted((sign * lowest, sign * highest))
    many = round(ratio) if 1 <= ratio <= _MOST_WORKERS else 1
    parts = round(1 / ratio) if 1 / _MOST_WORKERS <= ratio <= 1 else 1
    power = 2.0 ** round(math.log2(ratio))
    for number, spacing in ((power, power), (float(many), 1.0), (1 / parts, parts**-2.0)):
        if low <= number <= high and high - low < spacing / 10:
            return sign * number
    return sign * min(max(ratio, low), high)


def likely(factor: float) -> tuple[str, ...]:
    """Say what a factor is likely to come from, the likeliest first.

    >>> likely(65536.0), likely(6.0), likely(0.3)
    (('a loss scale of 2^16',), ('a world size or accumulation count of 6',), ('clipping',))
    >>> likely(0.5)
    ('clipping', 'a mean instead of a sum over 2', 'a loss scale of 2^1 taken out')
    """
    if factor <= 0:
        return ()
    size = max(factor, 1 / factor)
    fraction, exponent = math.frexp(size)
    number = round(size) if size <= _MOST_WORKERS else 1
    is_power, is_whole = fraction == 0.5, factor in (number, 1 / number)
    causes = [] if factor > 1 else ["clipping"]
    if is_whole and factor < 1:
        causes.append(f"a mean instead of a sum over {number}")
    if is_power:
        causes.append(f"a loss scale of 2^{exponent - 1}" + (" taken out" if factor < 1 else ""))
    if is_whole and factor > 1:
        causes.append(f"a world size or accumulation count of {number}")
    return tuple(causes)
