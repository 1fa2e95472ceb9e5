"""Where `apply` writes: every form of `-o` and `--in-place`, whole or not at all.

A refusal or a failure leaves each file of the folder as it was, inode and time included, and no
file more.
"""

import contextlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import gradclip_cli
from gradclip_cli import GradclipError, RefusedError
from tests.folders import array, names, state, untouched, values
from tests.running import Said, gradclip, ordinary_user, real, run_here


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


# Forms of -o


HIDDEN = ".x.npy.gradclip-0123456789abcdef.tmp"


@pytest.mark.parametrize(
    ("operand", "output"),
    [(HIDDEN, "new.npy"), ("link.npy", "new.npy"), ("x.npy", HIDDEN), ("x.npy", f"{HIDDEN}/")],
)
def test_what_the_next_run_would_sweep_away_is_refused(
    operand: str, output: str, here: Path
) -> None:
    array(here / "x.npy")
    shutil.copy("x.npy", HIDDEN if not output.endswith("/") else "y.npy")
    (here / "link.npy").symlink_to(HIDDEN)
    with untouched(here), pytest.raises(GradclipError, match="a name that gradclip gives to"):
        gradclip_cli.apply(operand, clip_norm=2.5, output=output, force=True)
    if operand != "x.npy":
        with untouched(here), pytest.raises(GradclipError, match="a name that gradclip gives to"):
            gradclip_cli.apply(operand, clip_norm=2.5, in_place=True)


def test_what_is_staged_in_a_folder_is_no_part_of_the_dump(here: Path) -> None:
    array(here / "in" / "x.npy")
    array(here / "in" / HIDDEN / "y.npy")
    assert gradclip_cli.inspect("in").global_norm == 5
    assert len(gradclip_cli.check("in")) == 1


@pytest.mark.parametrize("output", ["out.npy", "./out", "../out.npy", "no.suffix", "-x.npy"])
def test_one_file_goes_to_the_file_that_is_named(output: str, here: Path) -> None:
    array(here / "x.npy")
    gradclip_cli.apply("x.npy", clip_norm=2.5, output=output)
    assert values(here / output) == [1.5, 2.0]
    assert values(here / "x.npy") == [3.0, 4.0]
    assert len(names(here.parent)) == 2


def test_one_file_goes_into_a_folder_that_exists(here: Path) -> None:
    array(here / "deep" / "x.npy")
    (here / "out").mkdir()
    gradclip_cli.apply("deep/x.npy", clip_norm=2.5, output="out")
    assert names(here) == {"deep/x.npy", "out/x.npy"}
    assert values(here / "out" / "x.npy") == [1.5, 2.0]


def test_a_slash_at_the_end_makes_a_folder(here: Path) -> None:
    array(here / "x.npy")
    gradclip_cli.apply("x.npy", clip_norm=2.5, output="out/")
    assert names(here) == {"x.npy", "out/x.npy"}
    assert values(here / "out" / "x.npy") == [1.5, 2.0]


@pytest.mark.parametrize("output", ["out", "out/", "made/"])
@pytest.mark.parametrize("operand", ["in", "in/", "./in"])
def test_a_folder_keeps_its_paths_in_the_new_folder(operand: str, output: str, here: Path) -> None:
    array(here / "in" / "x.npy", 3.0)
    array(here / "in" / "sub" / "deep" / "y.npy", 4.0)
    (here / "in" / "notes.txt").write_text("not a dump")
    (here / "made").mkdir()
    gradclip_cli.apply(operand, clip_norm=2.5, output=output)
    assert names(here / output) == {"x.npy", "sub/deep/y.npy"}
    assert values(here / output / "x.npy") == [1.5]
    assert values(here / output / "sub" / "deep" / "y.npy") == [2.0]


def test_several_operands_go_into_one_folder_as_one_gradient(here: Path) -> None:
    array(here / "a" / "x.npy", 3.0)
    array(here / "b" / "sub" / "y.npy", 4.0)
    array(here / "z.npy", 12.0)
    report = gradclip_cli.apply("a/x.npy", "b", "z.npy", clip_norm=6.5, output="out")
    assert report.clipped is not None
    assert (report.clipped.norm_before, report.clipped.norm_after) == (13.0, 6.5)
    assert names(here / "out") == {"x.npy", "sub/y.npy", "z.npy"}
    assert values(here / "out" / "z.npy") == [6.0]


