"""What a framework does, bit for bit: by what it is recorded to have done, and beside the real one.

The second half needs the frameworks, which are not installed for the plain tests. With them, run:
python -m pytest tests/rules/test_likeness.py
"""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradclip_cli.rules.like.arithmetic import DTYPES, rounded_norm
from gradclip_cli.rules.like.recipes import (
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    norm_dtype,
)
from gradclip_cli.rules.terms import Like
from tests.dumps import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Binary
from tests.frameworks import (
    ARRAYS,
    LIKES,
    PEERS,
    TINY,
    applied,
    decoded,
    differing,
    every_dtype,
    every_peer,
    installed,
    installed_jax,
    near_the_smallest,
    quietly,
    random_limit,
    random_norm,
    random_values,
    recorded,
)
from tests.recorded import array, contents, recorded_vector

Array = NDArray[Any]

FORMS: dict[str, Binary] = {
    "float16": FLOAT16,
    "bfloat16": BFLOAT16,
    "float32": FLOAT32,
    "float64": FLOAT64,
}


# What was recorded


@pytest.mark.parametrize(("name", "peer"), [*recorded()])
def test_what_a_framework_was_recorded_to_do_is_done_bit_for_bit(name: str, peer: str) -> None:
    case = recorded_vector(name)
    answer = case.answers[peer]
    norm_in = norm_dtype(given.dtype for given in case.inputs)
    norm = case.use_norm
    if norm is None:
        assert answer.norm is not None
        assert answer.norm.dtype == norm_in
        (norm,) = answer.norm.values
    assert answer.outputs is not None
    for given, expected in zip(case.inputs, answer.outputs, strict=True):
        recipe = clip_by_global_norm(
            LIKES[peer], norm, case.limit, given.dtype, norm_in, len(given.values)
        )
        theirs = np.array(expected.values).astype(ARRAYS[given.dtype])
        mine = applied(recipe, np.array(given.values).astype(ARRAYS[given.dtype]))
        assert not differing(mine, theirs, given.dtype)


def test_torch_rounds_the_number_that_it_adds_to_the_dtype_of_the_norm() -> None:
    norm, limit = 0.0001684427261352539, 9.792264990200172e-05
    recipe = clip_by_global_norm("torch", norm, limit, "float16", "float16", 2)
    assert recipe.coefficient == 0.57763671875  # 0.578125 if 1e-6 stayed what it is


def recorded_by_tensor() -> Iterator[str]:
    """Give the cases of one tensor: there TensorFlow's global norm is the tensor's own."""
    for name, case in contents()["recorded"].items():
        answer = case["res"].get("tf.clip_by_norm", {})
        norm = case["res"].get("tf", {}).get("norm", {})
        one = len(case["in"]) == 1 and case["in"][0]["dtype"] in DTYPES
        if one and "out" in answer and "v" in norm and "use_norm" not in case:
            yield name


@pytest.mark.parametrize("name", [*recorded_by_tensor()])
def test_what_tensorflow_was_recorded_to_do_to_a_tensor_by_its_own_norm(name: str) -> None:
    case = contents()["recorded"][name]
    (given,) = recorded_vector(name).inputs
    (out,) = case["res"]["tf.clip_by_norm"]["out"]
    expected = array(out["dtype"], out["shape"], out["v"])
    norm = float(case["res"]["tf"]["norm"]["v"][0])
    mine = applied(
        clip_by_norm(norm, float(case["clip"]), given.dtype),
        np.array(given.values).astype(ARRAYS[given.dtype]),
    )
    theirs = np.array(expected.values).astype(ARRAYS[given.dtype])
    assert not differing(mine, theirs, given.dtype)


# What the recipes say, in exact arithmetic


def on_grid(form: Binary, value: Fraction) -> Fraction:
    return Fraction(form.value(form.rounded(value)))


