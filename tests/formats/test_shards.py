"""A model that is split over several files: the index decides which of their tensors count."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import gradclip_cli
from gradclip_cli import GradclipError
from tests.folders import untouched
from tests.running import Run, gradclip, real

FOLDER = Path(__file__).parents[1] / "bad_indexes"
INDEX = "model.safetensors.index.json"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "manifest.json").read_text())
REASONS = {
    "bad-index": "weight_map, an object of names|is 7, and no name",
    "bad-shard-name": "is no name of a file",
    "data-truncated": "truncated: 1 of 70 bytes are missing",
    "duplicate-key": "says 'a' twice",
    "git-lfs-pointer": "Git LFS pointer",
    "not-json": "the shard index is not JSON|empty: 0 bytes",
    "not-regular": "does not exist",  # an empty folder is in no repository
    "not-utf8": r"not UTF-8 \(byte [0-9]+\)",
    "path-escape": "would lead out of the folder",
    "same-file": "'s2.safetensors' does not hold b",
    "shard-missing": "does not exist",
    "wrong-format": "is the index itself",
}


def by_verdict(verdict: str) -> pytest.MarkDecorator:
    """Give the cases of a verdict, by their names."""
    cases = [case for case in CASES if case["verdict"] == verdict]
    return pytest.mark.parametrize("case", cases, ids=lambda case: case["name"])


def test_each_case_has_its_folder() -> None:
    folders = {path.name for path in FOLDER.iterdir() if path.is_dir()}
    assert folders == {case["name"] for case in CASES}
    assert len(folders) == 26
    assert {case["slug"] for case in CASES} - {None} == REASONS.keys()


@by_verdict("reject")
@pytest.mark.parametrize("where", ["the index", "its folder"])
def test_a_bad_index_is_refused_in_one_line(case: dict[str, Any], where: str, run: Run) -> None:
    folder = FOLDER / case["name"]
    said = run("inspect", folder / INDEX if where == "the index" else folder)
    assert (said.status, said.out) == (2, "")
    problem, hint, end = said.err.split("\n")
    assert problem.startswith(f"gradclip: {folder / INDEX}: ")
    assert hint.startswith("hint: ")
    assert end == ""
    assert said.err.replace("\n", "").isprintable()
    assert re.search(REASONS[case["slug"]], problem)
    if case["names_tensor"] and case["slug"] != "same-file":
        assert f"'{case['names_tensor']}'" in problem


@by_verdict("reject")
def test_nothing_is_written_for_a_bad_index(case: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(GradclipError):
        gradclip_cli.apply(FOLDER / case["name"] / INDEX, clip_norm=1.0, output=tmp_path / "out")
    assert not [*tmp_path.iterdir()]


@by_verdict("reject")
def test_check_calls_it_bad(case: dict[str, Any]) -> None:
    assert not gradclip_cli.check(FOLDER / case["name"]).sound


@by_verdict("accept")
def test_a_good_index_counts_what_it_lists(case: dict[str, Any]) -> None:
    for path in (FOLDER / case["name"], FOLDER / case["name"] / INDEX):
        report = gradclip_cli.inspect(path)
        assert report.global_norm == 5.0
        assert {row.name for row in report.tensors} == {"a"}
        assert (
            any(case["names_tensor"] in note for note in report.notes) or not case["names_tensor"]
        )
        assert gradclip_cli.check(path).sound == (case["names_tensor"] is None)


# Folders


def shard(path: str, **tensors: float) -> None:
    """Write a file of tensors of one value each."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.array([value], "<f4") for name, value in tensors.items()}, path)


def index(path: str, **places: str) -> None:
    """Write an index."""
    text = json.dumps({"metadata": {"total_size": 4 * len(places)}, "weight_map": places})
    Path(path, INDEX).write_text(text)


