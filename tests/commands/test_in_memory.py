"""Arrays in memory are clipped as files are: to the bit, whatever NumPy takes, nothing touched."""

import math
import pickle
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

import gradclip_cli
from gradclip_cli import GradclipError, RefusedError
from tests.dumps import floats, lanes, read_safetensors, write_safetensors
from tests.laws import by_average, by_own_norm, by_value

Array = NDArray[Any]

api: Any = gradclip_cli  # what is wrong on purpose is not for the type checker
ML_DTYPES = {
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}
CODES = {"float16": "F16", "float32": "F32", "float64": "F64", "complex64": "C64"}
CODES |= {np.dtype(kind).name: code for code, kind in ML_DTYPES.items()}

# The seed


def test_the_textbook_list_is_clipped_as_tensorflow_does() -> None:
    wanted = [n * 5.0 / math.sqrt(285) for n in range(10)]
    for some in (list(range(10)), tuple(float(n) for n in range(10))):
        clipped, norm = gradclip_cli.clip_by_global_norm(some, 5.0)
        assert norm == math.sqrt(285)
        assert clipped == pytest.approx(wanted, rel=1e-15)
        assert {type(one) for one in clipped} == {float}
    (array,), norm = gradclip_cli.clip_by_global_norm([np.arange(10)], 5.0)
    assert (norm, array.dtype) == (math.sqrt(285), np.float64)
    assert array.tolist() == clipped
    assert gradclip_cli.global_norm(range(10)) == math.sqrt(285)
    assert gradclip_cli.inspect({"x": np.arange(10)}).global_norm == math.sqrt(285)


def test_what_is_within_the_limit_and_what_is_none_stays() -> None:
    given = [None, np.array([0.5], "f4"), None, 0.25, np.array([0], "i1"), np.float16(0.5)]
    clipped, norm = gradclip_cli.clip_by_global_norm(given, 1.0)
    assert norm == 0.75
    assert clipped == [None, np.array([0.5], "f4"), None, 0.25, np.zeros(1), np.float16(0.5)]
    assert type(clipped[-1]) is np.float16
    assert clipped[1] is not given[1]
    assert gradclip_cli.clip_by_global_norm([], 1.0) == ([], 0.0)
    assert gradclip_cli.clip_by_global_norm([None], 1.0) == ([None], 0.0)
    assert gradclip_cli.global_norm([None, 3.0, 4j]) == 5.0


def test_a_known_norm_is_gone_by_and_given_back() -> None:
    assert gradclip_cli.clip_by_global_norm([2.0, 4.0], 2.5, 10.0) == ([0.5, 1.0], 10.0)
    assert api.clip_by_global_norm([3.0, 4.0], 1.0, use_norm=np.float32(10))[1] == 10.0


# As on disk


DTYPES = [">f2", "<f4", ">f4", "<f8", "<c8", ">c16", "<i4", "|u1", "<i8", *ML_DTYPES.values()]
POLICIES: list[dict[str, Any]] = [
    {},
    {"nonfinite": "zero"},
    {"nonfinite": "skip"},
    {"nonfinite": "propagate"},
    *({"like": one} for one in ("tensorflow", "keras", "torch", "optax", "optax-jit")),
    {"use_norm": 2.0},
]


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    """Give an array of any dtype, shape and layout."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    count = math.prod(shape) * dtype.itemsize
    data = draw(st.binary(min_size=count, max_size=count))
    if draw(st.booleans()):  # ordinary values, which the rules clip
        numbers = np.frombuffer(data, np.int8)[: math.prod(shape)].astype(np.float64) / 16
        array = numbers.astype(dtype).reshape(shape)
    else:
        array = np.frombuffer(data, dtype).reshape(shape)
    layout = draw(st.sampled_from(["C", "F", "reversed", "strided"]))
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "reversed" and array.ndim:
        return array[::-1]
    if layout == "strided":
        wide = np.zeros((*array.shape, 2), array.dtype)
        wide[..., 0] = array
        return wide[..., 0]
    return array


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except GradclipError as error:
        return type(error)


def is_odd(array: Array) -> bool:
    return array.dtype in (*map(np.dtype, ML_DTYPES.values()),)


def bits(array: Array) -> tuple[Any, ...]:
    return array.dtype, array.shape, array.tobytes()


def results(array: Array) -> tuple[Any, ...]:
    """Give the bits, but one NaN for all: which of two goes on is the processor's choice."""
    if array.dtype.kind in "iub":
        return bits(array)
    plain = array.copy()
    with np.errstate(invalid="ignore"):  # a signalling NaN
        plain[np.isnan(plain)] = np.nan
    return bits(plain)