def torch_law(form: Binary, wide: Binary, norm: Fraction, limit: Fraction, x: Fraction) -> Fraction:
    """`d=D(N+1e-6); coef=min(D(D(1/d)*max_norm), 1); out=D(O(x)*O(coef))`."""
    sum_with_epsilon = on_grid(form, norm + on_grid(wide, Fraction(1e-6)))
    reciprocal = on_grid(form, 1 / sum_with_epsilon)
    coefficient = on_grid(form, reciprocal * on_grid(wide, limit))
    return on_grid(form, x * min(coefficient, Fraction(1)))


def tensorflow_law(
    form: Binary, _wide: Binary, norm: Fraction, limit: Fraction, x: Fraction
) -> Fraction:
    """`s=D(c*min(D(1/N),D(1/D(c)))); out=D(x*s)`."""
    c = on_grid(form, limit)
    return on_grid(form, x * on_grid(form, c * min(on_grid(form, 1 / norm), on_grid(form, 1 / c))))


def keras_law(
    form: Binary, _wide: Binary, norm: Fraction, limit: Fraction, x: Fraction
) -> Fraction:
    """As `tensorflow_law`, but `1/c` in float64."""
    c, over_c = on_grid(form, limit), on_grid(form, Fraction(1 / float(limit)))
    return on_grid(form, x * on_grid(form, c * min(on_grid(form, 1 / norm), over_c)))


def optax_law(
    form: Binary, _wide: Binary, norm: Fraction, limit: Fraction, x: Fraction
) -> Fraction:
    """`N<c -> x unchanged; else D(D(x*D(1/N))*c)`, of bfloat16 `D(D(x/N)*c)`."""
    c = on_grid(form, limit)
    if norm < c:
        return x
    quotient = x / norm if form is BFLOAT16 else x * on_grid(form, 1 / norm)
    return on_grid(form, on_grid(form, quotient) * c)


def jit_law(form: Binary, _wide: Binary, norm: Fraction, limit: Fraction, x: Fraction) -> Fraction:
    """`N<c -> x unchanged; else D(D(x/N)*c)`."""
    c = on_grid(form, limit)
    return x if norm < c else on_grid(form, on_grid(form, x / norm) * c)


LAWS: dict[Like, Callable[[Binary, Binary, Fraction, Fraction, Fraction], Fraction]] = {
    "torch": torch_law,
    "tensorflow": tensorflow_law,
    "keras": keras_law,
    "optax": optax_law,
    "optax-jit": jit_law,
}


@every_dtype
@pytest.mark.parametrize("like", LAWS)
def test_a_recipe_is_its_formula_with_each_result_rounded_once(like: Like, dtype: str) -> None:
    numbers = np.random.default_rng(7)
    form = FORMS[dtype]
    wide = FLOAT64 if dtype == "float64" else FLOAT32
    for _ in range(40):
        values = (numbers.standard_normal(4) * 3).astype(ARRAYS[dtype])
        norm = rounded_norm(numbers.uniform(0.5, 20), dtype)
        limit = numbers.uniform(0.3, 10)
        recipe = clip_by_global_norm(like, norm, limit, dtype, dtype, len(values))
        expected = [
            float(LAWS[like](form, wide, Fraction(norm), Fraction(limit), Fraction(float(value))))
            for value in values
        ]
        assert applied(recipe, values).astype(np.float64).tolist() == expected


# What follows from them


@every_dtype
@pytest.mark.parametrize("like", LAWS)
def test_a_recipe_goes_block_by_block(like: Like, dtype: str) -> None:
    values = np.linspace(-3, 3, 61).astype(ARRAYS[dtype])
    values[::7] = TINY[dtype] / 2
    wide = decoded(values, dtype)
    for recipe in (
        clip_by_global_norm(like, 3.0, 1.1, dtype, dtype, 61),
        clip_by_value(like, -1.1, 2.2, dtype, 61),
        clip_by_value(like, 0.0, 2.2, dtype, 61),
    ):
        parts = [recipe.apply(wide[at : at + 9], at) for at in range(0, 61, 9)]
        np.testing.assert_array_equal(np.concatenate(parts), recipe.apply(wide))


