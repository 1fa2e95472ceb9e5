"""Zarr and Orbax: their values, what is not whole, and what leads out of the folder."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

import gradclip_cli
from gradclip_cli.errors import GradclipError
from tests.formats.zarr import make

HERE = Path(__file__).parent / "zarr"
VERSIONS = ["v2", "v3"]
ORBAX = ["orbax", "per_array", "zarr3"]
KERNEL = "params.Dense_0.kernel"


@pytest.fixture
def tensorstore() -> Any:
    return pytest.importorskip("tensorstore")


def expected(name: str) -> dict[str, Any]:
    """Give the arrays of a folder of `make.py` by the names that gradclip gives them."""
    if name in ORBAX:
        params = make.tree()["params"]
        found = {f"params.Dense_0.{one}": params["Dense_0"][one] for one in ("kernel", "bias")}
        return found | {f"params.list.{at}": one for at, one in enumerate(params["list"])}
    found = {path.replace("/", "."): array for path, array in make.arrays().items()}
    whole = found["floats.f4"]
    found |= {"be": whole, "plain": whole}
    return found if name == "v2" else {**found, "shards": whole}


@pytest.mark.parametrize("name", [*VERSIONS, *ORBAX])
def test_norms_are_those_of_the_values_and_the_rest_is_named(name: str, tensorstore: Any) -> None:
    report = gradclip_cli.inspect(HERE / name)
    found = {row.name: row.norm for row in report.tensors if row.measured}
    assert found == {
        key: pytest.approx(np.linalg.norm(array.astype("c16").ravel()), rel=1e-14)
        for key, array in expected(name).items()
        if array.dtype.kind != "i"
    }
    notes = "\n".join(report.notes)
    if name in ORBAX:
        assert "state of an optimizer: opt_state.mu" in notes
        assert "scalars of Python: step" in notes
    else:
        assert "no numbers that gradclip reads: text" in notes
        assert "chunks that are not stored read as the fill value: 1 of 1 of 'zeros'" in notes
    assert gradclip_cli.check(HERE / name).sound


@pytest.mark.parametrize("name", [*VERSIONS, "orbax"])
def test_values_that_become_safetensors_are_those_of_the_library(
    name: str, tensorstore: Any, tmp_path: Path
) -> None:
    out = tmp_path / "x.safetensors"
    report = gradclip_cli.apply(HERE / name, clip_norm=2, output=out)
    assert report.clipped is not None
    written = dict(safetensors.deserialize(out.read_bytes()))  # type: ignore[no-untyped-call]
    assert written.keys() == expected(name).keys()
    for key, array in expected(name).items():
        wide = array.astype("c16" if array.dtype.kind == "c" else "f8")
        wanted = array if array.dtype.kind == "i" else wide * report.clipped.coefficient
        assert written[key]["data"] == wanted.astype(array.dtype).tobytes(), key


def test_a_folder_of_folders_and_an_array_alone(tensorstore: Any, tmp_path: Path) -> None:
    shutil.copytree(HERE / "v2" / "floats" / "f4", tmp_path / "run" / "w.zarr")
    shutil.copytree(HERE / "v3" / "floats" / "f8", tmp_path / "run" / "deep" / "v")
    report = gradclip_cli.inspect(tmp_path / "run")
    assert {row.name for row in report.tensors} == {"w", "deep.v"}
    (row,) = gradclip_cli.inspect(tmp_path / "run" / "w.zarr").tensors
    assert row.name == "w"
    assert gradclip_cli.diff(HERE / "orbax", HERE / "per_array").same
    steps = gradclip_cli.trend(HERE / "orbax", HERE / "zarr3").steps
    assert len({step.global_norm for step in steps}) == 1


# What is not whole, or leads out


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without_manifest(folder: Path) -> None:
    (folder / "manifest.ocdbt").unlink()


def a_part(folder: Path) -> None:
    shutil.move(folder / "ocdbt.process_0", folder.parent / "ocdbt.process_0")
    shutil.rmtree(folder)
    folder.mkdir()
    shutil.move(folder.parent / "ocdbt.process_0", folder / "ocdbt.process_0")


def without_an_array(folder: Path) -> None:
    shutil.rmtree(folder / KERNEL)


def linked(folder: Path) -> None:
    chunk = folder / KERNEL / "0.0"
    shutil.move(chunk, folder.parent / "elsewhere")
    chunk.symlink_to(folder.parent / "elsewhere")


def of_a_fifo(folder: Path) -> None:
    (folder / KERNEL / "0.0").unlink()
    os.mkfifo(folder / KERNEL / "0.0")


def no_metadata(folder: Path) -> None:
    (folder / "_METADATA").write_text("[]")


def large_chunks(folder: Path) -> None:
    edited(folder / KERNEL / ".zarray", shape=[1 << 20, 1 << 20], chunks=[1 << 20, 1 << 10])


def sparse(folder: Path) -> None:
    edited(folder / KERNEL / ".zarray", shape=[1 << 20, 1 << 20])


def no_json(folder: Path) -> None:
    (folder / KERNEL / ".zarray").write_text("{")


@pytest.mark.parametrize(
    ("name", "spoil", "problem"),
    [
        ("orbax", without_manifest, "not finished: manifest.ocdbt is missing"),
        ("orbax", a_part, "what one process wrote of an Orbax checkpoint"),
        ("per_array", without_an_array, "_METADATA names 1 array"),
        ("per_array", linked, "'0.0' in it is a link that leads out of the folder"),
        ("per_array", of_a_fifo, "'0.0' in it is neither a file nor a folder"),
        ("per_array", no_metadata, "_METADATA is not that of Orbax"),
        ("per_array", large_chunks, "has chunks of 4,294,967,296 bytes"),
        ("per_array", sparse, "claims 4,398,046,"),
        ("per_array", no_json, "'params.Dense_0.kernel/.zarray' is no JSON object"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_is_not_whole_or_leads_out_is_refused_by_name(
    name: str, spoil: Callable[[Path], None], problem: str, tensorstore: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "step"
    shutil.copytree(HERE / name, folder)
    spoil(folder)
    with pytest.raises(GradclipError) as caught:
        gradclip_cli.inspect(folder)
    assert problem in caught.value.problem
    assert caught.value.hint


def test_a_change_of_any_chunk_is_noticed(tensorstore: Any, tmp_path: Path) -> None:
    from gradclip_cli.formats.folders import find

    folder = tmp_path / "x"
    shutil.copytree(HERE / "v2", folder)
    source = find([str(folder)]).open().tensors[0].source
    source.check()
    (folder / "plain" / "0.0").write_bytes(bytes(56))
    with pytest.raises(GradclipError, match="changed while gradclip was reading it"):
        source.check()