def saved(folder: Path, some: list[Array]) -> tuple[Path, Path, Callable[[Path], list[Array]]]:
    """Save arrays as .npy, or as safetensors where that has no letters for them."""
    if not any(is_odd(array) for array in some):
        (folder / "in").mkdir()
        for number, array in enumerate(some):
            np.save(folder / "in" / f"{number}.npy", array)
        names = [f"{number}.npy" for number in range(len(some))]
        return folder / "in", folder / "out", lambda out: [np.load(out / name) for name in names]
    tensors = {
        str(number): (CODES[array.dtype.name], array.shape, array.tobytes())
        for number, array in enumerate(some)
    }
    write_safetensors(folder / "in.safetensors", tensors)

    def read(out: Path) -> list[Array]:
        found = read_safetensors(out).tensors
        return [
            np.frombuffer(found[str(number)][2], array.dtype).reshape(array.shape)
            for number, array in enumerate(some)
        ]

    return folder / "in.safetensors", folder / "out.safetensors", read


@pytest.mark.parametrize("name", ["float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"])
def test_a_byte_for_each_narrow_value_is_clipped_as_packed_ones_are(
    name: str, tmp_path: Path
) -> None:
    kind = getattr(ml_dtypes, name)
    code = {"float6_e2m3fn": "F6_E2M3", "float6_e3m2fn": "F6_E3M2", "float4_e2m1fn": "F4"}[name]
    values = np.random.default_rng(1).normal(0, 2, (3, 8)).astype(kind)
    path = write_safetensors(
        tmp_path / "a.safetensors",
        {"w": floats(code, (3, 8), values.astype(float).ravel().tolist())},
    )
    (clipped,), norm = gradclip_cli.clip_by_global_norm([values], 3.0)
    assert clipped.dtype == kind
    assert norm == gradclip_cli.inspect(path).global_norm
    gradclip_cli.apply(path, clip_norm=3.0, in_place=True)
    stored = read_safetensors(path).tensors["w"]
    assert clipped.astype(np.float64).ravel().tolist() == lanes(stored)