def test_a_shard_index_is_copied_along_to_the_byte(here: Path) -> None:
    shards = {"model-00001-of-00002.safetensors": "a", "model-00002-of-00002.safetensors": "b"}
    (here / "in" / "sub").mkdir(parents=True)
    for shard, name in shards.items():
        save_file({name: np.array([3.0, 4.0], "f4")}, here / "in" / "sub" / shard)
    weights = {name: shard for shard, name in shards.items()}
    index = json.dumps({"metadata": {"total_size": 16}, "weight_map": weights}, indent=3) + "\r\n"
    (here / "in" / "sub" / "model.safetensors.index.json").write_bytes(index.encode())
    gradclip_cli.apply("in", clip_norm=1.0, output="out")
    assert names(here / "out") == names(here / "in")
    copied = here / "out" / "sub" / "model.safetensors.index.json"
    assert copied.read_bytes() == index.encode()
    for shard, name in shards.items():
        clipped = load_file(here / "out" / "sub" / shard)
        assert clipped.keys() == {name}
        assert np.linalg.norm(clipped[name]) == pytest.approx(0.5**0.5, rel=1e-6)


def test_a_shard_index_that_exists_is_not_overwritten_either(here: Path) -> None:
    save_file({"a": np.array([3.0, 4.0], "f4")}, array(here / "in" / "a.safetensors"))
    index = json.dumps({"weight_map": {"a": "a.safetensors"}})
    (here / "in" / "model.safetensors.index.json").write_text(index)
    (here / "out").mkdir()
    (here / "out" / "model.safetensors.index.json").write_text("mine")
    with untouched(here), pytest.raises(GradclipError, match="already exists"):
        gradclip_cli.apply("in", clip_norm=1.0, output="out")


# What is refused before anything is written


def test_two_files_that_would_take_one_place_are_refused(here: Path) -> None:
    for folder, name in (("a", "first"), ("b", "second")):
        (here / folder).mkdir()
        save_file({name: np.array([3.0], "f4")}, here / folder / "x.safetensors")
    with untouched(here), pytest.raises(GradclipError) as caught:
        gradclip_cli.apply("a", "b", clip_norm=1.0, output="out")
    assert caught.value.said == (
        "out/x.safetensors: both a/x.safetensors and b/x.safetensors would be written here"
    )


@pytest.mark.parametrize("output", ["out.npy", "in-the-way", "in-the-way/"])
def test_a_file_that_exists_is_never_overwritten_without_force(output: str, here: Path) -> None:
    array(here / "x.npy")
    array(here / "out.npy", 1.0)
    array(here / "in-the-way" / "x.npy", 1.0)
    with untouched(here), pytest.raises(GradclipError, match="already exists") as caught:
        gradclip_cli.apply("x.npy", clip_norm=2.5, output=output)
    assert "force" in caught.value.hint


def test_one_file_that_exists_in_the_folder_stops_all_of_them(here: Path) -> None:
    array(here / "in" / "a.npy")
    array(here / "in" / "b.npy")
    array(here / "out" / "b.npy", 1.0)
    with untouched(here), pytest.raises(GradclipError, match=r"out/b\.npy: already exists"):
        gradclip_cli.apply("in", clip_norm=2.5, output="out")


@pytest.mark.parametrize("output", ["missing/out.npy", "missing/deep/out.npy", "missing/deep/"])
@pytest.mark.parametrize("force", [False, True], ids=["", "force"])
def test_a_place_whose_folder_does_not_exist_is_refused(
    output: str, force: bool, here: Path
) -> None:
    array(here / "x.npy")
    with untouched(here), pytest.raises(GradclipError, match="does not exist") as caught:
        gradclip_cli.apply("x.npy", clip_norm=2.5, output=output, force=force)
    assert "mkdir" in caught.value.hint


@pytest.mark.parametrize("output", ["file", "file/"])
@pytest.mark.parametrize("force", [False, True], ids=["", "force"])
def test_a_file_where_a_folder_is_needed_is_refused(output: str, force: bool, here: Path) -> None:
    array(here / "in" / "x.npy")
    (here / "file").write_text("mine")
    with untouched(here), pytest.raises(GradclipError):
        gradclip_cli.apply("in", clip_norm=2.5, output=output, force=force)


