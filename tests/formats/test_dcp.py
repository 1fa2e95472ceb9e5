"""Distributed checkpoints, read without torch: chunks of tensors in the files of several ranks."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import gradclip_cli
from gradclip_cli import GradclipError
from tests import pts
from tests.dcps import Chunk, Shape, record, split, write
from tests.folders import untouched
from tests.frameworks import installed
from tests.pts import Call, Global
from tests.running import TOP, environment, norms, real

HERE = Path(__file__).parent / "dcp"
NORMS: dict[str, float] = json.loads((HERE / "norms.json").read_text())
GRID = np.arange(1, 25, dtype="<f4").reshape(6, 4)


def exact(values: Any) -> Any:
    """Give the norm of an array, as it should come out."""
    return pytest.approx(float(np.linalg.norm(np.asarray(values, "f8"))), rel=1e-14)


# What torch has written


def check_both(folder: Path, expected: dict[str, float]) -> None:
    """Compare the checkpoints of a folder with what torch says of them."""
    for kind in ("plain", "sharded"):
        report = gradclip_cli.inspect(folder / kind)
        found = {row.name: row.norm for row in report.tensors}
        assert found == {name: pytest.approx(norm, rel=1e-14) for name, norm in expected.items()}
        assert gradclip_cli.check(folder / kind).sound
    assert gradclip_cli.diff(folder / "plain", folder / "sharded").same


def test_what_two_ranks_have_saved_is_whole() -> None:
    check_both(HERE, NORMS)
    notes = gradclip_cli.inspect(HERE / "plain").notes
    assert "1 tensor not counted, state of an optimizer: optim.m" in notes


def test_what_torch_saves_here_is_read_and_what_is_clipped_is_loaded(tmp_path: Path) -> None:
    torch = installed("torch")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.formats.dcp.make", str(tmp_path), str(port)]
    subprocess.run(command, cwd=TOP, env=environment({}), timeout=120, check=True)
    check_both(tmp_path, json.loads((tmp_path / "norms.json").read_text()))
    out = tmp_path / "out.safetensors"
    done = gradclip_cli.apply(tmp_path / "plain", clip_norm=1.0, output=out)
    assert done.clipped is not None
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    dcp_to_torch_save(tmp_path / "plain", tmp_path / "whole.pt")
    whole = torch.load(tmp_path / "whole.pt")
    found = load_file(out)
    for name in ("columns", "turned", "one"):
        expected = (whole[name].double() * done.clipped.coefficient).to(whole[name].dtype)
        assert np.array_equal(found[name], expected.numpy())


# Chunks


@given(st.data())
def test_however_it_is_cut_it_is_the_same_tensor(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    cuts = [
        data.draw(st.lists(st.integers(1, side - 1), max_size=3) if side > 1 else st.just([]))
        for side in shape
    ]
    values = np.arange(1, np.prod(shape) + 1, dtype="<f4").reshape(shape)
    folder = tmp_path_factory.mktemp("dcp")
    chunks = data.draw(st.permutations(split(values, cuts)))
    write(folder, {"w": (shape, chunks)})
    (row,) = gradclip_cli.inspect(folder).tensors
    assert row.norm == exact(values)
    assert row.max_abs_index == tuple(side - 1 for side in shape)
    gradclip_cli.apply(folder, clip_norm=1e9, output=folder / "out.npy")
    assert np.array_equal(np.load(folder / "out.npy"), values)


def test_what_is_no_tensor_and_what_is_no_gradient_is_said(here: Path) -> None:
    tensors = {
        f"{top}.w": (GRID.shape, [Chunk((0, 0), GRID)]) for top in ("model", "optim", "grads")
    }
    write(here / "in", tensors)
    report = gradclip_cli.inspect("in")
    assert {row.name for row in report.tensors} == {"grads.w"}
    assert "1 tensor not counted, parameters beside gradients: model.w" in report.notes
    assert "1 tensor not counted, state of an optimizer: optim.w" in report.notes


def test_a_name_is_taken_apart_as_its_dicts_were(here: Path) -> None:
    tensors = {"model.scaler.w": (GRID.shape, [Chunk((0, 0), GRID)])}
    write(here / "in", tensors, besides={"planner_data": {"model.scaler.w": ("model", "scaler.w")}})
    assert norms("in") == {"model.scaler.w": exact(GRID)}


def test_an_empty_tensor_and_an_empty_chunk_are_nothing(here: Path) -> None:
    chunks = [Chunk((0, 0), GRID), Chunk((6, 0), GRID[:0])]
    write(here / "in", {"none": ((0, 4), [Chunk((0, 0), GRID[:0])]), "w": (GRID.shape, chunks)})
    assert norms("in") == {"none": 0, "w": exact(GRID)}


WRONG: dict[str, tuple[Shape, list[Chunk], str]] = {
    "a hole": ((6, 4), [Chunk((0, 0), GRID[:5])], "'w' has 4 values that are in no chunk"),
    "an overlap": (
        (6, 4),
        [Chunk((0, 0), GRID[:4]), Chunk((3, 0), GRID[:3])],
        r"'w' has chunks at \[0, 0\] and \[3, 0\] that overlap",
    ),
    "beyond its shape": ((5, 4), [Chunk((0, 0), GRID)], r"'w' has a chunk at \[0, 0\] beyond"),
    "another rank": ((24,), [Chunk((0, 0), GRID)], "of another number of axes"),
    "outside": ((6, 4), [Chunk((0, 0), GRID, "../x.distcp")], "would lie outside of the folder"),
}


@pytest.mark.parametrize(("shape", "chunks", "words"), WRONG.values(), ids=WRONG.keys())
def test_chunks_that_are_no_whole_are_refused_by_name(
    shape: Shape, chunks: list[Chunk], words: str, here: Path
) -> None:
    write(here / "in", {"w": (shape, chunks)})
    (here / "in/__9_0.distcp").touch()
    with pytest.raises(GradclipError, match=words):
        gradclip_cli.inspect("in")


def test_metadata_that_lies_is_refused(here: Path) -> None:
    good = {"w": (GRID.shape, split(GRID, [[3], [2]]))}
    write(here / "in", good, dtype="float64")
    with pytest.raises(GradclipError, match="is not what the metadata says"):
        gradclip_cli.inspect("in")
    write(here / "in", good, transform_descriptors=["zstd"])
    with pytest.raises(GradclipError, match="is compressed, or changed by an extension"):
        gradclip_cli.inspect("in")
    write(here / "in", good, length=1 << 40)
    with pytest.raises(GradclipError, match="lies beyond the end"):
        gradclip_cli.inspect("in")
    write(here / "in", good, offset=7)
    with pytest.raises(GradclipError, match="is not sound"):
        gradclip_cli.inspect("in")
    write(here / "in", good, besides={"storage_data": {}})
    with pytest.raises(GradclipError, match="is in no file"):
        gradclip_cli.inspect("in")
    write(here / "in", good)
    (here / "in/__1_0.distcp").unlink()
    with pytest.raises(GradclipError, match=r"'__1_0\.distcp', which is not there"):
        gradclip_cli.inspect("in")


@pytest.mark.parametrize(
    "root",
    [
        Call(Global("os", "system"), ("touch harmed",)),
        record("Metadata", {"state_dict_metadata": {"w": Global("os", "system")}}),
        record("Popen", {}, "subprocess"),
        7,
        record("MetadataIndex", {}),
    ],
)
def test_metadata_runs_nothing(root: Any, here: Path) -> None:
    write(here / "in", {"w": (GRID.shape, [Chunk((0, 0), GRID)])})
    (here / "in/.metadata").write_bytes(pts.pickled(root))
    with untouched(here), pytest.raises(GradclipError) as caught:
        gradclip_cli.inspect("in")
    assert caught.value.hint


# Folders


def test_a_copy_without_its_metadata_says_what_is_missing(here: Path) -> None:
    write(here / "in", {"w": (GRID.shape, split(GRID, [[3], []]))})
    Path("in/.metadata").unlink()
    for path in ("in", "in/__0_0.distcp"):
        said = real("inspect", path)
        assert (said.status, said.out) == (2, "")
        assert "part of a distributed checkpoint" in said.err
        assert "begins with a dot" in said.err


def test_steps_of_a_run_are_followed_and_kept_until_a_part_changes(here: Path) -> None:
    for step in (1, 2):
        (here / "run").mkdir(exist_ok=True)
        write(here / f"run/step-{step}", {"w": (GRID.shape, split(GRID * step, [[3], []]))})
    steps = ["run/step-1", "run/step-2"]
    run = gradclip_cli.trend(*steps, cache="kept")
    assert [step.global_norm for step in run.steps] == [exact(GRID), exact(GRID * 2)]
    assert not gradclip_cli.trend(*steps, cache="kept").notes
    write(here / "run/step-2", {"w": (GRID.shape, split(GRID * 3, [[3], []]))})
    again = gradclip_cli.trend(*steps, cache="kept")
    assert again.steps[1].global_norm == exact(GRID * 3)
    assert any("measured anew" in note for note in again.notes)


def test_it_is_clipped_into_another_format_alone(here: Path) -> None:
    write(here / "in", {"w": (GRID.shape, split(GRID, [[3], [1]]))})
    for where in ({"output": "out"}, {"in_place": True}, {"dry_run": True}):
        with (
            untouched(here),
            pytest.raises(GradclipError, match=r"output clipped\.safetensors") as caught,
        ):
            gradclip_cli.apply("in", clip_norm=1.0, **where)
        assert "no ranges of its bytes" in caught.value.problem
    done = gradclip_cli.apply("in", clip_norm=1.0, output="out.safetensors")
    assert done.clipped is not None
    expected = (GRID.astype("f8") * done.clipped.coefficient).astype("f4")
    assert np.array_equal(load_file("out.safetensors")["w"], expected)


# The form of safetensors


def sharded(folder: Path, *files: dict[str, tuple[list[int], Any]]) -> None:
    """Write files whose tensors begin where each says."""
    folder.mkdir(exist_ok=True)
    for number, tensors in enumerate(files, 1):
        said = {name: {"saved_offsets": low} for name, (low, _) in tensors.items()}
        arrays = {name: np.ascontiguousarray(values) for name, (_, values) in tensors.items()}
        path = folder / f"shard-{number:05}-model-00001-of-00001.safetensors"
        save_file(arrays, path, {"DCP_SHARDING_INFO": json.dumps(said), "DCP_VERSION": "1.0"})


def test_pieces_of_several_files_are_one_tensor(here: Path) -> None:
    first = {"w": ([0, 0], GRID[:, :1]), "b": ([0], GRID[0])}
    sharded(here / "in", first, {"w": ([0, 1], GRID[:, 1:])})
    assert norms("in") == {"w": exact(GRID), "b": exact(GRID[0])}
    alone = gradclip_cli.inspect("in/shard-00001-model-00001-of-00001.safetensors")
    assert any("may go on in the files beside it" in note for note in alone.notes)
    assert not any("may go on" in note for note in gradclip_cli.inspect("in").notes)
    gradclip_cli.apply("in", clip_norm=1.0, output="parts/")
    assert gradclip_cli.inspect("parts").global_norm == pytest.approx(1)
    assert len(gradclip_cli.inspect("parts").files) == 2
    gradclip_cli.apply("in", clip_norm=1e9, output="out.safetensors")
    assert np.array_equal(load_file("out.safetensors")["w"], GRID)
    shutil.rmtree("in")
    sharded(here / "in", {"b": ([0], GRID[0])}, {"w": ([0, 0], GRID)})
    gradclip_cli.apply("in", clip_norm=1.0, output="out")
    assert gradclip_cli.inspect("out").global_norm == pytest.approx(1)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (({"w": ([2, 0], GRID[2:])},), "'w' has 8 values that are in no chunk"),
        (({"w": ([0, 0], GRID)}, {"w": ([5, 0], GRID[:2])}), "overlap"),
        (({"w": ([0], GRID)}, {"w": ([0, 0], GRID)}), "pieces of tensor 'w' have several"),
        (({"w": ([0, 0], GRID)}, {"w": ([6, 0], GRID.astype("f8"))}), "'w' have several dtypes"),
        (({"w": (["a"], GRID)},), "does not say where tensors begin"),
    ],
)
def test_pieces_that_are_no_whole_are_refused_by_name(files: Any, words: str, here: Path) -> None:
    sharded(here / "in", *files)
    with pytest.raises(GradclipError, match=words):
        gradclip_cli.inspect("in")
