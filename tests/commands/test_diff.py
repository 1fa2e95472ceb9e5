"""Two dumps compared: the verdicts, the numbers against exact arithmetic, and what a user sees."""

import itertools
import json
import math
import os
import random
import re
import struct
import tempfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.cells import cell_len

import gradclip_cli
from gradclip_cli import Comparison, GradclipError
from gradclip_cli.compare import pairs
from gradclip_cli.compare.difference import Difference, Rounding, compare, merge
from gradclip_cli.measure.places import Places
from gradclip_cli.results.comparison import Compared
from gradclip_cli.tensors.names import escape
from gradclip_cli.tensors.renaming import renaming
from tests.dumps import Stored, floats, item_size, lanes, write_npy, write_safetensors
from tests.readers import names_of, of_csv, of_md, of_tsv, strict
from tests.running import ALLOWED, Run, gradclip, in_shell, measured, on_terminal, one_error
from tests.strangers import CODES, STRANGERS

SEED = random.Random(7)
TENSORS: dict[str, Stored] = {
    "layers.0.w": floats("F32", (30, 40), [SEED.gauss(0, 1) for _ in range(1200)]),
    "layers.1.w": floats("F32", (5, 820), [SEED.gauss(0, 1e-3) for _ in range(4100)]),
    "layers.1.b": floats("BF16", (7,), [SEED.gauss(0, 10) for _ in range(7)]),
    "head.w": floats("F64", (3, 3), [SEED.gauss(0, 1) for _ in range(9)]),
    "empty": floats("F16", (0, 4), []),
    "step": ("I64", (1,), (41).to_bytes(8, "little")),
}
"""A dump: two shapes of float32, of which one does not fit a row; other dtypes; a step counter."""


def changed(name: str, edit: Any) -> dict[str, Stored]:
    """Give the dump with one tensor's values (lanes, as exact floats) edited in place."""
    code, shape, _ = TENSORS[name]
    values = lanes(TENSORS[name])
    edit(values)
    return TENSORS | {name: floats(code, shape, values)}


