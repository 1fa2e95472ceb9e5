"""What a framework would have written, file by file: recipes through the real way of a clipping.

The last tests need the frameworks, which are not installed for the plain tests. With them, run:
python -m pytest tests/rules/test_like_files.py
"""

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

import gradclip_cli
from gradclip_cli import GradclipError
from gradclip_cli.measure.spans import BLOCK
from gradclip_cli.results.report import Report
from gradclip_cli.rules.like.arithmetic import Follow, rounded_norm
from gradclip_cli.rules.like.recipes import clip_by_global_norm, clip_by_norm, clip_by_value
from gradclip_cli.rules.terms import Like
from tests.dumps import Stored, floats, read_safetensors, write_npy, write_safetensors
from tests.frameworks import (
    ARRAYS,
    LIKES,
    PEERS,
    applied,
    differing,
    every_dtype,
    every_peer,
    near_the_smallest,
    quietly,
    random_limit,
    random_norm,
    random_values,
    recorded,
)
from tests.recorded import CODES, recorded_vector

Array = NDArray[Any]

every_like = pytest.mark.parametrize(
    "like",
    [
        pytest.param(like, marks=pytest.mark.heavy if like in ("keras", "optax-jit") else [])
        for like in get_args(Like)
    ],
)


def stored(values: Array) -> Stored:
    return CODES[values.dtype.name], values.shape, values.tobytes()


def written(folder: Path, arrays: dict[str, Array], **options: Any) -> tuple[list[Array], Report]:
    """Clip a file of arrays; give what was written, and the report."""
    dump = {name: stored(values) for name, values in arrays.items()}
    source = write_safetensors(folder / "in.safetensors", dump)
    report = gradclip_cli.apply(source, output=folder / "out", force=True, **options)
    found = read_safetensors(folder / "out").tensors
    return [np.frombuffer(found[name][2], values.dtype) for name, values in arrays.items()], report


def departures(report: Report) -> tuple[str, ...]:
    assert report.ruling is not None
    return report.ruling.departures


@pytest.mark.parametrize(("name", "peer"), [*recorded()])
def test_what_was_recorded_of_a_framework_is_written_bit_for_bit(
    name: str, peer: str, tmp_path: Path
) -> None:
    case = recorded_vector(name)
    answer = case.answers[peer]
    norm = answer.norm.values[0] if case.use_norm is None and answer.norm else case.use_norm
    assert answer.outputs is not None
    arrays = {
        f"g{at}": np.array(given.values).astype(ARRAYS[given.dtype])
        for at, given in enumerate(case.inputs)
    }

    found, _ = written(tmp_path, arrays, clip_norm=case.limit, like=LIKES[peer], use_norm=norm)

    for mine, expected in zip(found, answer.outputs, strict=True):
        theirs = np.array(expected.values).astype(ARRAYS[expected.dtype])
        assert not differing(mine, theirs, expected.dtype)


# Recipes through files


def assorted(dtype: str) -> dict[str, Array]:
    """Give tensors of all lengths: small ones side by side, and one of several blocks."""
    numbers = np.random.default_rng(7)
    counts = {"empty": 0, "one": 1, "few": 5, "more": 4096, "many": 2 * BLOCK + 13, "last": 3}
    return {
        name: (numbers.standard_normal(count) * 4).astype(ARRAYS[dtype])
        for name, count in counts.items()
    }


@every_like
@every_dtype
def test_a_recipe_is_the_same_in_a_file_whatever_lies_beside(
    like: Like, dtype: str, tmp_path: Path
) -> None:
    arrays = assorted(dtype)
    found, report = written(tmp_path, arrays, clip_norm=3.0, like=like, use_norm=7.0)
    for mine, values in zip(found, arrays.values(), strict=True):
        recipe = clip_by_global_norm(like, 7.0, 3.0, dtype, dtype, values.size)
        assert not differing(mine, applied(recipe, values), dtype)
    assert report.clipped is not None
    assert report.clipped.norm_before == 7.0

    found, _ = written(tmp_path, arrays, clip_value=2.0, like=like)
    for mine, values in zip(found, arrays.values(), strict=True):
        recipe = clip_by_value(like, -2.0, 2.0, dtype, values.size)
        assert not differing(mine, applied(recipe, values), dtype)