def test_a_whole_beside_its_parts_is_not_counted_and_said(here: Path) -> None:
    shard("in/model-00001-of-00002.safetensors", a=3)
    shard("in/model-00002-of-00002.safetensors", b=4)
    shard("in/model.safetensors", a=3, b=4)
    index("in", a="model-00001-of-00002.safetensors", b="model-00002-of-00002.safetensors")
    report = gradclip_cli.inspect("in")
    assert report.global_norm == 5.0
    assert "1 file not counted, in no shard index: in/model.safetensors" in report.notes
    assert len(gradclip_cli.check("in")) == 3


def test_an_overlay_supersedes_and_both_are_written(here: Path) -> None:
    shard("in/model-00001-of-00001.safetensors", a=3, b=400)
    shard("in/model-overlay.safetensors", b=4)
    index("in", a="model-00001-of-00001.safetensors", b="model-overlay.safetensors")
    report = gradclip_cli.apply("in", clip_norm=2.5, output="out")
    assert report.clipped is not None
    assert (report.clipped.norm_before, report.clipped.norm_after) == (5.0, 2.5)
    assert "1 tensor not counted, superseded by another shard: b" in report.notes
    base = load_file("out/model-00001-of-00001.safetensors")
    assert [*base["a"], *base["b"]] == [1.5, 400]
    assert load_file("out/model-overlay.safetensors")["b"] == 2
    assert gradclip_cli.inspect("out").global_norm == 2.5
    assert Path("out", INDEX).read_bytes() == Path("in", INDEX).read_bytes()


def test_a_tensor_in_no_index_is_named_copied_and_bad(here: Path) -> None:
    shard("in/model-00001-of-00001.safetensors", a=3, b=4, old=400)
    index("in", a="model-00001-of-00001.safetensors", b="model-00001-of-00001.safetensors")
    report = gradclip_cli.apply("in", clip_norm=2.5, in_place=True)
    assert "1 tensor not counted, in no shard index: old" in report.notes
    assert load_file("in/model-00001-of-00001.safetensors")["old"] == 400
    (checked,) = gradclip_cli.check("in")
    assert checked.problem == "holds 1 tensor in no shard index: old"


def test_links_of_a_cache_are_followed(here: Path) -> None:
    shard("blobs/1f", a=3)
    shard("blobs/2e", b=4)
    Path("snapshot").mkdir()
    for name, blob in (("model-00001-of-00002", "1f"), ("model-00002-of-00002", "2e")):
        os.symlink(f"../blobs/{blob}", f"snapshot/{name}.safetensors")
    index("snapshot", a="model-00001-of-00002.safetensors", b="model-00002-of-00002.safetensors")
    assert gradclip_cli.inspect("snapshot").global_norm == 5.0
    gradclip_cli.apply("snapshot", clip_norm=2.5, output="out")
    assert gradclip_cli.inspect("out").global_norm == 2.5
    assert load_file("blobs/1f")["a"] == 3


def test_parts_that_are_missing_are_noticed_without_an_index(here: Path, run: Run) -> None:
    shard("in/model-00001-of-00003.safetensors", a=3)
    shard("in/model-00003-of-00003.safetensors", b=4)
    said = run("inspect", "in")
    assert said.status == 2
    assert said.err.startswith("gradclip: in/model-00001-of-00003.safetensors: 2 of 3 parts are ")
    assert "and number 2 is not" in said.err
    assert gradclip_cli.inspect("in/model-00001-of-00003.safetensors").global_norm == 3
    assert not gradclip_cli.check("in").sound


def test_integers_that_become_floats_grow_in_the_index_too(here: Path) -> None:
    Path("in").mkdir()
    for name in ("a", "b"):
        save_file({name: np.array([3, 4], "i4")}, f"in/{name}.safetensors")
    index("in", a="a.safetensors", b="b.safetensors")
    Path("in", INDEX).write_text(Path("in", INDEX).read_text().replace(": 8", ": 16"))
    gradclip_cli.apply("in", clip_norm=1.0, output="out")
    assert json.loads(Path("out", INDEX).read_text())["metadata"]["total_size"] == 32
    assert json.loads(Path("in", INDEX).read_text())["metadata"]["total_size"] == 16
    gradclip_cli.apply("in", clip_norm=1.0, in_place=True)
    assert json.loads(Path("in", INDEX).read_text())["metadata"]["total_size"] == 32