def scaled(factor: float) -> dict[str, Stored]:
    """Give the dump with every gradient multiplied and rounded once; the counter stays."""
    return {
        name: stored
        if stored[0] == "I64"
        else floats(stored[0], stored[1], [Fraction(v) * Fraction(factor) for v in lanes(stored)])
        for name, stored in TENSORS.items()
    }


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Give a function that writes a dump under a name and gives its path."""

    def save(name: str, tensors: dict[str, Stored]) -> Path:
        path = tmp_path / f"{name}.safetensors"
        write_safetensors(path, tensors)
        return path

    save("a", TENSORS)
    return save


def row_of(found: Comparison, name: str | None) -> Compared:
    (row,) = [row for row in found.rows if row.name == name]
    return row


def known(row: Compared) -> Difference:
    assert row.difference is not None
    return row.difference


# The verdicts, one for each way in which dumps come to differ


def test_a_dump_is_identical_to_itself(run: Run, write: Any, tmp_path: Path) -> None:
    said = run("diff", "a.safetensors", "a.safetensors", "--format", "table", cwd=tmp_path)
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("identical: 6 tensors, to the bit\n")
    found = gradclip_cli.diff(tmp_path / "a.safetensors", tmp_path / "a.safetensors")
    assert (found.verdict, found.same, found.factor) == ("identical", True, None)
    assert {row.state for row in found.rows} == {"identical"}
    assert known(row_of(found, "head.w")).cosine == 1
    assert known(row_of(found, "head.w")).relative_error == 0


@pytest.mark.parametrize("limit", [0.3, 1e-3])
def test_a_clipped_copy_is_recognised(run: Run, write: Any, tmp_path: Path, limit: float) -> None:
    whole = gradclip_cli.apply(
        tmp_path / "a.safetensors", clip_norm=limit, output=tmp_path / "clipped.safetensors"
    )
    said = run("diff", "a.safetensors", "clipped.safetensors", "--format", "table", cwd=tmp_path)
    assert (said.status, said.err) == (1, "")
    first, second, *_ = said.out.splitlines()
    assert first.startswith("all 5 tensors: B = ")
    assert second == "likely clipping"
    found = gradclip_cli.diff(tmp_path / "a.safetensors", tmp_path / "clipped.safetensors")
    assert whole.clipped is not None
    assert (found.verdict, found.likely) == ("multiple", ("clipping",))
    assert found.factor == pytest.approx(whole.clipped.coefficient, rel=1e-7)


@pytest.mark.parametrize(
    ("factor", "likely"),
    [
        (2.0**16, ("a loss scale of 2^16",)),
        (8.0, ("a loss scale of 2^3", "a world size or accumulation count of 8")),
        (6.0, ("a world size or accumulation count of 6",)),
        (291.0, ("a world size or accumulation count of 291",)),
        (1 / 6, ("clipping", "a mean instead of a sum over 6")),
        (2.0**-16, ("clipping", "a loss scale of 2^16 taken out")),
        (math.pi, ()),
        (1 / math.pi, ("clipping",)),
        (-1.0, ()),
        (-8.0, ()),
    ],
)
def test_a_multiple_is_recognised_and_its_cause_named(
    write: Any, tmp_path: Path, factor: float, likely: tuple[str, ...]
) -> None:
    found = gradclip_cli.diff(tmp_path / "a.safetensors", write("b", scaled(factor)))
    assert (found.verdict, found.same) == ("multiple", False)
    assert found.factor == pytest.approx(factor, rel=0 if likely and factor > 1 else 1e-6)
    assert found.likely == likely
    assert found.difference.cosine == pytest.approx(math.copysign(1, factor), abs=1e-5)


def test_times_2_to_the_16_is_said_in_words(run: Run, write: Any, tmp_path: Path) -> None:
    write("b", scaled(2.0**16))
    said = run("diff", "a.safetensors", "b.safetensors", "--format", "table", cwd=tmp_path)
    assert (said.status, said.err) == (1, "")
    assert said.out.splitlines()[:2] == [
        "all 5 tensors: B = 65,536 · A, cosine 1.000000",
        "likely a loss scale of 2^16",
    ]


def test_a_multiple_with_a_value_gone_astray_is_a_difference_but_the_factor_is_said(
    run: Run, write: Any, tmp_path: Path
) -> None:
    values = [8 * value for value in lanes(TENSORS["head.w"])]
    b = scaled(8.0) | {"head.w": floats("F64", (3, 3), [*values[:-1], math.inf])}
    write("b", b)
    said = run("diff", "a.safetensors", "b.safetensors", "--format", "table", cwd=tmp_path)
    assert (said.status, said.err) == (1, "")
    assert said.out.splitlines()[1:3] == [
        "1 value newly not finite in B, likely first in head.w at [2, 2]",
        "elsewhere B = 8.000 · A, cosine 1.000000",
    ]


def test_a_round_number_is_not_named_where_many_would_fit(tmp_path: Path) -> None:
    for name, value in (("a", 3.0), ("b", 760.0)):  # in bfloat16 252 to 255 fit
        path = tmp_path / f"{name}.safetensors"
        write_safetensors(path, {"x": floats("BF16", (1,), [value])})
    found = gradclip_cli.diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert found.factor == pytest.approx(760 / 3)
    assert not found.likely


@pytest.mark.parametrize("name", ["layers.0.w", "layers.1.w", "layers.1.b", "head.w"])
def test_one_value_that_does_not_fit_is_no_multiple(write: Any, tmp_path: Path, name: str) -> None:
    code, shape, _ = TENSORS[name]
    values = [8 * value for value in lanes(TENSORS[name])]
    small = min(range(len(values)), key=lambda at: abs(values[at]))
    values[small] *= 1.1  # too small for any norm or cosine of float64 to notice much
    b = scaled(8.0) | {name: floats(code, shape, values)}
    found = gradclip_cli.diff(tmp_path / "a.safetensors", write("b", b))
    assert (found.verdict, found.factor) == ("differ", None)


def test_two_tensors_of_different_factors_are_no_multiple(write: Any, tmp_path: Path) -> None:
    b = scaled(8.0) | {"head.w": scaled(8.000001)["head.w"]}
    found = gradclip_cli.diff(tmp_path / "a.safetensors", write("b", b))
    assert (found.verdict, found.factor) == ("differ", None)


def test_a_step_counter_that_moved_on_is_no_multiple_but_the_factor_is_said(
    write: Any, tmp_path: Path
) -> None:
    b = scaled(8.0) | {"step": ("I64", (1,), (42).to_bytes(8, "little"))}
    found = gradclip_cli.diff(tmp_path / "a.safetensors", write("b", b))
    assert (found.verdict, found.factor) == ("differ", 8.0)


@pytest.mark.parametrize("name", ["layers.0.w", "layers.1.w", "layers.1.b", "head.w"])
def test_one_unit_in_the_last_place_is_a_difference(
    run: Run, write: Any, tmp_path: Path, name: str
) -> None:
    code, shape, data = TENSORS[name]
    ulp = bytearray(data)
    ulp[-item_size(code)] ^= 1
    write("b", TENSORS | {name: (code, shape, bytes(ulp))})
    said = run("diff", "a.safetensors", "b.safetensors", "--json", cwd=tmp_path)
    assert (said.status, said.err) == (1, "")
    whole = strict(said.out)
    assert whole["verdict"] == "differ"
    assert whole["states"] == {"differs": 1, "identical": 5}
    assert whole["changed"] == 1
    worst = whole["tensors"][0]
    assert (worst["name"], worst["state"], worst["changed"]) == (name, "differs", 1)
    last = [side - 1 for side in shape]
    before, after = lanes(TENSORS[name])[-1], lanes((code, shape, bytes(ulp)))[-1]
    assert worst["max_abs_diff_index"] == last
    assert worst["max_abs_diff"] == abs(after - before) > 0


def test_one_nan_is_a_difference_under_any_tolerance(run: Run, write: Any, tmp_path: Path) -> None:
    write("b", changed("layers.1.w", lambda values: values.__setitem__(3281, math.nan)))
    arguments = ("diff", "a.safetensors", "b.safetensors", "--format", "table")
    for tolerance in ((), ("--rtol", "1e9"), ("--atol", "1e9"), ("--rtol", "1", "--atol", "1")):
        said = run(*arguments, *tolerance, cwd=tmp_path)
        assert (said.status, said.err) == (1, "")
        head = said.out.splitlines()
        assert head[0] == "differ: 1 of 6 tensors, in value"
        assert head[1] == "1 value newly not finite in B, likely first in layers.1.w at [4, 1]"
        assert head[2] == "all values that are finite in both are equal"
    found = gradclip_cli.diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors", rtol=1e9)
    row = row_of(found, "layers.1.w")
    assert (known(row).newly, known(row).astray, row.first_newly) == (1, 1, (4, 1))
    assert (known(row).relative_error, known(row).gap.max_abs) == (0, 0)


def test_a_missing_tensor_is_a_difference_on_either_side(
    run: Run, write: Any, tmp_path: Path
) -> None:
    write("b", {name: stored for name, stored in TENSORS.items() if name != "head.w"})
    for a, b, state, where in (
        ("a", "b", "only_a", "only in A"),
        ("b", "a", "only_b", "only in B"),
    ):
        operands = (f"{a}.safetensors", f"{b}.safetensors")
        said = run("diff", *operands, "--rtol", "1", "--format", "table", cwd=tmp_path)
        assert (said.status, said.err) == (1, "")
        assert said.out.startswith(f"differ: 1 of 6 tensors, {where}\n")
        found = gradclip_cli.diff(*(tmp_path / operand for operand in operands))
        row = row_of(found, "head.w")
        assert (row.state, row.difference) == (state, None)
        there = row.moments_a or row.moments_b
        assert there is not None
        assert there.norm == pytest.approx(math.hypot(*lanes(TENSORS["head.w"])), rel=1e-14)


@pytest.mark.parametrize("swapped", [False, True])
def test_prefixed_names_are_a_difference_until_they_are_aligned(
    run: Run, write: Any, tmp_path: Path, swapped: bool
) -> None:
    write("b", {f"module._orig_mod.{name}": stored for name, stored in TENSORS.items()})
    operands = ["a.safetensors", "b.safetensors"][:: -1 if swapped else 1]
    said = run("diff", *operands, "--json", cwd=tmp_path)
    assert said.status == 1
    whole = strict(said.out)
    assert whole["states"] == {"only_a": 6, "only_b": 6}
    assert whole["notes"] == ["--strip-prefix module._orig_mod. would align more names"]
    for options in (
        ("--strip-prefix", "module._orig_mod."),
        ("--strip-prefix", "_orig_mod.", "--strip-prefix", "module."),
        ("--rename", r"^module\._orig_mod\.="),
        ("--rename", r"^([a-z.]*[01.]*[a-z])$=module._orig_mod.\1"),
    ):
        said = run("diff", *operands, *options, "--json", cwd=tmp_path)
        assert (said.status, said.err) == (0, "")
        whole = strict(said.out)
        assert (whole["verdict"], whole["same"], whole["states"]) == (
            "identical",
            True,
            {"identical": 6},
        )


# What is the same, and what is not


@pytest.mark.parametrize(
    ("bits", "others", "alike"),
    [
        (0x7FC00000, 0x7FC00000, True),
        (0x7FC00000, 0x7FC00001, False),
        (0x7FC00000, 0xFFC00000, False),
        (0x00000000, 0x80000000, False),
        (0x7F800000, 0x7F800000, True),
    ],
)
def test_only_equal_bits_are_the_same_without_tolerance_and_equal_numbers_with_one(
    tmp_path: Path, bits: int, others: int, alike: bool
) -> None:
    for name, code in (("a", bits), ("b", others)):
        data = struct.pack("<3I", 0x3F800000, code, 0x40000000)
        write_npy(tmp_path / f"{name}.npy", ("<f4", (3,), data))
    found = gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "b.npy")
    assert found.verdict == ("identical" if alike else "differ")
    found = gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "b.npy", atol=0)
    assert found.verdict == ("identical" if alike else "equal")


@pytest.mark.parametrize(
    ("one", "other", "newly"),
    [
        (math.nan, math.inf, 0),
        (math.inf, -math.inf, 0),
        (1.0, math.inf, 1),
        (math.inf, 1.0, 0),
        (math.nan, 1.0, 0),
    ],
)
def test_values_that_are_not_finite_must_be_the_same_in_both(
    tmp_path: Path, one: float, other: float, newly: int
) -> None:
    write_npy(tmp_path / "a.npy", floats("<f4", (2,), [2.0, one]))
    write_npy(tmp_path / "b.npy", floats("<f4", (2,), [2.0, other]))
    found = gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "b.npy", rtol=1, atol=1e30)
    assert found.verdict == "differ"
    assert (found.difference.astray, found.difference.newly) == (1, newly)
    assert "not finite" in " ".join(found.notes)


def test_nothing_finite_in_both_leaves_the_error_unknown(run: Run, tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy", floats("<f4", (1,), [1.0]))
    write_npy(tmp_path / "b.npy", floats("<f4", (1,), [math.nan]))
    said = run("diff", "a.npy", "b.npy", "--rtol", "1", cwd=tmp_path)
    assert said.status == 1
    row, whole = of_tsv(said.out)
    assert [row[name] for name in ("norm_b", "ratio", "cosine", "relative_error")] == ["nan"] + [
        ""
    ] * 3
    assert whole["relative_error"] == ""
    found = gradclip_cli.diff(tmp_path / "b.npy", tmp_path / "b.npy")
    assert (found.verdict, found.difference.relative_error) == ("identical", None)


def test_a_tensor_passes_if_either_bound_holds(tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy", floats("<f8", (2,), [3.0, 4.0]))
    write_npy(tmp_path / "b.npy", floats("<f8", (2,), [3.0, 4.5]))  # errors 0.1 and 0.5

    def verdict(rtol: float | None = None, atol: float | None = None) -> str:
        paths = tmp_path / "a.npy", tmp_path / "b.npy"
        return gradclip_cli.diff(*paths, rtol=rtol, atol=atol).verdict

    assert verdict(rtol=0.1) == verdict(atol=0.5) == "equal"
    assert verdict(rtol=0.1, atol=0) == verdict(rtol=0, atol=0.5) == "equal"
    assert (
        verdict(rtol=0.0999) == verdict(atol=0.499) == verdict(rtol=0.0999, atol=0.499) == "differ"
    )


@pytest.mark.parametrize("option", ["--rtol", "--atol"])
@pytest.mark.parametrize("bound", ["-1", "nan", "inf", "much"])
def test_a_bound_that_is_none_is_refused(run: Run, tmp_path: Path, option: str, bound: str) -> None:
    said = run("diff", "a.npy", "b.npy", option, bound, cwd=tmp_path)
    assert (said.status, said.out) == (2, "")
    assert one_error(said.err).startswith(f"gradclip: {option}: ")


def test_what_is_zero_has_no_angle_and_no_ratio(tmp_path: Path) -> None:
    write_npy(tmp_path / "zero.npy", floats("<f4", (2,), [0.0, 0.0]))
    write_npy(tmp_path / "minus.npy", floats("<f4", (2,), [0.0, -0.0]))
    write_npy(tmp_path / "one.npy", floats("<f4", (2,), [0.0, 1.0]))

    def numbers(a: str, b: str) -> tuple[str, float | None, float | None, float | None]:
        found = gradclip_cli.diff(tmp_path / f"{a}.npy", tmp_path / f"{b}.npy")
        whole = found.difference
        return found.verdict, whole.ratio, whole.cosine, whole.relative_error

    assert numbers("zero", "zero") == ("identical", None, None, 0)
    assert numbers("zero", "minus") == ("differ", None, None, 0)
    assert numbers("zero", "one") == ("differ", math.inf, None, math.inf)
    assert numbers("one", "zero") == ("differ", 0, None, 1)


def test_empty_tensors_and_files_are_the_same(tmp_path: Path) -> None:
    for fortran in (False, True):
        write_npy(tmp_path / f"{fortran}.npy", floats("<f4", (3, 0, 2), []), fortran)
    write_npy(tmp_path / "other.npy", floats("<f4", (3, 2, 0), []))
    assert gradclip_cli.diff(tmp_path / "False.npy", tmp_path / "True.npy").verdict == "identical"
    found = gradclip_cli.diff(tmp_path / "False.npy", tmp_path / "other.npy", rtol=0)
    assert (found.verdict, found.rows[0].state) == ("differ", "shape")
    nothing = write_safetensors(tmp_path / "nothing.safetensors", {})
    assert gradclip_cli.diff(nothing, nothing).verdict == "identical"


def test_the_same_numbers_in_another_dtype_are_equal_only_within_tolerance(tmp_path: Path) -> None:
    values = [0.5, -3.0, 0.0, math.inf, math.nan]
    write_npy(tmp_path / "a.npy", floats("<f2", (5,), values))
    write_npy(tmp_path / "b.npy", floats(">f8", (5,), values))
    write_npy(tmp_path / "c.npy", floats("<c8", (5,), [x for v in values for x in (v, 0.0)]))
    for other in ("b", "c"):
        found = gradclip_cli.diff(tmp_path / "a.npy", tmp_path / f"{other}.npy")
        assert (found.verdict, found.rows[0].state) == ("differ", "dtype")
        found = gradclip_cli.diff(tmp_path / "a.npy", tmp_path / f"{other}.npy", rtol=0)
        assert found.verdict == "equal"


def test_rounding_to_another_dtype_is_recognised_as_that(tmp_path: Path, write: Any) -> None:
    shape = TENSORS["layers.1.w"][1]
    b = TENSORS | {"layers.1.w": floats("BF16", shape, lanes(TENSORS["layers.1.w"]))}
    found = gradclip_cli.diff(tmp_path / "a.safetensors", write("b", b))
    assert (found.verdict, found.factor, found.only_rounding) == ("differ", None, True)
    assert row_of(found, "layers.1.w").state == "differs"
    found = gradclip_cli.diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors", rtol=2**-8)
    assert found.verdict == "equal"


def test_integers_are_compared_by_bits_and_as_float64(tmp_path: Path) -> None:
    for name, values in (
        ("a", (3, 4, 1 << 60)),
        ("b", (3, 4, (1 << 60) + 1)),
        ("c", (6, 8, 1 << 61)),
    ):
        data = b"".join(value.to_bytes(8, "little") for value in values)
        write_npy(tmp_path / f"{name}.npy", ("<i8", (3,), data))
    found = gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "b.npy")
    assert (found.verdict, found.difference.changed) == ("differ", 1)
    none: Any = {"rtol": 0.0, "atol": 0.0}
    for bounds in ({"rtol": 0.0}, {"atol": 0.0}, none):
        found = gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "b.npy", **bounds)
        assert found.verdict == "differ", "float64 does not tell them apart, and they are two"
    assert gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "b.npy", atol=1).verdict == "equal"
    assert gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "c.npy").factor == 2


def test_another_shape_is_a_difference_and_both_norms_are_known(tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy", floats("<f4", (2,), [3, 4]))
    write_npy(tmp_path / "b.npy", floats("<f4", (2, 1), [3, 4]))
    found = gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "b.npy", rtol=1)
    (row,) = found.rows
    assert (found.verdict, row.state) == ("differ", "shape")
    assert row.moments_a is not None
    assert row.moments_b is not None
    assert row.moments_a.norm == row.moments_b.norm == 5


# Numbers against exact arithmetic

CELLS = (0.0, -0.0, 1.0, -3.5, 1e-3, 7.0)


def whole_number(value: float) -> int:
    """Give a finite float as so many of the smallest above zero."""
    above, below = value.as_integer_ratio()
    return above << (1075 - below.bit_length())


def dot(a: Iterable[int], b: Iterable[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def check_numbers(found: Difference, a: Sequence[float], b: Sequence[float], far: float) -> None:
    """Compare with exact arithmetic; neither A nor B is zero."""
    ones, others = ([*map(whole_number, values)] for values in (a, b))
    gap = [y - x for x, y in zip(ones, others, strict=True)]
    roots = (math.isqrt(dot(values, values) << 400) for values in (ones, others, gap))
    size_a, size_b, size_gap = roots
    assert close(found.ratio, float(Fraction(size_b, size_a)), far)
    assert close(found.relative_error, float(Fraction(size_gap, size_a)), far)
    assert found.cosine is not None
    angle = Fraction(dot(ones, others) << 400, size_a * size_b)
    assert abs(Fraction(found.cosine) - angle) < far
    try:
        largest = max(map(abs, gap)) / (1 << 1074)
    except OverflowError:
        largest = math.inf
    assert close(found.gap.max_abs, largest, far)


def close(found: float | None, expected: float | None, far: float, least: float = 0.0) -> bool:
    """Say whether two numbers are nearly the same, or the same unknown."""
    if found is None or expected is None:
        return found is expected
    return found == expected or math.isclose(found, expected, rel_tol=far, abs_tol=least)


SCALES = [1.0, 1e30, 1e-30, 1e200, 1e-200, 1e308, 1e-310]


def doubles(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


@pytest.mark.parametrize("count", [3, 4100])
@pytest.mark.parametrize(("one", "other"), [*itertools.product(SCALES, SCALES)])
def test_cosine_and_errors_are_right_at_every_size(
    tmp_path: Path, one: float, other: float, count: int
) -> None:
    if not 1e-290 < other / one < 1e290:
        pytest.skip("the ratio itself is near the end of float64")
    generator = random.Random(1)
    sides = [[generator.uniform(-1, 1) * size for _ in range(count)] for size in (one, other)]
    for name, values in zip("ab", sides, strict=True):
        x, y = (("F64", (count,), doubles([v / n for v in values])) for n in (1, 2))
        write_safetensors(tmp_path / f"{name}.safetensors", {"x": x, "y": y})
    found = gradclip_cli.diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    check_numbers(known(row_of(found, "x")), sides[0], sides[1], 1e-12)


@pytest.mark.parametrize("size", SCALES)
def test_what_is_identical_has_cosine_1_at_every_size(tmp_path: Path, size: float) -> None:
    values = [size, -size / 3, size / 7] * 1400
    write_npy(tmp_path / "a.npy", ("<f8", (len(values),), doubles(values)))
    found = gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "a.npy").difference
    assert (found.cosine, found.ratio, found.relative_error) == (1, 1, 0)


def test_the_same_bytes_in_another_byte_order_are_other_values(tmp_path: Path) -> None:
    data = struct.pack("<2f", 1.0, 2.0)
    for name, code in (("a", "<f4"), ("b", ">f4")):
        write_npy(tmp_path / f"{name}.npy", (code, (2,), data))
    write_npy(tmp_path / "c.npy", (">f4", (2,), struct.pack(">2f", 1.0, 2.0)))
    found = gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "b.npy")
    assert (found.verdict, found.difference.changed) == ("differ", 2)
    assert gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "c.npy").verdict == "identical"


def test_rows_of_very_different_sizes_are_compared_exactly(tmp_path: Path) -> None:
    generator = random.Random(2)
    sizes = [1e200, 1e-200, 1.0, 1e150, 1e-300]
    sides = [
        [generator.uniform(-1, 1) * size for size in some for _ in range(4096)]
        for some in (sizes, sizes[::-1])
    ]
    for name, values in zip("ab", sides, strict=True):
        write_npy(tmp_path / f"{name}.npy", ("<f8", (len(values),), doubles(values)))
    found = gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "b.npy").difference
    check_numbers(found, sides[0], sides[1], 1e-12)


def test_a_difference_beyond_float64_is_inf_and_its_relative_error_is_known(tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy", floats("<f8", (2,), [1.5e308, 1.0]))
    write_npy(tmp_path / "b.npy", floats("<f8", (2,), [-1.5e308, math.inf]))
    found = gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "b.npy", atol=1e300).difference
    assert (found.gap.max_abs, found.relative_error, found.cosine) == (math.inf, 2, -1)
    assert (found.astray, found.newly) == (1, 1)


stored_dtypes = st.sampled_from(["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<c8", ">c16"])
cells = st.sampled_from([*CELLS, math.nan, math.inf])


@st.composite
def arrays(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give two arrays of one shape, of any dtypes, byte orders and memory orders."""
    shape = (*draw(st.lists(st.integers(1, 5), max_size=4)),)
    sides = []
    for _ in "ab":
        code = draw(stored_dtypes)
        values: list[Any] = [draw(cells) for _ in range(math.prod(shape))]
        if "c" in code:
            values = [complex(value, draw(cells)) for value in values]
        array = np.array(values, code).reshape(shape)
        sides.append(np.array(array, order=draw(st.sampled_from("CF"))))
    if draw(st.booleans()) and sides[0].dtype == sides[1].dtype:  # nearly the same
        np.copyto(sides[1], sides[0])
        sides[1].flat[draw(st.integers(0, sides[1].size - 1))] = draw(cells)
    return sides[0], sides[1]