def test_one_edit_for_two_tensors_starts_anew_with_each() -> None:
    recipe = clip_by_value("tensorflow", 0.0, 1.0, "float32", 9)  # the ninth goes by itself
    edit = Follow(recipe)
    values = np.full(18, -0.0, np.float32)
    found = edit.beside([edit, edit], (9, 9)).apply(values, 0, 1)
    assert np.signbit(found).tolist() == np.signbit(np.tile(recipe.apply(values[:9]), 2)).tolist()
    assert np.signbit(found).tolist() != np.signbit(recipe.apply(values)).tolist()


def test_what_goes_by_itself_is_last_in_c_order_whatever_the_memory_order() -> None:
    values = np.full((1001, 602), -0.0, np.float32)  # two are left over, blocks apart in memory
    plain, turned = (
        gradclip_cli.clip_by_value(np.array(values, order=order), 0.0, 1.0, like="tensorflow")
        for order in ("C", "F")
    )
    assert np.flatnonzero(np.signbit(plain)).tolist() == [values.size - 2, values.size - 1]
    assert np.array_equal(np.signbit(plain), np.signbit(turned))


@every_dtype
def test_each_tensor_by_its_own_norm_is_tensorflows_with_the_exact_norm_rounded(
    dtype: str, tmp_path: Path
) -> None:
    arrays = assorted(dtype)
    found, report = written(tmp_path, arrays, clip_norm=3.0, like="tensorflow", per_tensor=True)
    norms = {row.name: row.norm for row in report.tensors}
    for mine, (name, values) in zip(found, arrays.items(), strict=True):
        norm = rounded_norm(norms[name] or 0.0, dtype)
        assert not differing(mine, applied(clip_by_norm(norm, 3.0, dtype), values), dtype)


def test_without_a_known_norm_the_exact_one_is_rounded_to_the_frameworks_dtype(
    tmp_path: Path,
) -> None:
    arrays = {"g": np.array([1.0, 1.0, 1.0], np.float32)}
    found, report = written(tmp_path, arrays, clip_norm=1.0, like="torch")
    recipe = clip_by_global_norm("torch", math.sqrt(3), 1.0, "float32", "float32", 3)
    assert not differing(found[0], applied(recipe, arrays["g"]), "float32")
    assert report.clipped is not None
    assert report.clipped.coefficient == recipe.coefficient
    assert not departures(report)


@pytest.mark.parametrize(
    ("like", "values", "options", "said"),
    [
        ("torch", [3.0, 4.0], {"clip_norm": -1.0}, "signs are turned"),
        ("torch", [3.0, 4.0], {"clip_norm": -1.0}, "the limit is not kept"),
        ("torch", [3.0, 4.0], {"clip_norm": 1.0, "use_norm": math.inf}, "overflowed to inf"),
        ("torch", [3.0, 4.0], {"clip_norm": 1.0, "use_norm": math.inf}, "2 values became 0"),
        ("tensorflow", [3.0, 4.0], {"clip_norm": 1.0, "use_norm": math.inf}, "2 values became NaN"),
        ("torch", [3e-30], {"clip_norm": 1e-31, "use_norm": 0.0}, "underflowed to 0"),
        ("torch", [3.0, 4.0], {"clip_norm": 1.0, "use_norm": 0.0}, "the limit is not kept"),
        ("optax", [3.0, 4.0], {"clip_norm": 1.0, "use_norm": 0.5}, "is not the exact 5.0"),
        ("keras", [3.0, 4.0], {"clip_norm": 0.0}, "the limit is not kept"),
        ("torch", [1e20], {"clip_norm": 1.0}, "squares overflow float32"),
        ("tensorflow", [1e-39, 1.0], {"clip_norm": 9.0}, "values within the limit changed"),
        ("tensorflow", [1e-39, 1.0], {"clip_norm": 9.0}, "1 value became 0"),
        ("keras", [0.0], {"clip_norm": 0.5, "per_tensor": True}, None),
        ("optax", [3.0, 4.0], {"clip_value": 1.0}, None),
        ("optax", [3.0, 4.0], {"clip_norm": 1.0}, None),
    ],
)
def test_the_report_says_where_a_framework_departs_from_the_exact_answer(
    like: Like, values: list[float], options: dict[str, Any], said: str | None, tmp_path: Path
) -> None:
    _, report = written(tmp_path, {"g": np.array(values, np.float32)}, like=like, **options)
    if said is None:
        assert not departures(report)
    else:
        assert said in "; ".join(departures(report))


