"""Commands as they are declared: what Python's functions take, what the help shows, and where."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import gradclip_cli
from gradclip_cli.cli.declared import COMMANDS, load
from gradclip_cli.commands.apply import signature as signature_of_apply
from gradclip_cli.commands.inspect import signature as signature_of_inspect
from gradclip_cli.options import Option
from gradclip_cli.rules.choosing import options as options_of_rules
from tests.running import gradclip, run_here

FUNCTIONS = ("inspect", "apply", "diff", "check", "trend")

# What only a person at a prompt asks for: how rows look, where they go, which status there is.
OF_THE_PROMPT = {
    "inspect": {"bad_only", "fail_above", "fail_nonfinite", "force", "group_by", "html"},
    "apply": {"report_file"},
    "diff": {"force", "html"},
    "check": set[str](),
    "trend": {"fail_nonfinite", "fail_spike", "force", "html", "plot", "suggest"},
}
OF_ANY_PROMPT = {"everything", "form", "json", "quiet", "reverse", "sort", "top"}
# The options of rules, as Python has known them.
NAMED_BY_APPLY = {
    *("clip_norm", "per_tensor", "axes", "per_group", "average", "clip_value", "clip_rms", "agc"),
    *("params", "agc_layout"),
}
# What only a program gives.
OF_PYTHON = {"audience", "progress", "rule", "fingerprint", "exponents"}


def parameters(name: str) -> dict[str, inspect.Parameter]:
    """Give the parameters of a function that are given by name."""
    of_rules = {"apply": signature_of_apply, "inspect": signature_of_inspect}
    function = getattr(gradclip_cli, name)
    signature = of_rules[name]() if name in of_rules else inspect.signature(function)
    by_name = inspect.Parameter.KEYWORD_ONLY
    return {one.name: one for one in signature.parameters.values() if one.kind is by_name}


def options(name: str) -> dict[str, Option]:
    """Give the options of a command."""
    return {option.name: option for option in load(name).options}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_what_its_command_does_by_the_same_names(name: str) -> None:
    typed = options(name).keys() - OF_THE_PROMPT[name] - OF_ANY_PROMPT
    assert parameters(name).keys() - OF_PYTHON == typed


def test_apply_keeps_the_names_and_defaults_that_it_has_had() -> None:
    had = dict.fromkeys(NAMED_BY_APPLY) | {"per_tensor": False, "average": False}
    taken = {name: one.default for name, one in parameters("apply").items()}
    assert had.items() <= taken.items()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_not_given_means_the_same_in_both(name: str) -> None:
    taken = parameters(name)
    for option in options(name).values():
        if option.name in taken:
            default: Any = taken[option.name].default
            assert (None if default == () else default) == option.default, option.name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_the_operands_of_its_command(name: str) -> None:
    signature = inspect.signature(getattr(gradclip_cli, name))
    given = [
        one
        for one in signature.parameters.values()
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.VAR_POSITIONAL)
    ]
    assert [one.name for one in given] == [one.name for one in load(name).operands]
    for one, operand in zip(given, load(name).operands, strict=True):
        assert (one.kind is one.VAR_POSITIONAL) == operand.many


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "check"])
def test_a_function_says_what_each_option_means(name: str) -> None:
    said = inspect.getdoc(getattr(gradclip_cli, name)) or ""
    general = {
        "force",
        "dry_run",
        "in_place",
        "include",
        "exclude",
        "workers",
        "nonfinite",
        "spike",
    }
    # What a rule's file adds, its own help and the pages say; `inspect` takes it as `apply` does.
    named = NAMED_BY_APPLY if name == "apply" else {"clip_norm"}
    general |= {option.name for option in options_of_rules()} - named
    for option in options(name).values():
        if option.name in parameters(name).keys() - general:
            assert f"`{option.name}" in said, option.name


# Help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_where_it_stands(name: str) -> None:
    groups = {"Rule", "What counts", "What passes", "Where it goes", "Report", "Gates", "Other"}
    for option in options(name).values():
        assert option.group in groups, option.name
        assert option.help[0].isupper() or option.help.startswith(("{", "--"))
        assert option.help.endswith("."), option.name


def test_the_groups_of_apply_are_those_of_its_four_questions() -> None:
    groups = list(dict.fromkeys(option.group for option in options("apply").values()))
    assert groups == ["Rule", "What counts", "Where it goes", "Report", "Other"]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("columns", ["80", "100"])
def test_all_options_stand_in_their_groups(
    name: str, columns: str, capfd: pytest.CaptureFixture[str]
) -> None:
    text = run_here(capfd, name, "--help", COLUMNS=columns).out
    for option in options(name).values():
        section = text.split(f"\n{option.group}:\n")[1].split("\n\n")[0]
        assert re.search(rf"(?<![\w-]){option.flag}(?![\w-])", section), option.flag
    assert all(len(line) <= int(columns) for line in text.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_help_has_what_is_common_and_the_examples_on_a_screen(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    text = run_here(capfd, name, "-h", COLUMNS="80").out
    lines = text.splitlines()
    assert len(lines) <= 50
    assert all(len(line) <= 80 for line in lines)
    flags = set(re.findall(r"^  (?:-\w, )?(--[a-z][a-z-]*)", text, re.MULTILINE))
    assert flags == {option.flag for option in options(name).values() if option.common} | {"--help"}
    for example in load(name).examples:
        assert f"  {example}\n" in text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_option_can_be_told_from_its_value_in_the_examples(name: str) -> None:
    known = {flag for one in options(name).values() for flag in (one.flag, one.short)}
    others = {flag for other in FUNCTIONS for one in load(other).options for flag in (one.flag,)}
    for example in load(name).examples:
        for flag in re.findall(r"(?<=\s)--[a-z-]+", example):
            assert flag in known | others, flag


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operands_read_as_they_are_typed(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    text = run_here(capfd, name, "--help").out
    names = [f"[{one.metavar}]..." if one.many else one.metavar for one in load(name).operands]
    assert text.splitlines()[0] == f"Usage: gradclip {name} [OPTIONS] {' '.join(names)}"


# First contact


def test_nothing_at_all_is_answered_with_help(capfd: pytest.CaptureFixture[str]) -> None:
    said = run_here(capfd)
    assert (said.status, said.err) == (0, "")
    assert said.out == run_here(capfd, "--help").out == run_here(capfd, "help").out
    for name in COMMANDS:
        assert f"\n  {name} " in said.out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_helps_with_a_command(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_here(capfd, "help", name).out == run_here(capfd, name, "--help").out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("inspet x", "no such command 'inspet'. Did you mean 'inspect'?"),
        ("help aply", "no such command 'aply'. Did you mean 'apply'?"),
        ("zzz", "no such command 'zzz'"),
        ("apply x --clipnorm 1", "no such option: --clipnorm. Did you mean --clip-norm?"),
        ("inspect --versoin", "no such option: --versoin"),
        ("apply x --per-tensr", "no such option: --per-tensr. Did you mean --per-tensor?"),
        ("diff a b --zzzzzz", "no such option: --zzzzzz"),
        ("diff a b --Max_Norm 1", "no such option: --Max_Norm"),
        *(
            (f"{foreign} x", f"no such command {foreign!r}. Did you mean {own!r}?")
            for foreign, own in (
                *(("clip", "apply"), ("norm", "inspect"), ("stats", "inspect")),
                *(("compare", "diff"), ("verify", "check"), ("watch", "trend")),
            )
        ),
        *(
            (f"{command} x {foreign} 1", f"no such option: {foreign}. Did you mean {own}?")
            for command in ("apply", "inspect")
            for foreign, own in (
                *((name, "--clip-norm") for name in ("--max-norm", "--max_norm", "--threshold")),
                *((name, "--clip-norm") for name in ("--global-clipnorm", "--max_grad_norm")),
                *(("--gradient-clip-val", "--clip-norm"), ("--clipvalue", "--clip-value")),
                *(("--per-layer", "--per-tensor"), ("--layerwise", "--per-tensor")),
            )
        ),
    ],
)
def test_what_is_mistyped_is_answered_with_the_nearest(
    arguments: str, problem: str, capfd: pytest.CaptureFixture[str]
) -> None:
    said = run_here(capfd, *arguments.split())
    assert said.status == 2
    assert said.err.splitlines()[0] == f"gradclip: {problem}"
    assert said.err.splitlines()[1].startswith("hint: gradclip ")


def test_help_goes_through_a_pipe_whose_reader_leaves(tmp_path: Path) -> None:
    done = gradclip("help", "apply", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Usage: gradclip apply [OPTIONS] [PATH]...\n")


def wanting(name: str) -> list[Option]:
    found = options(name).values()
    return [one for one in found if not (one.is_switch or one.choices or one.allows_empty)]


@pytest.mark.alike(4)
@pytest.mark.parametrize(
    ("name", "option"), [(name, one) for name in FUNCTIONS for one in wanting(name)]
)
def test_a_value_that_is_empty_is_told_with_its_option(
    name: str, option: Option, capfd: pytest.CaptureFixture[str]
) -> None:
    said = run_here(capfd, name, "x.npy", "y.npy", option.flag, "")
    assert said.status == 2
    assert said.err == (
        f"gradclip: {option.short or option.flag}: is empty\n"
        "hint: give a value, or leave it out; is a variable of the shell not set?\n"
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_operand_that_is_empty_is_told(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    limit = ["--clip-norm=1", "--dry-run"] if name == "apply" else []
    said = run_here(capfd, name, "x.npy", "", *limit)
    assert said.err.startswith("gradclip: a path is empty\nhint: name a file or a folder; ")
    with pytest.raises(gradclip_cli.GradclipError, match="'' is not a path"):
        getattr(gradclip_cli, name)("x.npy", "")
