"""Near misses: patterns that match nothing, limits in a row, numbers that name no file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradclip_cli
from gradclip_cli.tensors.selection import Selection
from tests.readers import strict
from tests.running import Run, one_error
from tests.steps import write_steps

NAMES = ["layers.0.attn.q_proj.weight", "layers.0.mlp.bias", "head.weight"]
NEAR = {
    "attn": "*attn*",
    "*.attn": "*.attn*",
    "ATTN": "*attn*",
    "*bais": "*bias*",
    "head.wieght": "head.weight",
    "zzz": None,
    "*zz*": None,
    "": None,
    "[": None,
}


@pytest.fixture
def dump(tmp_path: Path) -> str:
    """Give a dump of three tensors."""
    (path,) = write_steps(tmp_path, {name: [3.0] for name in NAMES})
    return path


@pytest.mark.parametrize("option", ["include", "exclude"])
@pytest.mark.parametrize("glob", NEAR)
def test_the_nearest_pattern_that_would_match_is_named(option: str, glob: str) -> None:
    (said,) = Selection(**{option: [glob, "*"]}).misses(NAMES)
    near = NEAR[glob]
    would = f", '{near}' would" if near else ""
    assert said == f"no tensor matches --{option} '{glob}'{would}"


@given(st.lists(st.text(), min_size=1), st.text(min_size=1))
def test_a_pattern_is_said_to_miss_where_it_does_and_what_is_named_matches(
    names: list[str], glob: str
) -> None:
    said = Selection(exclude=[glob]).misses(names)
    hits = [name for name in names if not Selection(exclude=[glob]).chooses(name)]
    assert bool(said) == (not hits)


@pytest.mark.parametrize(
    "command", ["inspect D", "trend D", "diff D D", "apply D --clip-norm 1 --dry-run"]
)
@pytest.mark.parametrize("form", ["json", "table"])
def test_every_command_says_each_pattern_that_matches_nothing(
    run: Run, dump: str, command: str, form: str
) -> None:
    words = command.replace("D", dump).split()
    more = ["--include", "head", "--include", "*weight", "--exclude", "mlp", "--format", form]
    said = run(*words, *more, COLUMNS="200")
    assert (said.status, said.err) == (0, "")
    notes = (
        "no tensor matches --include 'head', '*head*' would",
        "no tensor matches --exclude 'mlp', '*mlp*' would",
    )
    if form == "json":
        assert [note for note in strict(said.out)["notes"] if "matches" in note] == [*notes]
    assert all(note in said.out for note in notes)


def test_a_report_of_inspect_is_selected_from_likewise(run: Run, dump: str, tmp_path: Path) -> None:
    report = tmp_path / "r.jsonl"
    report.write_text(run("inspect", dump, "--format", "jsonl").out)
    assert gradclip_cli.trend(report, exclude=["mlp"]).notes[-1] == (
        "no tensor matches --exclude 'mlp', '*mlp*' would"
    )


def test_where_nothing_is_left_the_hint_names_what_would_match(run: Run, dump: str) -> None:
    said = run("inspect", dump, "--include", "attn")
    assert (said.status, said.out) == (2, "")
    assert one_error(said.err) == "gradclip: --include: none of the 3 tensors is selected"
    assert "'*attn*' would" in said.err
    assert run("inspect", dump, "--include", "*attn*").status == 0, "so the hint helps"


# Numbers


@pytest.mark.parametrize("given", [["0.5,1,5"], ["0.5", "1", "5"], ["0.5,1", "5"]])
def test_inspect_takes_limits_in_a_row(run: Run, dump: str, given: list[str]) -> None:
    for words in ([dump, "--clip-norm", *given], ["--clip-norm", *given, dump]):
        said = run("inspect", *words, "--json")
        assert (said.status, said.err) == (0, "")
        assert [chance["clip_norm"] for chance in strict(said.out)["what_if"]] == [0.5, 1, 5]


@pytest.mark.parametrize("given", [["0.5,1"], ["0.5", "1"]])
def test_apply_is_answered_with_the_right_form(run: Run, dump: str, given: list[str]) -> None:
    said = run("apply", dump, "--clip-norm", *given, "--dry-run")
    assert (said.status, said.out) == (2, "")
    one_error(said.err)
    assert "give one " in said.err
    assert "gradclip inspect --clip-norm 1,5 compares several" in said.err
    assert run("inspect", "--clip-norm", "1,5", dump).status == 0, "so the hint helps"


@pytest.mark.parametrize("command", ["inspect", "apply", "diff", "trend", "check"])
def test_a_number_that_is_no_file_is_taken_for_a_forgotten_option(
    run: Run, dump: str, tmp_path: Path, command: str
) -> None:
    more = ["--clip-rms", "1"] if command == "apply" else []
    said = run(command, "5.0", dump, *more, cwd=tmp_path)
    assert (said.status, said.out) == (2, "")
    assert one_error(said.err) == "gradclip: 5.0: a number, and there is no file of that name"
    assert " missing before it?" in said.err


def test_a_number_that_is_a_file_is_one(run: Run, dump: str, tmp_path: Path) -> None:
    Path(dump).rename(tmp_path / "5")
    assert run("inspect", "5", "--clip-norm", "1", cwd=tmp_path).status == 0