@settings(max_examples=250)
@given(arrays(), st.sampled_from([pairs.BOX, 24]))
def test_any_dtypes_orders_and_shapes_give_what_plain_arithmetic_gives(
    both: tuple[NDArray[Any], NDArray[Any]], box: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "BOX", box)  # so that small arrays take several
        for name, array in zip("ab", both, strict=True):
            np.save(f"{folder}/{name}.npy", array)
        (row,) = gradclip_cli.diff(f"{folder}/a.npy", f"{folder}/b.npy").rows
    found = known(row)
    a, b = both
    finite = np.isfinite(a) & np.isfinite(b)
    with np.errstate(all="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        sizes = np.where(finite, np.abs(b.astype(complex) - a.astype(complex)), -1.0)
    assert found.a.nonfinite == np.count_nonzero(~np.isfinite(a))
    assert found.b.nonfinite == np.count_nonzero(~np.isfinite(b))
    newly = np.argwhere(np.isfinite(a) & ~np.isfinite(b))
    assert found.newly == len(newly)
    assert row.first_newly == (tuple(newly[0]) if len(newly) else None)
    whole_a, whole_b = (np.where(finite, side, 0).astype(complex).ravel() for side in both)
    norm_a, norm_b = np.linalg.norm(whole_a), np.linalg.norm(whole_b)
    if norm_a and norm_b:
        angle = np.vdot(whole_a, whole_b).real / norm_a / norm_b
        assert found.cosine == pytest.approx(angle, abs=1e-12)
        assert found.ratio == pytest.approx(norm_b / norm_a, rel=1e-12)
        error = np.linalg.norm(whole_b - whole_a) / norm_a
        assert found.relative_error == pytest.approx(error, rel=1e-12)
    else:
        assert found.cosine is None
    if sizes.max() > 0:
        assert found.gap.max_abs == pytest.approx(sizes.max(), rel=1e-15)
        assert row.max_abs_at == (*map(int, np.unravel_index(int(sizes.argmax()), a.shape)),)
    else:
        assert row.max_abs_at is None
    if a.dtype.newbyteorder("=") != b.dtype.newbyteorder("="):
        lanes_differ = np.isnan(a) & np.isnan(b) & (np.iscomplexobj(a) | np.iscomplexobj(b))
        if not lanes_differ.any():
            assert found.changed == np.count_nonzero(~same)
    else:
        native = [side.astype(side.dtype.newbyteorder("=")) for side in both]
        bits = [[side[place].tobytes() for place in np.ndindex(side.shape)] for side in native]
        assert found.changed == sum(one != other for one, other in zip(*bits, strict=True))


@settings(max_examples=100)
@given(
    st.lists(st.lists(st.floats(width=32), min_size=1, max_size=4), min_size=1, max_size=9),
    st.randoms(use_true_random=False),
)
def test_small_tensors_compared_together_give_what_each_alone_gives(
    values: list[list[float]], chance: random.Random
) -> None:
    """On the B side they lie in another order, and some are changed or of another dtype."""
    a = {f"t{n}": floats("F32", (len(some),), some) for n, some in enumerate(values)}
    b = {
        name: floats(
            chance.choice(["F32", "F32", "F64"]),
            stored[1],
            [chance.choice([x, x, 2 * x, 1.0, math.nan]) if x < 1e38 else x for x in lanes(stored)],
        )
        for name, stored in chance.sample([*a.items()], len(a))
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_safetensors(folder / "a.safetensors", a)
        write_safetensors(folder / "b.safetensors", b)
        found = gradclip_cli.diff(folder / "a.safetensors", folder / "b.safetensors")
        for row in found.rows:
            assert row.name is not None
            one, other = (
                write_safetensors(folder / f"{side}1.safetensors", {row.name: dump[row.name]})
                for side, dump in (("a", a), ("b", b))
            )
            (alone,) = gradclip_cli.diff(one, other).rows
            assert alone.state == row.state
            assert (alone.max_abs_at, alone.first_newly) == (row.max_abs_at, row.first_newly)
            assert all(map(close, numbers_of(alone), numbers_of(row), [1e-13] * 9))


def numbers_of(row: Compared) -> list[float | None]:
    found = known(row)
    return [
        *(found.ratio, found.cosine, found.relative_error, found.gap.max_abs),
        *(found.changed, found.astray, found.newly, *found.factors),
    ]


@given(
    st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=30),
    st.integers(0, 30),
)
def test_parts_merge_into_the_whole_in_any_order(
    values: list[tuple[float, float]], place: int
) -> None:
    a, b = np.array(values).T.copy()
    around = Rounding(2.0**-51, 2.0**-1074)

    def part(begin: int, end: int) -> Difference:
        one, other = a[begin:end], b[begin:end]
        with np.errstate(all="ignore"):
            return compare(one, other, one != other, around, places=Places(begin))

    parts = [part(begin, end) for begin, end in ((0, place), (place, len(a))) if begin < end]
    whole = part(0, len(a))
    together = merge(parts)
    assert together == merge(parts[::-1])
    for field in ("changed", "astray", "newly", "first_newly", "factors"):
        assert getattr(together, field) == getattr(whole, field)
    for field in ("ratio", "cosine", "relative_error"):
        assert close(getattr(together, field), getattr(whole, field), 1e-12, 1e-14)


@pytest.mark.heavy
@pytest.mark.parametrize("order", ["C", pytest.param("F", marks=pytest.mark.heavy)])
def test_the_digits_are_the_same_for_any_number_of_workers(tmp_path: Path, order: str) -> None:
    generator = np.random.default_rng(3)
    a = generator.standard_normal((3000, 4000), np.float32)  # two spans
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", np.array(a * a, order=order))  # type: ignore[call-overload]
    one, *others = (
        gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "b.npy", workers=workers).difference
        for workers in (1, 2, 5)
    )
    assert all(other == one for other in others)
    wide = a.astype(np.float64).ravel()
    angle = wide @ wide**2 / np.linalg.norm(wide) / np.linalg.norm(wide**2)
    assert one.cosine == pytest.approx(angle, abs=1e-6)
    assert one.gap.max_abs_at == int(np.abs(a * a - a, dtype=np.float64).argmax())


