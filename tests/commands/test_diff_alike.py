"""What all differences come to: the sign of zero, a rounding; and a few of them, one by one."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

import gradclip_cli
from gradclip_cli.compare.likeness import ALL, likeness, likeness_each, words
from gradclip_cli.tensors.codecs import decode, encode
from gradclip_cli.tensors.dtypes import DType, numeric
from tests.dumps import Stored, floats, write_safetensors
from tests.readers import strict
from tests.running import Run

Array = np.ndarray[Any, np.dtype[np.float64]]

COARSE = {
    "F16": numeric("f", 16),
    "BF16": DType("bfloat16", "float", 16, "<u2"),
    "F8_E4M3": DType("float8_e4m3fn", "float", 8, "|u1"),
    "F8_E5M2": DType("float8_e5m2", "float", 8, "|u1"),
}


def rounded(values: Array, dtype: DType) -> Array:
    stored = np.empty(dtype.size_of(values.size), np.uint8)
    encode(values, dtype, stored)
    return decode(stored, dtype).astype(np.float64)


def write(path: Path, **tensors: Stored) -> str:
    write_safetensors(path, tensors)
    return str(path)


def values(seed: int, count: int = 300) -> list[float]:
    found = np.random.default_rng(seed).normal(size=count).astype(np.float32)
    return [float(value) for value in found]


def test_small_arrays_that_lie_in_sources_of_their_own_are_compared_each(here: Path) -> None:
    arrays: dict[str, Any] = {
        name: np.array(values(seed, 9), "f4") for seed, name in enumerate("abcd")
    }
    np.savez_compressed("packed.npz", **arrays)
    save_file(arrays, "whole.safetensors")
    Path("ranks").mkdir()
    for rank in range(3):
        part = {name: some[3 * rank :][:3] for name, some in arrays.items()}
        save_file(part, f"ranks/rank{rank}.safetensors")
    for other in ("packed.npz", "ranks"):
        for pair in (("whole.safetensors", other), (other, "whole.safetensors")):
            assert gradclip_cli.diff(*pair, combine="pieces").same
    arrays["c"][4] += 1
    np.savez_compressed("packed.npz", **arrays)
    found = gradclip_cli.diff("whole.safetensors", "packed.npz")
    assert [row.name for row in found.rows if row.changed] == ["c"]


@pytest.mark.parametrize("code", COARSE)
@pytest.mark.parametrize("kept", ["as it is", "as float32"])
def test_a_copy_that_was_only_rounded_is_the_same_but_for_that(
    run: Run, tmp_path: Path, code: str, kept: str
) -> None:
    fine = {name: values(seed) for seed, name in enumerate("abc")}
    coarse = {name: list(rounded(np.array(some), COARSE[code])) for name, some in fine.items()}
    stored_in = code if kept == "as it is" else "F32"
    a = write(tmp_path / "a", **{n: floats("F32", (300,), some) for n, some in fine.items()})
    b = write(tmp_path / "b", **{n: floats(stored_in, (300,), some) for n, some in coarse.items()})
    word = COARSE[code].name
    said = run("diff", a, b, "--format", "table")
    assert said.status == 1
    assert said.out.splitlines()[0] == f"the same but for rounding to {word}: 3 of 3 tensors"
    whole = strict(run("diff", a, b, "--json").out)
    assert (whole["verdict"], whole["same"], whole["status"]) == ("differ", False, 1)
    assert whole["same_but_for"] == f"rounding to {word}"
    assert gradclip_cli.diff(b, a).same_but_for == f"rounding to {word} in A"
    odd = dict(coarse, b=[*coarse["b"][:-1], 1.0])
    other = write(tmp_path / "c", **{n: floats("F32", (300,), some) for n, some in odd.items()})
    assert gradclip_cli.diff(a, other).same_but_for is None


def test_zeros_of_another_sign_are_the_same_but_for_that(run: Run, tmp_path: Path) -> None:
    zeros = {name: [0.0] * 8 for name in "abc"}
    a = write(tmp_path / "a", **{name: floats("F32", (8,), some) for name, some in zeros.items()})
    b = write(tmp_path / "b", **{name: floats("F32", (8,), [-0.0] * 8) for name in zeros})
    said = run("diff", a, b, "--format", "table")
    assert said.status == 1
    assert said.out.splitlines()[0] == "the same but for the sign of zero: 3 of 3 tensors"
    assert "nan" not in said.out
    mixed = write(tmp_path / "c", a=floats("F32", (8,), [1.0, -0.0] * 4))
    other = write(tmp_path / "d", a=floats("F32", (8,), [1.0, 0.0] * 4))
    assert gradclip_cli.diff(mixed, other).same_but_for == "the sign of zero"
    third = write(tmp_path / "e", a=floats("F32", (8,), [1.0, 0.0] * 3 + [2.0, 0.0]))
    assert gradclip_cli.diff(mixed, third).same_but_for is None


def test_another_dtype_alone_is_no_sign_of_zero(tmp_path: Path) -> None:
    a = write(tmp_path / "a", w=floats("F32", (2,), [1.0, 2.0]))
    b = write(tmp_path / "b", w=floats("F64", (2,), [1.0, 2.0]))
    assert gradclip_cli.diff(a, b).same_but_for is None


def test_what_is_missing_is_no_rounding(tmp_path: Path) -> None:
    some = values(1, 8)
    a = write(tmp_path / "a", w=floats("F32", (8,), some), v=floats("F32", (1,), [1.0]))
    b = write(tmp_path / "b", w=floats("BF16", (8,), some))
    assert gradclip_cli.diff(a, b).same_but_for is None


def test_a_few_changed_values_are_listed_with_what_they_were(run: Run, tmp_path: Path) -> None:
    some = values(1, 12)
    other = [*some[:5], math.nan, *some[6:11], -2.5]
    a = write(tmp_path / "a", w=floats("F32", (3, 4), some), v=floats("F32", (1,), [1.0]))
    b = write(tmp_path / "b", w=floats("F32", (3, 4), other), v=floats("F32", (1,), [1.0]))
    said = run("diff", a, b, "--format", "table", COLUMNS="160").out
    assert f"w at [1, 1]: {some[5]!r} → nan\n" in said
    assert f"w at [2, 3]: {some[11]!r} → -2.5\n" in said
    assert "identical: v" in said
    whole = strict(run("diff", a, b, "--json").out)
    assert whole["changed_values"] == [
        {"name": "w", "index": [1, 1], "a": some[5], "b": None},
        {"name": "w", "index": [2, 3], "a": some[11], "b": -2.5},
    ]
    many = [value + 1 for value in some]
    c = write(tmp_path / "c", w=floats("F32", (3, 4), many), v=floats("F32", (1,), [1.0]))
    assert gradclip_cli.diff(a, c).changed_values == []


def test_changed_values_of_a_tensor_in_the_other_memory_order_have_their_index(
    tmp_path: Path,
) -> None:
    array = np.arange(12.0).reshape(3, 4)
    np.save(tmp_path / "a.npy", array)
    changed = array.copy()
    changed[2, 1] = 99.0
    np.save(tmp_path / "b.npy", np.asfortranarray(changed))
    (value,) = gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "b.npy").changed_values
    assert value == (None, (2, 1), 9.0, 99.0)
    np.save(tmp_path / "c.npy", array.astype(complex))
    np.save(tmp_path / "d.npy", changed.astype(complex) + 1j * (changed == 99))
    (value,) = gradclip_cli.diff(tmp_path / "c.npy", tmp_path / "d.npy").changed_values
    assert value == (None, (2, 1), (9.0, 0.0), (99.0, 1.0))


lists = st.lists(st.floats(-300, 300, width=16) | st.sampled_from([0.0, -0.0]), min_size=1)


@given(st.lists(lists, min_size=1, max_size=6), st.sampled_from(sorted(COARSE)), st.booleans())
def test_small_tensors_have_the_likeness_of_each_by_itself(
    parts: list[list[float]], code: str, spoilt: bool
) -> None:
    a = np.concatenate([np.array(part) * 1.0001 for part in parts])
    b = rounded(a, COARSE[code])
    if spoilt:
        b[0] += 1
    changed = a.view(np.uint64) != b.view(np.uint64)
    counts = [len(part) for part in parts]
    starts = np.cumsum(np.asarray(counts, np.intp)) - counts
    each = likeness_each(a, b, changed, starts)
    for bits, start, count in zip(each, starts.tolist(), counts, strict=True):
        own = slice(start, start + count)
        alone = likeness(a[own], b[own], changed[own], 1)
        # What the sample rules out for all is not looked for in one that has not changed.
        assert bits & alone == bits
        if changed[own].any():
            assert bool(bits) <= bool(alone)
    if not spoilt:
        place = list(COARSE).index(code)
        assert all(bits >> (1 + place) & 1 for bits in each) or not changed.any()


def test_no_likeness_has_no_words_and_any_has_the_first() -> None:
    assert words(0) is None
    assert words(ALL) == "the sign of zero"


@pytest.mark.parametrize(("factor", "told"), [(1.0004, "1.0004"), (0.99996, "0.99996")])
def test_a_factor_that_is_not_one_is_never_written_as_one(
    run: Run, tmp_path: Path, factor: float, told: str
) -> None:
    some = {name: values(seed) for seed, name in enumerate("ab")}
    a = write(tmp_path / "a", **{n: floats("F64", (300,), one) for n, one in some.items()})
    b = {n: floats("F64", (300,), [factor * value for value in one]) for n, one in some.items()}
    said = run("diff", a, write(tmp_path / "b", **b), "--format", "table").out
    assert said.splitlines()[0] == f"all 2 tensors: B = {told} · A, cosine 1.000000"
    assert f"B/A {told}\n" in said
    assert said.count(told) == 4
    assert "1.000 " not in said