def test_a_folder_where_a_file_should_go_is_refused(here: Path) -> None:
    array(here / "x.npy")
    (here / "out" / "x.npy").mkdir(parents=True)
    with untouched(here), pytest.raises(GradclipError, match="a folder stands where"):
        gradclip_cli.apply("x.npy", clip_norm=2.5, output="out", force=True)


@pytest.mark.parametrize("force", [False, True], ids=["", "force"])
@pytest.mark.parametrize(
    "output", ["x.npy", "./x.npy", ".", "./", "../here/x.npy", "link.npy", "hard.npy", "way/x.npy"]
)
def test_the_input_is_never_the_output(output: str, force: bool, here: Path) -> None:
    array(here / "x.npy")
    (here / "link.npy").symlink_to("x.npy")
    (here / "hard.npy").hardlink_to(here / "x.npy")
    (here / "way").symlink_to(here)
    with untouched(here), pytest.raises(GradclipError, match="input itself") as caught:
        gradclip_cli.apply("x.npy", clip_norm=2.5, output=output, force=force)
    assert "in_place" in caught.value.hint


def test_no_input_of_several_is_the_output_of_another(here: Path) -> None:
    array(here / "in" / "a.npy")
    array(here / "b.npy")
    with untouched(here), pytest.raises(GradclipError, match="input itself"):
        gradclip_cli.apply("in/a.npy", "b.npy", clip_norm=2.5, output=".", force=True)


def test_the_same_file_given_twice_is_refused_and_not_counted_twice(here: Path) -> None:
    path = array(here / "x.npy")
    for twice in ((path, path), ("x.npy", "x.npy"), ("x.npy", "./x.npy"), ("x.npy", ".")):
        with untouched(here), pytest.raises(GradclipError, match="is the same file as"):
            gradclip_cli.apply(*twice, clip_norm=2.5, output="out")
        with pytest.raises(GradclipError, match="is the same file as"):
            gradclip_cli.inspect(*twice)
    array(here / "run" / "step-1.npy")
    with pytest.raises(GradclipError, match=r"is the same file as run/step-1\.npy"):
        gradclip_cli.inspect("run/step-1.npy", "run//step-1.npy")


def test_one_file_under_two_names_is_refused_and_not_counted_twice(here: Path) -> None:
    array(here / "in" / "sub" / "x.npy")
    (here / "in" / "link.npy").symlink_to("sub/x.npy")
    (here / "in" / "hard.npy").hardlink_to(here / "in" / "sub" / "x.npy")
    for twice in (("in/sub/x.npy", "in/link.npy"), ("in/hard.npy", "in/sub"), ("in",)):
        with pytest.raises(GradclipError, match="is the same file as"):
            gradclip_cli.inspect(*twice)


# --force


def test_force_replaces_and_keeps_the_mode(here: Path) -> None:
    array(here / "x.npy")
    for mode in (0o600, 0o644, 0o660, 0o755):
        array(here / "out.npy", 1.0).chmod(mode)
        inode = (here / "out.npy").stat().st_ino
        gradclip_cli.apply("x.npy", clip_norm=2.5, output="out.npy", force=True)
        assert values(here / "out.npy") == [1.5, 2.0]
        assert stat.S_IMODE((here / "out.npy").stat().st_mode) == mode
        assert (here / "out.npy").stat().st_ino != inode, "written beside, then renamed"
    assert names(here) == {"x.npy", "out.npy"}


def test_force_replaces_what_a_link_points_to_and_keeps_the_link(here: Path) -> None:
    array(here / "x.npy")
    array(here / "store" / "real.npy", 1.0)
    (here / "out.npy").symlink_to("store/real.npy")
    gradclip_cli.apply("x.npy", clip_norm=2.5, output="out.npy", force=True)
    assert os.readlink(here / "out.npy") == "store/real.npy"
    assert values(here / "store" / "real.npy") == [1.5, 2.0]


def test_force_into_a_folder_leaves_its_other_files_alone(here: Path) -> None:
    array(here / "in" / "a.npy")
    array(here / "out" / "a.npy", 1.0)
    array(here / "out" / "other.npy", 2.0)
    before = state(here / "out")["other.npy"]
    gradclip_cli.apply("in", clip_norm=2.5, output="out", force=True)
    assert values(here / "out" / "a.npy") == [1.5, 2.0]
    assert state(here / "out")["other.npy"] == before