@pytest.mark.parametrize(
    ("like", "norm", "limit", "dtype", "coefficient"),
    [
        ("tensorflow", 5.0, 2.5, "float32", 0.5),
        ("tensorflow", math.inf, 2.5, "float32", math.nan),
        ("keras", math.inf, 2.5, "float32", math.nan),
        ("torch", math.inf, 2.5, "float32", 0.0),
        ("optax", math.inf, 2.5, "float32", 0.0),
        ("torch", 5.0, 2.5, "float64", 2.5 * (1 / 5.000001)),
        ("torch", 2.5, 2.5, "float64", 2.5 * (1 / 2.500001)),  # is scaled although it is within
        ("tensorflow", 1.0, 3.0, "float32", 1.0),
        ("tensorflow", 1.0, 41.0, "float32", 0.99999994),  # 41 * (1 / 41), below the limit
        ("torch", 4.0, -1.0, "float64", -(1 / 4.000001)),  # turns gradients round
        ("optax", 4.0, -1.0, "float64", -0.25),
        ("tensorflow", 4.0, -1.0, "float32", 1.0),
        ("keras", 4.0, -1.0, "float32", 1.0),
    ],
)
def test_the_coefficient_is_the_frameworks(
    like: Like, norm: float, limit: float, dtype: str, coefficient: float
) -> None:
    found = clip_by_global_norm(like, norm, limit, dtype, dtype, 10).coefficient
    assert found == pytest.approx(
        coefficient, rel=1e-15 if dtype == "float64" else 1e-8, nan_ok=True
    )


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (["float16"], "float16"),
        (["bfloat16", "bfloat16"], "bfloat16"),
        (["float16", "bfloat16"], "float32"),
        (["float16", "float32"], "float32"),
        (["bfloat16", "float64", "float32"], "float64"),
        ([], "float32"),
    ],
)
def test_the_norm_has_the_dtype_that_tensors_are_promoted_to(
    dtypes: list[str], expected: str
) -> None:
    assert norm_dtype(dtypes) == expected


@every_dtype
def test_a_norm_is_rounded_once_to_the_frameworks_dtype(dtype: str) -> None:
    form = FORMS[dtype]
    step = 2.0**-form.fraction_bits
    for norm in (1.0, 1 + step / 2, 1 + step / 2 + 2**-40, 1 + 1.5 * step, 7.3, 0.0):
        assert rounded_norm(norm, dtype) == form.value(form.rounded(norm))
    assert math.isnan(rounded_norm(math.nan, dtype))
    assert rounded_norm(math.inf, dtype) == math.inf


# Beside the frameworks themselves


CASES = 1000  # a dtype


@quietly
@every_peer
@every_dtype
def test_the_global_rule_is_bit_for_bit_the_frameworks(like: Like, dtype: str) -> None:
    peer = PEERS[like]()
    clipped = 0
    for seed in range(CASES):
        numbers = np.random.default_rng(seed)
        norm = random_norm(numbers, dtype)
        limit = random_limit(numbers, dtype, norm)
        values = random_values(numbers, dtype)
        if seed % 5 == 0:
            values = near_the_smallest(dtype, norm, limit)

        theirs = peer.clip(values, dtype, norm, limit, dtype)
        mine = applied(clip_by_global_norm(like, norm, limit, dtype, dtype, values.size), values)

        assert not differing(mine, theirs, dtype), (seed, norm, limit, values)
        clipped += limit < norm
    assert CASES / 5 < clipped < CASES * 4 / 5


