"""The house: a quarter for each concern, imports only ever point down, each library has its room.

The tables of `tests/floors.py` are the contract.
"""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from tests.floors import (
    ALLOWED,
    EFFECTS,
    FLOORS,
    HOME,
    MODULES,
    MOST_LINES,
    MOST_PARAMETERS,
    OWN_FILES,
    PACKAGE,
    PATHS,
    PURE,
    ROOMS,
    by_module,
)
from tests.running import loaded_by


def quarter(module: str) -> str:
    """Give the quarter of a module, or the file that it is."""
    return module.partition(".")[0]


@functools.cache
def imported(tree: ast.AST) -> tuple[str, ...]:
    """Give the full name of each module that is imported anywhere in a tree, functions too."""
    return tuple(_imported(tree))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}".removeprefix(f"{PACKAGE}.")
                is_own = str(node.module).split(".")[0] == PACKAGE
                yield f"{PACKAGE}.{inner}" if is_own and inner in MODULES else str(node.module)


def own(tree: ast.AST) -> set[str]:
    """Give the modules of the package that are imported in a tree."""
    return {
        name.removeprefix(PACKAGE).removeprefix(".")
        for name in imported(tree)
        if name.split(".")[0] == PACKAGE
    }


def foreign(tree: ast.AST) -> set[str]:
    """Give the other packages that are imported in a tree."""
    return {name.split(".")[0] for name in imported(tree)} - {PACKAGE}


# Floors and rooms


def test_every_quarter_stands_on_one_floor_and_every_floor_holds_one() -> None:
    assert sorted({quarter(module) for module in MODULES}) == sorted(FLOORS)


def test_the_package_has_few_files_of_its_own() -> None:
    assert {path.stem for path in HOME.glob("*.py")} == OWN_FILES


@by_module
def test_an_import_only_ever_points_down(module: str) -> None:
    here = quarter(module)
    others = {other for other in own(MODULES[module]) if quarter(other) != here}
    climbing = {other for other in others if FLOORS.index(quarter(other)) < FLOORS.index(here)}
    # The package itself is known to the command alone, for its version.
    assert climbing <= ({""} if here == "" else set()), f"{module} must not know {climbing}"


def test_no_imports_run_in_a_circle() -> None:
    known = {module: own(tree) - {module} for module, tree in MODULES.items()}
    known[""] = set()  # what it names is imported when it is asked for
    settled: set[str] = set()
    while ready := {module for module in known.keys() - settled if known[module] <= settled}:
        settled |= ready
    assert not known.keys() - settled


@pytest.mark.parametrize("library", ROOMS)
def test_a_library_is_used_in_its_rooms_and_in_each_of_them(library: str) -> None:
    users = {module for module, tree in MODULES.items() if library in foreign(tree)}
    rooms = ROOMS[library]
    strangers = {user for user in users if user not in rooms and quarter(user) not in rooms}
    assert not strangers
    assert {room for room in rooms if not {room} & (users | set(map(quarter, users)))} == set()


def test_nothing_is_imported_that_has_no_room_and_is_not_pythons_own() -> None:
    everything = set().union(*map(foreign, MODULES.values()))
    assert everything - sys.stdlib_module_names <= ROOMS.keys()


@by_module
def test_what_is_pure_touches_no_files_processes_or_clock(module: str) -> None:
    if quarter(module) not in PURE:
        return
    tree = MODULES[module]
    used = {name for name in foreign(tree) & EFFECTS if (module, name) not in ALLOWED}
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not used | called & {"open", "print", "input"}


def test_a_rule_imports_numpy_inside_functions_alone() -> None:
    light = {module for module in MODULES if quarter(module) == "rules"}
    light -= {module for module in light if module.startswith("rules.like.")}
    for module in sorted(light - {"rules.decision"}):
        top = ast.Module(list(MODULES[module].body), [])
        heads = {
            alias.name for node in top.body if isinstance(node, ast.Import) for alias in node.names
        }
        assert "numpy" not in heads, module


# Sizes


