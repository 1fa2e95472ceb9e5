"""Every example of the help is run, and works."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from gradclip_cli.cli.declared import COMMANDS, load
from tests.dumps import Stored, floats, write_safetensors
from tests.folders import array
from tests.running import TOP, in_shell

EXAMPLES = [example for command in COMMANDS for example in load(command).examples]
_TOOLS = ("jq", "zstdcat")
_DUMP = {"layers.0.w": [0.5, 0.25], "layers.1.w": [3.0, 4.0], "head.bias": [1.0, 2.0]}


@pytest.fixture
def yard(tmp_path: Path) -> Path:
    """Give a folder with all that the examples name."""

    def write(path: str, prefix: str = "") -> None:
        place = tmp_path / path
        place.parent.mkdir(exist_ok=True)
        tensors: dict[str, Stored] = {
            f"{prefix}{name}": floats("F32", (2,), values) for name, values in _DUMP.items()
        }
        write_safetensors(place, tensors)

    for name in ("grads", "step-19", "step-20", "eager", "new", "a/g", "run/step-3", "run/step-4"):
        write(f"{name}.safetensors")
    for folder in ("grads", "clipped", "step-1", "step-2"):
        for name, values in _DUMP.items():
            array(tmp_path / folder / f"{name}.npy", *values)
    for rank in (0, 1):
        write(f"ranks/rank{rank}.safetensors")
    for number in (1, 2):
        write(f"run/step-{number}/g.safetensors")
    write("compiled.safetensors", "_orig_mod.")
    write("b/g.safetensors", "_fsdp_wrapped_module.")
    return tmp_path


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_help_works(example: str, yard: Path) -> None:
    for tool in _TOOLS:
        if re.search(rf"\b{tool}\b", example) and shutil.which(tool) is None:
            pytest.skip(f"not installed: {tool}")
    if "-o clipped/" in example:
        shutil.rmtree(yard / "clipped")
    if "layer(" in example:
        for path in (yard / "grads").iterdir():
            path.rename(path.with_name(path.name.replace("layers.", "layer")))
    if "--plot" in example:
        pytest.importorskip("matplotlib")
    if "zstdcat" in example:
        in_shell("zstd -q new.safetensors -o old.zst", yard)
    done = in_shell(example, yard)
    assert done.returncode == 0, done.stderr
    assert b"gradclip: " not in done.stderr


# Hints


def _said() -> set[str]:
    """Give all texts of the package but for what documents it."""
    texts = set()
    for path in (TOP / "gradclip_cli").rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        documents = {
            id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
        }  # docstrings, and what stands below data
        texts |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documents
        }
    return texts


def test_every_option_and_command_that_a_message_names_is_there() -> None:
    commands = [load(name) for name in COMMANDS]
    flags = {option.flag for one in commands for option in one.options}
    known = {*flags, "--help", "--version"}
    for text in _said():
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text):
            assert flag in known, text
        for name in re.findall(r"(?:: |with )gradclip ([a-z]+)\b", text):
            assert name in COMMANDS, text
