"""HDF5 files: their values beside h5py's, and what leads out of one or makes it large."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

import gradclip_cli
from gradclip_cli.errors import GradclipError
from tests.formats.hdf5 import make
from tests.running import gradclip, in_shell

HERE = Path(__file__).parent / "hdf5"
FILES = [HERE / "old.h5", HERE / "new.h5"]
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@pytest.fixture
def h5py() -> Any:
    return pytest.importorskip("h5py")


def expected() -> dict[str, Any]:
    """Give the arrays of the files of `make.py` by the names that gradclip gives them."""
    some = make.values()
    found = {name.replace("/", "."): array for name, array in some.items()}
    found |= {f"chunked.{name}": some["floats/f4"] for name in make.WAYS}
    short = np.array([1.5, -2, 3])
    return found | {"bf16": short, "bf16be": short}


@each_file
def test_norms_are_those_of_the_values_and_the_rest_is_named(path: Path, h5py: Any) -> None:
    report = gradclip_cli.inspect(path)
    found = {row.name: row.norm for row in report.tensors if row.measured}
    assert found == {
        name: pytest.approx(np.linalg.norm(array.astype("c16").ravel()), rel=1e-14)
        for name, array in expected().items()
        if array.dtype.kind in "fc"
    }
    notes = "\n".join(report.notes)
    assert "the same values under another name: tied, soft" in notes
    assert "state of an optimizer: optimizer.vars.0" in notes
    assert "no numbers: text, records, references or nothing: record, text" in notes
    assert "links that lead nowhere: 'nowhere'" in notes
    assert gradclip_cli.check(path).sound


@each_file
def test_values_that_become_safetensors_are_those_of_h5py(
    path: Path, h5py: Any, tmp_path: Path
) -> None:
    out = tmp_path / "x.safetensors"
    report = gradclip_cli.apply(path, clip_norm=1.5, output=out)
    assert report.clipped is not None
    assert ml_dtypes, "by which NumPy knows bfloat16"
    written = load_file(out)
    with h5py.File(path) as file:
        for name, array in written.items():
            given = file[name.replace(".", "/")][()]
            wide = given.astype("c16" if given.dtype.kind == "c" else "f8")
            is_clipped = given.dtype.kind in "fc"
            wanted = wide * report.clipped.coefficient if is_clipped else given
            assert np.array_equal(array, wanted.astype(array.dtype)), name
    with pytest.raises(GradclipError, match="hdf5 files are read, and not written"):
        gradclip_cli.apply(path, clip_norm=1.5, output=tmp_path / "x.h5")


def test_weights_of_keras_count_without_its_optimizer(h5py: Any) -> None:
    report = gradclip_cli.inspect(HERE / "keras.weights.h5")
    layers = [(f"layers.{layer}.vars.{at}") for layer in ("dense", "dense_1") for at in (0, 1)]
    assert sorted(row.name or "" for row in report.tensors) == sorted(layers)
    assert any("10 tensors not counted, state of an optimizer" in note for note in report.notes)


def test_pipes_folders_comparisons_and_runs(h5py: Any, tmp_path: Path) -> None:
    for step, factor in ((1, 1), (2, 2)):
        (tmp_path / f"step-{step}").mkdir()
        with h5py.File(tmp_path / f"step-{step}" / "g.h5", "w") as file:
            values = factor * np.array([3, -4, 12], "<f4")
            file.create_dataset("w", data=values, chunks=(2,), compression="gzip")
    one, two = tmp_path / "step-1", tmp_path / "step-2"
    assert gradclip_cli.inspect(one).global_norm == 13
    assert gradclip_cli.diff(one, two / "g.h5").factor == 2
    cache = tmp_path / "cache.jsonl"
    for _ in range(2):
        steps = gradclip_cli.trend(one, two, cache=cache).steps
        assert [step.global_norm for step in steps] == [13, 26]
    done = gradclip("inspect", "--json", stdin=(one / "g.h5").read_bytes())
    assert json.loads(done.stdout)["global_norm"] == 13
    done = in_shell("gradclip inspect --json < step-1/g.h5", tmp_path)
    assert json.loads(done.stdout)["global_norm"] == 13
    done = in_shell(
        "cat step-1/g.h5 | gradclip apply --clip-norm 6.5 | gradclip inspect --json", tmp_path
    )
    assert json.loads(done.stdout)["global_norm"] == 6.5


# What is refused


def external_link(h5py: Any, file: Any) -> None:
    file["a/b"] = h5py.ExternalLink("other.h5", "/w")


def external_values(h5py: Any, file: Any) -> None:
    file.create_dataset("w", (3,), "<f4", external=[("/etc/passwd", 0, 12)])


def virtual(h5py: Any, file: Any) -> None:
    layout = h5py.VirtualLayout((3,), "<f4")
    layout[:] = h5py.VirtualSource("other.h5", "w", (3,))
    file.create_virtual_dataset("w", layout)


def large_chunk(h5py: Any, file: Any) -> None:
    file.create_dataset("w", (1 << 29,), "<f4", chunks=(1 << 29,), compression="gzip")


def sparse(h5py: Any, file: Any) -> None:
    file.create_dataset("w", (1 << 40,), "<f4", chunks=(1 << 10,))[0] = 1


def sparse_in_all(h5py: Any, file: Any) -> None:
    for number in range(99):
        file.create_dataset(f"{number}", (10_000_000,), "<f4", chunks=(1 << 10,))


def two_of_a_name(h5py: Any, file: Any) -> None:
    file["a/b"] = file["a.b"] = np.ones(2)


def deep(h5py: Any, file: Any) -> None:
    file["/".join("d" * 300)] = np.ones(2)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (external_link, "link 'a/b' leads out of the file, to 'other.h5'"),
        (external_values, "dataset 'w' has its values in another file, '/etc/passwd'"),
        (virtual, "dataset 'w' is virtual: its values lie in another file, 'other.h5'"),
        (large_chunk, "dataset 'w' has chunks of 2,147,483,648 bytes"),
        (sparse, "claims 4,398,046,511,104 bytes of values, where 4,096 are stored"),
        (sparse_in_all, "claims 3,960,000,000 bytes of values, where 0 are stored"),
        (two_of_a_name, "two tensors are called 'a.b'"),
        (deep, "groups more than 200 deep"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_leads_out_or_misleads_is_refused_by_name(
    spoil: Callable[[Any, Any], None], problem: str, h5py: Any, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["w"] = np.ones(3, "<f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        spoil(h5py, file)
    with pytest.raises(GradclipError) as caught:
        gradclip_cli.inspect(tmp_path / "x.h5")
    assert problem in caught.value.problem
    assert caught.value.hint


def test_what_is_no_float_that_is_known_is_not_guessed(h5py: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["long"] = np.ones(2, np.longdouble)
        file["w"] = np.ones(4, "<f4")
    report = gradclip_cli.inspect(tmp_path / "x.h5")
    assert report.global_norm == 2
    assert [row.dtype for row in report.tensors if row.name == "long"] == ["float128 (e15m64)"]
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["w"] = np.array([0x40, 0xC0], "u1").view("V1")
    with pytest.raises(GradclipError, match="bytes without a meaning"):
        gradclip_cli.inspect(tmp_path / "y.h5")
    report = gradclip_cli.inspect(tmp_path / "y.h5", void_as="float8_e5m2")
    assert report.global_norm == pytest.approx(8**0.5)


def test_a_checksum_that_is_wrong_is_found_by_check(h5py: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("w", data=np.arange(9, dtype="<f4"), chunks=(3,), fletcher32=True)
        (chunk,) = [file["w"].id.get_chunk_info(1)]
    raw = bytearray(path.read_bytes())
    raw[chunk.byte_offset] ^= 1
    path.write_bytes(raw)
    (checked,) = gradclip_cli.check(path)
    assert not checked.sound
    assert "cannot read it" in str(checked.problem)