@every_like
def test_what_is_not_finite_is_left_to_the_framework(like: Like, tmp_path: Path) -> None:
    arrays = {"g": np.array([3.0, math.inf], np.float32)}
    (found,), report = written(tmp_path, arrays, clip_norm=1.0, like=like)
    expected = [math.nan] * 2 if like in ("tensorflow", "keras") else [0.0, math.nan]
    np.testing.assert_array_equal(found, expected)
    assert report.clipped is not None
    assert report.clipped.norm_before == math.inf


@pytest.mark.parametrize("like", ["tensorflow", "keras"])
def test_two_dtypes_are_refused_where_the_framework_fails_on_them(
    like: Like, tmp_path: Path
) -> None:
    arrays: dict[str, Array] = {"a": np.ones(1, np.float32), "b": np.ones(1, np.float16)}
    with pytest.raises(GradclipError, match="itself fails on the joint norm of float16 and fl"):
        written(tmp_path, arrays, clip_norm=1.0, like=like)
    written(tmp_path, arrays, clip_norm=1.0, like=like, use_norm=2.0)
    written(tmp_path, arrays, clip_norm=1.0, like="torch")


@pytest.mark.parametrize("code", ["<c8", "<i8"])
def test_a_dtype_without_recipes_is_refused(code: str, tmp_path: Path) -> None:
    array: Stored = (code, (1,), bytes(8)) if code == "<i8" else floats(code, (1,), [3.0, 4.0])
    source = write_npy(tmp_path / "a.npy", array)
    with pytest.raises(GradclipError, match="arithmetic is not known"):
        gradclip_cli.apply(source, clip_norm=1.0, like="torch", output=tmp_path / "out")


def test_a_file_in_the_other_byte_order_is_clipped_alike(tmp_path: Path) -> None:
    values = [3.0, 4.0, -0.1]
    for order in "<>":
        source = write_npy(tmp_path / "a.npy", floats(f"{order}f4", (3,), values))
        gradclip_cli.apply(source, clip_norm=1.0, like="optax", output=tmp_path / f"{order}.npy")
    little, big = np.load(tmp_path / "<.npy"), np.load(tmp_path / ">.npy")
    np.testing.assert_array_equal(little, big)


# Beside the frameworks

CASES = 250  # of each dtype, so 1,000 of a framework


@quietly
@every_peer
@every_dtype
def test_a_file_clipped_by_a_frameworks_norm_is_bit_for_bit_the_frameworks(
    like: Like, dtype: str, tmp_path: Path
) -> None:
    peer = PEERS[like]()
    for seed in range(CASES):
        numbers = np.random.default_rng(1000 + seed)
        norm = random_norm(numbers, dtype)
        limit = random_limit(numbers, dtype, norm)
        values = random_values(numbers, dtype)
        if seed % 5 == 0:
            values = near_the_smallest(dtype, norm, limit)

        theirs = peer.clip(values, dtype, norm, limit, dtype)
        (mine,), _ = written(tmp_path, {"g": values}, clip_norm=limit, like=like, use_norm=norm)

        assert not differing(mine, theirs, dtype), (seed, norm, limit, values)


@quietly
@every_peer
@every_dtype
def test_a_file_clipped_by_value_is_bit_for_bit_the_frameworks(
    like: Like, dtype: str, tmp_path: Path
) -> None:
    peer = PEERS[like]()
    for seed in range(CASES):
        numbers = np.random.default_rng(2000 + seed)
        # torch has an error for a limit that the dtype does not hold
        largest = {"float16": 6e4, "float64": 1e300}.get(dtype, 3e38)
        limit = min(abs(random_limit(numbers, dtype, 1.0)) or 1.0, largest)
        values = random_values(numbers, dtype)

        theirs = peer.clamp(values, limit)
        (mine,), _ = written(tmp_path, {"g": values}, clip_value=limit, like=like)

        assert not differing(mine, theirs, dtype), (seed, limit, values)
