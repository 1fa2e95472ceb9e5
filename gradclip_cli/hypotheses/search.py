"""The search: which hypotheses, alone or by twos, give a number, and how many would by chance."""

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from gradclip_cli.frozen import frozen
from gradclip_cli.hypotheses.account import Account, Change, Hypothesis, figure
from gradclip_cli.hypotheses.evidence import Evidence
from gradclip_cli.hypotheses.logged import Logged
from gradclip_cli.hypotheses.table import ALTERATIONS, HYPOTHESES

ITSELF = "the exact norm of the dump"
_SOURCES = {one.name: one.source for one in (*HYPOTHESES, *ALTERATIONS)}

Grade = Literal["likely", "possible"]

# How many of all that were tried may be expected to fit by chance where one is called likely: of
# what the dump itself suggests there are few, so a fit says more. A number of four digits at random
# is then explained once in some hundred times, as simulation shows.
_LIKELY, _LIKELY_GUESS = 0.1, 0.03
_WINDOW = 2.0  # a number that is wrong by chance lies within this factor of the one that was logged
_GUESSES, _PAIRS = 2, 3  # floors: what the dump itself does not suggest, and two together
_SAME = 1e-9  # relative: what two hypotheses give alike is one number


@frozen
class Fit:
    """An account that gives the logged number, by which hypotheses, and how likely it is the true.

    `by_chance` is how many accounts, of all that are as simple as this or simpler, a number of so
    many digits would be expected to fit by chance.
    """

    hypotheses: tuple[str, ...]
    account: Account
    by_chance: float
    grade: Grade

    @property
    def says(self) -> str:
        """What the trainer may have done."""
        return self.account.says or ITSELF

    @property
    def sources(self) -> tuple[str, ...]:
        """Where somebody met it."""
        return tuple([_SOURCES[name] for name in self.hypotheses])


@frozen
class Search:
    """What was found: fits, best first, and how many accounts were tried, alone and by twos.

    `by_chance` is how many of them all would be expected to fit a number by chance.
    """

    fits: tuple[Fit, ...]
    alone: int
    by_twos: int
    by_chance: float


@frozen
class _Trial:
    """An account, what is done to its number, and between which bounds that then lies.

    The words are put together where it fits: there are thousands of trials.
    """

    names: tuple[str, ...]
    before: Account
    changes: tuple[Change, ...]
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, names: tuple[str, ...], account: Account, *changes: Change) -> "_Trial":
        value, low, high = account.value, account.low, account.high
        for change in changes:
            value = change.done(value)
        if account.bounds is None:
            return cls(names, account, changes, value, value, value)
        for change in changes:
            low, high = change.done(low), change.done(high)
        return cls(names, account, changes, value, low, high)

    @property
    def account(self) -> Account:
        """The account of all that was done."""
        account = self.before
        for change in self.changes:
            account = change.to(account)
        return account


def search(logged: Logged, evidence: Evidence) -> Search:
    """Look for what gives a logged number, the simplest first.

    What is slow to ask is asked where nothing that is likely is found without it.
    """
    floors = [*_floors(evidence)]
    if logged.is_given_by(evidence.norm, evidence.norm):  # nothing is to be explained
        floors = floors[:1]
    elif not math.isfinite(logged.value):  # no factor makes a number so
        floors = floors[:_GUESSES]
    found = _found(logged, floors)
    if len(floors) > _GUESSES and not any(fit.grade == "likely" for fit in found.fits):
        further = [*_asked([one for one in HYPOTHESES if one.slow], evidence)]
        if further:
            floors[_GUESSES] += further
            found = _found(logged, floors)
    return found


