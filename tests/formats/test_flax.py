"""Flax files: their values, long arrays in pieces, and what is damaged or none of Flax."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

import gradclip_cli
from gradclip_cli.errors import GradclipError
from tests.formats.flax.make import values
from tests.frameworks import installed
from tests.running import real

HERE = Path(__file__).parent / "flax"
TREES = ["tree", "pieces"]


@pytest.fixture
def msgpack() -> Any:
    return pytest.importorskip("msgpack")


def flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Give the arrays of a tree by dotted names."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{above}{key}.")
        elif isinstance(value, np.ndarray) and key != "mu":
            found[f"{above}{key}"] = value
    return found


@pytest.mark.parametrize("name", TREES)
def test_norms_are_those_of_the_values_and_the_rest_is_named(name: str, msgpack: Any) -> None:
    report = gradclip_cli.inspect(HERE / f"{name}.msgpack")
    arrays = flat(values())
    assert {row.name: row.shape for row in report.tensors} == {
        name: array.shape for name, array in arrays.items()
    }
    found = {row.name: row.norm for row in report.tensors if row.measured}
    assert found == {
        name: pytest.approx(np.linalg.norm(array.astype("c16").ravel()), rel=1e-14)
        for name, array in arrays.items()
        if name != "count"
    }
    assert any("state of an optimizer: opt_state.0.mu" in note for note in report.notes)
    assert gradclip_cli.check(HERE / f"{name}.msgpack").sound


@pytest.mark.parametrize("name", TREES)
def test_values_that_become_safetensors_are_those_of_flax(
    name: str, msgpack: Any, tmp_path: Path
) -> None:
    out = tmp_path / "x.safetensors"
    report = gradclip_cli.apply(HERE / f"{name}.msgpack", clip_norm=2, output=out)
    assert report.clipped is not None
    written = dict(safetensors.deserialize(out.read_bytes()))  # type: ignore[no-untyped-call]
    assert any("not carried over: 3 values that are no tensors" in note for note in report.notes)
    for key, array in flat(values()).items():
        wide = array.astype("c16" if array.dtype.kind == "c" else "f8")
        wanted = array if key == "count" else wide * report.clipped.coefficient
        if array.dtype.itemsize > 1 or array.dtype.kind == "i":  # rounded twice by ml_dtypes
            assert written[key]["data"] == wanted.astype(array.dtype).tobytes(), key


def test_an_array_alone_is_named_after_its_file(msgpack: Any, tmp_path: Path) -> None:
    (row,) = gradclip_cli.inspect(HERE / "alone.msgpack").tensors
    assert row.name == "alone"
    assert row.norm == pytest.approx(20**0.5)


def test_it_is_known_by_its_content(msgpack: Any, tmp_path: Path) -> None:
    for name in (*TREES, "alone"):
        path = tmp_path / f"{name}.bin"
        path.write_bytes((HERE / f"{name}.msgpack").read_bytes())
        assert gradclip_cli.check(path)[0].format == "flax"


def test_what_flax_writes_here_is_read(msgpack: Any, tmp_path: Path) -> None:
    serialization = installed("flax.serialization")
    path = tmp_path / "x.msgpack"
    path.write_bytes(serialization.msgpack_serialize(values()))
    before = gradclip_cli.inspect(HERE / "tree.msgpack").global_norm
    assert gradclip_cli.inspect(path).global_norm == before


# What is refused


def array(msgpack: Any, shape: Any, name: Any, data: Any) -> Any:
    return msgpack.ExtType(1, msgpack.packb((shape, name, data)))


def one(msgpack: Any) -> Any:
    return array(msgpack, [1], "int8", b"x")


@pytest.mark.parametrize(
    ("spoiled", "problem"),
    [
        (lambda m: {"w": array(m, [3], "float32", bytes(8))}, "'w' has 8 bytes, where its shape"),
        (lambda m: {"w": array(m, [2**62], "float32", bytes(8))}, "where its shape takes"),
        (lambda m: {"w": array(m, [-1], "float32", bytes(8))}, "no list of shape, dtype and bytes"),
        (lambda m: {"w": array(m, "x", 5, 7)}, "no list of shape, dtype and bytes"),
        (lambda _: {"w": 5}, "holds 2 values, none of them an array"),
        (lambda m: {"a": {"b": one(m)}, "a.b": one(m)}, "two tensors are called 'a.b'"),
    ],
)  # fmt: skip
def test_lies_are_refused_by_name(spoiled: Any, problem: str, msgpack: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.msgpack"
    path.write_bytes(msgpack.packb(spoiled(msgpack)))
    with pytest.raises(GradclipError) as caught:
        gradclip_cli.inspect(path)
    assert problem in caught.value.problem
    assert caught.value.hint


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"\x81\xa1w\xc6" + struct.pack(">I", 2**32 - 1), "bytes are missing"),
        (b"\xdf\xff\xff\xff\xff\xa1w", "in the middle of a map"),
        (b"\x81\xa1w" * 300 + b"\x01", "maps more than 200 deep"),
        (b"\x81\xa1w\x01\x00", "1 bytes follow the last value"),
        (b"\x81\x91\x01\x01", "a key of a map is no text"),
    ],
)
def test_what_is_cut_short_or_endless_is_refused(
    raw: bytes, problem: str, msgpack: Any, tmp_path: Path
) -> None:
    path = tmp_path / "x.msgpack"
    path.write_bytes(raw)
    with pytest.raises(GradclipError, match=problem):
        gradclip_cli.inspect(path)


@pytest.mark.parametrize("name", ["/dev/stdin", "/proc/self/fd/0"])
def test_a_file_that_is_standard_input_is_that_of_whoever_asks(name: str, msgpack: Any) -> None:
    redirected = ["bash", "-c", 'exec "$@" < "$0"', str(HERE / "tree.msgpack")]
    done = real("inspect", name, "--json", before=redirected)
    assert done.status == 0, done.err
