"""How many values have which power of two: as NumPy's `frexp` says, in blocks and as a whole."""

import collections
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import gradclip_cli
from gradclip_cli.measure import powers, tallies
from gradclip_cli.tensors.codecs import Values


def expected(values: Values) -> dict[int, int]:
    """Count the exponents of what is finite and not zero."""
    sizes = np.abs(values.astype(np.float64))
    kept = sizes[np.isfinite(sizes) & (sizes > 0)]
    return collections.Counter(math.frexp(size)[1] - 1 for size in kept.tolist())


def counted(values: Values, lanes: int = 1) -> dict[int, int]:
    """Give the counts by power."""
    return dict(tallies.pairs(powers.measured(values, lanes)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_each_value_is_counted_by_its_exponent(dtype: type, data: st.DataObject) -> None:
    values = data.draw(arrays(dtype, st.integers(0, 60)))
    assert counted(values) == expected(values)


@pytest.mark.parametrize("count", [powers._MANY, powers._MANY + 1, 2 * powers._MANY + 7])
def test_many_are_counted_in_pairs_as_few_are(count: int) -> None:
    random = np.random.default_rng(count)
    values = (random.normal(size=count) * 10.0 ** random.integers(-44, 38, count)).astype("f4")
    values[::7], values[1::97], values[2::97], values[-1] = 0, np.nan, -np.inf, 2.0
    assert counted(values) == expected(values)


@given(arrays(np.float32, 40), st.integers(0, 40))
def test_parts_come_to_the_whole(values: Values, cut: int) -> None:
    parts = [powers.measured(part, 1) for part in (values[:cut], values[cut:])]
    assert tallies.merged(parts) == powers.measured(values, 1)


def test_complex_values_count_by_their_larger_part() -> None:
    assert counted(np.array([1.0, 4.0, -8.0, 0.5, 0.0, 0.0]), 2) == {2: 1, 3: 1}


def test_a_division_moves_all() -> None:
    values = np.array([1.0, 3.0, 0.25])
    moved = powers.divided(powers.measured(values, 1), 3)
    assert dict(tallies.pairs(moved)) == counted(values / 8)


def test_python_is_told_where_it_asks() -> None:
    array = np.array([1.0, 1.5, 4.0, 0.0], np.float32)
    asked = gradclip_cli.inspect({"w": array}, exponents=True)
    assert dict(asked.moments.further)["powers"] == (0, 2, 2, 1)
    assert "powers" not in gradclip_cli.inspect({"w": array}).to_dict()


@given(st.lists(arrays(np.float32, st.integers(1, 9)), min_size=1, max_size=6))
def test_small_tensors_are_counted_together_as_each_by_itself(tensors: list[Values]) -> None:
    found = powers.each(np.concatenate(tensors), [tensor.size for tensor in tensors])
    assert found == [powers.measured(tensor, 1) for tensor in tensors]
