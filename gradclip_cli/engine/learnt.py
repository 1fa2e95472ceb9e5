"""What copies of an object learn in other processes, told to the object itself.

An object that may be copied has a number by which its copies know it. While somebody listens, what
a copy tells goes to a list, which crosses back; `learnt` gives it to the objects that it is about.
"""

import contextlib
import itertools
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

Fact = tuple[int, tuple[Any, ...]]
"""The number of an object, and what `learn` of it is called with."""

_NUMBERS = itertools.count(1)
_LOCK = threading.Lock()


class Learner:
    """What can be copied, and learn from its copies."""

    number = 0
    """That of the object which this is a copy of; 0 for one that is none."""

    def learn(self, *fact: Any) -> None:
        """Take note of what a copy has told."""
        raise NotImplementedError


_originals: "weakref.WeakValueDictionary[int, Learner]" = weakref.WeakValueDictionary()
_numbers: "weakref.WeakKeyDictionary[Learner, int]" = weakref.WeakKeyDictionary()
_heard = threading.local()


def number_of(original: Learner) -> int:
    """Give the number by which copies know an object."""
    with _LOCK:
        if original not in _numbers:
            number = next(_NUMBERS)
            _originals[number], _numbers[original] = original, number
        return _numbers[original]


def tell(copy: Learner, *fact: Any) -> None:
    """Tell what a copy has learnt, if somebody listens."""
    facts: list[Fact] | None = getattr(_heard, "facts", None)
    if copy.number and facts is not None:
        facts.append((copy.number, fact))


@contextlib.contextmanager
def listening() -> Iterator[list[Fact]]:
    """Give the list of what copies tell in this thread from now on."""
    facts: list[Fact] = []
    _heard.facts = facts
    try:
        yield facts
    finally:
        _heard.facts = None


def learnt(facts: Iterable[Fact]) -> None:
    """Let objects learn what their copies have told."""
    for number, fact in facts:
        original = _originals.get(number)
        if original is not None:
            original.learn(*fact)