@by_module
def test_a_module_is_read_in_one_sitting(module: str) -> None:
    assert len(PATHS[module].read_text("utf-8").splitlines()) <= MOST_LINES


@by_module
def test_a_function_has_few_parameters(module: str) -> None:
    if quarter(module) == "cli":
        return
    public = {f"commands.{name}" for name in ("apply", "diff", "explain", "inspect", "trend")}
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if module in public and node.name == module.partition(".")[2]:
                continue
            named = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            given = (*named, node.args.vararg, node.args.kwarg)
            names = [one.arg for one in given if one and one.arg not in ("self", "cls")]
            assert len(names) <= MOST_PARAMETERS, f"line {node.lineno}: {node.name}{names}"


@by_module
def test_a_quarter_says_in_a_sentence_what_lives_there(module: str) -> None:
    said = ast.get_docstring(MODULES[module])
    assert said, "a module without a word of what it is about"
    if PATHS[module].stem == "__init__" and module:
        assert len(said.splitlines()) == 1
        assert said.endswith(".")
        assert len(MODULES[module].body) == 1, "a quarter's own file holds nothing else"


@pytest.mark.parametrize("word", ["utils", "util", "helpers", "common", "base", "manager", "misc"])
def test_no_module_is_called_by_a_name_that_says_nothing(word: str) -> None:
    assert not [module for module in MODULES if word in module.split(".")]


# The tables themselves


@pytest.mark.parametrize(
    "text",
    [
        "import gradclip_cli.cli",
        "import os, gradclip_cli.cli as command",
        "from gradclip_cli.cli import app as cli",
        "from gradclip_cli import errors, cli",
        "from gradclip_cli.cli.app import app",
        "def late() -> None:\n    from gradclip_cli.cli.app import app",
        "if TYPE_CHECKING:\n    from gradclip_cli.cli.app import app",
    ],
)
def test_no_way_of_writing_an_import_escapes_the_table(text: str) -> None:
    assert "cli" in set(map(quarter, own(ast.parse(text))))


def test_a_relative_import_is_not_overlooked() -> None:
    with pytest.raises(AssertionError, match="relative"):
        own(ast.parse("from . import cli"))


# What a start costs


@pytest.mark.parametrize(
    "arguments",
    ["--help", "--version", *(f"{name} --help" for name in ("inspect", "apply", "diff", "trend"))],
)
def test_help_and_version_do_not_wait_for_heavy_libraries(arguments: str) -> None:
    loaded = loaded_by(*arguments.split())
    assert {PACKAGE, "typer"} <= loaded
    assert not loaded & {"numpy", "safetensors", "rich"}


def test_an_array_goes_into_a_pipe_without_libraries_that_it_does_not_need(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "x.npy", np.zeros(2))
    loaded = loaded_by("inspect", str(tmp_path / "x.npy"))
    assert "numpy" in loaded
    assert not loaded & {"safetensors", "rich"}


@pytest.mark.parametrize("form", ["table", "tsv"])
def test_inspect_does_not_wait_for_what_only_others_need(form: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(2))
    loaded = loaded_by("inspect", str(tmp_path / "x.npy"), "--format", form)
    own = {name.removeprefix(f"{PACKAGE}.") for name in loaded if name.startswith(PACKAGE)}
    assert {"cli.inspect", "measure.moments", "results.report", "render.registry"} <= own
    assert not own & {"cli.apply", "commands.apply", "files.journal", "render.json"}
    assert not {module for module in own if module.startswith(("rewrite.", "series."))}
    assert not own & {"rules.choosing", "rules.registry", "results.clipping"}
    assert ("render.screen" in own) == (form == "table") != ("render.delimited" in own)


def test_importing_the_package_imports_none_of_its_modules() -> None:
    program = "import sys, gradclip_cli; print(*(name for name in sys.modules if '_cli' in name))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.split() == [PACKAGE]


def test_the_package_gives_all_that_it_names() -> None:
    for name in gradclip_cli.__all__:
        assert getattr(gradclip_cli, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'clip'"):
        gradclip_cli.clip  # noqa: B018