def test_digits_do_not_depend_on_what_leads(tmp_path: Path, write: Any) -> None:
    path = write("b", scaled(0.7))
    straight = gradclip_cli.diff(tmp_path / "a.safetensors", path).difference
    script = "cat b.safetensors | gradclip diff a.safetensors - --json"
    whole = strict(in_shell(script, tmp_path).stdout.decode())
    assert (whole["cosine"], whole["relative_error"]) == (straight.cosine, straight.relative_error)


# Names


def test_prefixes_go_one_by_one_and_renames_in_order() -> None:
    rename = renaming(["a.", "b."], ["x=y", r"(y+)=<\1>"])
    assert [rename(name) for name in ("a.b.a.xx", "ca.x", "")] == ["<yy>", "ca.<y>", ""]
    assert renaming(renames=["a=b=c"])("a=b") == "c"


def test_what_aligns_no_name_is_told(run: Run, write: Any, tmp_path: Path) -> None:
    write("p", {f"module.{name}": one for name, one in TENSORS.items()})
    given = ["--strip-prefix=module.", "--strip-prefix=mod-", r"--rename=\.v$=.w", "--rename=r=r"]
    said = run("diff", "a.safetensors", "p.safetensors", *given, "--json", cwd=tmp_path)
    told = ["no tensor matches --strip-prefix 'mod-'", r"no tensor matches --rename '\.v$=.w'"]
    assert strict(said.out)["notes"] == told
    one = tmp_path / "a.safetensors"
    assert gradclip_cli.diff(one, one, strip_prefix="mod-").notes == (told[0],)
    assert renaming(renames=["(?=f)=y"])("f") == "yf"


