"""What a dump is made of besides files of its own: no result and no report takes its place."""

import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import gradclip_cli
from tests.dcps import Chunk, write
from tests.dumps import floats, safetensors_bytes
from tests.folders import untouched
from tests.running import Run

ROW = np.array([3.0, 4.0], "<f4")
INDEX = '{"weight_map": {"w": "model-00001-of-00001.safetensors"}}'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a checkpoint in parts, and a split model; each has a link to a part."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "ckpt", {"w": (ROW.shape, [Chunk((0,), ROW)])})
    model = tmp_path / "model"
    model.mkdir()
    raw = safetensors_bytes({"w": floats("F32", (2,), [3.0, 4.0])})
    (model / "model-00001-of-00001.safetensors").write_bytes(raw)
    (model / "model.safetensors.index.json").write_text(INDEX)
    (tmp_path / "part.safetensors").symlink_to("ckpt/__0_0.distcp")
    (tmp_path / "index.safetensors").symlink_to("model/model.safetensors.index.json")
    return tmp_path


def check_refused(here: Path, run: Run, words: str, *given: str) -> None:
    """Clip with `--force`, which is an error in these words and changes nothing."""
    with untouched(here):
        said = run("apply", *given, "--clip-norm", "1", "--force")
    assert said.status == 2
    assert words in said.err


@pytest.mark.parametrize(
    ("operand", "output"),
    [
        ("ckpt", "part.safetensors"),
        ("ckpt/.metadata", "part.safetensors"),
        ("model", "index.safetensors"),
    ],
)
def test_no_result_takes_the_place_of_a_part(
    operand: str, output: str, here: Path, run: Run
) -> None:
    check_refused(here, run, "the output is the input itself", operand, "-o", output)


@pytest.mark.parametrize(
    ("operand", "report"),
    [
        ("ckpt/.metadata", "ckpt/__0_0.distcp"),
        ("ckpt/.metadata", "part.safetensors"),
        ("model/model.safetensors.index.json", "model/model-00001-of-00001.safetensors"),
    ],
)
def test_no_report_takes_the_place_of_a_part(
    operand: str, report: str, here: Path, run: Run
) -> None:
    others = "-o", "new.npy", "--dry-run", "--report", report
    check_refused(here, run, "the report would", operand, *others)


def test_no_result_goes_through_a_stream_into_a_part(here: Path) -> None:
    part = os.open(here / "ckpt" / "__0_0.distcp", os.O_WRONLY)
    try:
        with (
            untouched(here),
            open(part, "wb", closefd=False) as stream,
            pytest.raises(gradclip_cli.GradclipError, match="is the input itself"),
        ):
            gradclip_cli.apply("ckpt", clip_norm=1, output=stream.write)
    finally:
        os.close(part)


def test_a_dump_beside_the_parts_may_be_replaced(here: Path, run: Run) -> None:
    for _ in range(2):
        said = run(*("apply", "ckpt", "--clip-norm", "1", "-o", "ckpt/new.safetensors", "--force"))
        assert said.status == 0, said.err


@pytest.mark.parametrize("way", ["out/", "out.npz", "in place", "stream"])
def test_an_index_that_changes_meanwhile_is_an_error(
    way: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = b""

    def write(data: bytes) -> None:
        nonlocal written
        written += data

    def prove(*_given: object) -> None:
        (here / "model" / "model.safetensors.index.json").write_text(INDEX[:9])

    monkeypatch.setattr("gradclip_cli.commands.apply.prove", prove)
    shard = here / "model" / "model-00001-of-00001.safetensors"
    before = shard.read_bytes()
    place = {"in place": {"in_place": True}, "stream": {"output": write}}.get(way, {"output": way})
    with pytest.raises(gradclip_cli.GradclipError, match="changed while gradclip was reading it"):
        gradclip_cli.apply("model", clip_norm=1, **place)  # type: ignore[arg-type]
    assert shard.read_bytes() == before
    assert not (here / way).exists()
    with pytest.raises(safetensors.SafetensorError):
        safetensors.numpy.load(written)
