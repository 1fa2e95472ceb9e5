"""Near misses: patterns that match nothing, limits in a row, numbers that name no file."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradclip_cli
from gradclip_cli.tensors.selection import Selection
from tests.dumps import Stored, floats, write_safetensors
from tests.readers import strict
from tests.running import Run, on_terminal, one_error
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
    "-": None,
    r"\d": None,
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


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Give a folder with a dump of four gradients and a counter."""
    tensors: dict[str, Stored] = {
        f"layers.{at}.w": floats("F32", (2,), [3.0 + at, 4.0]) for at in range(4)
    }
    write_safetensors(tmp_path / "in.safetensors", {**tensors, "step": ("I64", (), bytes(8))})
    return tmp_path


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("order", [(), ("--sort", "name"), ("--sort", "name", "--reverse")])
def test_a_terminal_has_no_rows_for_what_is_left_out_and_says_how_many_that_is(
    mixed: Path, order: tuple[str, ...], columns: int
) -> None:
    wish = ("inspect", "in.safetensors", "--include", "layers.[13].w", *order)
    shown = on_terminal(*wish, cwd=mixed, columns=columns)
    assert {row.split()[0] for row in shown.rows} == {"layers.1.w", "layers.3.w"}
    said = " ".join(line.strip() for line in shown.lines)
    assert "3 tensors not measured: excluded by the selection" in said
    (top,) = on_terminal(*wish, "--top", "1", cwd=mixed, columns=columns).rows
    assert top.split()[0] == shown.rows[0].split()[0]


def test_what_is_not_measured_for_another_reason_keeps_its_row(mixed: Path) -> None:
    shown = on_terminal("inspect", "in.safetensors", "--exclude", "layers.[012].w", cwd=mixed)
    assert [row.split()[0] for row in shown.rows] == ["layers.3.w", "step"]
    assert "3 tensors not measured: excluded by the selection" in shown.lines
    shown = on_terminal("inspect", "in.safetensors", cwd=mixed)
    assert len(shown.rows) == 5
    assert not [line for line in shown.lines if "not measured" in line]


@pytest.mark.parametrize("form", ["tsv", "csv", "md", "json", "jsonl"])
def test_other_formats_have_them_all(run: Run, mixed: Path, form: str) -> None:
    wish = ("inspect", mixed / "in.safetensors", "--include", "layers.[13].w", "--format", form)
    said = run(*wish).out
    assert all(f"layers.{at}.w" in said for at in range(4))
    assert "step" in said
    if form == "json":
        found = json.loads(said)
        assert [row["measured"] for row in found["tensors"]] == [True] * 2 + [False] * 3
        assert (found["measured"], found["excluded"], found["total"]) == (2, 3, 5)


def test_python_shows_the_same_table(mixed: Path) -> None:
    found = gradclip_cli.inspect(mixed / "in.safetensors", include=["layers.[13].w"])
    assert "layers.0.w" not in str(found)
    assert len(found.rows) == 5
