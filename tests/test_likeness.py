"""What a framework does, bit for bit: by what it is recorded to have done, and beside the real one.

The second half needs the frameworks, which are not installed for the plain tests. With them, run:
python -m pytest tests/test_likeness.py
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from gradclip_cli.choices import Like
from gradclip_cli.dtypes import decode, encode
from gradclip_cli.likeness import (
    DTYPES,
    Recipe,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    norm_dtype,
    rounded_norm,
)
from tests.dumps import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Binary
from tests.test_vectors import array, contents, recorded_vector

Array = NDArray[Any]

FORMS: dict[str, Binary] = {
    "float16": FLOAT16,
    "bfloat16": BFLOAT16,
    "float32": FLOAT32,
    "float64": FLOAT64,
}
ARRAYS: dict[str, Any] = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
}
WORDS = {name: f"u{np.dtype(dtype).itemsize}" for name, dtype in ARRAYS.items()}
TINY = {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 2.0**-126, "float64": 2.0**-1022}

every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def decoded(values: Array, dtype: str) -> Array:
    stored = np.frombuffer(values.tobytes(), np.uint8)
    with np.errstate(all="ignore"):
        return np.array(decode(stored, DTYPES[dtype]))


def applied(recipe: Recipe, values: Array) -> Array:
    """Give a recipe's results as they would be stored; a rounding in that is an error."""
    results = recipe.apply(decoded(values, recipe.dtype))
    stored = np.empty(values.nbytes, np.uint8)
    with np.errstate(all="ignore"):
        encode(results.astype(np.float64), DTYPES[recipe.dtype], stored)
        np.testing.assert_array_equal(decode(stored, DTYPES[recipe.dtype]), results)
    return stored.view(values.dtype)


def differing(mine: Array, theirs: Array, dtype: str) -> list[int]:
    """Give where bits differ; a NaN equals a NaN."""
    words = WORDS[dtype]
    with np.errstate(all="ignore"):
        both_nan = np.isnan(mine.astype(np.float64)) & np.isnan(theirs.astype(np.float64))
    return np.flatnonzero((mine.view(words) != theirs.view(words)) & ~both_nan).tolist()


# What was recorded


LIKES: dict[str, Like] = {
    "torch": "torch",
    "tf": "tensorflow",
    "keras": "keras",
    "optax": "optax",
}
WITHOUT_FLOAT64 = {"f64_3_4", "f64_1e-200", "mixed_f32_f64"}
"""Recorded of JAX without its 64-bit mode, in which it reads float64 as float32."""


def recorded() -> Iterator[tuple[str, str]]:
    for name, case in contents()["recorded"].items():
        if not all(given["dtype"] in DTYPES for given in case["in"] if given):
            continue
        for peer, answer in recorded_vector(name).answers.items():
            if answer.outputs and not (peer == "optax" and name in WITHOUT_FLOAT64):
                yield name, peer


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


@dataclass(frozen=True)
class Peer:
    """A framework's own functions: by a norm that it is given, and between two limits."""

    clip: Callable[[Array, str, float, float, str], Array]
    clamp: Callable[[Array, float], Array]


def installed(module: str) -> Any:
    return pytest.importorskip(module, reason=f"{module} is installed only to compare with it")


@cache
def torch_peer() -> Peer:
    torch = installed("torch")

    def given(values: Array) -> Any:
        if values.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(values.view(np.int16).copy()).view(torch.bfloat16)
        return torch.from_numpy(values.copy())

    def parameter(values: Array) -> Any:
        found = torch.nn.Parameter(torch.zeros_like(given(values)))
        found.grad = given(values)
        return found

    def result(tensor: Any) -> Array:
        if tensor.dtype == torch.bfloat16:
            return np.array(tensor.view(torch.int16).numpy()).view(ml_dtypes.bfloat16)
        return np.array(tensor.numpy())

    def clip(values: Array, _dtype: str, norm: float, limit: float, norm_in: str) -> Array:
        own = parameter(values)
        its_norm = given(np.array([norm]).astype(ARRAYS[norm_in])).reshape(())
        torch.nn.utils.clip_grads_with_norm_([own], limit, its_norm)
        return result(own.grad)

    def clamp(values: Array, limit: float) -> Array:
        own = parameter(values)
        torch.nn.utils.clip_grad_value_([own], limit)
        return result(own.grad)

    return Peer(clip, clamp)


@cache
def tensorflow_peer() -> Peer:
    tensorflow = installed("tensorflow")

    def clip(values: Array, _dtype: str, norm: float, limit: float, norm_in: str) -> Array:
        own = tensorflow.constant(np.array(norm).astype(ARRAYS[norm_in]))
        clipped, _ = tensorflow.clip_by_global_norm([tensorflow.constant(values)], limit, own)
        return np.array(clipped[0].numpy())

    def clamp(values: Array, limit: float) -> Array:
        found = tensorflow.clip_by_value(tensorflow.constant(values), -limit, limit)
        return np.array(found.numpy())

    return Peer(clip, clamp)