@quietly
@pytest.mark.parametrize("like", ["torch", "optax"])  # the others raise an error
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_so_it_is_where_the_norm_has_a_wider_dtype(like: Like, dtype: str) -> None:
    peer = PEERS[like]()
    for seed in range(200):
        numbers = np.random.default_rng(seed)
        norm_in = "float64" if dtype == "float32" else str(numbers.choice(["float32", "float64"]))
        norm = random_norm(numbers, norm_in)
        limit = random_limit(numbers, dtype, norm)
        values = random_values(numbers, dtype)

        theirs = peer.clip(values, dtype, norm, limit, norm_in)
        mine = applied(clip_by_global_norm(like, norm, limit, dtype, norm_in, values.size), values)

        assert not differing(mine, theirs, dtype), (seed, norm, limit, norm_in, values)


@quietly
@every_peer
@every_dtype
def test_clipping_by_value_is_bit_for_bit_the_frameworks(like: Like, dtype: str) -> None:
    peer = PEERS[like]()
    for seed in range(CASES):
        numbers = np.random.default_rng(seed)
        limit = abs(random_limit(numbers, dtype, 1.0))
        if seed % 20 == 0 and like != "tensorflow":  # which reads a constant -0.0 as it likes
            limit = 0.0
        values = random_values(numbers, dtype)

        theirs = peer.clamp(values, limit)
        mine = applied(clip_by_value(like, -limit, limit, dtype, values.size), values)

        assert not differing(mine, theirs, dtype), (seed, limit, values)


@quietly
@every_dtype
def test_tensorflow_clips_by_two_limits_bit_for_bit(dtype: str) -> None:
    tensorflow = installed("tensorflow")
    for seed in range(CASES):
        numbers = np.random.default_rng(seed)
        values = random_values(numbers, dtype)
        with np.errstate(all="ignore"):
            low, high = np.sort(
                (numbers.standard_normal(2) * numbers.choice([1.0, 0.0, TINY[dtype]])).astype(
                    ARRAYS[dtype]
                )
            )
        limits = [tensorflow.constant(np.array(limit)) for limit in (low, high)]

        theirs = tensorflow.clip_by_value(tensorflow.constant(values), *limits).numpy()
        recipe = clip_by_value("tensorflow", float(low), float(high), dtype, values.size)
        mine = applied(recipe, values)

        subnormal = any(0 < abs(limit) < TINY[dtype] for limit in (float(low), float(high)))
        if dtype == "bfloat16" and subnormal:
            continue  # such a limit is flushed where it is a number, as in the test above
        assert not differing(mine, theirs, dtype), (seed, low, high, values)


@quietly
@every_dtype
def test_clipping_by_a_tensors_own_norm_is_bit_for_bit_tensorflows(dtype: str) -> None:
    tensorflow = installed("tensorflow")
    for seed in range(CASES):
        numbers = np.random.default_rng(seed)
        limit = random_limit(numbers, dtype, 3.0)
        values = random_values(numbers, dtype)
        given = tensorflow.constant(values)
        norm = float(tensorflow.sqrt(tensorflow.reduce_sum(given * given)))

        theirs = tensorflow.clip_by_norm(given, limit).numpy()
        mine = applied(clip_by_norm(norm, limit, dtype), values)

        assert not differing(mine, theirs, dtype), (seed, norm, limit, values)


@quietly
@every_dtype
@pytest.mark.parametrize("limit", [1.0, 0.3, 1 + 2.0**-11 + 2.0**-40, 1e-40])
def test_inside_jit_optax_rounds_otherwise_and_so_does_its_recipe(dtype: str, limit: float) -> None:
    jax, optax = installed_jax(), installed("optax")
    rule = optax.clip_by_global_norm(limit)

    def traced(values: Any) -> Any:
        return rule.update([values], rule.init([]))[0][0], optax.tree.norm([values])

    clip = jax.jit(traced)
    for seed in range(CASES // 4):
        numbers = np.random.default_rng(seed)
        values = random_values(numbers, dtype)
        found, norm = clip(jax.numpy.asarray(values))
        mine = applied(
            clip_by_global_norm(
                "optax-jit", float(norm), limit, dtype, str(norm.dtype), values.size
            ),
            values,
        )
        assert not differing(mine, np.array(found), dtype), (seed, norm, limit, values)
