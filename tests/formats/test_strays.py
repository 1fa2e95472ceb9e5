"""What the reference of a format reads is read, and what is odd about it is said.

What the reference refuses is refused with the cause by name.
"""

import json
import math
import struct
import warnings
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import gradclip_cli
from gradclip_cli.errors import GradclipError
from tests.dumps import floats, read_npy, safetensors_bytes
from tests.running import Run, in_shell

THREE_FOUR = struct.pack("<2f", 3, 4)
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def safetensors_file(path: Path, entries: Any, data: bytes = THREE_FOUR, pad: bytes = b"") -> Path:
    header = (json.dumps(entries) if not isinstance(entries, str) else entries).encode() + pad
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def npy_file(path: Path, header: str, data: bytes = THREE_FOUR) -> Path:
    text = header.encode("latin-1") + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data)
    return path


def plain(descr: str = "<f4", shape: str = "(2,)") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"


SAFETENSORS = {
    "metadata that is null": (
        {"__metadata__": None, "w": ENTRY},
        "__metadata__ is null, where the format has an object, or nothing",
    ),
    "a field that nobody knows": (
        {"w": {**ENTRY, "scale": 2}},
        'the field "scale" of w is not one of the format',
    ),
}
NPY = {
    "a name": (plain("float32"), "the dtype is spelt 'float32' and read as float32"),
    "a letter": (plain("<f"), "the dtype is spelt '<f' and read as float32"),
    "parentheses": (f"({plain()})", "the .npy header is not laid out as NumPy writes it"),
    "a tab": (plain().replace(", ", ",\t"), "the .npy header is not laid out as NumPy writes it"),
    "a parted long": (plain(shape="(2 L,)"), ""),
}


@pytest.mark.parametrize(("entries", "said"), SAFETENSORS.values(), ids=SAFETENSORS)
def test_what_safetensors_reads_is_read_and_its_bytes_are_kept(
    entries: Any, said: str, tmp_path: Path
) -> None:
    path = safetensors_file(tmp_path / "a.safetensors", entries)
    check_read(path, said)


@pytest.mark.parametrize(("header", "said"), NPY.values(), ids=NPY)
def test_what_numpy_reads_is_read_and_its_bytes_are_kept(
    header: str, said: str, tmp_path: Path
) -> None:
    path = npy_file(tmp_path / "a.npy", header)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.load(path).tolist() == [3, 4]
        check_read(path, said)
        assert np.load(path).tolist() == [1.5, 2]


def check_read(path: Path, said: str) -> None:
    """Check that a file of 3 and 4 is read by all, what is said of it, and that it is clipped."""
    note = [f"{path}: {said}"] if said else []
    report = gradclip_cli.inspect(path)
    assert report.global_norm == 5
    assert [*report.notes] == note
    assert [*gradclip_cli.diff(path, path).notes] == note or not note
    assert [one for one in gradclip_cli.trend(path).notes if "spelt" in one or "null" in one] == [
        one for one in note if "spelt" in one or "null" in one
    ]
    (checked,) = gradclip_cli.check(path)
    assert checked.sound
    assert [*checked.strays] == ([said] if said else [])
    before = path.read_bytes()
    gradclip_cli.apply(path, clip_norm=2.5, in_place=True)
    assert path.read_bytes() == before[: -len(THREE_FOUR)] + struct.pack("<2f", 1.5, 2)


def test_what_is_odd_is_said_once_of_many_files(tmp_path: Path, run: Run) -> None:
    for name in "abcd":
        safetensors_file(tmp_path / f"{name}.safetensors", {"__metadata__": None, name: ENTRY})
    (note,) = [one for one in gradclip_cli.inspect(tmp_path).notes if "null" in one]
    assert note.startswith(f"{tmp_path}/a.safetensors, ")
    assert " and 1 more: __metadata__ is null" in note
    said = run("check", tmp_path)
    assert said.status == 0
    assert said.out.count("; __metadata__ is null") == 4


def test_a_stream_says_the_same(tmp_path: Path) -> None:
    safetensors_file(tmp_path / "a", {"__metadata__": None, "w": ENTRY})
    done = in_shell("gradclip inspect --json < a; cat a | gradclip inspect --json", tmp_path)
    reports = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [len(report["notes"]) for report in reports] == [1, 1]