def _floors(evidence: Evidence) -> Iterator[list[_Trial]]:
    """Give what is tried, by how simple it is: the norm, what the dump shows, guesses, pairs."""
    itself = Account("", evidence.norm, figure(evidence.norm))
    yield [_Trial.of((), itself)]
    quick = [one for one in HYPOTHESES if not one.slow]
    shown = [*_asked([one for one in quick if one.shown], evidence)]
    yield shown
    guessed = [*_asked([one for one in quick if not one.shown], evidence)]
    changes = [[(one.name, change) for change in one.changes(evidence)] for one in ALTERATIONS]
    each = [*itertools.chain.from_iterable(changes)]
    yield [*(_Trial.of((name,), itself, change) for name, change in each), *guessed]
    counted = [
        trial
        for trial in (*shown, *guessed)
        if math.isfinite(trial.value) and not trial.before.is_constant
    ]
    altered = (
        _Trial.of((*trial.names, name), trial.before, change)
        for trial in counted
        for name, change in each
    )
    twice = (
        _Trial.of((first, second), itself, change, later)
        for one, other in itertools.combinations(changes, 2)
        for first, change in one
        for second, later in other
    )
    yield [*altered, *twice]


def _asked(hypotheses: Iterable[Hypothesis], evidence: Evidence) -> Iterator[_Trial]:
    for one in hypotheses:
        for account in one.accounts(evidence):
            if math.isfinite(account.value) or math.isfinite(evidence.norm):
                yield _Trial.of((one.name,), account)


def _found(logged: Logged, floors: Sequence[Sequence[_Trial]]) -> Search:
    fits: list[Fit] = []
    by_chance = 0.0
    known: list[float] = []
    for floor, tried in enumerate(floors):
        by_chance += _expected(logged, tried, known)
        most = _LIKELY if floor < _GUESSES else _LIKELY_GUESS
        if floor == _PAIRS and any(fit.grade == "likely" for fit in fits):
            most = -1.0  # what is simpler is likely
        simpler = [fit.account.value for fit in fits]
        fits += [
            Fit(trial.names, trial.account, chance, "likely" if chance <= most else "possible")
            for trial in tried
            for chance in [by_chance if logged.value or trial.value else 0.0]
            if logged.is_given_by(trial.low, trial.high)
            and not any(_are_same(trial.value, value) for value in simpler)
        ]
    alone, by_twos = sum(map(len, floors[:_PAIRS])), sum(map(len, floors[_PAIRS:]))
    return Search((*_different(fits),), alone, by_twos, by_chance)


def _are_same(one: float, other: float) -> bool:
    return math.isclose(one, other) or (math.isnan(one) and math.isnan(other))


def _different(fits: Iterable[Fit]) -> Iterator[Fit]:
    """Give the fits: what is said in the same words once, and of pairs that are one number one."""
    said: set[str] = set()
    pairs: list[float] = []
    for fit in fits:
        value = fit.account.value
        is_pair = len(fit.hypotheses) > 1
        if fit.says in said or (is_pair and any(_are_same(value, one) for one in pairs)):
            continue
        said.add(fit.says)
        pairs += [value] if is_pair else []
        yield fit


def _expected(logged: Logged, trials: Iterable[_Trial], known: list[float]) -> float:
    """Give how many accounts a number would fit by chance that is anything near the logged one.

    Such a number is as likely to lie in any part of the window, of so many times its own size. What
    is `known` already counts no more: other words for it are no other number. Whatever is small
    fits a number that was printed as 0.
    """
    if not logged.value:
        return sum(0.0 < trial.low <= logged.high for trial in trials)
    if not math.isfinite(logged.value):
        return 0.0
    low, high = logged.value / _WINDOW, logged.value * _WINDOW
    width = (logged.high - logged.low) / logged.value / math.log(_WINDOW**2)
    total = 0.0
    for trial in trials:
        if not low <= trial.high or not trial.low <= high:
            continue
        at = bisect.bisect_left(known, trial.value * (1 - _SAME))
        if at < len(known) and known[at] <= trial.value * (1 + _SAME):
            continue
        bisect.insort(known, trial.value)
        begin, end = max(trial.low, low), min(trial.high, high)
        total += width + (math.log(end / begin) / math.log(_WINDOW**2) if end > begin else 0.0)
    return total
