"""From any format into one that the output's name promises: the same values, and what is lost."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import gradclip_cli
from gradclip_cli import GradclipError
from tests.dumps import read_safetensors, write_safetensors
from tests.folders import array, untouched
from tests.running import gradclip

CHANCE = np.random.default_rng(16)
ARRAYS: Mapping[str, Any] = {
    "plain": CHANCE.normal(size=(10, 7)).astype("f4"),
    "fortran.w": np.asfortranarray(CHANCE.normal(size=(3, 4, 5))),
    "swapped": CHANCE.normal(size=(7, 3)).astype(">f2"),
    "both": np.asfortranarray(CHANCE.normal(size=(3, 4)).astype(">f8")),
    "empty": np.zeros((0, 3), "f2"),
    "scalar": np.array(3.0, "f4"),
    "flags": np.array([True, False]),
    "steps": np.arange(9).astype(">i8").reshape(3, 3) << 40,
}
READ = {".safetensors": load_file, ".npz": lambda path: dict(np.load(path))}


def save(kind: str) -> str:
    """Write the arrays in some way; give the operand."""
    if kind == "folder":
        Path("in").mkdir()
        for name, values in ARRAYS.items():
            np.save(f"in/{name}.npy", values)
        return "in"
    if kind == "safetensors":
        plain = {name: np.array(one, one.dtype.newbyteorder("<")) for name, one in ARRAYS.items()}
        save_file({name: one.copy("C") for name, one in plain.items()}, "in.safetensors")
        return "in.safetensors"
    {"stored": np.savez, "packed": np.savez_compressed}[kind]("in.npz", **ARRAYS)
    return "in.npz"


@pytest.mark.parametrize("clip_norm", [1.0, 1e9], ids=["clipped", "within the limit"])
@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("kind", ["folder", "safetensors", "stored", "packed"])
def test_values_shapes_and_dtypes_are_the_same(
    kind: str, suffix: str, clip_norm: float, here: Path
) -> None:
    source = save(kind)
    out = f"out{suffix}"
    if source.endswith(suffix):
        pytest.skip("a copy")
    report = gradclip_cli.apply(source, clip_norm=clip_norm, output=out)
    assert report.clipped is not None
    found = READ[suffix](out)
    assert found.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        expected = values
        if values.dtype.kind == "f" and report.clipped.clipped:
            expected = (values.astype("f8") * report.clipped.coefficient).astype(values.dtype)
        assert found[name].dtype == values.dtype.newbyteorder("<")
        assert found[name].shape == values.shape
        assert np.array_equal(found[name], expected), name
    assert any(f"written as {suffix[1:]}" in note for note in report.notes)
    assert gradclip_cli.check(out).sound


@settings(max_examples=25)
@given(
    shape=st.lists(st.integers(0, 6), max_size=4),
    descr=st.sampled_from(["<f4", ">f4", ">f8", "<f2", ">f2"]),
    fortran=st.booleans(),
    data=st.data(),
)
def test_an_array_goes_there_and_back(
    shape: list[int],
    descr: str,
    fortran: bool,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("there")
    values = np.arange(1, 1 + np.prod(shape, dtype=int)).reshape(shape).astype(descr)
    np.save(folder / "w.npy", np.array(values, order="F" if fortran else "C"))
    kinds = data.draw(st.permutations(["a.safetensors", "b.npz", "c.npy"]))
    last = "w.npy"
    for kind in kinds:
        gradclip_cli.apply(folder / last, clip_norm=1e12, output=folder / kind)
        last = kind
    report = gradclip_cli.inspect(folder / last)
    assert report.global_norm == gradclip_cli.inspect(folder / "w.npy").global_norm
    if last == "c.npy":
        back = np.load(folder / last)
        assert np.array_equal(back, values)
        assert back.dtype.itemsize == values.dtype.itemsize


@pytest.mark.parametrize("laid", [np.ascontiguousarray, np.asfortranarray])
def test_a_pipe_is_converted(laid: Any, here: Path) -> None:
    values = laid(np.array([[3.0, 0.0, 1.0], [0.0, 4.0, 2.0]], ">f4"))
    np.save("x.npy", values)
    done = gradclip(
        "apply", "--clip-norm=100", "-o", "out.safetensors", stdin=Path("x.npy").read_bytes()
    )
    assert done.returncode == 0, done.stderr
    assert np.array_equal(load_file("out.safetensors")["out"], values)


def test_integers_alone_become_float64(here: Path) -> None:
    np.save("x.npy", np.array([3, 4]))
    gradclip_cli.apply("x.npy", clip_norm=2.5, output="x.safetensors")
    assert load_file("x.safetensors")["x"].tolist() == [1.5, 2.0]


CODES = {
    "float4_e2m1fn": (4, "F4"),
    "float6_e2m3fn": (6, "F6_E2M3"),
    "float6_e3m2fn": (6, "F6_E3M2"),
}


@pytest.mark.parametrize("clip_norm", [1.0, 1e9], ids=["clipped", "within the limit"])
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", CODES)
def test_values_of_less_than_a_byte_are_packed(
    dtype: Any, order: Any, clip_norm: float, here: Path
) -> None:
    bits, word = CODES[dtype]
    codes = CHANCE.integers(0, 1 << bits, (600, 500), np.uint8)
    np.save("x.npy", np.array(codes, order=order).view("V1"))
    how: Any = {"clip_norm": clip_norm, "void_as": dtype}
    gradclip_cli.apply("x.npy", output="y.npy", **how)
    gradclip_cli.apply("x.npy", output="y.safetensors", **how)
    stored = read_safetensors(Path("y.safetensors")).tensors["x"]
    in_bits = np.unpackbits(np.frombuffer(stored[2], np.uint8), bitorder="little")
    found = np.packbits(in_bits.reshape(-1, bits), axis=1, bitorder="little").reshape(600, 500)
    assert stored[:2] == (word, (600, 500))
    assert np.array_equal(found, np.load("y.npy").view("u1"))


@pytest.mark.parametrize(
    ("codes", "problem"),
    [([1, 2, 3], "does not fill whole bytes"), ([1, 2, 3, 16], "bytes that are no codes of")],
)
def test_what_cannot_be_packed_is_refused(codes: list[int], problem: str, here: Path) -> None:
    np.save("x.npy", np.array(codes, "u1").view("V1"))
    with untouched(here), pytest.raises(GradclipError, match=problem):
        gradclip_cli.apply(
            "x.npy",
            clip_norm=1e9,
            output="y.safetensors",
            void_as="float4_e2m1fn",
            nonfinite="skip",
        )


def test_what_a_format_has_no_word_for_is_refused_by_name(here: Path) -> None:
    np.savez("x.npz", z=np.ones(3, "c16"), w=np.ones(2))
    with untouched(here), pytest.raises(GradclipError, match=r"complex128, which is the .* of z"):
        gradclip_cli.apply("x.npz", clip_norm=1.0, output="x.safetensors")
    write_safetensors(here / "b.safetensors", {"half": ("BF16", (1,), b"\x80\x3f")})
    with untouched(here), pytest.raises(GradclipError, match=r"bfloat16.* of half"):
        gradclip_cli.apply("b.safetensors", clip_norm=1.0, output="b.npz")


def test_metadata_that_is_lost_is_counted(here: Path) -> None:
    save_file({"a": np.ones(2, "f4")}, "x.safetensors", {"step": "7", "run": "x"})
    report = gradclip_cli.apply("x.safetensors", clip_norm=1.0, output="x.npz")
    assert "not carried over: 2 entries of __metadata__" in report.notes


def test_several_files_become_one(here: Path) -> None:
    for name in "ab":
        save_file({name: np.ones(8, "f4")}, f"{name}.safetensors")
    gradclip_cli.apply("a.safetensors", "b.safetensors", clip_norm=2.0, output="out.safetensors")
    with safe_open("out.safetensors", "np") as file:
        assert sorted(file.keys()) == ["a", "b"]
    assert gradclip_cli.inspect("out.safetensors").global_norm == 2.0


def test_an_output_that_exists_is_refused(here: Path) -> None:
    array(here / "x.npy")
    Path("y.npz").write_bytes(b"mine")
    with untouched(here), pytest.raises(GradclipError, match="already exists"):
        gradclip_cli.apply("x.npy", clip_norm=1.0, output="y.npz")


def test_a_new_archive_is_stored_as_numpy_does(here: Path) -> None:
    array(here / "x.npy")
    gradclip_cli.apply("x.npy", clip_norm=1.0, output="x.npz")
    with zipfile.ZipFile("x.npz") as archive:
        (member,) = archive.infolist()
        assert archive.testzip() is None
    assert (member.filename, member.compress_type) == ("x.npy", zipfile.ZIP_STORED)


def test_what_is_packed_is_unpacked_once_beside_what_is_not(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradclip_cli.engine import sweep
    from gradclip_cli.files import members
    from gradclip_cli.measure import spans

    values = np.random.default_rng(0).normal(size=300_000)
    save_file({"a": values}, "a.safetensors")
    np.savez_compressed("b.npz", a=values)
    begun = []
    begin = members._PackedReader._begin

    def noted(reader: members._PackedReader) -> None:
        begun.append(1)
        begin(reader)

    monkeypatch.setattr(members._PackedReader, "_begin", noted)
    monkeypatch.setattr(spans.cut, "__defaults__", (1 << 16, False, ()))
    monkeypatch.setattr(sweep, "BATCH_ITEMS", 1)
    for pair in (("a.safetensors", "b.npz"), ("b.npz", "a.safetensors")):
        begun.clear()
        assert gradclip_cli.diff(*pair).same
        assert len(begun) <= 3, "for its header and its values, and not for every span of them"


def test_a_name_that_an_array_cannot_have_is_told(here: Path) -> None:
    save_file({"layer.w": np.array([3.0, 4.0], "f4")}, "one.safetensors")
    (_, said) = gradclip_cli.apply("one.safetensors", clip_norm=1.0, output="q.npy").notes
    assert said == "'layer.w' is called 'q' now: the one tensor of a .npy file is named after it"
    (_,) = gradclip_cli.apply("one.safetensors", clip_norm=1.0, output="layer.w.npy").notes