@pytest.mark.parametrize("shape", [[0, 2**64 - 1], [2**63, 0]])
def test_a_huge_side_of_nothing_is_read(shape: list[int], tmp_path: Path) -> None:
    entry = {"dtype": "U8", "shape": shape, "data_offsets": [8, 8]}
    path = safetensors_file(tmp_path / "a.safetensors", {"w": ENTRY, "e": entry})
    assert gradclip_cli.inspect(path).global_norm == 5
    gradclip_cli.apply(path, clip_norm=2.5, in_place=True)
    assert gradclip_cli.diff(path, path).verdict == "identical"


# Refused, with the cause by name


GROUPED = {
    "a matrix": ("(2,621, 401)", 2621 * 401, "(2621, 401)"),
    "thousands, which read as nothing": ("(1,000, 3)", 3000, "(1000, 3)"),
    "an octal number": ("(2,048, )", 2048, "(2048,)"),
    "a vector": ("(12,345,)", 12345, "(12345,)"),
    "millions": ("(1,048,576,)", 1 << 20, "(1048576,)"),
    "points": ("(2.621, 401)", 2621 * 401, "(2621, 401)"),
    "apostrophes": ("(2'621, 401)", 2621 * 401, "(2621, 401)"),
    "spaces that do not break": ("(2\xa0621, 401)", 2621 * 401, "(2621, 401)"),
}


@pytest.mark.parametrize(("shape", "count", "meant"), GROUPED.values(), ids=GROUPED)
def test_digits_that_a_locale_has_grouped_are_named_with_what_was_meant(
    shape: str, count: int, meant: str, tmp_path: Path
) -> None:
    path = npy_file(tmp_path / "a.npy", plain("|u1", shape), bytes(count))
    with pytest.raises(GradclipError) as caught:
        gradclip_cli.inspect(path)
    assert f"its digits look grouped by a locale, and {meant} was meant" in str(caught.value)


def test_sides_that_look_grouped_and_are_right_are_read(tmp_path: Path) -> None:
    path = npy_file(tmp_path / "a.npy", plain(shape="(1,100, 2)"), bytes(800))
    assert [row.shape for row in gradclip_cli.inspect(path).tensors] == [(1, 100, 2)]
    path = npy_file(tmp_path / "b.npy", plain(shape="(1,100, 2)"), bytes(799))
    with pytest.raises(GradclipError, match="truncated"):
        gradclip_cli.inspect(path)


def test_padding_with_nul_is_named(tmp_path: Path) -> None:
    path = safetensors_file(tmp_path / "a.safetensors", {"w": ENTRY}, pad=bytes(5))
    with pytest.raises(GradclipError, match="header ends in NUL bytes; the format pads with spac"):
        gradclip_cli.inspect(path)
    npy_file(tmp_path / "a.npy", plain() + "\0" * 20)
    with pytest.raises(GradclipError, match="it holds NUL bytes"):
        gradclip_cli.inspect(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("metadata", "said"),
    [({"step": 7}, "'step' is 7"), ({"a": "b", "c": None}, "'c' is null"), ([], r"is \[\]")],
)
def test_metadata_that_is_no_text_is_named(metadata: Any, said: str, tmp_path: Path) -> None:
    path = safetensors_file(tmp_path / "a.safetensors", {"__metadata__": metadata, "w": ENTRY})
    problem = f"__metadata__ must map strings to strings, and {said}"
    with pytest.raises(GradclipError, match=problem):
        gradclip_cli.inspect(path)


# Bytes of which NumPy does not say what they mean


@pytest.mark.parametrize(
    "name",
    [
        *("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"),
        *("float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"),
    ],
)
def test_what_ml_dtypes_saves_is_read_as_the_user_says(name: Any, run: Run, tmp_path: Path) -> None:
    kind = getattr(ml_dtypes, name)
    path = tmp_path / "a.npy"
    np.save(path, np.array([3, 4], kind))
    assert gradclip_cli.inspect(path, void_as=name).global_norm == 5
    (checked,) = gradclip_cli.check(path, void_as=name)
    assert [name in said for said in checked.strays] == [True]
    np.save(tmp_path / "b.npy", np.array([3, 4], np.float32))
    assert gradclip_cli.diff(path, tmp_path / "b.npy", void_as=name).difference.changed == 0
    assert gradclip_cli.trend(path, void_as=name).steps[0].global_norm == 5
    said = run("apply", path, "--clip-norm", "2.5", "--in-place", "--void-as", name)
    assert said.status == 0, said
    words = read_npy(path)
    assert np.frombuffer(words.array[2], kind).astype(float).tolist() == [1.5, 2]


