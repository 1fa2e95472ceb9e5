"""Parts that are merged as they come are the whole that they make up, to the bit."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradclip_cli.measure import laws
from gradclip_cli.measure.gauge import measure
from gradclip_cli.measure.laws import gathered, merged
from gradclip_cli.measure.moments import Moments
from gradclip_cli.rewrite.passes import Outcome

VALUES = st.lists(st.floats(width=64), max_size=5)
PARTS = st.lists(st.tuples(st.integers(0, 2), VALUES), min_size=1, max_size=60)


def moments(values: list[float]) -> Moments:
    with np.errstate(all="ignore"):
        return measure(np.array(values, np.float64), 1)


def outcome(values: list[float]) -> Outcome:
    count = len(values)
    return Outcome(moments(values), None, count % 2, count > 3, count, count or None)


@pytest.mark.parametrize("most", [1, 2, 7])
@pytest.mark.parametrize("make", [moments, outcome])
@given(parts=PARTS)
def test_it_does_not_matter_how_many_are_merged_at_once(
    most: int,
    make: Callable[[list[float]], Moments | Outcome],
    parts: list[tuple[int, list[float]]],
) -> None:
    made = [(number, make(values)) for number, values in parts]
    kind = type(made[0][1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(laws, "_WAITING", most)
        found = gathered(kind, iter(made))
    assert [*found] == [*dict.fromkeys(number for number, _ in parts)]
    for number, whole in found.items():
        assert whole == merged(kind, [part for own, part in made if own == number])


def test_what_has_many_parts_holds_few_of_them() -> None:
    most = held = 0

    class Part(Moments):
        def __init__(self, *given: object) -> None:
            nonlocal held, most
            super().__init__(*given)  # type: ignore[arg-type] # those of the class it extends
            held += 1
            most = max(most, held)

        def __del__(self) -> None:
            nonlocal held
            held -= 1

    gathered(Moments, ((0, Part(1)) for _ in range(1000)))
    assert most < 50
