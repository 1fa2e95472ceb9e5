"""Every error is one line that says what is wrong, a hint at the way out, and a status.

The folder in which it happens must look afterwards as it did before. Most command lines
run in this process; of each kind a few are really started.
"""

import os
import pickle
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from gradclip_cli.errors import GradclipError, RefusedError, Status
from tests.dumps import safetensors_bytes
from tests.folders import untouched
from tests.running import Said, on_terminal, ordinary_user, program, real, run_here

THREE_FOUR = struct.pack("<2f", 3, 4)


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with one file of each fault."""
    monkeypatch.chdir(tmp_path)
    good = safetensors_bytes({"a": ("F32", (2,), THREE_FOUR), "b": ("F32", (2,), THREE_FOUR)})
    save_file({"a": np.array([3, 4], "f4"), "b": np.array([0, 0], "f4")}, "good.safetensors")
    np.save("x.npy", np.array([3, 4], "f4"))
    Path("notes.txt").write_text("no tensors in here\n")
    Path("empty.npy").touch()
    Path("page.safetensors").write_text("<!DOCTYPE html><title>404</title>")
    Path("weights.pt").write_bytes(pickle.dumps({"a": 1}))
    Path("without").mkdir()
    Path("without/readme.md").touch()
    Path("without/model.dat").touch()
    Path("cut.safetensors").write_bytes(good[:-5])
    Path("cut.npy").write_bytes(Path("x.npy").read_bytes()[:-3])
    np.save("objects.npy", np.array([None, 1], object), allow_pickle=True)
    np.save("bfloat16.npy", np.zeros(2, ml_dtypes.bfloat16))
    np.save("void.npy", np.zeros(2, "V6"))
    np.save("text.npy", np.array(["3", "4"]))
    np.save("pairs.npy", np.zeros(2, [("x", "f4"), ("y", "f4")]))
    Path("new_dtype.safetensors").write_bytes(good.replace(b'"F32"', b'"F99"', 1))
    entry = '"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
    header = f"{{{entry}, {entry}}}".encode()
    Path("twice.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + THREE_FOUR)
    Path("other").mkdir()
    np.save("other/x.npy", np.load("x.npy") * 2)
    Path("scales.safetensors").write_bytes(
        safetensors_bytes({"a": ("F32", (2,), THREE_FOUR), "q": ("F8_E8M0", (1,), b"\x7f")})
    )
    Path("step.safetensors").write_bytes(
        safetensors_bytes({"a": ("F32", (2,), THREE_FOUR), "step": ("I64", (1,), bytes(8))})
    )
    os.mkfifo("socket.npy")
    return tmp_path


@dataclass(frozen=True)
class Wrong:
    """A command line that is refused: how its first line goes on, and a word of its hint."""

    arguments: str
    said: str
    hint: str


CLIP = "--clip-norm 1 -o out"
FAULTS = {
    # a file
    "a missing file": Wrong(
        "inspect missing.npy", "missing.npy: no such file or directory", "name"
    ),
    "a missing file beside a good one": Wrong(
        f"apply x.npy missing.npy {CLIP}", "missing.npy: no such file or directory", "name"
    ),
    "a file as a folder": Wrong("inspect x.npy/y.npy", "x.npy/y.npy: not a directory", ""),
    "a folder without dumps": Wrong(
        "inspect without", "without: a folder without dumps (2 other files)", ".safetensors"
    ),
    "an unknown kind of file": Wrong(
        "inspect notes.txt",
        "notes.txt: an unknown kind of file",
        ".npy, .npz, .pt, .pth, .bin, .ckpt, .safetensors",
    ),
    "an empty file": Wrong("inspect empty.npy", "empty.npy: ", ""),
    "a web page": Wrong(
        "inspect page.safetensors", "page.safetensors: not a dump of tensors but an HTML", "again"
    ),
    "a pickle": Wrong(
        "inspect weights.pt", "weights.pt: not a dump of tensors but a Python pickle", "torch.save"
    ),
    "a device": Wrong(
        "inspect /dev/zero", "/dev/zero: a character device, not a regular file", "files"
    ),
    "a truncated safetensors file": Wrong(
        "inspect cut.safetensors",
        "cut.safetensors: truncated: 5 of 152 bytes are missing; the first tensor to be cut is 'b'",
        "interrupted",
    ),
    "a truncated npy file": Wrong(
        "inspect cut.npy",
        "cut.npy: truncated: 3 of 136 bytes are missing; the first tensor to be cut is 'cut'",
        "interrupted",
    ),
    "an object array": Wrong(
        "inspect objects.npy", "objects.npy: the array's dtype is '|O': Python objects", "numeric"
    ),
    "bfloat16 saved as a void dtype": Wrong(
        "inspect bfloat16.npy", "bfloat16.npy: the array's dtype is '<V2': bytes", "float32"
    ),
    "a void dtype": Wrong("inspect void.npy", "void.npy: the array's dtype is '|V6'", "float16"),
    "an array of text": Wrong("inspect text.npy", "text.npy: the array's dtype is '<U1'", "float"),
    "a structured array": Wrong(
        "inspect pairs.npy", "pairs.npy: the array's dtype is [('x', '<f4'), ('y'", "float16"
    ),
    "an unknown safetensors dtype": Wrong(
        "inspect new_dtype.safetensors",
        "new_dtype.safetensors: tensor 'a': the dtype \"F99\" is not one of the format",
        "BF16",
    ),
    "a tensor twice in one header": Wrong(
        "inspect twice.safetensors", "twice.safetensors: the safetensors header says 'a' twice", ""
    ),
    "a tensor twice in two files": Wrong(
        "inspect x.npy other/x.npy",
        "other/x.npy: tensor 'x' also stands in x.npy",
        "one run per file",
    ),
    "the same file twice": Wrong("inspect x.npy x.npy", "x.npy: is the same file as x.npy", "once"),
    "scale factors among what is to be clipped": Wrong(
        f"apply scales.safetensors {CLIP}", "scales.safetensors: 1 tensor of scale", "--exclude"
    ),
    "standard input twice": Wrong("inspect - -", "-: standard input can be read only once", "once"),
    # the selection
    "nothing included": Wrong(
        f"apply good.safetensors {CLIP} --include c", "--include: none of the 2 tensors", "'a'"
    ),
    "everything excluded": Wrong(
        "inspect good.safetensors --exclude *", "--exclude: none of the 2 tensors", "'a'"
    ),
    "only a step counter included": Wrong(
        "inspect step.safetensors --include step",
        "--include: none of the 1 selected tensors is a gradient; the first, 'step', is int64",
        "floating",
    ),
    # an option
    **{
        f"a limit of {limit}": Wrong(
            f"apply x.npy --clip-norm {limit} -o out", f"--clip-norm: {said}", "1.0"
        )
        for limit, said in {
            "0": "0.0 is not a limit",
            "-1": "-1.0 is not a limit",
            "nan": "nan is not a limit",
            "inf": "inf is not a limit",
            "abc": "'abc' is not a number",
            "''": "\"''\" is not a number",
        }.items()
    },
    **{
        f"a known norm of {norm}": Wrong(
            f"apply x.npy {CLIP} --use-norm {norm}", f"--use-norm: {said}", ""
        )
        for norm, said in {
            "-1": "-1.0 is not a norm",
            "nan": "nan is not a norm",
            "inf": "inf is not a norm",
            "abc": "'abc' is not a number",
        }.items()
    },
    "no limit": Wrong("apply x.npy -o out", "no rule is named", "--clip-norm"),
    "two rules": Wrong(f"apply x.npy {CLIP} --clip-value 1", "--clip-value: cannot go", "one rule"),
    "limits the wrong way round": Wrong(
        "apply x.npy --clip-value 2,1 -o out",
        "--clip-value: the lower limit 2.0 is above the upper 1.0",
        "two, the lower first",
    ),
    "a known norm for another rule": Wrong(
        f"apply x.npy {CLIP} --per-tensor --use-norm 5",
        "--use-norm: cannot go with --per-tensor",
        "--clip-norm alone",
    ),
    "adaptive clipping without parameters": Wrong(
        "apply x.npy --agc 0.1 -o out",
        "--agc: needs the parameters that the gradients belong to",
        "add --params PATH",
    ),
    "each tensor's norm without a limit": Wrong(
        "apply x.npy --clip-value 1 --per-tensor -o out",
        "--per-tensor: needs a limit for each tensor's norm",
        "give --clip-norm C",
    ),
    "parameters for another rule": Wrong(
        f"apply x.npy {CLIP} --params good.safetensors",
        "--params: needs adaptive clipping, the rule that goes by parameters",
        "give --agc L",
    ),
    "parameters of another model": Wrong(
        "apply x.npy --agc 0.1 --params good.safetensors -o out",
        "--params: 1 of 1 gradients have no parameter, the first is 'x'",
        "--exclude",
    ),
    "axes that are not there": Wrong(
        f"apply x.npy {CLIP} --per-tensor --axes 5", "--axes: 5 does not fit", "counted from 0"
    ),
    "a norm of no type": Wrong("inspect x.npy --norm-type -1", "--norm-type: -1.0 is no", "give"),
    "a limit to ask about that is none": Wrong(
        "inspect x.npy --clip-norm 0", "--clip-norm: 0.0 is not a limit", "1.0"
    ),
    "an unknown framework": Wrong(f"apply x.npy {CLIP} --like caffe", "", "--help"),
    "eps beside a framework": Wrong(
        f"apply x.npy {CLIP} --like torch --eps 1e-6", "--eps: cannot go with --like", "its own"
    ),
    "a limit without a number": Wrong(
        "apply x.npy -o out --clip-norm",
        "option '--clip-norm' requires an argument",
        "gradclip apply --help",
    ),
    "no workers": Wrong("inspect x.npy --workers 0", "--workers: '0' is not", "for example 1"),
    "fewer workers than none": Wrong("inspect x.npy --workers -1", "--workers: '-1' is not", "1"),
    "an unknown option": Wrong(
        "inspect x.npy --norm", "no such option: --norm", "gradclip inspect --help"
    ),
    "an unknown command": Wrong(
        "clip x.npy", "no such command 'clip'. Did you mean 'apply'?", "gradclip --help"
    ),
    "an unknown format": Wrong("inspect x.npy --format xml", "", "--help"),
    "an unknown policy": Wrong(f"apply x.npy {CLIP} --nonfinite ignore", "", "--help"),
    "two formats": Wrong("inspect x.npy --json --format csv", "--json: cannot go with", "one"),
    "no file at all": Wrong("inspect", "no file is named", "name"),
    # an output
    "an output that exists": Wrong(
        "apply x.npy --clip-norm 1 -o empty.npy", "empty.npy: already exists", "--force"
    ),
    "an output in a missing folder": Wrong(
        "apply x.npy --clip-norm 1 -o none/out.npy", "none/out.npy: its folder does not", "mkdir"
    ),
    "the input as output": Wrong(
        "apply x.npy --clip-norm 1 -o x.npy", "x.npy: the output is the input", "--in-place"
    ),
    "in place and elsewhere": Wrong(
        f"apply x.npy {CLIP} --in-place", "--in-place: cannot go with -o", "one"
    ),
    "two files to one stream": Wrong(
        "apply x.npy good.safetensors --clip-norm 1", "-o: 2 files cannot go to one", "FOLDER"
    ),
    "a report that exists": Wrong(
        f"apply x.npy {CLIP} --report notes.txt", "notes.txt: already exists", "--force"
    ),
    "a report in a missing folder": Wrong(
        f"apply x.npy {CLIP} --report none/said.json",
        "none/said.json: its folder does not exist",
        "",
    ),
}


def check_complaint(said: Said, status: int, details: int = 0) -> None:
    """Check a line, so many lines of details, a hint, and nothing else anywhere."""
    assert said.status == status, said
    assert said.out == ""
    assert "Traceback" not in said.err
    problem, *between, hint, end = said.err.split("\n")
    assert problem.startswith("gradclip: ")
    assert problem.isprintable()
    assert not problem.endswith(".")
    assert len(problem) < 300
    assert len(between) == details
    assert all(line.startswith("  ") for line in between)
    assert re.fullmatch("hint: .+", hint)
    assert end == ""


def check_fault(wrong: Wrong, said: Said) -> None:
    """Check that a fault is said as the table has it."""
    check_complaint(said, 2, details="scales." in wrong.arguments)
    problem, *_, hint, _ = said.err.split("\n")
    assert problem.startswith(f"gradclip: {wrong.said}")
    assert wrong.hint in hint


@pytest.mark.parametrize("wrong", FAULTS.values(), ids=FAULTS.keys())
def test_it_is_said_in_one_line_with_a_hint_and_nothing_is_written(
    wrong: Wrong, yard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with untouched(yard):
        said = run_here(capfd, *wrong.arguments.split())
    check_fault(wrong, said)


@pytest.mark.parametrize(
    ("command", "option", "problem"),
    [
        *(
            (command, option, problem)
            for command in ("inspect", "apply", "diff", "trend", "check")
            for option, problem in (
                ("--xyz", "no such option: --xyz"),
                ("--json=yes", "option '--json' does not take a value"),
            )
        ),
        *(
            (command, "--format", "option '--format' requires an argument")
            for command in ("inspect", "apply", "diff", "trend")
        ),
    ],
)
def test_the_hint_about_an_option_names_the_command_it_was_given_to(
    command: str, option: str, problem: str, yard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = run_here(capfd, command, "x.npy", option)
    check_complaint(said, 2)
    assert said.err.splitlines() == [
        f"gradclip: {problem}",
        f"hint: gradclip {command} --help shows what can be given",
    ]


@pytest.mark.parametrize("argument", ["--xyz", "--version=1", "clip"])
def test_the_hint_about_what_no_command_is_given_names_none(
    argument: str, capfd: pytest.CaptureFixture[str]
) -> None:
    said = run_here(capfd, argument)
    check_complaint(said, 2)
    assert said.err.splitlines()[-1] == "hint: gradclip --help shows what can be given"


@pytest.mark.alike(3)
@pytest.mark.parametrize("columns", [40, pytest.param(80, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("wrong", FAULTS.values(), ids=FAULTS.keys())
def test_on_a_terminal_it_is_broken_at_spaces_and_nowhere_else(
    wrong: Wrong, columns: int, yard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if wrong.said.startswith("-o: 2 files"):
        pytest.skip("where stdout is a terminal another thing is wrong first")
    shown = on_terminal(*wrong.arguments.split(), columns=columns, cwd=yard)
    piped = run_here(capfd, *wrong.arguments.split()).err
    assert shown.status == 2
    assert " ".join(shown.lines).split() == piped.split()
    assert len([line for line in shown.lines if line[:4] != "    "]) == len(piped.splitlines())
    for line in shown.lines:
        assert len(line) <= columns or len(line.split()[-1]) + 4 > columns, "but for a long word"


def test_what_is_to_be_copied_stays_whole_on_a_terminal(yard: Path) -> None:
    path = f"{'far/' * 30}x.npy"
    shown = on_terminal("inspect", path, cwd=yard)
    assert shown.lines[0] == f"gradclip: {path}:"
    assert shown.lines[1] == "    no such file or directory"


def test_what_a_gate_says_fits_a_terminal(yard: Path) -> None:
    shown = on_terminal("inspect", "x.npy", "--fail-above", "1.23456789e-300", columns=40, cwd=yard)
    begin = next(at for at, line in enumerate(shown.lines) if line.startswith("gradclip: "))
    assert len(shown.lines[begin:]) > 1
    assert max(map(len, shown.lines)) <= 40


@pytest.mark.parametrize(
    "name",
    [
        "a missing file",
        "a truncated safetensors file",
        "an object array",
        "a limit of nan",
        "an output that exists",
        "an unknown command",
        "no file at all",
    ],
)
def test_the_real_command_says_the_same(name: str, yard: Path) -> None:
    with untouched(yard):
        said = real(*FAULTS[name].arguments.split())
    check_fault(FAULTS[name], said)


def test_scale_factors_are_named_with_their_dtype(
    yard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    apply = ["apply", "scales.safetensors", *CLIP.split()]
    assert "\n  'q' is float8_e8m0fnu\n" in run_here(capfd, *apply).err
    assert run_here(capfd, *apply, "--exclude", "q").status == 0


def test_a_file_that_may_not_be_read_is_said_in_one_line_with_a_hint(yard: Path) -> None:
    (yard / "x.npy").chmod(0)
    said = real("inspect", "x.npy", before=ordinary_user())
    check_complaint(said, 2)
    assert said.err.startswith("gradclip: x.npy: permission denied\n")


def test_an_output_that_cannot_be_written_to_is_said_before_anything_is_read(yard: Path) -> None:
    np.save("nan.npy", np.array([np.nan]))  # to read it would be a refusal of another kind
    (yard / "closed").mkdir(0o555)
    apply = ["apply", "nan.npy", "--clip-norm=1", "-o", "closed/out.npy"]
    with untouched(yard):
        said = real(*apply, before=ordinary_user())
    check_complaint(said, 2)
    assert said.err.startswith("gradclip: closed/out.npy: ")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31mred.npy", r"\x1b[31mred.npy"),
        ("line\nend.npy", r"line\x0aend.npy"),
        ("\u202egpj.npy", r"\u202egpj.npy"),
        ("caf\udce9.npy", r"caf\udce9.npy"),
        ("[bold]x.npy", "[bold]x.npy"),
        ("-x.npy", "-x.npy"),
    ],
)
def test_a_name_that_drives_a_terminal_is_shown_escaped(
    name: str, shown: str, yard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = run_here(capfd, "inspect", "--", name)
    check_complaint(said, 2)
    assert said.err.startswith(f"gradclip: {shown}: no such file")


# Status 1: a verdict on the gradients


def not_finite(**tensors: Sequence[float]) -> None:
    """Write `bad.safetensors`."""
    arrays = {name: np.array(values, "f4") for name, values in tensors.items()}
    save_file(arrays, "bad.safetensors")


@pytest.mark.parametrize("more", [[], ["--use-norm", "5"], ["--dry-run"]], ids=["", "use", "dry"])
def test_values_that_are_not_finite_are_refused_with_status_1_and_counted(
    more: list[str], yard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inf, nan = np.inf, np.nan
    not_finite(good=[3, 4], a=[0, nan, inf, nan], b=[-inf], c=[inf, -inf])
    matrix = np.zeros((2, 3), "f8")
    matrix[1, 2] = nan
    np.save("m.npy", matrix)
    out = ["-o", "out"] if "--dry-run" not in more else []
    with untouched(yard):
        said = run_here(capfd, "apply", "bad.safetensors", "m.npy", "--clip-norm=1", *out, *more)
    check_complaint(said, 1, details=4)
    assert said.err.startswith("gradclip: 2 files: 4 of 5 tensors hold values that are not")
    assert set(said.err.split("\n")[1:5]) == {
        "  'a': 2 NaN, 1 +inf, first at [1]",
        "  'b': 1 -inf, first at [0]",
        "  'c': 1 +inf, 1 -inf, first at [0]",
        "  'm': 1 NaN, first at [1, 2]",
    }
    assert "--nonfinite" in said.err.split("\n")[-2]


def test_of_many_tensors_that_are_not_finite_the_rest_is_counted(
    yard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    not_finite(**{f"w{index}": [np.nan] for index in range(25)})
    with untouched(yard):
        said = run_here(capfd, "apply", "bad.safetensors", "--clip-norm=1", "-o", "out")
    check_complaint(said, 1, details=21)
    assert said.err.startswith("gradclip: bad.safetensors: 25 of 25 tensors")
    assert said.err.split("\n")[-3] == "  … and 5 more"


def test_a_norm_beyond_float64_is_refused_with_status_1(
    yard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    np.save("huge.npy", np.array([1.7e308, 1.7e308]))
    with untouched(yard):
        said = run_here(capfd, "apply", "huge.npy", "--clip-norm=1", "-o", "out")
    check_complaint(said, 1)
    assert "beyond float64" in said.err


def test_the_real_command_ends_with_status_1(yard: Path) -> None:
    not_finite(a=[np.nan])
    said = real("apply", "bad.safetensors", "--clip-norm=1", "-o", "out")
    check_complaint(said, 1, details=1)
    assert not Path("out").exists()


# Status 0, and 70

FINE = [
    "inspect x.npy",
    "inspect good.safetensors x.npy",
    "inspect scales.safetensors",
    "inspect step.safetensors --exclude step",
    "apply x.npy --clip-norm 1 -o new.npy",
    "apply x.npy --clip-norm 100 -o new.npy",
    "apply x.npy --clip-norm 1 --dry-run",
    "apply step.safetensors --clip-norm 1 --in-place",
    "apply x.npy --clip-norm 1 --use-norm 0 -o new.npy",
    "--version",
    "--help",
    "inspect --help",
    "apply -h",
]


@pytest.mark.parametrize("arguments", FINE)
def test_what_is_fine_ends_with_status_0_and_says_nothing_on_stderr(
    arguments: str, yard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = run_here(capfd, *arguments.split())
    assert (said.status, said.err) == (0, "")
    assert said.out


def test_to_inspect_what_is_not_finite_is_fine(
    yard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    not_finite(a=[np.nan])
    assert run_here(capfd, "inspect", "bad.safetensors").status == 0
    assert real("inspect", "bad.safetensors").status == 0


@pytest.mark.parametrize("raised", ["RuntimeError('a bug')", "AssertionError"])
def test_a_bug_ends_with_status_70_and_its_traceback(raised: str, yard: Path) -> None:
    text = (
        "import sys\n"
        "from gradclip_cli.cli import app as cli\n"
        "import gradclip_cli.commands.inspect as commands\n"
        f"def broken(*paths, **options): raise {raised}\n"
        "commands.inspect = broken\n"
        "sys.argv = ['gradclip', 'inspect', 'x.npy']\n"
        "cli.main()\n"
    )
    done = program(text)
    assert done.status == 70
    assert done.out == ""
    assert done.err.startswith("Traceback (most recent call last):\n")
    assert re.search(rf"in broken\n(?: .*\n)*{raised.split('(')[0]}", done.err)
    assert "bug in gradclip" in done.err.splitlines()[-1]


# The exceptions themselves


@pytest.mark.parametrize("kind", [GradclipError, RefusedError])
def test_an_error_survives_pickling(kind: type[GradclipError]) -> None:
    error = kind("x.npy", "is wrong", "mend it", ("a", "b"))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert again.said == "x.npy: is wrong"
    assert str(again) == "x.npy: is wrong\n  a\n  b\nhint: mend it"


def test_statuses_are_those_that_are_promised() -> None:
    assert {status.name: status.value for status in Status} == {
        "OK": 0,
        "VERDICT": 1,
        "TROUBLE": 2,
        "BUG": 70,
        "HANGUP": 129,
        "INTERRUPTED": 130,
        "READER_GONE": 141,
        "TERMINATED": 143,
    }
    assert GradclipError.status == Status.TROUBLE
    assert RefusedError.status == Status.VERDICT


def test_an_unknown_choice_is_said_in_plain_words() -> None:
    said = real("inspect", "x.npy", "--format", "xml")

    assert "invalid value for '--format': 'xml' is not one of 'table', 'tsv'," in said.err
