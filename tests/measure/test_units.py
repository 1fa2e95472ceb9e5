"""Rules with a norm for each unit: slices along axes, and adaptive clipping by the parameters."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from numpy.typing import NDArray

import gradclip_cli
from gradclip_cli import ClipByNorm, GradclipError, RefusedError
from gradclip_cli.commands.opening import found, opened
from gradclip_cli.engine.hiring import crew
from gradclip_cli.measure import units
from gradclip_cli.measure.meter import measure_tensors
from gradclip_cli.results.report import Report
from gradclip_cli.rules.adaptively import unit_axes
from gradclip_cli.rules.rule import Rule
from tests.dumps import LANES, floats, lanes, read_safetensors, write_npy, write_safetensors
from tests.laws import CASES, adaptively, norm_of
from tests.recorded import CODES, acceptance

Array = NDArray[Any]


def write(path: Path, arrays: Mapping[str, Array]) -> Path:
    codes = {"f2": "F16", "f4": "F32", "f8": "F64"}
    return write_safetensors(
        path,
        {
            name: (codes[array.dtype.str[1:]], array.shape, array.tobytes())
            for name, array in arrays.items()
        },
    )


def written(
    folder: Path, arrays: Mapping[str, Array], **options: Any
) -> tuple[list[Array], Report]:
    source = write(folder / "in", arrays)
    report = gradclip_cli.apply(source, output=folder / "out", force=True, **options)
    found = read_safetensors(folder / "out").tensors
    return [
        np.frombuffer(found[name][2], array.dtype).reshape(array.shape)
        for name, array in arrays.items()
    ], report


AXES = [
    name for names in CASES.values() for name in names if "axes" in acceptance()[name]["params"]
]


@pytest.mark.parametrize("name", AXES)
def test_slices_are_clipped_as_tensorflows_own_test_expects(name: str, tmp_path: Path) -> None:
    case = acceptance()[name]
    (tensor,) = case["inputs"]
    array = np.array(tensor["data"], np.float32)
    options = {"clip_norm": case["params"]["clip_norm"], "axes": case["params"]["axes"]}
    (found,), report = written(tmp_path, {"g": array}, per_tensor=True, **options)
    np.testing.assert_allclose(
        found, case["expect"]["outputs"][0], rtol=case["rtol"], atol=case["atol"]
    )
    assert report.clipped is not None
    assert report.clipped.coefficient is None


LEFT_OUT = {
    "optax-agc-conv3d": "it names the axes itself, for which there is no option beside --agc"
}


@pytest.mark.parametrize("name", sorted({*CASES[adaptively]} - LEFT_OUT.keys()))
def test_units_are_clipped_as_optaxs_own_test_expects(name: str, tmp_path: Path) -> None:
    case = acceptance()[name]

    def dump(arrays: Sequence[Any]) -> dict[str, Any]:
        return {
            f"g{at}": floats(CODES["float32"], np.shape(array), np.ravel(array).tolist())
            for at, array in enumerate(arrays)
        }

    params = write_safetensors(tmp_path / "params", dump(case["params"]["params_tensors"]))
    gradclip_cli.apply(
        write_safetensors(tmp_path / "in", dump([each["data"] for each in case["inputs"]])),
        agc=case["params"]["clipping"],
        eps=case["params"]["eps"],
        params=params,
        output=tmp_path / "out",
    )
    found = read_safetensors(tmp_path / "out").tensors
    for mine, expected in zip(found.values(), case["expect"]["outputs"], strict=True):
        np.testing.assert_allclose(lanes(mine), np.ravel(expected), case["rtol"], case["atol"])


@some.composite
def shapes(draw: some.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    shape = tuple(draw(some.lists(some.integers(1, 4), min_size=1, max_size=4)))
    axes = draw(some.sets(some.integers(0, len(shape) - 1), min_size=1))
    return shape, tuple(axes)


@given(
    shaped=shapes(),
    p=some.sampled_from([2.0, 1.0, 3.0, math.inf]),
    scale=some.sampled_from([1.0, 1e200, 1e-200]),
    limit=some.floats(0.1, 3),
    fortran=some.booleans(),
)
@settings(max_examples=40)
def test_the_norm_of_each_slice_is_kept_and_slices_within_the_limit_do_not_change(
    shaped: tuple[tuple[int, ...], tuple[int, ...]],
    p: float,
    scale: float,
    limit: float,
    fortran: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    shape, axes = shaped
    folder = tmp_path_factory.mktemp("axes")
    array = np.random.default_rng(math.prod(shape)).standard_normal(shape) * scale
    source = folder / "a.npy"
    np.save(source, np.asfortranarray(array) if fortran else array)
    target = folder / "out.npy"
    options: dict[str, Any] = {"per_tensor": True, "norm_type": p, "clip_norm": limit * scale}

    gradclip_cli.apply(source, output=target, axes=axes, **options)

    norms = norm_of(array / scale, axes, p)
    expected = array * np.minimum(1, limit / norms)
    np.testing.assert_allclose(np.load(target), expected, rtol=1e-13)
    kept = np.broadcast_to(norms < limit * (1 - 1e-12), shape)
    np.testing.assert_array_equal(np.load(target)[kept], array[kept])


FAR = [5e-324, 3e-310, 1e-200, 1e-30, 1e-3, 0.5, 1.0, 3.0, 1e10, 1e30, 1e200, 4e307]


def _scaled_norm(values: Sequence[float], p: float) -> float:
    """Give the norm by the largest value and the others' ratios to it, none of which overflows."""
    largest = max(values, default=0.0)
    if not largest or p == math.inf:
        return largest
    if p == 0:
        return float(sum(value != 0 for value in values))
    total: float = math.fsum((value / largest) ** p for value in values) ** (1 / p)
    return largest * total