@cache
def keras_peer() -> Peer:
    tensorflow = installed("tensorflow")
    keras = installed("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the recipes are those of Keras on TensorFlow")
    optimizers = installed("keras.src.optimizers.base_optimizer")

    def clip(values: Array, _dtype: str, norm: float, limit: float, norm_in: str) -> Array:
        own = tensorflow.constant(np.array(norm).astype(ARRAYS[norm_in]))
        optimizer = keras.optimizers.SGD(1.0, global_clipnorm=limit)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optimizers, "global_norm", lambda _: own)
            return np.array(optimizer._clip_gradients([tensorflow.constant(values)])[0].numpy())

    def clamp(values: Array, limit: float) -> Array:
        optimizer = keras.optimizers.SGD(1.0, clipvalue=limit)
        return np.array(optimizer._clip_gradients([tensorflow.constant(values)])[0].numpy())

    return Peer(clip, clamp)


@cache
def optax_peer() -> Peer:
    jax, optax = installed("jax"), installed("optax")
    jax.config.update("jax_enable_x64", True)

    def clip(values: Array, _dtype: str, norm: float, limit: float, norm_in: str) -> Array:
        own = jax.numpy.asarray(np.array(norm).astype(ARRAYS[norm_in]))
        rule = optax.clip_by_global_norm(limit)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optax.tree, "norm", lambda _: own)
            return np.array(rule.update([jax.numpy.asarray(values)], rule.init([]))[0][0])

    def clamp(values: Array, limit: float) -> Array:
        rule = optax.clip(limit)
        return np.array(rule.update([jax.numpy.asarray(values)], rule.init([]))[0][0])

    return Peer(clip, clamp)


PEERS: dict[Like, Callable[[], Peer]] = {
    "torch": torch_peer,
    "tensorflow": tensorflow_peer,
    "keras": keras_peer,
    "optax": optax_peer,
}
every_peer = pytest.mark.parametrize("like", PEERS)
# The frameworks warn of each other and of NumPy, at their import and later.
quietly = pytest.mark.filterwarnings("ignore")


def spread(numbers: np.random.Generator, dtype: str) -> float:
    """Give a number anywhere in the dtype's range, and subnormal ones."""
    low, high = {"float16": (-8, 4.8), "float64": (-323, 308)}.get(dtype, (-45.0, 38.5))
    return float(10.0 ** numbers.uniform(low, high))


def random_values(numbers: np.random.Generator, dtype: str) -> Array:
    """Give none to many values: any bits at all, ordinary ones, subnormal ones, special ones."""
    count = int(numbers.choice([0, 1, 2, 5, 8, 17, 40, 64]))
    words = WORDS[dtype]
    values: Array
    with np.errstate(all="ignore"):
        match numbers.integers(4):
            case 0:
                values = numbers.integers(
                    0, np.iinfo(words).max, count, dtype=words, endpoint=True
                ).view(ARRAYS[dtype])
            case 1:
                values = (numbers.standard_normal(count) * 4).astype(ARRAYS[dtype])
            case 2:
                scale = TINY[dtype] * 10.0 ** numbers.uniform(-2, 2)
                values = (numbers.standard_normal(count) * scale).astype(ARRAYS[dtype])
            case _:
                scale = spread(numbers, dtype)
                values = (numbers.standard_normal(count) * scale).astype(ARRAYS[dtype])
        special = np.array(
            [0.0, -0.0, math.inf, -math.inf, math.nan, TINY[dtype], -TINY[dtype] / 2]
        ).astype(ARRAYS[dtype])
    if count and numbers.random() < 0.4:
        at = numbers.integers(0, count, 4)
        values[at] = numbers.choice(special, 4)
    return values


def random_norm(numbers: np.random.Generator, dtype: str) -> float:
    special = [0.0, math.inf, math.nan, TINY[dtype], TINY[dtype] / 4, 3 / TINY[dtype]]
    match numbers.integers(8):
        case 0:
            norm = float(numbers.choice(special))
        case 1:
            norm = spread(numbers, dtype)
        case _:
            norm = float(np.exp(numbers.normal())) * 5
    return rounded_norm(norm, dtype)


def random_limit(numbers: np.random.Generator, dtype: str, norm: float) -> float:
    """Give a limit on either side of the norm, at it, or far away; now and then a senseless one."""
    match numbers.integers(10):
        case 0:
            return spread(numbers, dtype)
        case 1:
            return float(numbers.choice([-1.5, math.inf, TINY[dtype] / 3, 1 + 2**-11 + 2**-40]))
        case 2:
            return norm if 0 < norm < math.inf else 1.0
        case _:
            ratio = float(np.exp(numbers.normal() * 0.7))
            return norm * ratio if 0 < norm < math.inf else ratio


def near_the_smallest(dtype: str, norm: float, limit: float) -> Array:
    """Give values that clipping brings just above and below the smallest normal number."""
    ratio = limit / norm if 0 < limit < norm < math.inf else 1.0
    with np.errstate(all="ignore"):
        middle = np.array(TINY[dtype] / (ratio or 1.0)).astype(ARRAYS[dtype])
        if middle == 0 or norm == limit:
            return (np.arange(1, 21) * (norm * TINY[dtype])).astype(ARRAYS[dtype])
    bits = int(middle.view(WORDS[dtype]))
    near: Array = np.arange(max(bits - 10, 0), bits + 11, dtype=WORDS[dtype])
    return near.view(ARRAYS[dtype])


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
    jax, optax = installed("jax"), installed("optax")
    jax.config.update("jax_enable_x64", True)
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