# Modes of new files


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_obeys_the_umask_and_not_the_mode_of_the_input(
    umask: int, mode: int, here: Path
) -> None:
    array(here / "in" / "x.npy").chmod(0o640)
    old = os.umask(umask)
    try:
        gradclip_cli.apply("in/x.npy", clip_norm=2.5, output="out.npy")
        gradclip_cli.apply("in", clip_norm=2.5, output="out/")
    finally:
        os.umask(old)
    assert stat.S_IMODE((here / "out.npy").stat().st_mode) == mode
    assert stat.S_IMODE((here / "out" / "x.npy").stat().st_mode) == mode
    assert stat.S_IMODE((here / "out").stat().st_mode) == 0o777 & ~umask


# --in-place


def test_in_place_replaces_the_file_and_keeps_its_mode(here: Path) -> None:
    array(here / "x.npy").chmod(0o640)
    gradclip_cli.apply("x.npy", clip_norm=2.5, in_place=True)
    assert values(here / "x.npy") == [1.5, 2.0]
    assert stat.S_IMODE((here / "x.npy").stat().st_mode) == 0o640
    assert names(here) == {"x.npy"}


def test_in_place_replaces_what_a_link_points_to_and_keeps_the_link(here: Path) -> None:
    array(here / "store" / "real.npy")
    (here / "between.npy").symlink_to("store/real.npy")
    (here / "x.npy").symlink_to("between.npy")
    gradclip_cli.apply("x.npy", clip_norm=2.5, in_place=True)
    assert os.readlink(here / "x.npy") == "between.npy"
    assert os.readlink(here / "between.npy") == "store/real.npy"
    assert values(here / "store" / "real.npy") == [1.5, 2.0]
    assert names(here / "store") == {"real.npy"}


def test_in_place_refuses_a_file_with_several_hard_links(here: Path) -> None:
    array(here / "in" / "a.npy")
    array(here / "in" / "b.npy")
    (here / "other.npy").hardlink_to(here / "in" / "b.npy")
    with untouched(here), pytest.raises(GradclipError, match=r"in/b\.npy: .*2 hard links"):
        gradclip_cli.apply("in", clip_norm=2.5, in_place=True)


def test_in_place_refuses_a_read_only_file(here: Path) -> None:
    array(here / "in" / "a.npy")
    array(here / "in" / "b.npy").chmod(0o444)
    with untouched(here):
        done = real("apply", "in", "--clip-norm=1", "--in-place", before=ordinary_user())
    assert done.status == 2
    assert done.err.startswith("gradclip: in/b.npy: the file is read-only\nhint: ")


def test_in_place_refuses_a_folder_that_cannot_be_written_to(here: Path) -> None:
    array(here / "in" / "a.npy")
    (here / "in").chmod(0o555)
    with untouched(here):
        done = real("apply", "in", "--clip-norm=1", "--in-place", before=ordinary_user())
    (here / "in").chmod(0o755)
    assert done.status == 2
    assert "in/a.npy: its folder cannot be written to\nhint: " in done.err


def test_in_place_does_not_touch_what_is_within_the_limit(here: Path) -> None:
    array(here / "x.npy")
    with untouched(here):
        report = gradclip_cli.apply("x.npy", clip_norm=5.0, in_place=True)
    assert report.clipped is not None
    assert not report.clipped.clipped


def test_in_place_does_not_touch_a_file_of_integers_beside_the_gradients(here: Path) -> None:
    array(here / "in" / "grads.npy")
    np.save(here / "in" / "step.npy", np.array(1000))
    before = state(here)["in/step.npy"]
    gradclip_cli.apply("in", clip_norm=2.5, in_place=True)
    assert values(here / "in" / "grads.npy") == [1.5, 2.0]
    assert state(here)["in/step.npy"] == before


def test_in_place_does_not_touch_a_file_that_is_excluded(here: Path) -> None:
    array(here / "in" / "a.npy")
    array(here / "in" / "b.npy", np.nan)
    before = state(here)["in/b.npy"]
    gradclip_cli.apply("in", clip_norm=2.5, in_place=True, exclude=["b"])
    assert values(here / "in" / "a.npy") == [1.5, 2.0]
    assert state(here)["in/b.npy"] == before