@example(values=[[0.0, 3e-310], [0.0, 1e10]], p=0.5, copies=1, as_complex=False)
@given(
    values=some.lists(
        some.lists(some.sampled_from([0.0, *FAR]), min_size=2, max_size=2), min_size=1, max_size=6
    ),
    p=some.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 12.0, 50.0, 512.0, math.inf]),
    copies=some.sampled_from([1, 3000]),
    as_complex=some.booleans(),
)
def test_each_slice_has_a_scale_of_its_own_however_small_beside_another(
    values: list[list[float]],
    p: float,
    copies: int,
    as_complex: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    array = np.tile(np.array(values), (copies, 1))
    path = tmp_path_factory.mktemp("far") / "a.npy"
    np.save(path, array * (1j if as_complex else 1.0))
    tensors = opened(found([str(path)])).tensors
    with crew(1, None) as hands:
        moments = measure_tensors(tensors, [0], hands, p)
        norms = units.unit_norms(tensors, {0: (1,)}, moments, hands, p)[0]
    expected = [_scaled_norm(row, p) for row in array.tolist()]
    np.testing.assert_allclose(norms, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("array", "p"),
    [
        ([[1e200], [1e30]], 2),
        ([[1e30], [1e-3]], 12),
        ([[1e10], [0.5]], 50),
        ([[1e4], [5.0]], 100),
        ([[2.0, 1.0], [0.1, 0.1]], 400),
    ],
)
def test_a_slice_far_smaller_than_another_is_clipped_too(
    array: list[list[float]], p: float, tmp_path: Path
) -> None:
    limit = array[1][0] / 10
    options: dict[str, Any] = {"per_tensor": True, "axes": (1,), "norm_type": p}
    (found,), _ = written(tmp_path, {"a": np.array(array)}, clip_norm=limit, **options)
    for row in found:
        assert _scaled_norm(row.tolist(), p) == pytest.approx(limit, rel=1e-12)


@pytest.mark.heavy
def test_units_of_large_tensors_are_right_across_blocks_and_workers(tmp_path: Path) -> None:
    numbers = np.random.default_rng(6)
    arrays = {
        "wide": numbers.standard_normal((3, 400_000)),
        "high": numbers.standard_normal((400_000, 3)),
        "small": numbers.standard_normal((2, 3)),
        "next": numbers.standard_normal((3, 2)),
    }
    source = write(tmp_path / "in", arrays)
    for axis in (0, 1, -1):
        outputs = []
        for workers in (1, 3):
            target = tmp_path / f"out-{workers}"
            gradclip_cli.apply(
                source,
                clip_norm=1.0,
                per_tensor=True,
                axes=[axis],
                output=target,
                force=True,
                workers=workers,
            )
            outputs.append(target.read_bytes())
        assert outputs[0] == outputs[1]
        found = read_safetensors(target).tensors
        for name, array in arrays.items():
            norms = np.sqrt((array**2).sum(axis=axis, keepdims=True))
            assert found[name][:2] == ("F64", array.shape)
            np.testing.assert_allclose(
                np.frombuffer(found[name][2], "<f8").reshape(array.shape),
                array * np.minimum(1, 1 / norms),
                rtol=1e-12,
            )


@pytest.mark.parametrize("layout", ["jax", "torch"])
def test_adaptive_clipping_limits_each_unit_by_its_parameters_norm(
    layout: Any, tmp_path: Path
) -> None:
    numbers = np.random.default_rng(8)
    sides = {"conv": (3, 3, 4, 5), "dense": (4, 6), "bias": (7,), "scale": ()}
    grads = {name: numbers.standard_normal(shape) for name, shape in sides.items()}
    weights = {name: numbers.standard_normal(shape) * 0.1 for name, shape in sides.items()}
    weights["bias"][:] = 0
    weights["unused"] = np.ones(3)
    params = write(tmp_path / "params", dict(reversed(weights.items())))

    found, report = written(tmp_path, grads, agc=0.5, params=params, agc_layout=layout)

    for mine, (name, grad) in zip(found, grads.items(), strict=True):
        axes = unit_axes(grad.shape, layout)
        limits = 0.5 * np.maximum(norm_of(weights[name], axes), 1e-3)
        expected = grad * np.minimum(1, limits / norm_of(grad, axes))
        np.testing.assert_allclose(mine, expected, rtol=1e-13)
    assert "1 parameter without a gradient" in report.notes
    again, _ = written(
        tmp_path,
        dict(zip(grads, found, strict=True)),
        agc=0.5,
        params=params,
        agc_layout=layout,
    )
    for once, twice in zip(found, again, strict=True):
        np.testing.assert_allclose(once, twice, rtol=2**-51)


@given(
    shape=some.lists(some.integers(1, 4), max_size=4),
    clipping=some.floats(0.01, 2),
    ratio=some.sampled_from([0.0, 1e-4, 1.0, 1e3]),
    layout=some.sampled_from(["jax", "torch"]),
    code=some.sampled_from(["f2", "f4", "f8"]),
)
@settings(max_examples=40)
def test_adaptive_clipping_keeps_each_units_limit_and_its_direction(
    shape: list[int],
    clipping: float,
    ratio: float,
    layout: Any,
    code: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    numbers = np.random.default_rng(len(shape))
    grad = numbers.standard_normal(shape).astype(code)
    weight = np.asarray(numbers.standard_normal(shape) * ratio)
    folder = tmp_path_factory.mktemp("agc")
    params = write(folder / "params", {"w": weight})
    options = {"agc": clipping, "params": params, "agc_layout": layout}

    (once,), _ = written(folder, {"w": grad}, **options)
    (twice,), _ = written(folder, {"w": once}, **options)

    axes = unit_axes(grad.shape, layout)
    found = np.finfo(code)
    rounding, smallest = float(found.eps) + 2.0**-51, float(found.smallest_subnormal)
    limits = clipping * np.maximum(norm_of(weight, axes), 1e-3)
    norms, after = (norm_of(each.astype(float), axes) for each in (grad, once))
    assert (after <= limits * (1 + rounding) + 16 * smallest).all()
    np.testing.assert_allclose(
        once, grad * np.minimum(1, limits / norms), rtol=rounding, atol=smallest
    )
    kept = np.broadcast_to(norms < limits * (1 - 1e-12), grad.shape)
    assert (once[kept] == grad[kept]).all()
    np.testing.assert_allclose(once, twice, rtol=2 * rounding, atol=smallest)


def test_units_of_half_precision_are_rounded_once(tmp_path: Path) -> None:
    array = np.array([[3.0, 4.0], [0.3, 0.4]], np.float16)
    (found,), _ = written(tmp_path, {"g": array}, clip_norm=1.0, per_tensor=True, axes="1")
    form = LANES["F16"]
    norm = math.hypot(*array[0].tolist())
    expected = [form.value(form.rounded(value * (1 / norm))) for value in (3.0, 4.0)]
    assert found.tolist() == [expected, array[1].tolist()]


def test_units_of_complex_tensors_go_by_their_sizes(tmp_path: Path) -> None:
    source = tmp_path / "z.npy"
    np.save(source, np.array([[3 + 4j, 0], [0.3, 0.4j]]))
    gradclip_cli.apply(
        source, clip_norm=1.0, per_tensor=True, axes=[1], output=tmp_path / "out.npy"
    )
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), [[0.6 + 0.8j, 0], [0.3, 0.4j]])


