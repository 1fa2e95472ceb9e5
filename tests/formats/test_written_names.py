"""Names that a new file cannot hold: refused before anything is written, never lost or mixed."""

import os
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from gradclip_cli import GradclipError
from tests.dumps import floats, safetensors_bytes
from tests.folders import untouched


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["a\0b"], "at its NUL byte"),
        (["a", "a\0b"], "at its NUL byte"),
        (["a", "a.npy"], "readers would take 'a' for it"),
        (["a" * 65_532], "too long"),
    ],
)
def test_no_array_is_lost_in_an_archive_for_its_name(
    names: list[str], problem: str, here: Path
) -> None:
    raw = safetensors_bytes({name: floats("F32", (1,), [3.0]) for name in names})
    (here / "in.safetensors").write_bytes(raw)
    with untouched(here), pytest.raises(GradclipError, match=problem):
        gradclip_cli.apply("in.safetensors", clip_norm=1, output="out.npz")


@pytest.mark.parametrize("names", [["a" * 65_531], ["a.npy", "b"], ["", "../x"]])
def test_any_other_name_is_kept_in_an_archive(names: list[str], here: Path) -> None:
    raw = safetensors_bytes({name: floats("F32", (1,), [3.0]) for name in names})
    (here / "in.safetensors").write_bytes(raw)
    gradclip_cli.apply("in.safetensors", clip_norm=9, output="out.npz")
    with np.load("out.npz") as archive:
        assert archive.files == names


def test_no_tensor_takes_the_name_of_the_metadata(here: Path) -> None:
    np.savez("in.npz", __metadata__=np.ones(2, "f4"))
    with untouched(here), pytest.raises(GradclipError, match="what is said of the whole file"):
        gradclip_cli.apply("in.npz", clip_norm=1, output="out.safetensors")


@pytest.mark.parametrize("output", ["out.safetensors", "out.npz"])
def test_a_name_that_is_no_text_is_refused(output: str, here: Path) -> None:
    (here / "in").mkdir()
    np.save("in/b.npy", np.ones(2, "f4"))
    with open(os.fsencode(here) + b"/in/\xff.npy", "wb") as stream:
        np.save(stream, np.ones(2, "f4"))
    with untouched(here), pytest.raises(GradclipError, match="that are no characters"):
        gradclip_cli.apply("in", clip_norm=1, output=output)


def test_no_header_is_written_that_nobody_reads(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez("in.npz", np.ones(2, "f4"))
    monkeypatch.setattr("gradclip_cli.formats.safetensors.HEADER_LIMIT", 50)
    with untouched(here), pytest.raises(GradclipError, match="header has at most 50 bytes"):
        gradclip_cli.apply("in.npz", clip_norm=1, output="out.safetensors")
