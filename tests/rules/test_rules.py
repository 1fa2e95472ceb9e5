"""Rules as equations: what their sources' own tests expect of them, and what they promise."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import FileSource
from gradclip_cli.measure.gauge import measure
from gradclip_cli.measure.slices import unit_numbers, units_of
from gradclip_cli.rewrite.edits import Scale
from gradclip_cli.rules.adaptively import clip_adaptively, unit_axes
from gradclip_cli.rules.by_average_norm import clip_by_average_norm
from gradclip_cli.rules.by_global_norm import ClipByGlobalNorm, clip_by_norm
from gradclip_cli.rules.by_rms import clip_by_rms
from gradclip_cli.rules.by_tensor_norm import normalized_axes
from gradclip_cli.rules.by_value import clip_by_value
from gradclip_cli.rules.decision import beyond_float64, decide
from gradclip_cli.rules.terms import Terms
from gradclip_cli.tensors.dtypes import FLOAT64
from gradclip_cli.tensors.dump import Tensor
from tests.dumps import exact_norm
from tests.laws import CASES, OF_OTHER_NORMS, Array, Rule, norm_of
from tests.recorded import LEFT_OUT as GLOBALLY_LEFT_OUT
from tests.recorded import acceptance, contents, recorded_vector

# What the frameworks' own tests expect


LEFT_OUT = {
    "the limits are tensors": ("tf-value-2type", "tf-value-badshape", "tf-value-doc2"),
    "clips each example of a batch": (
        *("optax-per-example", "optax-per-example-doc-0.0", "optax-per-layer-uniform"),
    ),
    "the norm is of a negative type, which is none": ("p=-inf", "p=-inf_empty"),
    "is an error of the authors' code, and ours": ("optax-agc-6d",),
    "is about the arguments of a Keras optimizer": ("keras-exclusive",),
    "computes a limit from statistics of earlier steps": ("zclip-zscore",),
}


def test_every_case_that_the_global_rule_leaves_out_stands_in_one_list_here() -> None:
    listed = [*OF_OTHER_NORMS]
    for names in (*CASES.values(), *LEFT_OUT.values()):
        listed += names
    assert sorted(listed) == sorted(name for names in GLOBALLY_LEFT_OUT.values() for name in names)


@pytest.mark.parametrize(("rule", "name"), [(rule, name) for rule in CASES for name in CASES[rule]])
def test_a_rule_gives_what_the_frameworks_own_test_expects(rule: Rule, name: str) -> None:
    case = acceptance()[name]
    tensors = [np.array(tensor["data"], np.float64) for tensor in case["inputs"]]

    found = rule(tensors, case["params"])

    for mine, expected in zip(found, case["expect"]["outputs"], strict=True):
        np.testing.assert_allclose(mine, expected, rtol=case["rtol"], atol=case["atol"])


def test_the_authors_rule_has_no_units_for_six_dimensions() -> None:
    case = acceptance()["optax-agc-6d"]
    assert case["expect"] == {"error": "ValueError"}
    with pytest.raises(GradclipError, match="6 dimensions"):
        unit_axes(tuple(case["inputs"][0]["shape"]), "jax")


@pytest.mark.parametrize("name", OF_OTHER_NORMS)
def test_a_norm_of_another_type_is_as_torch_was_recorded_to_have_it(name: str) -> None:
    case = recorded_vector(name)
    p = float(contents()["recorded"][name]["p"])
    tensors = [np.array(tensor.values) for tensor in case.inputs]
    answer = case.answers["torch"]
    assert answer.norm is not None
    assert answer.outputs is not None

    norm = norm_of(np.concatenate([tensor.ravel() for tensor in tensors]), p=p).item()

    assert norm == pytest.approx(answer.norm.values[0], rel=1e-6, nan_ok=True)
    coefficient = clip_by_norm(norm, case.limit, 1e-6)
    for tensor, expected in zip(tensors, answer.outputs, strict=True):
        np.testing.assert_allclose(tensor * coefficient, expected.values, rtol=1e-6)


# What every rule that scales promises

sizes = some.floats(1e-300, 1e300)
limits = some.floats(1e-5, 1e5)
vectors = some.lists(some.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6), max_size=20)
Scaling = Callable[[Array, float], float]


def scaled_by_norm(values: Array, limit: float) -> float:
    return float(clip_by_norm(exact_norm(values), limit))


def scaled_by_average(values: Array, limit: float) -> float:
    return float(clip_by_average_norm(exact_norm(values), values.size, limit))


def scaled_by_rms(values: Array, limit: float) -> float:
    return float(clip_by_rms(exact_norm(values), values.size, limit))


def scaled_adaptively(values: Array, limit: float) -> float:
    return float(clip_adaptively(exact_norm(values), 2.0, limit / 2))


MEASURES: dict[Scaling, Callable[[Array], float]] = {
    scaled_by_norm: exact_norm,
    scaled_by_average: lambda values: exact_norm(values) / max(values.size, 1),
    scaled_by_rms: lambda values: exact_norm(values) / math.sqrt(max(values.size, 1)),
    scaled_adaptively: exact_norm,
}
every_scaling = pytest.mark.parametrize("rule", MEASURES)


@every_scaling
@given(values=vectors, limit=limits)
def test_within_the_limit_nothing_changes_and_beyond_it_the_limit_is_kept(
    rule: Scaling, values: list[float], limit: float
) -> None:
    tensor = np.array(values)
    before, coefficient = MEASURES[rule](tensor), rule(tensor, limit)

    if before <= limit * (1 - 1e-15):
        assert coefficient == 1
    assert 0 < coefficient <= 1
    assert MEASURES[rule](tensor * coefficient) <= limit * (1 + 1e-14)


@every_scaling
@given(values=vectors, limit=limits)
def test_a_second_application_changes_at_most_a_rounding(
    rule: Scaling, values: list[float], limit: float
) -> None:
    once = np.array(values) * rule(np.array(values), limit)
    assert rule(once, limit) >= 1 - 1e-14


@given(norm=sizes, limit=sizes, eps=some.sampled_from([0.0, 1e-6, 1.0]))
def test_eps_is_added_to_the_norm(norm: float, limit: float, eps: float) -> None:
    coefficient = float(clip_by_norm(norm, limit, eps))
    assert coefficient == min(1.0, limit / (norm + eps))
    assert coefficient <= clip_by_norm(norm, limit)


def test_a_norm_within_eps_of_the_limit_is_scaled_too() -> None:
    assert clip_by_norm(5.0, 5.0) == 1
    assert clip_by_norm(5.0, 5.0, 1e-6) == 5.0 / 5.000001


def test_the_global_rule_takes_eps_too() -> None:
    moments = [measure(np.array([3.0, 4.0]))]
    tensor = Tensor("g", FLOAT64, (2,), FileSource("g", "g", 0, 0, 16, 0, 0), 0, 16)
    decision = decide(ClipByGlobalNorm(5.0), Terms(eps=1e-6), [tensor], moments)
    (edit,) = decision.edits
    assert isinstance(edit, Scale)
    assert edit.coefficient == decision.coefficient == 5.0 / 5.000001


@pytest.mark.parametrize(("norm", "coefficient"), [(math.inf, 0.0), (math.nan, math.nan)])
def test_of_a_norm_that_is_not_finite_the_coefficient_is_what_ieee_754_says(
    norm: float, coefficient: float
) -> None:
    found = [clip_by_norm(norm, 1.0), clip_by_average_norm(norm, 3, 1.0)]
    found += [clip_by_rms(norm, 3, 1.0), clip_adaptively(norm, 1.0, 1.0)]
    np.testing.assert_array_equal(found, coefficient)


def test_tensors_without_values_stay() -> None:
    assert clip_by_average_norm(0.0, 0, 1.0) == 1
    assert clip_by_rms(0.0, 0, 1.0) == 1


def test_too_small_a_coefficient_is_known() -> None:
    assert beyond_float64([1.0, 1e300], clip_by_norm([1.0, 1e300], 1e-9))
    assert not beyond_float64([1.0, 1e290], clip_by_norm([1.0, 1e290], 1e-9))
    assert not beyond_float64(math.inf, clip_by_norm(math.inf, 1e-9))
    assert not beyond_float64(math.nan, clip_by_norm(math.nan, 1e-9))


# Values


@given(
    values=some.lists(some.floats(allow_nan=False), max_size=20),
    low=some.floats(-10, 0),
    high=some.floats(0, 10),
)
def test_values_between_the_limits_stay_and_the_others_become_a_limit(
    values: list[float], low: float, high: float
) -> None:
    clipped = clip_by_value(values, low, high)
    for before, after in zip(values, clipped.tolist(), strict=True):
        assert low <= after <= high
        assert after == (before if low <= before <= high else low if before < low else high)
    np.testing.assert_array_equal(clip_by_value(clipped, low, high), clipped)


def test_clipping_values_does_not_hide_nan_and_keeps_the_sign_of_a_zero() -> None:
    clipped = clip_by_value([math.nan, -0.0, math.inf, -math.inf], 0.0, 2.0)
    np.testing.assert_array_equal(clipped, [math.nan, 0.0, 2.0, 0.0])
    assert np.signbit(clipped).tolist() == [False, True, False, False]


def test_a_limit_is_not_rounded_before_the_value_is() -> None:
    narrow = np.array([1.0], np.float32)
    assert clip_by_value(narrow, -0.1, 0.1).tolist() == [0.1]


# Units


@pytest.mark.parametrize(
    ("shape", "jax", "torch"),
    [
        ((), (), ()),
        ((8,), (0,), (0,)),
        ((1, 8), (0, 1), (1,)),
        ((4, 8), (0,), (1,)),
        ((4, 8, 2), (0,), (1, 2)),
        ((3, 3, 4, 8), (0, 1, 2), (1, 2, 3)),
        ((3, 3, 3, 4, 8), (0, 1, 2, 3), (1, 2, 3, 4)),
    ],
)
def test_units_are_those_of_the_authors_and_of_timm(
    shape: tuple[int, ...], jax: tuple[int, ...], torch: tuple[int, ...]
) -> None:
    assert unit_axes(shape, "jax") == jax
    assert unit_axes(shape, "torch") == torch


@pytest.mark.parametrize("axes", [(0, 0), (2,), (-3,), (0, -2)])
def test_axes_that_do_not_fit_are_refused(axes: tuple[int, ...]) -> None:
    with pytest.raises(GradclipError, match="2 dimensions") as error:
        normalized_axes(axes, 2)
    assert error.value.subject == "--axes"


@given(
    shape=some.lists(some.integers(1, 4), min_size=1, max_size=4).map(tuple),
    chosen=some.sets(some.integers(0, 3)),
    first=some.integers(0, 10),
    fortran=some.booleans(),
)
def test_a_block_knows_the_units_of_its_values(
    shape: tuple[int, ...], chosen: set[int], first: int, fortran: bool
) -> None:
    axes = tuple(axis for axis in chosen if axis < len(shape))
    units = np.arange(math.prod(units_of(shape, axes))).reshape(units_of(shape, axes))
    everywhere = np.broadcast_to(units, shape).ravel(order="F" if fortran else "C")
    first = min(first, everywhere.size)
    count = everywhere.size - first

    numbers = unit_numbers(shape, axes, first, count, fortran)

    np.testing.assert_array_equal(numbers, everywhere[first:])


def test_scaling_keeps_the_direction() -> None:
    tensor = np.array([3.0, -4.0, 12.0])
    after = tensor * clip_by_norm(exact_norm(tensor), 6.5)
    assert after.tolist() == [1.5, -2.0, 6.0]