LARGE = 1.5e308
BEYOND: dict[str, Array] = {
    "sum": np.array([[LARGE, LARGE], [1.0, 2.0]]),
    "size": np.array([[LARGE * (1 + 1j), 0], [1.0, 2.0]]),
}


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("kind", BEYOND)
def test_a_slice_whose_norm_is_beyond_float64_is_refused(
    kind: str, p: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    by_rows = ClipByNorm(1e200, (1,))
    if (kind, p) == ("sum", math.inf):
        assert clipped_by(by_rows, p, BEYOND[kind])[0, 0] == 1e200
        return
    with pytest.raises(RefusedError, match="the norm of a slice of 'a' is beyond float64"):
        clipped_by(by_rows, p, BEYOND[kind])
    beside = np.array([[*BEYOND[kind][0]], [math.nan, 3e200]])
    assert np.array_equal(clipped_by(by_rows, p, beside, "skip"), beside, equal_nan=True)
    with pytest.raises(RefusedError, match="beyond float64"):
        clipped_by(by_rows, p, beside, "propagate")


def clipped_by(rule: Rule, p: float, array: Array, policy: Any = "refuse") -> Array:
    np.save("a.npy", array)
    gradclip_cli.apply(
        "a.npy", rule=rule, norm_type=p, nonfinite=policy, output="b.npy", force=True
    )
    return np.asarray(np.load("b.npy"))


def test_a_parameter_whose_norm_is_beyond_float64_is_refused(tmp_path: Path) -> None:
    params = write(tmp_path / "params", {"g": np.array([LARGE, LARGE])})
    with pytest.raises(GradclipError, match="the norm of a slice of 'g' is beyond"):
        written(tmp_path, {"g": np.ones(2)}, agc=0.1, params=params)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("zero", [[0.6, 0.8], [0.0, 1.0]]),
        ("skip", [[3.0, 4.0], [math.inf, 2.0]]),
        ("propagate", [[0.6, 0.8], [math.nan, 0.0]]),
    ],
)
def test_of_what_is_not_finite_the_policy_decides(
    policy: str, expected: list[list[float]], tmp_path: Path
) -> None:
    array = np.array([[3.0, 4.0], [math.inf, 2.0]])
    (found,), _ = written(
        tmp_path, {"g": array}, clip_norm=1.0, per_tensor=True, axes=[1], nonfinite=policy
    )
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 2.0, math.inf])
def test_of_a_slice_the_norm_is_nan_or_infinite_as_of_a_tensor(
    p: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in (math.inf, -math.inf, math.nan, complex(math.inf, math.nan)):
        array = np.array([value, 3, 0])
        whole, sliced = (
            clipped_by(ClipByNorm(1.0, axes), p, array, "propagate") for axes in (None, (0,))
        )
        np.testing.assert_array_equal(whole, sliced)


GRAD = {"w": np.ones((2, 2)), "b": np.ones(2)}
BAD_PARAMS: dict[str, tuple[dict[str, Array], str]] = {
    "missing": ({"w": np.ones((2, 2))}, "1 of 2 gradients have no parameter, the first is 'b'"),
    "shape": ({**GRAD, "b": np.ones(3)}, r"'b' has shape \[2\], its parameter \[3\]"),
    "not finite": ({**GRAD, "b": np.array([math.nan, 1])}, "'b' holds values that are not finite"),
}


@pytest.mark.parametrize("kind", BAD_PARAMS)
def test_parameters_that_do_not_fit_are_refused(kind: str, tmp_path: Path) -> None:
    arrays, said = BAD_PARAMS[kind]
    params = write(tmp_path / "params", arrays)
    with pytest.raises(GradclipError, match=said) as caught:
        written(tmp_path, GRAD, agc=0.1, params=params)
    assert caught.value.subject == "params"
    assert {path.name for path in tmp_path.iterdir()} == {"params", "in"}


def test_axes_that_a_tensor_has_not_are_refused(tmp_path: Path) -> None:
    for axes, said in (("1", "does not fit a tensor of 1 dim"), ("x", "are no axes")):
        with pytest.raises(GradclipError, match=said):
            written(tmp_path, GRAD, clip_norm=1.0, per_tensor=True, axes=axes)
    six = np.ones((1, 2, 1, 2, 1, 1))
    params = write(tmp_path / "params", {"six": six})
    with pytest.raises(GradclipError, match="6 dimensions"):
        written(tmp_path, {"six": six}, agc=0.1, params=params)
    written(tmp_path, {"six": six}, agc=0.1, params=params, agc_layout="torch")


def test_too_many_units_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "MOST_UNITS", 3)
    source = write_npy(tmp_path / "a.npy", floats("<f8", (2, 2), [1.0, 2.0, 3.0, 4.0]))
    gradclip_cli.apply(source, clip_norm=1.0, per_tensor=True, axes=[0], dry_run=True)
    with pytest.raises(GradclipError, match="4 units; at most 3"):
        gradclip_cli.apply(source, clip_norm=1.0, per_tensor=True, axes=[], dry_run=True)
