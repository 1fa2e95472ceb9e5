"""Each damaged, hostile or unusual file of `tests/bad_files` gets the verdict that it deserves.

The folder holds one file a case; `manifest.json` says what is wrong with it, whether a good tool
accepts it, why not, and what must be reported of those that are accepted.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradclip_cli
from gradclip_cli import GradclipError, Report
from tests.damaged import ACCEPTED, CASES, DEPARTURES, FOLDER, REJECTED, Case, by_name, is_harmless
from tests.running import Run, Said, real

# What the message says, by the manifest's word for what is wrong.
REASONS = {
    "bad-dtype": r"the (array's )?dtype",
    "bad-header": r"the \.npy header",
    "bad-metadata": "__metadata__ must map strings to strings",
    "bad-offsets": r"data_offsets \[.*\] are not two whole numbers",
    "bad-shape": "the shape",
    "bad-tensor-info": "expected an object",
    "bad-zip": r"a damaged ZIP archive|not an \.npz file",
    "bad-version": r"\.npy version 9\.9",
    "data-size": "line ends were converted",
    "data-trailing": "bytes follow the (last tensor|end of the ZIP archive)",
    "data-truncated": "[0-9,]+ of (its )?[0-9,]+ bytes are missing",
    "duplicate-key": "says '.*' twice|two arrays are called '.*'",
    "encrypted": "is encrypted",
    "git-lfs-pointer": "Git LFS pointer",
    "header-not-json": "header is not JSON",
    "header-not-object": "not an object",
    "header-not-utf8": r"not UTF-8 \(byte [0-9]+\)",
    "header-too-large": "header claims [0-9,]+ bytes",
    "header-truncated": "header is cut short: [0-9,]+ of [0-9,]+ bytes",
    "hole": "4 bytes before it belong to no tensor",
    "missing-field": "the field 'shape' is missing",
    "not-safetensors": "not a dump of tensors but an HTML page",
    "not-an-array": "the member is no array",
    "object-dtype": "pickle can run code",
    "overlap": "overlaps the tensor before it by 16 bytes",
    "shape-overflow": "overflows 64 bits|more than any machine can address",
    "size-mismatch": "span 8 bytes, but float32 .* takes 16",
    "too-short": "too short|empty: 0 bytes",
    "unsupported-dtype": "not a number that gradclip reads",
    "wrong-format": "not a dump of tensors but",
}
NOT_IN_THE_SLUG = {
    "npy_header_5000_digits": r"the \.npy header is not a plain Python dict",
    "st_is_zip": "the member is no array: an .npz file holds .npy files alone",
}

FACTS: dict[str, Callable[[Report, Any], bool]] = {
    "names": lambda report, fact: {row.name for row in report.tensors} == set(fact),
    "dtype": lambda report, fact: [row.dtype for row in report.tensors] == [fact],
    "shape": lambda report, fact: [row.shape for row in report.tensors] == [tuple(fact)],
    "norm": lambda report, fact: _same(report.global_norm, float(fact)),
    "norm_float_only": lambda report, fact: report.global_norm == fact,
    # The manifest's figure is of the values as they were meant, not as the dtype holds them.
    "norm_rel": lambda report, fact: math.isclose(report.global_norm, fact, rel_tol=1e-7),
    "must_flag": lambda report, fact: fact == "nonfinite" and report.moments.nonfinite == 1,
}
TESTED_ELSEWHERE = {
    *("values", "clip_exit_nonzero", "raw_bytes_to_tty_forbidden"),
    *("must_not_write", "must_round_trip"),
}


def _same(number: float, fact: float) -> bool:
    return number == fact or (math.isnan(number) and math.isnan(fact))


def having(fact: str) -> list[Case]:
    """Give the accepted cases of which something is to be said."""
    return [case for case in ACCEPTED if fact in case.facts]


def check_rejection(said: Said, path: Path, tensor: str | None, reason: str) -> None:
    """Check one line that names the file, the tensor and the reason, and a hint, and no more."""
    assert said.status == 2, said
    assert said.out == ""
    assert is_harmless(said.err)
    problem, hint, end = said.err.split("\n")
    assert problem.startswith(f"gradclip: {path}: ")
    assert hint.startswith("hint: ")
    assert hint[len("hint: ") :].strip()
    assert end == ""
    assert len(problem) < 400 + len(str(path))
    message = problem.removeprefix(f"gradclip: {path}: ")
    assert re.search(reason, message)
    if tensor is not None:
        assert re.search(rf"'{re.escape(tensor)}(\.npy)?'", message)


def test_the_manifest_and_the_folder_say_the_same() -> None:
    listed = {case.path for case in CASES}
    assert listed == {path for path in FOLDER.glob("*/*/*") if path.is_file()}
    assert len(CASES) == 147
    assert {key for case in CASES for key in case.facts} == FACTS.keys() | TESTED_ELSEWHERE
    assert {case.slug for case in REJECTED} == REASONS.keys()
    assert {case.level for case in CASES if case.name in DEPARTURES} == {"should"}


@by_name(REJECTED)
def test_a_bad_file_is_rejected_in_one_line_with_a_hint(case: Case, run: Run) -> None:
    reason = NOT_IN_THE_SLUG.get(case.name) or REASONS[case.slug or ""]
    check_rejection(run("inspect", case.path), case.path, case.names_tensor, reason)


@by_name(REJECTED)
def test_nothing_is_written_for_a_bad_file(case: Case, tmp_path: Path) -> None:
    with pytest.raises(GradclipError) as caught:
        gradclip_cli.apply(case.path, clip_norm=1.0, output=tmp_path / "out")
    assert caught.value.status == 2
    assert list(tmp_path.iterdir()) == []


@by_name(ACCEPTED)
def test_an_unusual_file_is_reported_as_it_is(case: Case) -> None:
    report = gradclip_cli.inspect(case.path)
    for fact, value in case.facts.items():
        if fact in FACTS:
            assert FACTS[fact](report, value), (fact, value, report)


@by_name(ACCEPTED)
def test_clipping_an_unusual_file_changes_numbers_and_nothing_else(
    case: Case, tmp_path: Path
) -> None:
    out = tmp_path / case.path.name
    before = gradclip_cli.inspect(case.path)
    if before.moments.nonfinite:
        with pytest.raises(gradclip_cli.RefusedError):
            gradclip_cli.apply(case.path, clip_norm=1.0, output=out)
        assert list(tmp_path.iterdir()) == []
        return
    gradclip_cli.apply(case.path, clip_norm=before.global_norm or 1.0, output=out)
    assert out.read_bytes() == case.path.read_bytes()
    if before.global_norm:
        half = before.global_norm / 2
        gradclip_cli.apply(case.path, clip_norm=half, output=out, force=True)
        assert gradclip_cli.inspect(out).global_norm == pytest.approx(half, rel=1e-12)
        assert out.stat().st_size == case.path.stat().st_size or case.name == "npz_bzip2"
        assert {(row.name, row.dtype, row.shape) for row in gradclip_cli.inspect(out).tensors} == {
            (row.name, row.dtype, row.shape) for row in before.tensors
        }


@by_name(having("values"))
def test_the_values_of_an_unusual_file_survive_a_clip(case: Case, tmp_path: Path) -> None:
    norm = gradclip_cli.inspect(case.path).global_norm
    gradclip_cli.apply(case.path, clip_norm=norm / 2, output=tmp_path / "out.npy")
    halves = [[value / 2 for value in row] for row in case.facts["values"]]
    assert np.load(tmp_path / "out.npy").tolist() == halves


@by_name(having("clip_exit_nonzero"))
def test_a_file_that_cannot_be_clipped_ends_in_status_1(
    case: Case, run: Run, tmp_path: Path
) -> None:
    said = run("apply", case.path, "--clip-norm", "1", "-o", tmp_path / "out")
    assert said.status == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["table", "tsv", "csv", "md", "json", "jsonl"])
@by_name(having("raw_bytes_to_tty_forbidden"))
def test_a_hostile_name_reaches_no_terminal_raw(case: Case, form: str, run: Run) -> None:
    said = run("inspect", case.path, "--format", form)
    assert said.status == 0
    meant = {"tsv": "\t", "csv": "\r"}.get(form, "")
    assert is_harmless(said.out.replace(meant, ""))
    assert "5.0" in said.out


@pytest.mark.parametrize("name", ["st_bool_2", "npy_descr_bool"])
def test_booleans_are_listed_unmeasured_and_copied_untouched(name: str, tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.name == name)
    report = gradclip_cli.inspect(case.path)
    assert [(row.dtype, row.measured) for row in report.tensors] == [("bool", False)]
    gradclip_cli.apply(case.path, clip_norm=1e-9, output=tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == case.path.read_bytes()


def test_a_hostile_file_name_is_named_escaped(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "["  # the slash of the markup parts the path
    folder.mkdir()
    path = folder / "bold]\x1b[31m.safetensors"
    path.write_bytes(b"")
    said = run("inspect", path)
    shown = Path(str(path).replace("\x1b", "\\x1b"))
    check_rejection(said, shown, None, REASONS["too-short"])


@by_name(
    [
        case
        for case in CASES
        if case.name
        in {
            "npy_descr_object",
            "npy_header_dict_bomb",
            "npy_shape_bomb_1t",
            "st_dtype_ansi",
            "st_len_4g",
            "st_off_past_eof",
        }
    ]
)
def test_the_command_survives_an_attack_with_little_memory(case: Case) -> None:
    limits = ["bash", "-c", 'ulimit -v 2000000 -t 20; exec "$@"', "bash"]
    said = real("inspect", case.path, before=limits)
    check_rejection(said, case.path, case.names_tensor, REASONS[case.slug or ""])