@pytest.mark.parametrize("others", [(0.0, -0.0), (0.0,) * 5_000], ids=["small", "large"])
def test_in_place_does_not_touch_a_file_of_zeros(others: tuple[float, ...], here: Path) -> None:
    array(here / "in" / "a.npy")
    array(here / "in" / "b.npy", *others)
    np.save(here / "in" / "c.npy", np.zeros((0, 3), "f4"))
    before = state(here)
    gradclip_cli.apply("in", clip_norm=2.5, in_place=True)
    assert values(here / "in" / "a.npy") == [1.5, 2.0]
    assert state(here)["in/b.npy"] == before["in/b.npy"]
    assert state(here)["in/c.npy"] == before["in/c.npy"]


def test_a_second_clip_in_place_finds_nothing_to_do(here: Path) -> None:
    array(here / "x.npy")
    gradclip_cli.apply("x.npy", clip_norm=2.5, in_place=True)
    with untouched(here):
        gradclip_cli.apply("x.npy", clip_norm=2.5, in_place=True)


# Devices and FIFOs


@contextlib.contextmanager
def read_from(fifo: Path) -> Iterator[bytearray]:
    """Make a FIFO with a reader; gives what came out of it, which must fit into a pipe."""
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    received = bytearray()
    try:
        yield received
        received += os.read(descriptor, 1 << 16)
    finally:
        os.close(descriptor)
    assert stat.S_ISFIFO(fifo.lstat().st_mode), "a FIFO is written through, not replaced"


@pytest.mark.parametrize("force", [False, True], ids=["", "force"])
def test_a_fifo_is_written_through(force: bool, here: Path) -> None:
    array(here / "x.npy")
    with read_from(here / "out.npy") as received:
        gradclip_cli.apply("x.npy", clip_norm=2.5, output="out.npy", force=force)
    gradclip_cli.apply("x.npy", clip_norm=2.5, output="file.npy")
    assert received == (here / "file.npy").read_bytes()
    assert names(here) == {"x.npy", "out.npy", "file.npy"}


def test_nothing_goes_into_a_fifo_if_the_gradients_are_refused(here: Path) -> None:
    array(here / "x.npy", 3.0, np.nan)
    with read_from(here / "out.npy") as received:
        for use_norm in (None, 5.0):
            with pytest.raises(RefusedError):
                gradclip_cli.apply("x.npy", clip_norm=1.0, output="out.npy", use_norm=use_norm)
    assert received == b""


def test_dev_null_takes_the_result_and_stays_a_device(here: Path) -> None:
    array(here / "x.npy")
    report = gradclip_cli.apply("x.npy", clip_norm=2.5, output="/dev/null")
    assert report.clipped is not None
    assert report.clipped.norm_after == 2.5
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("place", ["/dev/fd", "/proc/self/fd"])
def test_an_open_file_without_a_name_is_written_to(place: str, here: Path) -> None:
    if not Path(place).is_dir():
        pytest.skip(f"no {place}")
    array(here / "x.npy")
    array(here / "bad.npy", np.nan)
    gradclip_cli.apply("x.npy", clip_norm=2.5, output="file.npy")
    with open("gone", "w+b", buffering=0) as gone:
        gone.write(b"longer than the result" * 100)
        os.unlink("gone")
        out = f"{place}/{gone.fileno()}"
        with pytest.raises(RefusedError):
            gradclip_cli.apply("bad.npy", clip_norm=2.5, output=out)
        assert os.fstat(gone.fileno()).st_size == 2200, "a refusal leaves it as it was"
        report = gradclip_cli.apply("x.npy", clip_norm=2.5, output=out)
        assert report.written is not None
        assert report.written.paths == (out,)
        assert os.pread(gone.fileno(), 1 << 20, 0) == (here / "file.npy").read_bytes()
        with pytest.raises(GradclipError, match="the output is the input itself"):
            gradclip_cli.apply(out, clip_norm=1.0, output=out)
    assert names(here) == {"x.npy", "bad.npy", "file.npy"}


def test_stdout_may_be_a_file_without_a_name(here: Path) -> None:
    array(here / "x.npy")
    gradclip_cli.apply("x.npy", clip_norm=2.5, output="file.npy")
    with open("gone", "w+b", buffering=0) as gone:
        os.unlink("gone")
        done = gradclip("apply", "x.npy", "--clip-norm=2.5", "-o", "/dev/stdout", stdout=gone)
        assert done.returncode == 0
        assert b"global" in done.stderr, "the report stays out of it"
        assert os.pread(gone.fileno(), 1 << 20, 0) == (here / "file.npy").read_bytes()


