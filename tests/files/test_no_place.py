"""Where nothing may be written: the input by another way, and what is kept of it."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from gradclip_cli.files import staging
from tests.running import Run, gradclip, in_shell

CLIP = "gradclip apply a.npy --clip-norm 1 -q"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    np.save(tmp_path / "a.npy", np.array([3, 4], np.float32))
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        f"{CLIP} >> a.npy",
        f"{CLIP} -o - >> a.npy",
        f"{CLIP} 1<> a.npy",
        "gradclip apply --clip-norm 1 -q < a.npy >> a.npy",
        "gradclip apply - --clip-norm 1 -q < a.npy 1<> a.npy",
    ],
)
def test_standard_output_that_is_the_input_is_refused(line: str, here: Path) -> None:
    before = (here / "a.npy").read_bytes()
    done = in_shell(line, here)
    assert done.returncode == 2
    assert b"the output is the input itself" in done.stderr
    assert (here / "a.npy").read_bytes() == before


def test_a_method_of_an_open_file_that_is_the_input_is_refused(here: Path) -> None:
    import gradclip_cli

    before = (here / "a.npy").read_bytes()
    with (
        (here / "a.npy").open("r+b") as stream,
        pytest.raises(gradclip_cli.GradclipError, match="the output is the input itself"),
    ):
        gradclip_cli.apply(here / "a.npy", clip_norm=1, output=stream.write)
    assert (here / "a.npy").read_bytes() == before


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_report_takes_no_name_of_a_backup(force: list[str], run: Run, here: Path) -> None:
    path = here / "a.npy"
    before = path.read_bytes()
    said = run(
        *("apply", path, "--clip-norm", "1", "--in-place", "--backup", ".json"),
        *("--report", f"{path}.json", *force),
    )
    assert said.status == 2
    assert "would replace an input, the output or a backup" in said.err
    assert path.read_bytes() == before
    assert os.listdir(here) == ["a.npy"]


@pytest.mark.parametrize("name", ["a.npy", "m.safetensors.index.json", "sub/b.npy"])
def test_a_report_takes_no_name_of_what_goes_into_a_folder(
    name: str, run: Run, tmp_path: Path
) -> None:
    for path in ("in/a.npy", "in/sub/b.npy"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        np.save(tmp_path / path, np.array([3, 4], np.float32))
    (tmp_path / "in/m.safetensors.index.json").write_text("{}")
    (tmp_path / "out/sub").mkdir(parents=True)
    said = run(
        *("apply", tmp_path / "in", "--clip-norm", "1", "-o", tmp_path / "out"),
        *("--report", tmp_path / "out" / name, "--force"),
    )
    assert said.status == 2
    assert "would replace an input, the output or a backup" in said.err
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))


def test_a_report_that_cannot_be_written_is_said_to_be_all_that_is_missing(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "r.json")

    monkeypatch.setattr(staging, "write_whole", full)
    said = run("apply", here / "a.npy", "--clip-norm=1", "--in-place", "--report", here / "r.json")
    assert said.status == 2
    assert "r.json: no space left on device" in said.err
    assert "only the report is missing: the gradients are clipped" in said.err
    assert np.linalg.norm(np.load(here / "a.npy")) == pytest.approx(1)


def test_a_fifo_has_no_place(here: Path) -> None:
    script = "mkfifo f; (cat a.npy > f &) ; gradclip apply f --clip-norm 1 --in-place"
    done = in_shell(script, here)
    assert done.returncode == 2
    assert b"--in-place: f has no place" in done.stderr


def test_standard_output_that_is_another_file_is_written_to(here: Path) -> None:
    assert in_shell(f"{CLIP} > b.npy", here).returncode == 0
    assert np.linalg.norm(np.load(here / "b.npy")) == pytest.approx(1)
    assert gradclip("check", str(here / "b.npy")).returncode == 0


AGC = "gradclip apply a.npy --agc 0.1 --params p/a.npy --force"
IN_ALL = "--clip-norm 1 --report r.json --force"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"{AGC} -o p/a.npy", "the output is the input itself"),
        (f"{AGC} -o p/", "the output is the input itself"),
        (f"{AGC} -o - >> p/a.npy", "the output is the input itself"),
        (f"{AGC} -o b.npy --report p/a.npy", "where an input is"),
        (f"{AGC} -o b.npy >> p/a.npy", "where an input is"),
        ("gradclip apply a.npy --clip-norm 1 -o b.npy >> a.npy", "where an input is"),
        ("gradclip apply a.npy --clip-norm 1 --in-place >> a.npy", "where an input is"),
        ("gradclip apply --clip-norm 1 -o b.npy --report a.npy --force < a.npy", "an input is"),
        (f"gradclip apply a.npy -o - {IN_ALL} > r.json", "where the clipped bytes go"),
        ("gradclip apply a.npy --clip-norm 1 > b.npy 2>&1", "where the clipped bytes go"),
        ("gradclip apply a.npy --clip-norm 1 2>&1 | cat > b.npy", "where the clipped bytes go"),
        ("gradclip apply a.npy --clip-norm 1 --report /dev/stdout | cat > b", "clipped bytes go"),
    ],
)
def test_nothing_goes_into_what_is_read_nor_a_report_among_the_bytes(
    line: str, problem: str, here: Path
) -> None:
    (here / "p").mkdir()
    (here / "p" / "a.npy").write_bytes((here / "a.npy").read_bytes())
    before = (here / "a.npy").read_bytes()
    done = in_shell(
        f"set -o pipefail; {line} || {{ s=$?; test -f b.npy && cat b.npy >&2; exit $s; }}", here
    )
    assert done.returncode == 2
    assert problem.encode() in done.stderr
    assert (here / "a.npy").read_bytes() == (here / "p" / "a.npy").read_bytes() == before


@pytest.mark.parametrize("quiet", ["-q", "--report r.json", "-o b.npy"])
def test_streams_that_are_one_are_fine_where_one_is_used(quiet: str, here: Path) -> None:
    done = in_shell(f"gradclip apply a.npy --clip-norm 1 {quiet} > all 2>&1", here)
    assert done.returncode == 0
    assert np.linalg.norm(np.load(here / ("b.npy" if "b" in quiet else "all"))) == pytest.approx(1)


@pytest.mark.parametrize("where", ["/dev/full", "/dev/null", "&-"])
def test_a_report_that_finds_no_reader_is_said_to_be_all_that_is_missing(
    where: str, here: Path
) -> None:
    before = (here / "a.npy").read_bytes()
    done = in_shell(f"gradclip apply a.npy --clip-norm 1 --in-place >{where}", here)
    assert done.returncode == (0 if where == "/dev/null" else 2)
    told = b"only the report is missing: the gradients are clipped" in done.stderr
    assert told == (where == "/dev/full")
    assert ((here / "a.npy").read_bytes() == before) == (where == "&-")
