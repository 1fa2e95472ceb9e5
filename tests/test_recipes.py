"""The recipes do what their page says: their lines run beside each library's own norm.

The libraries are not installed for the plain tests; `.ci/run` has them.
"""

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.frameworks import installed
from tests.recipes import ALONE, BLOCKS, PAGE, RANKS
from tests.running import TOP, Run, environment

NEEDS = {
    "PyTorch": ["torch"],
    "Hugging Face Trainer": ["transformers", "accelerate"],
    "Lightning": ["lightning"],
    "FSDP2": ["torch.distributed.fsdp"],
    "DeepSpeed": ["deepspeed"],
    "Megatron": ["megatron.core"],
    "JAX with optax": ["optax"],
    "Flax": ["flax.nnx", "msgpack"],
    "Keras": ["keras", "tensorflow"],
}
each_recipe = pytest.mark.parametrize("name", NEEDS)


def test_each_recipe_is_followed_by_a_run() -> None:
    assert [*BLOCKS] == [*NEEDS]
    assert {*NEEDS} == {*ALONE, *RANKS}


@each_recipe
def test_a_recipe_is_short_and_says_what_to_type(name: str) -> None:
    recipe = BLOCKS[name]
    compile(recipe["python"], name, "exec")
    lines = [line for line in recipe["python"].splitlines() if line]
    assert len(lines) <= 14
    assert max(map(len, lines)) <= 100
    assert re.fullmatch(r"gradclip inspect grads/step-7\S*( --combine pieces)?\n", recipe["sh"])


@each_recipe
def test_its_dump_has_the_norm_that_the_library_says(
    name: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in NEEDS[name]:
        installed(module)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "tests.recipes", name, f"{port}"]
    subprocess.run(command, cwd=tmp_path, env=environment({}), timeout=240, check=True)
    monkeypatch.chdir(tmp_path)
    said = run(*shlex.split(BLOCKS[name]["sh"])[1:], "--json")
    assert said.status == 0, said.err
    norm = float((tmp_path / "norm").read_text())
    assert json.loads(said.out)["global_norm"] == pytest.approx(norm, rel=1e-5)


def test_what_is_typed_then_is_understood(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("grads", "one/grads", "other/grads"):
        Path(folder).mkdir(parents=True)
        for step in (6, 7):
            sample = TOP / "sample_grads" / "step-20.safetensors"
            shutil.copy(sample, f"{folder}/step-{step}.safetensors")
    commands = re.findall(r"\| `gradclip (.*)` \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        said = run(*shlex.split(command))
        assert said.status == 0, said.err