def test_several_files_cannot_go_to_one_stream(here: Path) -> None:
    array(here / "x.npy")
    array(here / "y.npy")
    with pytest.raises(GradclipError, match="2 files cannot go to one stream"):
        gradclip_cli.apply("x.npy", "y.npy", clip_norm=2.5, output="/dev/null")
    with pytest.raises(GradclipError, match="2 files cannot go to one stream"):
        gradclip_cli.apply(here, clip_norm=2.5, output=bytearray().extend)


# Failures on the way


FORMS: dict[str, dict[str, object]] = {
    "in place": {"in_place": True},
    "into a new folder": {"output": "new/"},
    "into a folder": {"output": "out"},
    "with force": {"output": "out", "force": True},
}


@pytest.mark.parametrize("use_norm", [None, 5.0], ids=["two passes", "one pass"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_nan_in_the_last_file_leaves_everything_as_it_was(
    form: dict[str, object], use_norm: float | None, here: Path
) -> None:
    array(here / "in" / "a.npy")
    array(here / "in" / "sub" / "b.npy", 3.0, np.nan)
    (here / "out").mkdir()
    if "force" in form:
        array(here / "out" / "a.npy", 1.0)
    with untouched(here), pytest.raises(RefusedError, match=r"b\.npy: .*not finite") as caught:
        gradclip_cli.apply("in", clip_norm=1.0, use_norm=use_norm, **form)  # type: ignore[arg-type]
    assert caught.value.details == ("'sub.b': 1 NaN, first at [1]",)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("use_norm", [None, 5.0], ids=["two passes", "one pass"])
def test_a_truncated_last_file_leaves_everything_as_it_was(
    form: dict[str, object], use_norm: float | None, here: Path
) -> None:
    array(here / "in" / "a.npy")
    path = array(here / "in" / "b.npy")
    path.write_bytes(path.read_bytes()[:-3])
    (here / "out").mkdir()
    with untouched(here), pytest.raises(GradclipError, match=r"b\.npy: truncated: 3 of"):
        gradclip_cli.apply("in", clip_norm=1.0, use_norm=use_norm, **form)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["--in-place", "-onew/", "-oout --force"])
def test_a_disk_that_is_too_small_leaves_everything_as_it_was(form: str, here: Path) -> None:
    array(here / "in" / "a.npy")
    array(here / "in" / "b.npy", *[1.0] * 30_000)
    (here / "out").mkdir()
    if "--force" in form:
        array(here / "out" / "a.npy", 1.0)
    limit = ["bash", "-c", 'ulimit -f 100; exec "$@"', "bash"]
    with untouched(here):
        done = real("apply", "in", "--clip-norm=1", *form.split(), before=limit)
    assert done.status == 2
    assert "Traceback" not in done.err
    problem, hint, end = done.err.split("\n")
    assert problem.startswith("gradclip: ")
    assert "b.npy" in problem, "which file it was"
    assert hint.startswith("hint: ")
    assert end == ""


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_read(
    here: Path,
) -> None:
    array(here / "x.npy", 3.0, np.nan)  # to read it would be a refusal of another kind
    (here / "out").mkdir(0o555)
    for output in ("out", "out/y.npy", "out/new/"):
        done = real("apply", "x.npy", "--clip-norm=1", "-o", output, before=ordinary_user())
        assert done.status == 2, (output, done.err)
        assert "cannot be written to\nhint: " in done.err, (output, done.err)
    assert names(here) == {"x.npy"}


def test_a_folder_that_can_be_written_to_will_do_wherever_it_stands(here: Path) -> None:
    array(here / "x.npy")
    (here / "closed" / "open").mkdir(parents=True)
    (here / "closed").chmod(0o555)
    done = real("apply", "x.npy", "--clip-norm=2.5", "-o", "closed/open", before=ordinary_user())
    (here / "closed").chmod(0o755)
    assert done.status == 0, done.err
    assert values(here / "closed" / "open" / "x.npy") == [1.5, 2.0]


def test_force_does_not_replace_a_read_only_file(here: Path) -> None:
    array(here / "x.npy")
    array(here / "out.npy", 1.0).chmod(0o444)
    with untouched(here):
        done = real(
            "apply", "x.npy", "--clip-norm=1", "-o", "out.npy", "--force", before=ordinary_user()
        )
    assert done.status == 2
    assert done.err.startswith("gradclip: out.npy: is read-only\nhint: ")


# --dry-run and --report


def test_a_dry_run_says_what_would_be_and_writes_nothing(here: Path) -> None:
    array(here / "in" / "x.npy")
    for form in FORMS.values():
        with untouched(here):
            report = gradclip_cli.apply("in", clip_norm=2.5, dry_run=True, **form)  # type: ignore[arg-type]
        assert report.clipped is not None
        assert (report.clipped.norm_before, report.clipped.coefficient) == (5.0, 0.5)
        assert report.clipped.norm_after == 2.5


def test_a_dry_run_refuses_nan_as_the_run_would(here: Path) -> None:
    array(here / "x.npy", np.inf)
    with untouched(here), pytest.raises(RefusedError):
        gradclip_cli.apply("x.npy", clip_norm=2.5, dry_run=True)


CLIP = ("apply", "x.npy", "--clip-norm", "2.5")


def test_the_report_goes_to_the_file_that_is_named_and_nowhere_else(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    array(here / "x.npy")
    said = run_here(capfd, *CLIP, "-o", "out.npy", "--report", "said.json", "--json")
    assert said == Said(0, "", "")
    assert json.loads((here / "said.json").read_text())["norm_after"] == 2.5
    assert names(here) == {"x.npy", "out.npy", "said.json"}


def test_the_report_goes_to_a_file_while_the_bytes_go_to_stdout(here: Path) -> None:
    array(here / "x.npy")
    with (here / "out.npy").open("wb") as stdout:
        done = gradclip(*CLIP, "--report", "said.tsv", stdout=stdout)
    assert done.returncode == 0
    assert values(here / "out.npy") == [1.5, 2.0]
    assert (here / "said.tsv").read_text().startswith("row\t")


def test_a_report_that_exists_is_never_overwritten_without_force(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    array(here / "x.npy")
    (here / "said.tsv").write_text("mine")
    with untouched(here):
        said = run_here(capfd, *CLIP, "-o", "out.npy", "--report", "said.tsv")
    assert said.status == 2
    assert said.err.startswith("gradclip: said.tsv: already exists\nhint: ")
    said = run_here(capfd, *CLIP, "-o", "out.npy", "--report", "said.tsv", "--force")
    assert said.status == 0
    assert (here / "said.tsv").read_text().startswith("row\t")


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["new", "force"])
def test_a_refusal_leaves_the_report_as_it_was(
    force: list[str], here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    array(here / "x.npy", np.nan)
    if force:
        (here / "said.tsv").write_text("of the last run")
    with untouched(here):
        said = run_here(capfd, *CLIP, "-o", "out.npy", "--report", "said.tsv", *force)
    assert said.status == 1


@pytest.mark.parametrize("report", ["x.npy", "./x.npy", "link", "out.npy", "missing/said.tsv"])
def test_a_report_that_would_take_anothers_place_is_refused(
    report: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    array(here / "x.npy")
    (here / "link").symlink_to("x.npy")
    with untouched(here):
        said = run_here(capfd, *CLIP, "-o", "out.npy", "--report", report, "--force")
    assert said.status == 2
    assert "hint: " in said.err


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_disk_that_is_too_small_for_an_archive_is_named(
    save: Callable[..., None], here: Path
) -> None:
    chance = np.random.default_rng(0)
    save(here / "in.npz", a=chance.normal(size=50_000))
    limit = ["bash", "-c", 'ulimit -f 100; exec "$@"', "bash"]
    with untouched(here):
        done = real("apply", "in.npz", "--clip-norm=1", "-oout.npz", before=limit)
    assert done.status == 2
    assert re.match(r"gradclip: \S+\.npz: ", done.err), done.err


def test_a_dry_run_knows_that_a_new_archive_finds_no_room(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array(here / "in.npy", *[1.0] * 1000)
    monkeypatch.setattr("gradclip_cli.files.places.room", lambda _: (4000, 1))
    with untouched(here), pytest.raises(GradclipError, match="no room for its"):
        gradclip_cli.apply("in.npy", clip_norm=1, output="out.npz", dry_run=True)