def test_an_index_beside_steps_is_wrong_with_its_step_alone(here: Path) -> None:
    for step in (1, 2, 3):
        shard(f"run/step-{step}/model.safetensors", a=step)
        index(f"run/step-{step}", a="model.safetensors")
    Path("run/step-2", INDEX).write_text("{}")
    trend = gradclip_cli.trend("run")
    assert [step.global_norm for step in trend.steps] == [1, 3]
    assert [one.step for one in trend.unreadable] == [2]


def test_a_cached_step_is_measured_anew_when_its_index_changes(here: Path) -> None:
    for step in (1, 2):
        shard(f"run/step-{step}/a.safetensors", a=3, b=4)
        index(f"run/step-{step}", a="a.safetensors", b="a.safetensors")
    assert [one.global_norm for one in gradclip_cli.trend("run", cache="c").steps] == [5, 5]
    kept = Path("c").read_bytes()
    assert [one.global_norm for one in gradclip_cli.trend("run", cache="c").steps] == [5, 5]
    assert Path("c").read_bytes() == kept
    index("run/step-2", a="a.safetensors")
    assert [one.global_norm for one in gradclip_cli.trend("run", cache="c").steps] == [5, 3]


def test_an_output_in_the_way_of_an_index_leaves_all_as_it_is(here: Path) -> None:
    shard("in/a.safetensors", a=3)
    index("in", a="a.safetensors")
    Path("out").mkdir()
    Path("out", INDEX).write_text("mine")
    with untouched(here):
        said = real("apply", f"in/{INDEX}", "--clip-norm", "1", "-o", "out")
    assert said.status == 2
    assert "already exists" in said.err


# One tensor a file


def test_a_tensor_that_is_called_a_gradient_is_named_after_its_file(here: Path) -> None:
    for name, word, value in (("layers.0.w", "gradient", 3), ("layers.0.b", "grad", 4)):
        shard(f"in/{name}.safetensors", **{word: value})
    report = gradclip_cli.apply("in", clip_norm=2.5, output="out")
    assert {row.name: row.norm for row in report.tensors} == {"layers.0.w": 3, "layers.0.b": 4}
    assert load_file("out/layers.0.w.safetensors")["gradient"] == 1.5
    assert gradclip_cli.inspect("in/layers.0.b.safetensors").tensors[0].name == "layers.0.b"
    assert (
        gradclip_cli.diff("in/layers.0.b.safetensors", "out/layers.0.b.safetensors").factor == 0.5
    )
    assert gradclip_cli.diff("in", "out").factor == 0.5


def test_integers_of_one_tensor_a_file_keep_their_own_name(here: Path) -> None:
    Path("in").mkdir()
    save_file({"gradient": np.array([3, 4])}, "in/w.safetensors")
    gradclip_cli.apply("in", clip_norm=2.5, output="out")
    assert load_file("out/w.safetensors")["gradient"].tolist() == [1.5, 2.0]


def test_a_pipe_has_no_name_to_give(here: Path) -> None:
    shard("w.safetensors", gradient=3)
    said = gradclip("inspect", "--json", stdin=Path("w.safetensors").read_bytes())
    assert json.loads(said.stdout)["tensors"][0]["name"] == "gradient"


@pytest.mark.parametrize("text", ["{", "{}", '{"weight_map": {"a": "../x"}}'])
def test_a_damaged_index_is_told_once_and_its_shards_are_checked(text: str, here: Path) -> None:
    shard("in/model-00001-of-00002.safetensors", a=3)
    Path("in/model-00002-of-00002.safetensors").write_bytes(b"\x40")
    Path("in", INDEX).write_text(text)
    found = gradclip_cli.check("in")
    assert [(one.label, one.sound) for one in found] == [
        (f"in/{INDEX}", False),
        ("in/model-00001-of-00002.safetensors", True),
        ("in/model-00002-of-00002.safetensors", False),
    ]
    with pytest.raises(GradclipError, match=f"in/{re.escape(INDEX)}: "):
        gradclip_cli.inspect("in")
