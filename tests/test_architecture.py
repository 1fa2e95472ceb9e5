"""The house: data flows one way, an import only ever points down, each library has its room.

The tables below are the contract. A module that is new gets its place here first.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from tests.running import loaded_by

PACKAGE = "gradclip_cli"
HOME = Path(gradclip_cli.__file__).parent

# Floors from the ground up. What stands on one floor may still build on each other: then it stands
# in steps, and a step knows only the steps and floors below it.
FLOORS: list[list[set[str]]] = [
    [
        {"choices", "errors", "frozen", "hidden", "names", "scratch"},
        {"dtypes", "moments", "source", "spikes", "steps"},
    ],
    [{"dump", "writing"}],
    [
        {
            *("alignment", "formats.npy", "formats.safetensors", "gauge", "grouping", "rules"),
            "selection",
        },
        {"difference", "spans"},
        {"pairs"},
    ],
    [
        {"crew", "formats", "likeness", "trajectory"},
        {"edits", "layers", "recorded"},
        {"clipping", "findings"},
    ],
    [
        {
            *("choosing", "departure", "history", "journal", "measuring", "spooling"),
            *("suggestion", "targets"),
        },
        {
            *("checking", "comparison", "opening", "passes", "rehearsing", "report", "run"),
            *("sweep", "units"),
        },
        {"arrangement", "clipped", "staging"},
    ],
    [
        {"executors", "render.rows", "render.screen"},
        {"measurement", "render.diff_rows"},
        {"applying", "render.grid", "render.json", "render.text"},
        {"render.diff_table", "render.ruling"},
        {"render.table"},
        {
            *("commands", "diffing", "render.answers", "render.picture", "render.progress"),
            *("render.soundness", "render.trend"),
        },
        {"following", "render.plot", "render.steps", "render.suggestion"},
        {"render"},
        {"render.follower"},
        {""},  # the package itself, which names its functions and imports them when asked
    ],
    [{"boundary", "options"}, {"cli"}],
    [{"__main__"}],
]

# The only rooms in which a library, or a module that can do harm, is used.
ROOMS: dict[str, set[str]] = {
    "matplotlib": {"render.plot"},
    "numpy": {
        *("difference", "dtypes", "edits", "gauge", "likeness", "measuring", "pairs", "passes"),
        *("rehearsing", "render.plot", "rules", "scratch", "sweep", "units"),
    },
    "rich": {
        *("render.answers", "render.diff_table", "render.grid", "render.picture"),
        *("render.progress", "render.ruling", "render.steps", "render.suggestion"),
        "render.table",
    },
    "safetensors": {"formats"},
    "typer": {"cli", "options"},
    # of the standard library
    "ast": {"formats.npy"},
    "concurrent": {"crew", "executors", "writing"},
    "importlib": {""},
    "fcntl": {"hidden", "writing"},
    "json": {
        *("formats.safetensors", "history", "journal"),
        *("recorded", "render.json", "render.text"),
    },
    "signal": {"__main__", "boundary"},
    "tempfile": {"formats", "spooling"},
    "traceback": {"boundary"},
    # nowhere
    "click": set(),
    "ctypes": set(),
    "mmap": set(),
    "multiprocessing": set(),
    "pickle": set(),
    "socket": set(),
    "subprocess": set(),
    "urllib": set(),
}


def module_of(path: Path) -> str:
    """Give a module's name within the package; the package itself has none."""
    parts = path.relative_to(HOME).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): ast.parse(path.read_bytes()) for path in HOME.rglob("*.py")}
STEPS = {
    module: (number, step)
    for number, floor in enumerate(FLOORS)
    for step, modules in enumerate(floor)
    for module in modules
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Give the full name of each module that is imported anywhere in a tree, functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}".removeprefix(f"{PACKAGE}.")
                is_own = str(node.module).split(".")[0] == PACKAGE
                yield f"{PACKAGE}.{inner}" if is_own and inner in STEPS else str(node.module)


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


def test_each_module_has_one_place_in_the_table_and_the_table_no_other() -> None:
    placed = [module for floor in FLOORS for step in floor for module in step]
    assert sorted(placed) == sorted(MODULES)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module or PACKAGE)
def test_an_import_only_ever_points_down(module: str) -> None:
    climbing = {other for other in own(MODULES[module]) if STEPS[other] >= STEPS[module]}
    assert not climbing, f"{module} must not know {climbing}"


@pytest.mark.parametrize("library", ROOMS)
def test_a_library_is_used_in_its_rooms_and_in_each_of_them(library: str) -> None:
    assert {module for module, tree in MODULES.items() if library in foreign(tree)} == ROOMS[
        library
    ]


def test_nothing_is_imported_that_has_no_room_and_is_not_pythons_own() -> None:
    everything = set().union(*map(foreign, MODULES.values()))
    assert everything - sys.stdlib_module_names <= ROOMS.keys()


@pytest.mark.parametrize("word", ["utils", "util", "helpers", "common", "base", "manager", "misc"])
def test_no_module_is_called_by_a_name_that_says_nothing(word: str) -> None:
    assert not [module for module in MODULES if word in module.split(".")]


@pytest.mark.parametrize(
    "text",
    [
        "import gradclip_cli.cli",
        "import os, gradclip_cli.cli as command",
        "from gradclip_cli import cli",
        "from gradclip_cli import errors, cli",
        "from gradclip_cli.cli import main",
        "def late() -> None:\n    from gradclip_cli.cli import main",
        "if TYPE_CHECKING:\n    from gradclip_cli.cli import main",
    ],
)
def test_no_way_of_writing_an_import_escapes_the_table(text: str) -> None:
    assert "cli" in own(ast.parse(text))


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
    assert {"cli", "moments", "report", "render"} <= own
    assert not own & {"clipping", "edits", "journal", "render.json", "rules", "run", "spikes"}
    assert ("render.screen" in own) == (form == "table") != ("render.text" in own)


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
