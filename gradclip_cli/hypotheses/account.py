"""An account of a number: what was counted, how, and what comes of it."""

import math
import re
from collections.abc import Callable, Iterator

from gradclip_cli.frozen import constant, frozen
from gradclip_cli.hypotheses.evidence import Evidence


@frozen
class Account:
    """A number that a trainer may have logged, in words, and the arithmetic that gives it.

    Where it is no certain one but lies within bounds, these are `low` and `high`. `says` is empty
    of the norm itself. What does not come of the gradients `is_constant`: nothing is done to it.
    """

    says: str
    value: float
    arithmetic: str
    bounds: tuple[float, float] | None = None
    is_constant: bool = False

    @property
    def low(self) -> float:
        """The least that it can be."""
        return self.value if self.bounds is None else self.bounds[0]

    @property
    def high(self) -> float:
        """The most that it can be."""
        return self.value if self.bounds is None else self.bounds[1]


@frozen
class Change:
    """What may have been done to a number before it was logged, and the arithmetic with `{}`."""

    says: str
    done: Callable[[float], float]
    arithmetic: str

    def to(self, account: Account) -> Account:
        """Give the account of what was done to another."""
        says = f"{account.says}; {self.says}" if account.says else self.says
        bounds = account.bounds and (self.done(account.low), self.done(account.high))
        shown = self.arithmetic.format(_as_one(account.arithmetic))
        return Account(says, self.done(account.value), shown, bounds)


@constant
class Hypothesis:
    """One way to come to another number than the norm: what it is called, and its accounts.

    `source` is where somebody met it. What the dump itself suggests is `shown` by it; other
    accounts are guesses, which are told apart from it since there are more of them. One that is
    `slow` is asked where nothing else fits.
    """

    name: str
    accounts: Callable[[Evidence], Iterator[Account]]
    source: str
    shown: bool = True
    slow: bool = False


@constant
class Alteration:
    """One way to alter a number before it is logged: what it is called, and the changes."""

    name: str
    changes: Callable[[Evidence], Iterator[Change]]
    source: str


def _as_one(arithmetic: str) -> str:
    """Put what is a sum into brackets.

    >>> _as_one("1 + 2"), _as_one("√(1 + 2)"), _as_one("(1 + 2) / 2")
    ('(1 + 2)', '√(1 + 2)', '(1 + 2) / 2')
    """
    outside = re.sub(r"\([^()]*\)", "", re.sub(r"\([^()]*\)", "", arithmetic))
    return f"({arithmetic})" if re.search(" [+−] ", outside) else arithmetic


def figure(value: float) -> str:
    """Write a number of an account's arithmetic.

    >>> figure(71.43712), figure(65536.0), figure(40.0), figure(1e-7)
    ('71.4371', '65,536', '40', '1e-07')
    """
    if value.is_integer() and abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.6g}"


def root(terms: str) -> str:
    """Write the root of a sum of squares."""
    return f"√({terms})"


def square(norm: float) -> str:
    """Write the square of a norm."""
    return figure(norm * norm) if math.isfinite(norm) and norm < 1e150 else f"{figure(norm)}²"