@pytest.mark.parametrize("turned", [False, True])
def test_one_tensor_is_compared_with_the_one_that_has_a_name(turned: bool, tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy", floats("<f4", (2,), [3.0, 4.0]))
    gradclip_cli.apply(tmp_path / "a.npy", clip_norm=9.0, output=tmp_path / "b.npz")
    sides = [tmp_path / "a.npy", tmp_path / "b.npz"][:: -1 if turned else 1]
    found = gradclip_cli.diff(*sides, rename="^a=w", include="w")
    assert (found.verdict, [row.name for row in found.rows]) == ("identical", ["w"])
    (told,) = found.notes
    assert told.startswith("each side has one tensor, one of them without a name of its own")
    write_safetensors(tmp_path / "two.safetensors", TENSORS)
    assert {
        row.state for row in gradclip_cli.diff(sides[0], tmp_path / "two.safetensors").rows
    } == {
        "only_a",
        "only_b",
    }


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--rename", "module."], "--rename: 'module.' is not REGEX=NEW"),
        (["--rename", "=new"], "--rename: '=new' is not REGEX=NEW"),
        (["--rename", "(=x"], "--rename: '(=x' cannot be followed: missing ), unterminated"),
        (["--rename", r"a=\2"], r"--rename: 'a=\\2' cannot be followed: invalid group reference"),
        (["--rename", r"a=\g<b>"], r"--rename: 'a=\\g<b>' cannot be followed: unknown group name"),
        (["--strip-prefix", ""], "--strip-prefix: is empty"),
        (["--include", "nothing"], "--include: none of the 6 tensors is selected"),
        (
            ["--rename", r"\.[01]=.0"],
            "a.safetensors: tensors 'layers.0.w' and 'layers.1.w' would both be called",
        ),
    ],
)
def test_names_that_cannot_be_aligned_are_an_error(
    run: Run, write: Any, tmp_path: Path, options: list[str], problem: str
) -> None:
    said = run("diff", "a.safetensors", "a.safetensors", *options, cwd=tmp_path)
    assert (said.status, said.out) == (2, "")
    assert one_error(said.err).startswith(f"gradclip: {problem}")