@pytest.mark.alike(2)
@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(one, id=str(one), marks=pytest.mark.heavy if "like" in one else [])
        for one in POLICIES
    ],
)
@settings(max_examples=60, deadline=None)
@given(some=st.lists(arrays(), min_size=1, max_size=4), limit=st.sampled_from([0.5, 3.0, 1e9]))
def test_the_joint_norm_clips_as_apply_does_to_the_bit(
    policy: dict[str, Any],
    some: list[Array],
    limit: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if any(map(is_odd, some)):
        some = [
            array.copy("C")  # a safetensors file keeps no other order
            for array in some
            if array.dtype.name in CODES and array.dtype.byteorder != ">"
        ]
    elif "like" in policy or any(array.dtype.kind in "fc" for array in some):
        some = [array for array in some if array.dtype.kind in "fc"]  # others are not, in a file
    if not some:
        return
    before = [*map(bits, some)]
    source, target, read = saved(tmp_path_factory.mktemp("memory"), some)
    mine = outcome(lambda: gradclip_cli.clip_by_global_norm(some, limit, **policy))
    wanted = outcome(
        lambda: gradclip_cli.apply(
            source, clip_norm=limit, output=target, one_gradient=True, **policy
        )
    )
    assert [*map(bits, some)] == before
    if isinstance(mine, type):
        assert mine == wanted
        return
    clipped, norm = mine
    np.testing.assert_equal(norm, wanted.clipped.norm_before)
    assert [*map(results, clipped)] == [*map(results, read(target))]
    for one, own in zip(clipped, some, strict=True):
        assert one.flags.writeable
        assert not np.shares_memory(one, own)
        if own.flags.f_contiguous and not own.flags.c_contiguous:
            assert one.flags.f_contiguous


@settings(max_examples=60, deadline=None)
@given(array=arrays(), data=st.data())
def test_one_array_is_clipped_as_apply_does_to_the_bit(
    array: Array, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if is_odd(array):
        array = array.copy("C")  # a safetensors file keeps no other order
    axes = data.draw(st.sets(st.integers(0, max(array.ndim - 1, 0))).map(sorted))
    policy = data.draw(st.sampled_from(["refuse", "zero", "skip", "propagate"]))
    calls: list[tuple[Callable[[], Any], dict[str, Any]]] = [
        (
            lambda: api.clip_by_norm(array, 0.5, nonfinite=policy),
            {"clip_norm": 0.5, "per_tensor": True},
        ),
        (
            lambda: api.clip_by_norm(array, 0.5, axes, nonfinite=policy),
            {"clip_norm": 0.5, "per_tensor": True, "axes": axes},
        ),
        (
            lambda: api.clip_by_average_norm(array, 0.05, nonfinite=policy),
            {"clip_norm": 0.05, "average": True},
        ),
        (
            lambda: api.clip_by_value(array, -0.5, 2, nonfinite=policy),
            {"clip_value": (-0.5, 2)},
        ),
    ]
    source, target, read = saved(tmp_path_factory.mktemp("one"), [array])
    for call, options in calls:
        mine = outcome(call)
        options |= {"output": target, "force": True, "nonfinite": policy}
        options["one_gradient"] = True
        wanted = outcome(lambda options=options: gradclip_cli.apply(source, **options))  # type: ignore[misc]
        if isinstance(mine, type):
            assert mine == wanted
        else:
            assert results(mine) == results(read(target)[0])


@settings(max_examples=60, deadline=None)
@given(some=st.lists(arrays(), min_size=1, max_size=4))
def test_a_dict_is_inspected_as_its_file_is(
    some: list[Array], tmp_path_factory: pytest.TempPathFactory
) -> None:
    some = [array for array in some if array.dtype.name in CODES and array.dtype.byteorder != ">"]
    named = {str(number): array.copy("C") for number, array in enumerate(some)}
    path = tmp_path_factory.mktemp("dict") / "a.safetensors"
    tensors = {
        name: (CODES[array.dtype.name], array.shape, array.tobytes())
        for name, array in named.items()
    }
    options: dict[str, Any] = {"fingerprint": True, "clip_norm": 1.0}
    wanted = gradclip_cli.inspect(write_safetensors(path, tensors), **options)
    found = gradclip_cli.inspect(named, **options)
    for mine, theirs in ((found.rows, wanted.rows), (found.what_if, wanted.what_if)):
        said = repr(mine).replace("'memory'", repr(str(path)))
        assert sorted(said) == sorted(repr(theirs))
    assert repr(found.moments) == repr(wanted.moments)


def test_arrays_of_many_blocks_and_many_small_ones_are_clipped_in_parts(tmp_path: Path) -> None:
    numbers = np.random.default_rng(3)
    large = numbers.standard_normal(3_000_000).astype(np.float32)
    small = [numbers.standard_normal(n % 5).astype(np.float32) for n in range(5000)]
    some = [
        large.reshape(1000, 3000),
        *small,
        np.asfortranarray(large[:600_000].reshape(600, 1000)),
    ]
    np.save(tmp_path / "large.npy", large)
    clipped, norm = gradclip_cli.clip_by_global_norm(some, 1.0)
    squares = math.fsum(float(x) ** 2 for array in some for x in array.ravel().tolist())
    assert norm == pytest.approx(math.sqrt(squares), rel=1e-15)
    coefficient = np.float64(1 / norm)
    for one, own in zip(clipped, some, strict=True):
        assert (one == (own.astype(np.float64) * coefficient).astype(np.float32)).all()


# By the laws


@given(
    values=npst.arrays(np.float64, (2, 3), elements=st.floats(-100, 100)),
    limit=st.floats(0.01, 1000),
)
def test_single_arrays_follow_the_equations(values: Array, limit: float) -> None:
    own = by_own_norm([values], {"clip_norm": limit})[0]
    np.testing.assert_allclose(gradclip_cli.clip_by_norm(values, limit), own, rtol=1e-12)
    rows = by_own_norm([values], {"clip_norm": limit, "axes": (1,)})[0]
    np.testing.assert_allclose(gradclip_cli.clip_by_norm(values, limit, 1), rows, rtol=1e-12)
    average = by_average([values], {"clip_norm": limit})[0]
    np.testing.assert_allclose(
        gradclip_cli.clip_by_average_norm(values, limit), average, rtol=1e-12
    )
    value = by_value([values], {"clip_value": limit})[0]
    np.testing.assert_array_equal(gradclip_cli.clip_by_value(values, -limit, limit), value)


def test_a_number_comes_back_as_one() -> None:
    assert repr(gradclip_cli.clip_by_norm(3, 1.5)) == "1.5"
    assert repr(gradclip_cli.clip_by_value(-7, -1, 2)) == "-1.0"
    assert repr(gradclip_cli.clip_by_average_norm(3j, 1.5)) == "1.5j"
    assert repr(gradclip_cli.clip_by_norm(np.float32(3), 1.5)) == "np.float32(1.5)"
    assert gradclip_cli.clip_by_norm(np.array(3.0), 1.5).shape == ()
    assert gradclip_cli.clip_by_norm([3, 4], 1.0).tolist() == [0.6000000000000001, 0.8]


def test_what_may_not_be_written_to_is_read_all_the_same() -> None:
    values = np.arange(4.0)
    values.flags.writeable = False
    (clipped,), _ = gradclip_cli.clip_by_global_norm([values], 1.0)
    assert clipped.flags.writeable


# What NumPy takes, and what it does not


class Lent:
    """What gives its values by DLPack alone."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class Tensor:
    """What refuses NumPy as torch's tensors do."""

    def __init__(
        self, dtype: str = "torch.float32", device: str = "cpu", grad: bool = False
    ) -> None:
        self.dtype, self.device, self.requires_grad = dtype, device, grad

    def detach(self) -> None: ...

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise TypeError("can't convert it")


def test_what_lends_its_values_is_taken() -> None:
    class Wrapped:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
            return np.array([3, 4], "f4")

    (one, other), norm = gradclip_cli.clip_by_global_norm(
        [Lent(np.array([3, 4], "f4")), Wrapped()], 1
    )
    assert norm == math.sqrt(50)
    assert results(one) == results(other)


REFUSED: dict[str, tuple[Any, str]] = {
    "a tensor that records": (
        Tensor(grad=True),
        "t_list[1]: NumPy cannot take it: can't convert it\nhint: give t_list[1].detach().numpy()",
    ),
    "a tensor elsewhere": (
        Tensor(device="cuda:0", grad=True),
        "give t_list[1].detach().cpu().numpy()",
    ),
    "a tensor of bfloat16": (
        Tensor("torch.bfloat16"),
        "give t_list[1].view(torch.int16).numpy().view(ml_dtypes.bfloat16)",
    ),
    "a tensor of float8": (
        Tensor("torch.float8_e5m2", "cuda:1"),
        "give t_list[1].cpu().view(torch.uint8).numpy().view(ml_dtypes.float8_e5m2)",
    ),
    "a masked array": (np.ma.masked_array([1.0], [True]), "t_list[1]: is a masked array"),
    "objects": (np.array([1.0, None]), "t_list[1]: array([1.0, None], dtype=object) is no array"),
    "a text": ("1.0", "t_list[1]: is <U3, which is not a number that gradclip reads"),
    "truth": (True, "t_list[1]: holds True and False, not numbers"),
    "truths": (np.array([True]), "t_list[1]: holds True and False, not numbers"),
    "a ragged list": ([[1.0], [1.0, 2.0]], "t_list[1]: NumPy cannot take it: setting an array"),
    "a date": (np.datetime64("2020"), "t_list[1]: is datetime64[Y], which is not a number"),
    "a record": (np.zeros(1, "f4,f4"), "t_list[1]: is [('f0'"),
    "more than float64": (np.longdouble(1), "astype('float64')"),
    "an odd float": (np.zeros(1, ml_dtypes.float8_e3m4), "astype('float64')"),
    "scale factors": (np.ones(1, ml_dtypes.float8_e8m0fnu), "t_list: 1 tensor of scale factors"),
    "a dict": ({"w": 1.0}, "t_list[1]: {'w': 1.0} is no array of numbers"),
    "a fraction": (Fraction(1, 2), "t_list[1]: Fraction(1, 2) is no array of numbers"),
    "too large a number": (10**400, "t_list[1]: NumPy cannot take it: int too large"),
    "not finite": (math.nan, "t_list: 1 of 2 tensors hold values that are not finite"),
}


@pytest.mark.parametrize(("value", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_array_of_numbers_is_refused_with_the_line_to_write(
    value: Any, said: str
) -> None:
    for call in (api.clip_by_global_norm, api.global_norm):
        if call is api.global_norm and ("finite" in said or "factors" in said):
            assert not call([2.0, value]) <= 2
            continue
        with pytest.raises(GradclipError) as caught:
            call([2.0, value], *([1.0] if call is api.clip_by_global_norm else []))
        assert said in str(caught.value)
        assert "--" not in str(caught.value)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    if "finite" not in said:
        with pytest.raises(GradclipError) as caught:
            api.clip_by_norm(value, 1.0) if not isinstance(value, list) else api.clip_by_norm(
                [value], 1
            )


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "one array": (
        lambda: api.clip_by_global_norm(np.arange(3.0), 1.0),
        "t_list: array([0., 1., 2.]) is not a list of arrays\nhint: give one in a list: [t_list]",
    ),
    "one number": (lambda: api.global_norm(3.0), "t_list: 3.0 is not a list of arrays"),
    "a text": (lambda: api.global_norm("ab"), "t_list: 'ab' is not a list of arrays"),
    "a dict": (
        lambda: api.global_norm({"w": 1.0}),
        "t_list: {'w': 1.0} is not a list of arrays\nhint: give its values: [*t_list.values()]",
    ),
    "no limit": (lambda: api.clip_by_global_norm([1.0]), "missing a required argument"),
    "a limit of nothing": (lambda: api.clip_by_global_norm([1.0], 0), "clip_norm: 0.0 is not a"),
    "a framework": (
        lambda: api.clip_by_global_norm([1.0], 1, like="jax"),
        "like: 'jax' is not one of",
    ),
    "a policy": (
        lambda: api.clip_by_norm([1.0], 1, nonfinite="zro"),
        "nonfinite: 'zro' is not one of",
    ),
    "an axis": (
        lambda: api.clip_by_norm([1.0], 1, axes=7),
        "axes: 7 does not fit a tensor of 1 dimensions\n"
        "hint: name each axis once, counted from 0; choose the tensors",
    ),
    "limits the wrong way": (
        lambda: api.clip_by_value([1.0], 2, 1),
        "clip_value_min: 2.0 is not at most 1.0",
    ),
    "complex values": (
        lambda: api.clip_by_value([1j], 1, 2),
        "clip_value: 't' is complex128, and complex values have no order\n"
        "hint: leave it out, or clip by a norm",
    ),
    "none": (lambda: api.clip_by_norm(None, 1.0), "t: None is no array of numbers"),
    "a name that is a number": (lambda: api.inspect({1: [1.0]}), "paths: the name 1 is not a text"),
    "a dict beside a path": (
        lambda: api.inspect({"w": 1.0}, "x.npy"),
        "paths: a dict of arrays cannot go with others",
    ),
}


@pytest.mark.parametrize(("call", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_words(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(GradclipError) as caught:
        call()
    assert said in str(caught.value)


def test_values_that_are_not_finite_are_named_and_the_ways_out_work() -> None:
    some = [np.array([3, math.nan], "f4"), 4.0]
    with pytest.raises(RefusedError) as caught:
        gradclip_cli.clip_by_global_norm(some, 1.0)
    assert str(caught.value) == (
        "t_list: 1 of 2 tensors hold values that are not finite; nothing was written\n"
        "  't_list[0]': 1 NaN, first at [1]\n"
        "hint: nonfinite='zero' writes 0, nonfinite='skip' leaves their tensors alone"
    )
    (zeroed, _), norm = gradclip_cli.clip_by_global_norm(some, 1.0, nonfinite="zero")
    assert (norm, zeroed.tolist()) == (5.0, [np.float32(0.6), 0.0])
    (left, clipped), norm = gradclip_cli.clip_by_global_norm(some, 1.0, nonfinite="skip")
    assert (norm, clipped, left[0]) == (4.0, 1.0, 3.0)
    (spread, other), norm = gradclip_cli.clip_by_global_norm(some, 1.0, nonfinite="propagate")
    assert math.isnan(norm)
    assert math.isnan(other)
    assert np.isnan(spread).all()


def test_a_dict_leaves_out_what_is_none_and_whole_numbers_beside_floats() -> None:
    report = gradclip_cli.inspect({"w": [3.0, 4.0], "none": None, "step": np.int64(7)})
    assert (report.global_norm, report.measured, report.total) == (5.0, 1, 2)
    assert repr(report).endswith("from memory")
    assert "step" in sys.intern(str(report))
