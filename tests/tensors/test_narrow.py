"""Floats of four, six and eight bits, and scale factors, through all commands."""

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import gradclip_cli
from gradclip_cli.errors import GradclipError, RefusedError
from gradclip_cli.tensors.codecs import sparse
from gradclip_cli.tensors.dtypes import narrow
from tests.dumps import (
    LANES,
    SCALES,
    Stored,
    exact_norm,
    floats,
    lanes,
    read_safetensors,
    write_safetensors,
)
from tests.running import Run

CODES = ["F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2", "F4"]
PACKED = ["F6_E2M3", "F6_E3M2", "F4"]
SPECIALS = ["F8_E4M3FNUZ", "F8_E5M2FNUZ"]


def drawn(code: str, shape: tuple[int, ...], seed: int = 1) -> Stored:
    """Give a tensor of random finite values."""
    form = LANES[code]
    numbers = np.random.default_rng(seed)
    sizes = numbers.integers(0, form.top + 1, math.prod(shape)).tolist()
    codes = [form.negative(size) if numbers.random() < 0.5 else size for size in sizes]
    return code, shape, form.pack(codes)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize(
    "shape", [(8,), (3, 1000), pytest.param((75, 4000), marks=pytest.mark.heavy)]
)
def test_they_are_measured_and_clipped_to_the_value(
    code: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    tensor = drawn(code, shape)
    path = write_safetensors(
        tmp_path / "a.safetensors", {"w": tensor, "b": floats("F32", (1,), [1])}
    )
    values = lanes(tensor)
    norm = exact_norm([*values, 1.0])
    assert gradclip_cli.inspect(path).global_norm == pytest.approx(norm, rel=1e-15)
    norm = gradclip_cli.inspect(path).global_norm
    for known in (None, norm):
        gradclip_cli.apply(
            path, clip_norm=norm / 3, output=tmp_path / "b.safetensors", use_norm=known
        )
        form = LANES[code]
        codes = form.unpack(tensor[2])
        meant = {one: form.rounded(form.value(one) * ((norm / 3) / norm)) for one in {*codes}}
        expected = form.pack(meant[one] for one in codes)
        assert read_safetensors(tmp_path / "b.safetensors").tensors["w"][2] == expected
        (tmp_path / "b.safetensors").unlink()


@pytest.mark.parametrize("code", CODES)
def test_a_difference_is_found_where_it_is(code: str, tmp_path: Path) -> None:
    form = LANES[code]
    tensor = drawn(code, (5, 16))
    codes = list(form.unpack(tensor[2]))
    codes[37] = 0 if codes[37] else 1
    a = write_safetensors(tmp_path / "a.safetensors", {"w": tensor})
    b = write_safetensors(tmp_path / "b.safetensors", {"w": (code, (5, 16), form.pack(codes))})
    assert gradclip_cli.diff(a, a).verdict == "identical"
    (row,) = gradclip_cli.diff(a, b).rows
    assert row.changed == 1
    assert row.difference is not None
    assert row.difference.gap.max_abs == abs(form.value(codes[37]) - lanes(tensor)[37])


@pytest.mark.parametrize("code", CODES)
def test_they_are_compared_with_an_array_in_fortran_order(code: str, tmp_path: Path) -> None:
    tensor = drawn(code, (7, 3, 8))
    values = np.array(lanes(tensor)).reshape(7, 3, 8)
    a = write_safetensors(tmp_path / "a.safetensors", {"w": tensor})
    (tmp_path / "b").mkdir()
    np.save(tmp_path / "b" / "w.npy", np.asfortranarray(values))
    (row,) = gradclip_cli.diff(a, tmp_path / "b").rows
    assert row.changed == 0
    values[6, 2, 3] += 1
    np.save(tmp_path / "b" / "w.npy", np.asfortranarray(values))
    (row,) = gradclip_cli.diff(a, tmp_path / "b").rows
    assert (row.changed, row.difference and row.difference.gap.max_abs) == (1, 1.0)


@pytest.mark.parametrize("code", SPECIALS)
def test_the_code_of_minus_zero_is_nan(code: str, tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "a.safetensors", {"w": (code, (3,), b"\x41\x80\x00")})
    (row,) = gradclip_cli.inspect(path).tensors
    assert row.moments is not None
    assert (row.moments.nan, row.moments.first_nonfinite, row.moments.zeros) == (1, 1, 1)
    gradclip_cli.apply(path, clip_norm=1e-3, nonfinite="zero", in_place=True)
    assert b"\x80" not in read_safetensors(path).tensors["w"][2]


@pytest.mark.parametrize("code", CODES)
def test_what_is_zero_and_what_is_subnormal_is_known(code: str) -> None:
    form = LANES[code]
    codes = range(1 << form.bits)
    zero, subnormal = sparse(np.frombuffer(form.pack(codes), np.uint8), narrow(form.name))
    least = form.value(1 << form.fraction_bits)
    sizes = [abs(form.value(one)) for one in codes]
    assert zero.tolist() == [size == 0 for size in sizes]
    assert subnormal.tolist() == [0 < size < least for size in sizes]


@pytest.mark.parametrize("code", PACKED)
def test_what_has_no_nan_is_given_none(code: str, tmp_path: Path) -> None:
    tensors = {"w": floats("F32", (2,), [math.nan, 1]), "q": drawn(code, (8,))}
    path = write_safetensors(tmp_path / "a.safetensors", tensors)
    with pytest.raises(RefusedError, match=r"'q' would become NaN, and float.* has none"):
        gradclip_cli.apply(path, clip_norm=1, nonfinite="propagate", in_place=True)
    gradclip_cli.apply(path, clip_norm=1, nonfinite="zero", in_place=True)


@pytest.mark.parametrize(
    "how",
    [
        {"clip_norm": 1.0, "use_norm": 2.0},
        {"clip_norm": 1.0, "per_tensor": True, "axes": 0},
        {"clip_value": 1.0},
    ],
)
def test_a_byte_that_is_no_code_becomes_no_number(how: Any, tmp_path: Path) -> None:
    source, output = tmp_path / "a.npy", tmp_path / "b.npy"
    np.save(source, np.array([1, 2, 200, 3], np.uint8).view("V1"))
    with pytest.raises(RefusedError, match="'a' would become NaN, and float4_e2m1fn has none"):
        gradclip_cli.apply(
            source, output=output, void_as="float4_e2m1fn", nonfinite="propagate", **how
        )
    assert not output.exists()


# Scale factors


def scales(*codes: int) -> Stored:
    return SCALES, (len(codes),), bytes(codes)


@pytest.mark.parametrize(
    ("codes", "norm"),
    [((126, 127, 128), math.sqrt(5.25)), ((254, 254), 2**127.5), ((0, 0, 0, 0), 2.0**-126)],
)
def test_scale_factors_are_measured_as_they_are_stored(
    codes: tuple[int, ...], norm: float, tmp_path: Path
) -> None:
    path = write_safetensors(tmp_path / "a.safetensors", {"w.scale": scales(*codes)})
    report = gradclip_cli.inspect(path)
    assert report.global_norm == pytest.approx(norm, rel=1e-15)
    assert "w.scale: scale factors: the values are element × scale, not joined here" in report.notes


def test_each_scale_factor_is_that_of_ml_dtypes(tmp_path: Path) -> None:
    codes = np.arange(256, dtype=np.uint8)
    theirs = codes.view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    path = write_safetensors(
        tmp_path / "a.safetensors", {f"{code}": scales(code) for code in codes.tolist()}
    )
    norms = {row.name: row.norm for row in gradclip_cli.inspect(path).tensors}
    for code, value in zip(codes.tolist(), theirs.tolist(), strict=True):
        np.testing.assert_equal(norms[str(code)], value)


def test_a_dump_of_scale_factors_that_are_not_finite_passes_no_gate(
    run: Run, tmp_path: Path
) -> None:
    path = write_safetensors(tmp_path / "step-1.safetensors", {"w.scale": scales(127, 255, 127)})
    said = run("inspect", str(path), "--fail-nonfinite")
    assert (said.status, "1 NaN" in said.err) == (1, True)
    said = run("trend", str(path), "--fail-nonfinite")
    assert (said.status, "likely in w.scale" in said.err) == (1, True)


def test_scale_factors_are_said_to_be_such_by_every_command_that_measures(
    run: Run, tmp_path: Path
) -> None:
    path = str(write_safetensors(tmp_path / "step-1.safetensors", {"w.scale": scales(127)}))
    for arguments in (["inspect", path], ["diff", path, path], ["trend", path]):
        said = run(*arguments, "--format", "table")
        assert "element × scale, not joined here" in said.out.replace("\n", " ")


def test_scale_factors_are_clipped_with_nothing(tmp_path: Path) -> None:
    tensors = {"g": floats("F32", (2,), [3, 4]), "w": drawn("F4", (8,)), "w.scale": scales(254)}
    path = write_safetensors(tmp_path / "a.safetensors", tensors)
    with pytest.raises(GradclipError, match=r"1 tensor of scale factors: .* shrink .* twice"):
        gradclip_cli.apply(path, clip_norm=1, in_place=True)
    gradclip_cli.apply(path, clip_norm=1, in_place=True, exclude=["*.scale"])
    written = read_safetensors(path).tensors
    assert written["w.scale"] == tensors["w.scale"]
    assert written["g"] != tensors["g"]


@pytest.mark.parametrize("name", ["float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"])
def test_a_byte_that_is_no_code_is_no_number(name: str, tmp_path: Path) -> None:
    last = 1 << int(name[5])
    values = np.array([0x02, last, 0x01, 0xFF], np.uint8).view(getattr(ml_dtypes, name))
    moments = gradclip_cli.inspect({"w": values}).moments
    assert (moments.nan, moments.first_nonfinite) == (2, 1)
    with pytest.raises(RefusedError):
        gradclip_cli.clip_by_norm(values, 0.1)