def test_patterns_choose_by_aligned_names(write: Any, tmp_path: Path) -> None:
    b = {f"module.{name}": stored for name, stored in changed("head.w", list.reverse).items()}
    found = gradclip_cli.diff(
        tmp_path / "a.safetensors",
        write("b", b),
        strip_prefix=["module."],
        include=["layers.*"],
        exclude=["*.b"],
    )
    assert found.verdict == "identical"
    assert [row.name for row in found.rows] == ["layers.0.w", "layers.1.w"]
    assert found.notes == ("2 of 6 tensors compared",)


def test_a_single_npy_file_has_no_name_and_matches_any_other(tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy", floats("<f4", (2,), [3, 4]))
    for place in ("sub", "other"):
        (tmp_path / place).mkdir()
        write_npy(tmp_path / place / f"{place}.npy", floats("<f4", (2,), [3, 4]))
    assert gradclip_cli.diff(tmp_path / "a.npy", tmp_path / "sub" / "sub.npy").same
    found = gradclip_cli.diff(tmp_path / "sub", tmp_path / "other")
    assert {row.name for row in found.rows} == {"sub", "other"}


@pytest.mark.parametrize("form", ["table", "tsv", "csv", "md", "json", "jsonl"])
def test_hostile_names_are_safe_and_given_back(run: Run, tmp_path: Path, form: str) -> None:
    a = {name: floats("F32", (1,), [n + 1.0]) for n, name in enumerate(STRANGERS)}
    b = {name: floats("F32", (1,), [2 * n + 1.5]) for n, name in enumerate(STRANGERS)}
    path = "a\x1b[31m\n[b].safetensors"
    write_safetensors(tmp_path / path, a)
    write_safetensors(tmp_path / "b.safetensors", b)
    said = run(
        "diff",
        path,
        "b.safetensors",
        "--format",
        form,
        "--sort",
        "norm",
        cwd=tmp_path,
        COLUMNS="999",
    )
    assert (said.status, said.err) == (1, "")
    text = said.out
    parts = re.split({"tsv": r"[\t\n]", "csv": r"\r\n"}.get(form, r"\n"), text)
    assert [part for part in parts if not part.isprintable()] == []
    if form == "table":
        assert sum(line.startswith(escape(STRANGERS[0])) for line in text.splitlines()) == 1
    elif form.startswith("json"):
        assert sorted(names_of(form, text)) == sorted(STRANGERS)
    else:
        assert sorted(names_of(form, text)) == sorted(map(escape, STRANGERS))


# Formats, pipes, statuses


def test_all_formats_say_the_same(run: Run, write: Any, tmp_path: Path) -> None:
    b = changed("layers.1.w", lambda values: values.__setitem__(7, math.inf))
    del b["layers.0.w"]
    write("b", b)

    def report(form: str) -> str:
        operands = ("a.safetensors", "b.safetensors")
        said = run("diff", *operands, "--format", form, cwd=tmp_path)
        assert (said.status, said.err) == (1, "")
        return said.out

    tsv = of_tsv(report("tsv"))
    assert of_csv(report("csv")) == tsv
    assert of_md(report("md")) == tsv
    whole = strict(report("json"))
    rows = [strict(line) for line in report("jsonl").splitlines()]
    assert [{"row": "tensor", **row} for row in whole["tensors"]] == rows[:-1]
    del whole["tensors"]
    assert {"row": "global", **whole} == rows[-1]
    for row, cells in zip(rows[:-1], tsv[:-1], strict=True):
        assert list(row) == list(cells) == DOCUMENTED
        for name, value in row.items():
            bad = cells[name] in ("nan", "inf", "")
            assert (value is None) == bad, name
            if isinstance(value, int | float | list):
                assert json.loads(cells[name]) == value
    assert tsv[-1]["state"] == whole["verdict"] == "differ"
    assert tsv[1]["norm_b"] == "inf"
    assert tsv[0]["norm_b"] == tsv[0]["cosine"] == "", "what is unknown is empty"


DOCUMENTED = [
    *("row", "name", "state", "dtype_a", "dtype_b", "shape_a", "shape_b", "count", "norm_a"),
    *("norm_b", "ratio", "cosine", "relative_error", "max_abs_diff", "max_abs_diff_index"),
    *("changed", "newly_nonfinite", "first_newly_nonfinite", "nonfinite_differ", "nonfinite_a"),
    "nonfinite_b",
    "problem",
]
"""The README documents these; they are only ever appended to."""

PIPES = [
    "cat a.safetensors | gradclip diff - b.safetensors",
    "cat b.safetensors | gradclip diff a.safetensors -",
    "gradclip diff a.safetensors - < b.safetensors",
    "gradclip diff <(cat a.safetensors) b.safetensors",
    "gradclip diff <(cat a.safetensors) <(cat b.safetensors)",
    "cat a.safetensors | gradclip diff - <(cat b.safetensors)",
]


@pytest.mark.parametrize("script", PIPES)
@pytest.mark.parametrize("lone", [False, True])
def test_a_stream_is_compared_as_a_file_is(
    write: Any, tmp_path: Path, script: str, lone: bool
) -> None:
    """The tensors lie in another order in B; with a lone one, the stream has to be kept."""
    b = dict(reversed(changed("layers.1.w", list.reverse).items()))
    if lone:
        del b["layers.0.w"]
    write("b", b)
    expected = gradclip("diff", "a.safetensors", "b.safetensors", "--format", "tsv", cwd=tmp_path)
    done = in_shell(script, tmp_path)
    assert (done.returncode, done.stderr) == (1, b"")
    assert done.stdout == expected.stdout


def test_a_stream_of_many_tensors_is_read_in_order_whatever_the_workers(tmp_path: Path) -> None:
    codes = itertools.cycle(["F32", "F64", "BF16"])  # so that none shares a span with the next
    dump = {
        f"t{n}": (code, (1,), bytes(item_size(code)))
        for n, code in zip(range(3000), codes, strict=False)
    }
    write_safetensors(tmp_path / "a.safetensors", dump)
    script = "cat a.safetensors | gradclip diff a.safetensors - --workers 4 -q"
    done = in_shell(script, tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("piped", ["a", "b"])
def test_a_stream_in_another_memory_order_is_compared_too(tmp_path: Path, piped: str) -> None:
    values = np.arange(60.0).reshape(3, 4, 5)
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", np.asfortranarray(values))
    operands = "- b.npy" if piped == "a" else "a.npy -"
    done = in_shell(f"cat {piped}.npy | gradclip diff {operands}", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_stream_that_goes_on_or_ends_too_early_is_an_error(write: Any, tmp_path: Path) -> None:
    for script, problem in (
        ("(cat a.safetensors; echo) | gradclip diff - a.safetensors", "more bytes follow"),
        ("head -c 20000 a.safetensors | gradclip diff a.safetensors -", "ends after 20,000 bytes"),
    ):
        done = in_shell(script, tmp_path)
        assert (done.returncode, done.stdout) == (2, b"")
        assert problem in one_error(done.stderr)


@pytest.mark.parametrize(
    ("operands", "problem"),
    [
        (["-", "-"], "gradclip: -: standard input can be read only once"),
        (["a.safetensors"], "gradclip: missing argument 'B'"),
        (["a.safetensors", "none.npy"], "gradclip: none.npy: no such file or directory"),
    ],
)
def test_operands_that_are_none_are_an_error(
    run: Run, write: Any, tmp_path: Path, operands: list[str], problem: str
) -> None:
    said = run("diff", *operands, cwd=tmp_path)
    assert (said.status, said.out) == (2, "")
    assert one_error(said.err) == problem


def test_a_folder_is_compared_with_a_file(run: Run, write: Any, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    names = [*TENSORS]
    for number, some in enumerate((names[::2], names[1::2])):
        path = tmp_path / "shards" / f"{number}.safetensors"
        write_safetensors(path, {name: TENSORS[name] for name in some})
    said = run("diff", "shards", "a.safetensors", "--format", "table", cwd=tmp_path)
    assert (said.status, said.err) == (0, "")
    assert "A: 2 files · B: a.safetensors" in said.out


def test_quiet_leaves_only_the_status(run: Run, write: Any, tmp_path: Path) -> None:
    write("b", scaled(2.0))
    for other, status in (("a", 0), ("b", 1)):
        said = run("diff", "a.safetensors", f"{other}.safetensors", "-q", cwd=tmp_path)
        assert (said.status, said.out, said.err) == (status, "", "")


def test_the_worst_come_first_and_rows_are_chosen_and_sorted(
    run: Run, write: Any, tmp_path: Path
) -> None:
    b = changed("layers.1.w", lambda values: values.__setitem__(7, math.nan))
    b["layers.0.w"] = scaled(1.5)["layers.0.w"]
    b["head.w"] = scaled(3.0)["head.w"]
    del b["layers.1.b"]
    path = write("b", b)

    def names(*options: str) -> list[str]:
        said = run("diff", "a.safetensors", path.name, *options, cwd=tmp_path)
        return [row["name"] for row in of_tsv(said.out)[:-1]]

    expected = ["layers.1.b", "layers.1.w", "head.w", "layers.0.w", "empty", "step"]
    assert names() == expected
    assert names("--top", "2") == expected[:2]
    assert names("--reverse") == expected[::-1]
    assert names("--sort", "name") == sorted(expected)
    assert names("--sort", "size")[:2] == ["layers.1.w", "layers.0.w"]
    assert names("--sort", "max")[0] == "head.w"


def test_python_gets_what_the_command_prints(run: Run, write: Any, tmp_path: Path) -> None:
    path = write("b", scaled(0.7))
    whole = strict(run("diff", "a.safetensors", path.name, "--json", cwd=tmp_path).out)
    found = gradclip_cli.diff(str(tmp_path / "a.safetensors"), path)
    assert (whole["verdict"], whole["factor"]) == (found.verdict, found.factor)
    assert whole["relative_error"] == found.difference.relative_error
    with pytest.raises(GradclipError, match="no bound"):
        gradclip_cli.diff(path, path, rtol=math.nan)


# What a person sees


def shown(tmp_path: Path, count: int, columns: int, *options: str) -> list[str]:
    name = "model.decoder.layers.{}.self_attention.rotary_embedding.q_proj.lora_A.weight"
    for side, step in (("a", 0.0), ("b", 0.5)):
        write_safetensors(
            tmp_path / f"{side}.safetensors",
            {name.format(n): floats("F32", (2,), [n + 1.0, step * (n % 3)]) for n in range(count)},
        )
    done = on_terminal(
        "diff", "a.safetensors", "b.safetensors", *options, columns=columns, cwd=tmp_path
    )
    assert done.status == 1
    assert all(cell_len(line) <= columns for line in done.lines)
    return done.lines


def test_a_long_verdict_is_wrapped(write: Any, tmp_path: Path) -> None:
    b = changed("head.w", list.reverse) | {"new": TENSORS["step"]}
    b["layers.0.w"] = (TENSORS["layers.0.w"][0], (40, 30), TENSORS["layers.0.w"][2])
    b["layers.1.b"] = floats("F64", (7,), lanes(TENSORS["layers.1.b"]))
    write("b", {name: stored for name, stored in b.items() if name != "empty"})
    done = on_terminal("diff", "a.safetensors", "b.safetensors", columns=80, cwd=tmp_path)
    assert done.lines[:2] == [
        "differ: 5 of 7 tensors, 1 only in A, 1 only in B, 1 in shape, 1 in value, 1 in",
        "  dtype alone",
    ]
    assert all(cell_len(line) <= 80 for line in done.lines)


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("count", [3, 30, 300])
def test_the_table_fits_the_terminal_verdict_first(
    tmp_path: Path, columns: int, count: int
) -> None:
    lines = shown(tmp_path, count, columns)
    different = count - (count + 2) // 3
    assert lines[0] == f"differ: {different} of {count} tensors, in value"
    assert len(lines) <= 24
    assert f"{(count + 2) // 3} identical not shown" in " ".join(lines)
    assert any("all shows them" in line for line in lines) == (count > 3)


def test_all_shows_identical_tensors_too(tmp_path: Path) -> None:
    assert sum(line.endswith("identical") for line in shown(tmp_path, 30, 100, "--all")) == 10


def test_a_terminal_gets_only_bold_and_red(tmp_path: Path) -> None:
    shown(tmp_path, 3, 80)
    done = on_terminal("diff", "a.safetensors", "b.safetensors", cwd=tmp_path)
    assert set(re.findall("\x1b[^m]*m", done.raw)) <= CODES
    done = on_terminal("diff", "a.safetensors", "b.safetensors", cwd=tmp_path, NO_COLOR="1")
    assert "\x1b" not in done.raw


# Memory


@pytest.mark.heavy
@pytest.mark.parametrize("fortran", [False, True])
def test_sparse_files_of_gibibytes_are_compared_in_little_memory(
    tmp_path: Path, fortran: bool
) -> None:
    side = 1 << 14
    for name, order in (("a", False), ("b", fortran)):
        literal = f"{{'descr': '<f8', 'fortran_order': {order}, 'shape': ({side}, {side}), }}"
        with (tmp_path / f"{name}.npy").open("wb") as stream:
            stream.write(b"\x93NUMPY\x01\x00\x76\x00" + literal.ljust(117).encode() + b"\n")
            stream.truncate(128 + 8 * side * side)
    with (tmp_path / "b.npy").open("r+b") as stream:
        stream.seek(-8, os.SEEK_END)
        stream.write(struct.pack("<d", 3.0))
    status, _, imports = measured(["-c", "import gradclip_cli.cli.app, gradclip_cli.commands.diff"])
    assert status == 0
    operands = [tmp_path / "a.npy", tmp_path / "b.npy"]
    status, said, peak = measured(["-m", "gradclip_cli", "diff", *operands, "--json"])
    assert status == 1
    (row,) = json.loads(said)["tensors"]
    assert (row["max_abs_diff"], row["max_abs_diff_index"]) == (3, [side - 1, side - 1])
    assert (row["changed"], row["relative_error"]) == (1, None)
    assert peak < imports + ALLOWED
