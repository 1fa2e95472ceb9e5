"""`--dry-run` says what the run says, in the words "would be", and ends as it does; and where to.

What a rule would do, `inspect` says in the same numbers.
"""

import dataclasses
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradclip_cli
from gradclip_cli.rules.registry import rules
from tests.dumps import Stored, floats, write_npy, write_safetensors
from tests.folders import array, untouched
from tests.running import HEIGHT, gradclip, on_terminal, ordinary_user, real, run_here

WISHES: dict[str, dict[str, Any]] = {
    "global": {"clip_norm": 1.5},
    "per tensor": {"clip_norm": 1.5, "per_tensor": True},
    "axes": {"clip_norm": 0.5, "per_tensor": True, "axes": "0"},
    "per group": {"clip_norm": 1.5, "per_group": "1"},
    "average": {"clip_norm": 0.01, "average": True},
    "value": {"clip_value": "-0.25,0.5"},
    "rms": {"clip_rms": 0.5},
    "agc": {"agc": 0.1, "params": "params.safetensors"},
    "within": {"clip_norm": 1e9},
}
every_rule = pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES)


def dump() -> dict[str, Stored]:
    numbers = np.random.default_rng(7)
    tensors = {
        f"{layer}.{code}": floats(code, (30, 10), numbers.standard_normal(300).tolist())
        for layer, code in (("a", "F32"), ("a", "F16"), ("b", "BF16"), ("b", "F8_E4M3"))
    }
    return {**tensors, "b.tiny": floats("F16", (2,), [6e-8, 1e-7])}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a dump and its parameters."""
    monkeypatch.chdir(tmp_path)
    write_safetensors(tmp_path / "in.safetensors", dump())
    write_safetensors(tmp_path / "params.safetensors", dump())
    return tmp_path


def test_there_is_a_wish_for_each_rule() -> None:
    assert {"global" if name == "within" else name for name in WISHES} - {"axes"} == {
        rule.word for rule in rules() if rule.__module__.startswith("gradclip_cli.")
    }


@every_rule
@pytest.mark.parametrize(
    "more", [{}, {"like": "keras", "include": ["a.F32"]}, {"use_norm": 3.0}], ids=str
)
def test_a_dry_run_says_what_the_run_says(
    wish: dict[str, Any], more: dict[str, Any], here: Path
) -> None:
    if more and wish.keys() != {"clip_norm"}:
        pytest.skip("they do not go together")
    with untouched(here):
        rehearsed = gradclip_cli.apply("in.safetensors", output="out", dry_run=True, **wish, **more)
    done = gradclip_cli.apply("in.safetensors", output="out", **wish, **more)
    assert rehearsed == done
    assert rehearsed.written is not None
    assert done.written == dataclasses.replace(rehearsed.written, dry_run=False)
    for norm in (row.clipped.norm_after for row in rehearsed.rows if row.clipped):
        assert math.isfinite(norm)


@pytest.mark.parametrize("policy", ["zero", "skip", "propagate"])
def test_it_says_so_of_values_that_are_not_finite(policy: Any, here: Path) -> None:
    source = write_npy(here / "x.npy", floats("<f4", (3,), [3.0, math.inf, 4.0]))
    wish = {"clip_norm": 1.0, "nonfinite": policy, "in_place": True}
    rehearsed = gradclip_cli.apply(source, dry_run=True, **wish)
    done = gradclip_cli.apply(source, **wish)
    said = rehearsed.says.removesuffix("; in a dry run: nothing was written")
    assert (said, repr(rehearsed.rows)) == (done.says, repr(done.rows))  # NaN are not equal


def test_integers_would_become_float64(here: Path) -> None:
    source = write_npy(here / "x.npy", ("<i8", (2,), np.array([30, 40]).tobytes()))
    rehearsed = gradclip_cli.apply(source, clip_norm=5.0, dry_run=True)
    assert rehearsed == gradclip_cli.apply(source, clip_norm=5.0, output="out.npy")


def test_the_command_says_the_same_keys_and_that_it_is_a_rehearsal(here: Path) -> None:
    given = ("apply", "in.safetensors", "--clip-norm", "1", "-o", "out.safetensors", "--json")
    with untouched(here):
        dry = gradclip(*given, "--dry-run", cwd=here)
    wet = gradclip(*given, cwd=here)
    rehearsed, done = json.loads(dry.stdout), json.loads(wet.stdout)
    assert (dry.returncode, wet.returncode) == (0, 0)
    assert (rehearsed.pop("dry_run"), done.pop("dry_run")) == (True, False)
    assert rehearsed.pop("says") == f"{done.pop('says')}; in a dry run: nothing was written"
    assert rehearsed == done
    assert done["outputs"] == ["out.safetensors"]


def test_a_pipe_is_rehearsed_too(here: Path) -> None:
    data = (here / "in.safetensors").read_bytes()
    said = gradclip("apply", "--clip-norm=1", "--dry-run", "-o-", "--format=table", stdin=data)
    assert (said.returncode, said.stderr) == (0, b"")
    assert "would be written to standard output" in said.stdout.decode()
    assert "measured from what would be written" in said.stdout.decode()


# Refused as the run would


REFUSED: dict[str, tuple[str, ...]] = {
    "exists": ("-o", "there.npy"),
    "no folder": ("-o", "none/there.npy"),
    "a folder is needed": ("-o", "there.npy/"),
    "the input itself": ("-o", "x.npy", "--force"),
    "a closed folder": ("-o", "closed/y.npy"),
    "a read-only file": ("-o", "closed.npy", "--force"),
    "a read-only file in place": ("closed.npy", "--in-place"),
    "hard links": ("double.npy", "--in-place"),
    "a closed FIFO": ("-o", "closed.fifo"),
    "two files to one stream": ("closed.npy", "-o", "pipe"),
    "nan": ("nan.npy", "-o", "out/"),
}
ALIKE = {"no folder", "a folder is needed", "a read-only file", "hard links", "a closed FIFO"}
"""Each is a refusal before anything is read, as others above."""


@pytest.fixture
def yard(here: Path) -> Iterator[Path]:
    array(here / "x.npy")
    array(here / "there.npy")
    array(here / "nan.npy", math.nan)
    os.link(array(here / "double.npy"), here / "twin.npy")
    (here / "closed").mkdir()
    array(here / "closed.npy").chmod(0o444)
    os.mkfifo(here / "pipe")
    os.mkfifo(here / "closed.fifo")
    (here / "closed.fifo").chmod(0o444)
    (here / "closed").chmod(0o555)
    yield here
    (here / "closed").chmod(0o755)


@pytest.mark.alike(2)
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, id=name, marks=pytest.mark.heavy if name in ALIKE else [])
        for name, way in REFUSED.items()
    ],
)
def test_what_the_run_would_refuse_the_rehearsal_does_in_the_same_words(
    way: tuple[str, ...], yard: Path
) -> None:
    operands = () if way[0].endswith(".npy") and way[1] == "--in-place" else ("x.npy",)
    given = ("apply", *operands, *way, "--clip-norm=1")
    with untouched(yard):
        wet = real(*given, before=ordinary_user())
        dry = real(*given, "--dry-run", before=ordinary_user())
    assert wet.status == (1 if "nan.npy" in way else 2), wet
    assert dry == wet


def test_a_disk_without_room_is_said_before_a_byte_is_written(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    size = (here / "in.safetensors").stat().st_size
    room = list(os.statvfs(here))
    room[1], room[3], room[4] = 1, size - 1, size - 1  # bytes a block, and free ones
    given = ("apply", "in.safetensors", "--clip-norm=1", "-o", "new/", "--dry-run")
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(room))
    with untouched(here):
        said = run_here(capfd, *given)
    assert said.status == 2
    assert said.err == (
        f"gradclip: {here}/new/in.safetensors: no room for its {size:,} bytes: no space left on "
        "device\nhint: free some space on that disk, or write elsewhere with -o\n"
    )
    room[3] = room[4] = size
    assert run_here(capfd, *given).status == 0


def test_a_fifo_is_not_opened_for_a_rehearsal(yard: Path) -> None:
    with untouched(yard):
        said = gradclip("apply", "x.npy", "--clip-norm=1", "-o", "pipe", "--dry-run", "--json")
    assert (said.returncode, json.loads(said.stdout)["outputs"]) == (0, ["pipe"])


def test_without_a_place_there_is_none_to_be_checked_and_that_is_said(yard: Path) -> None:
    shown = on_terminal("apply", "x.npy", "--clip-norm=1", "--dry-run", cwd=yard)
    assert shown.status == 0
    assert shown.lines[-1] == "nothing was written, and no place is named: add -o or --in-place"
    shown = on_terminal("apply", "x.npy", "--clip-norm=1", "--dry-run", "-o-", cwd=yard)
    assert shown.status == 2
    assert "the clipped bytes would go to the terminal" in shown.raw


# Where it went


@pytest.mark.parametrize(
    ("way", "outputs", "words"),
    [
        (("a.npy", "-o", "new.npy"), ["new.npy"], "to new.npy"),
        (("a.npy", "-o", "out/"), ["out/a.npy"], ": 1 file into out/"),
        (("in", "-o", "out"), ["out/a.npy", "out/sub/b.npy"], ": 2 files into out"),
        (("in", "--in-place"), ["in/a.npy"], " in place: 1 of 2 files"),
        (("a.npy", "--in-place"), ["a.npy"], " in place: a.npy"),
        (("a.npy", "-o", "/dev/null"), ["/dev/null"], " to /dev/null"),
    ],
    ids=str,
)
def test_it_says_what_it_wrote_and_where(
    way: tuple[str, ...],
    outputs: list[str],
    words: str,
    here: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for form, dry in (("table", True), ("json", True), ("table", False), ("json", False)):
        for path in ("a.npy", "in/a.npy"):
            array(here / path, 30.0)
        array(here / "in" / "sub" / "b.npy", 0.0)
        more = (*(["--dry-run"] if dry else []), *([] if "--in-place" in way else ["--force"]))
        given = ("apply", *way, "--clip-norm=1", "--format", form, *more)
        said = run_here(capfd, *given)
        assert (said.status, said.err) == (0, "")
        if form == "table":
            written = "would be written" if dry else "written"
            assert said.out.splitlines()[-1] == written + (
                words if words.startswith((":", " in")) else f" {words.strip()}"
            )
        else:
            assert json.loads(said.out)["outputs"] == outputs


def test_where_no_byte_changes_in_place_no_file_is_named(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    array(here / "x.npy")
    given = ("apply", "x.npy", "--clip-norm=9", "--in-place")
    with untouched(here):
        assert run_here(capfd, *given, "--format=table").out.endswith("no file was changed\n")
        assert json.loads(run_here(capfd, *given, "--json").out)["outputs"] == []


def test_bytes_on_stdout_are_said_to_be_there(here: Path) -> None:
    said = gradclip("apply", "in.safetensors", "--clip-norm=1", "-o-", "--format=table", cwd=here)
    assert said.stderr.decode().splitlines()[-1] == "written to standard output"


# The clipped ones


def test_the_clipped_tensors_are_listed_worst_first_as_many_as_fit(here: Path) -> None:
    tensors = {f"w{size:02}": floats("F32", (1,), [float(size)]) for size in range(41)}
    write_safetensors(here / "many.safetensors", tensors)
    given = ("apply", "many.safetensors", "--clip-norm=10", "--per-tensor", "--dry-run")
    shown = on_terminal(*given, cwd=here)
    assert "would clip   30 of 41 tensors" in shown.lines
    rows = [line.split() for line in shown.rows]
    assert rows[0] == ["w40", "40.00", "0.2500", "10.00"]
    assert [row[0] for row in rows] == [f"w{40 - at}" for at in range(len(rows))]
    assert f"… {30 - len(rows)} more, --all shows them" in shown.lines
    assert len(shown.lines) == HEIGHT - 1
    everything = on_terminal(*given, "--all", cwd=here).rows
    assert len(everything) == 30, "10 and less are within"


def test_of_the_joint_norm_no_tensor_is_listed(here: Path) -> None:
    shown = on_terminal("apply", "in.safetensors", "--clip-norm=1", "--dry-run", cwd=here)
    assert not [line for line in shown.lines if "norm before" in line and "norm after" in line]


# What-if, of every rule


@every_rule
def test_inspect_says_what_each_rule_would_do(wish: dict[str, Any], here: Path) -> None:
    with untouched(here):
        (chance,) = gradclip_cli.inspect("in.safetensors", **wish).what_if
    done = gradclip_cli.apply("in.safetensors", output="out", **wish)
    assert done.clipped is not None
    assert done.ruling is not None
    assert chance.rule == done.ruling.rule
    assert chance.changed == done.ruling.changed
    for name in ("clip_norm", "coefficient", "norm_after", "flushed", "saturated"):
        assert getattr(chance, name) == getattr(done.clipped, name), name


def test_several_rules_are_each_asked_about(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said = run_here(
        capfd,
        *("inspect", "in.safetensors", "--clip-norm", "1", "--clip-norm", "2", "--per-tensor"),
        *("--clip-value", "0.5", "--agc", "0.1", "--params", "params.safetensors", "--json"),
    )
    assert (said.status, said.err) == (0, "")
    found = json.loads(said.out)["what_if"]
    assert [one["rule"] for one in found] == ["per tensor", "per tensor", "value", "agc"]
    assert [one["clip_norm"] for one in found] == [1.0, 2.0, None, None]
    assert found[2]["name"] == "each value by itself: -0.5 to 0.5"


@pytest.mark.parametrize("columns", [40, 80])
def test_the_table_of_several_rules_fits_and_cuts_nothing(columns: int, here: Path) -> None:
    shown = on_terminal(
        *("inspect", "in.safetensors", "--clip-norm=1", "--per-tensor", "--clip-value=0.5"),
        columns=columns,
        cwd=here,
    )
    if columns == 80:
        (head,) = [at for at, line in enumerate(shown.lines) if line.startswith("rule ")]
        rows = [line.split() for line in shown.lines[head + 2 : head + 4]]
        assert rows[0][:4] == ["per", "tensor", "4", "1.0"]
        assert rows[1][:5] == ["value", "4", "-0.5", "to", "0.5"]
        assert "…" not in "".join(shown.lines[head:])
        assert shown.lines[head + 4].startswith("lost digits: values that become subnormal")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("--per-tensor", "no rule is named"),
        ("--clip-rms 0", "--clip-rms: 0.0 is not a limit for a root mean square"),
        ("--agc 0.1", "--agc: needs the parameters that the gradients belong to"),
        ("--clip-norm 1 --axes 0", "--axes: needs a limit for the norms of each tensor's slices"),
        ("--clip-norm 1 --per-tensor --axes 7", "--axes: 7 does not fit a tensor of"),
        ("--clip-norm 1 --per-tensor --average", "--average: cannot go with --per-tensor"),
        ("--clip-value 1 --norm-type 1", "--norm-type: cannot go with --clip-value"),
    ],
)
def test_what_makes_no_rule_is_refused_as_apply_does(
    options: str, problem: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = run_here(capfd, "inspect", "in.safetensors", *options.split())
    assert said.status == 2
    assert said.err.startswith(f"gradclip: {problem}"), said.err
