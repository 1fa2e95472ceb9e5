"""The oracle's own arithmetic: rounding in integers is looking at all values in exact fractions."""

from bisect import bisect_right
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dumps import LANES, Binary

LIKE_OTHERS = ("float8_e5m2fnuz", "float6_e3m2fn")  # but for the bits of the fraction
FORMS = sorted({*LANES.values()}, key=lambda form: form.name)


def looked_for(form: Binary, value: Fraction) -> int:
    """Give the code, as if the ladder went one rung further, by looking at the rungs."""
    above = bisect_right(range(form.top + 2), value, key=form.rung)
    if above > form.top + 1:
        return form.top + 1
    below = above - 1
    middle = (form.rung(below) + form.rung(above)) / 2
    return above if value > middle or (value == middle and above % 2 == 0) else below


def sizes(form: Binary) -> st.SearchStrategy[Fraction]:
    """Values on rungs, at ties and a hair beside them; at the ends of the ladder, and anywhere."""
    edge = 1 << form.fraction_bits
    ends = st.sampled_from([0, 1, edge - 1, edge, edge + 1, form.top - 1, form.top, form.top + 1])

    def between(code: int, eighths: int, hairs: int) -> Fraction:
        low, high = form.rung(code), form.rung(code + 1)
        return max(low + (high - low) * (Fraction(eighths, 8) + hairs * Fraction(1, 2**90)), low)

    near = st.builds(
        between, ends | st.integers(0, form.top + 1), st.integers(0, 8), st.integers(-1, 1)
    )
    return near | st.floats(0, allow_infinity=False).map(Fraction) | st.fractions(0)


@pytest.mark.alike(2)
@pytest.mark.parametrize(
    "form",
    [
        pytest.param(form, marks=pytest.mark.heavy if form.name in LIKE_OTHERS else [])
        for form in FORMS
    ],
    ids=lambda form: form.name,
)
@given(data=st.data())
def test_a_value_is_rounded_as_looking_at_each_rung_would(
    form: Binary, data: st.DataObject
) -> None:
    size = data.draw(sizes(form))
    expected = looked_for(form, size)
    if not form.infinite:
        expected = min(expected, form.top)
    assert form.rounded(size) == expected
    assert form.rounded(-size) == (form.negative(expected) if size else 0)