def test_without_a_word_it_is_refused_and_the_option_named(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(2, ml_dtypes.bfloat16))
    said = run("inspect", tmp_path / "a.npy")
    assert said.status == 2
    assert "bytes without a meaning" in said.err
    assert "--void-as bfloat16" in said.err
    assert "array '" not in said.err
    np.savez(tmp_path / "z.npz", plain=np.zeros(2), odd=np.zeros(2, ml_dtypes.bfloat16))
    assert "z.npz: array 'odd': the array's dtype is" in run("inspect", tmp_path / "z.npz").err
    assert run("inspect", tmp_path / "a.npy", "--void-as", "float8_e5m2").status == 2
    assert run("inspect", tmp_path / "a.npy", "--void-as", "float16").status == 2


@pytest.mark.parametrize(
    ("descr", "data"),
    [
        ("bfloat16", b"\x40\x40\x80\x40"),
        ("float8_e4m3fn", b"\x44\x48"),
        ("<f1", b"\x42\x44"),
    ],
)
def test_words_of_ml_dtypes_are_read_as_they_say(descr: str, data: bytes, tmp_path: Path) -> None:
    path = npy_file(tmp_path / "a.npy", plain(descr), data)
    assert gradclip_cli.inspect(path).global_norm == 5


def test_a_run_of_such_arrays_is_followed_and_kept_by_what_they_are_taken_for(
    tmp_path: Path,
) -> None:
    for step in range(4):
        (tmp_path / f"step-{step}").mkdir()
        np.save(tmp_path / f"step-{step}" / "w.npy", np.array([3, 4], ml_dtypes.float8_e4m3fn))
    cache = tmp_path / "cache"
    first = gradclip_cli.trend(tmp_path, void_as="float8_e4m3fn", cache=cache)
    assert [step.global_norm for step in first.steps] == [5] * 4
    again = gradclip_cli.trend(tmp_path, void_as="float8_e4m3fn", cache=cache)
    assert not any("anew" in note for note in again.notes)
    other = gradclip_cli.trend(tmp_path, void_as="float8_e5m2", cache=cache)
    values = np.array([3, 4], ml_dtypes.float8_e4m3fn).view(ml_dtypes.float8_e5m2).astype(float)
    assert other.steps[0].global_norm == math.hypot(*values.tolist())


def test_parameters_are_read_so_too(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.ones((2, 2), ml_dtypes.bfloat16))
    np.save(tmp_path / "g.npy", np.ones((2, 2), ml_dtypes.bfloat16))
    (tmp_path / "g").mkdir()
    (tmp_path / "p").mkdir()
    for name in "gp":
        (tmp_path / f"{name}.npy").rename(tmp_path / name / "w.npy")
    options: Any = {"agc": 0.01, "params": tmp_path / "p", "void_as": "bfloat16"}
    report = gradclip_cli.apply(tmp_path / "g", output=tmp_path / "out", **options)
    assert report.clipped is not None
    assert report.clipped.norm_after < 0.03


def test_what_mlx_writes_is_measured_as_the_same_without_metadata(tmp_path: Path) -> None:
    # Null metadata, a header that is not padded, and the values in another order than the names.
    numbers = np.random.default_rng(1)
    tensors = {
        "layers.0.bias": floats("F32", (3,), numbers.normal(size=3).tolist()),
        "layers.0.weight": floats("F32", (4, 3), numbers.normal(size=12).tolist()),
        "layers.1.weight": floats("BF16", (5,), numbers.normal(size=5).tolist()),
    }
    entries: dict[str, Any] = {}
    data = b""
    for name, (code, shape, stored) in reversed(tensors.items()):
        span = [len(data), len(data) + len(stored)]
        entries[name] = {"dtype": code, "shape": [*shape], "data_offsets": span}
        data += stored
    entries = dict(sorted(entries.items()))
    path = safetensors_file(tmp_path / "mlx", {"__metadata__": None, **entries}, data)
    (tmp_path / "same").write_bytes(safetensors_bytes(tensors))
    mlx, same = (gradclip_cli.inspect(tmp_path / name) for name in ("mlx", "same"))
    assert mlx.global_norm == same.global_norm
    before = path.read_bytes()
    gradclip_cli.apply(path, clip_norm=1, in_place=True)
    header = len(before) - len(data)
    assert path.read_bytes()[:header] == before[:header]
    assert gradclip_cli.inspect(path).global_norm == pytest.approx(1, rel=1e-2)
