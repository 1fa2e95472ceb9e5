"""Other systems: what they lack is asked for in one room, and all is as it is here without it.

What macOS and Windows lack is read from the types of Python's library that mypy brings. A gradclip
from which it is hidden stands for them (`tests.elsewhere`); none of it has seen either system.
"""

import ast
import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import mypy
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.elsewhere import Errand, Place
from tests.floors import MODULES
from tests.running import TOP, environment

ROOM = "files.system"
BELOW = {("engine.crew", "sched_getaffinity")}  # which the files stand on; it asks with hasattr
OTHERS = ("darwin", "win32")
MYPY = (sys.executable, "-m", "mypy")
SYSTEM = {"os", "signal", "fcntl", "select"}


# What they lack


def holds(test: ast.expr, platform: str) -> bool:
    """Say whether a condition of the types is true on a platform."""
    if isinstance(test, ast.BoolOp):
        parts = [holds(part, platform) for part in test.values]
        return all(parts) if isinstance(test.op, ast.And) else any(parts)
    assert isinstance(test, ast.Compare)
    known = {"platform": platform, "version_info": sys.version_info}
    left = known[test.left.attr] if isinstance(test.left, ast.Attribute) else None
    right = ast.literal_eval(test.comparators[0])
    match test.ops[0]:
        case ast.Eq():
            return bool(left == right)
        case ast.NotEq():
            return bool(left != right)
        case ast.GtE():
            return bool(left >= right)
        case _:
            return bool(left < right)


def named(body: list[ast.stmt], platform: str) -> Iterator[str]:
    """Give the names that lines of the types have on a platform."""
    for node in body:
        match node:
            case ast.If():
                yield from named(node.body if holds(node.test, platform) else node.orelse, platform)
            case ast.FunctionDef() | ast.ClassDef():
                yield node.name
            case ast.AnnAssign(target=ast.Name(name)):
                yield name
            case ast.Assign():
                yield from (one.id for one in node.targets if isinstance(one, ast.Name))
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name for alias in node.names)


@cache
def has(platform: str, module: str) -> frozenset[str]:
    """Give what a module has on a platform."""
    types = Path(mypy.__file__).parent / "typeshed" / "stdlib"
    path = next(
        one for one in (types / f"{module}.pyi", types / module / "__init__.pyi") if one.exists()
    )
    return frozenset(named(ast.parse(path.read_text("utf-8")).body, platform))


def asked(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Give what a module of ours asks the system for: module and name."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(module), attr=name):
                yield module.strip("_"), name
            case ast.Call(
                func=ast.Name("getattr" | "hasattr"),
                args=[ast.Name(module), ast.Constant(str(name)), *_],
            ):
                yield module.strip("_"), name
            case ast.ImportFrom(module=str(module)):
                yield from ((module, alias.name) for alias in node.names)


def lacking(module: str) -> set[tuple[str, str]]:
    """Give what a module of ours asks for that Linux has, and another system has not."""
    return {
        (of, name)
        for of, name in asked(MODULES[module])
        if of in SYSTEM and any(name not in has(platform, of) for platform in OTHERS)
    }


def test_what_a_system_lacks_is_asked_for_in_one_room() -> None:
    strangers = {
        (module, name)
        for module in MODULES
        for _, name in lacking(module)
        if module != ROOM and not name.startswith("__")
    }
    assert strangers == BELOW
    assert ("os", "posix_fallocate") in lacking(ROOM)


@pytest.mark.heavy
@pytest.mark.parametrize("platform", OTHERS)
def test_the_types_are_sound_on_every_system(platform: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            f"--platform={platform}",
            f"--cache-dir={tmp_path}",
            "-p",
            "gradclip_cli",
        ],
        capture_output=True,
        text=True,
        cwd=TOP,
        check=False,
    )
    assert done.returncode == 0, done.stdout


# All as it is here

READING: tuple[tuple[str, str], ...] = (
    ("inspect one.safetensors --json", ""),
    ("inspect set --format tsv --workers 2", ""),
    ("inspect --json", "|one.safetensors"),
    ("inspect --json", "<one.safetensors"),
    ("diff one.safetensors two.safetensors --json", ""),
    ("trend step-1.safetensors step-2.safetensors --json", ""),
    ("check one.safetensors set --json", ""),
)
WRITING: tuple[tuple[str, str], ...] = (
    ("apply one.safetensors --clip-norm 1 -o new.safetensors --json", ""),
    ("apply big.npy --clip-norm 1 -o bigger.npy --report report.json", ""),
    ("apply set --clip-norm 1 -o clipped/ --json", ""),
    ("apply --clip-norm 1", "|one.safetensors"),
    ("apply --clip-norm 1 -o piped.safetensors --json", "|one.safetensors"),
    ("apply set --clip-norm 1 -o tried/ --dry-run --json", ""),
)
REPLACING: tuple[tuple[str, str], ...] = (
    ("apply one.safetensors --clip-norm 1 --in-place --backup .orig --json", ""),
    ("apply set --clip-norm 1 --in-place --json", ""),
    ("apply big.npy --clip-norm 2 -o bigger.npy --force --json", ""),
    ("apply two.safetensors --clip-norm 1 -o 2.safetensors --report report.json --force", ""),
    ("trend step-1.safetensors step-2.safetensors --cache steps.cache --json", ""),
)
STATUSES = {"diff": b"1"}
COMMANDS = READING + WRITING + REPLACING


def lacks_of(platform: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for module, name in sorted(lacking(ROOM) | lacking("engine.crew")):
        if name not in has(platform, module):
            found.setdefault(module, []).append(name)
    return found


Done = tuple[dict[str, bytes], dict[str, bytes]]
"""What is in a place's folder, and what was said there."""

MACOS = Place("darwin", lacks_of("darwin"))
WINDOWS = Place("win32", lacks_of("win32"), ("fcntl",))


def build(folder: Path) -> None:
    """Make the dumps, among them one that is large enough to be written in pieces."""
    (folder / "set").mkdir(parents=True)
    for number, name in enumerate(("one", "two", "step-1", "step-2"), 1):
        arrays = {"a": np.arange(2_000, dtype="f4") * number, "b": np.ones((3, 5), "f8")}
        save_file(arrays, folder / f"{name}.safetensors")
    for name in "xyz":
        np.save(folder / "set" / f"{name}.npy", np.full(1_000, 2.0, "f4"))
    np.save(folder / "big.npy", np.arange(3 << 19, dtype="f4"))


def tree(folder: Path) -> dict[str, bytes]:
    """Give all files, but for a cache, which knows the inodes of dumps; of a large one its digest.

    To tell how megabytes differ takes pytest hours.
    """
    return {
        str(path.relative_to(folder)): (
            path.read_bytes()
            if path.stat().st_size < 1 << 16
            else hashlib.sha256(path.read_bytes()).digest()
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".cache"
    }


def first(said: Mapping[str, bytes], count: int) -> dict[str, bytes]:
    """Give what the first commands said."""
    return {name: text for name, text in said.items() if int(name.partition(".")[0]) < count}


def visit(tmp_path: Path, places: Mapping[str, Place]) -> dict[str, Done]:
    """Run all commands in each place; gives what is in its folder then, and what was said."""
    build(tmp_path / "built")
    for name in places:
        shutil.copytree(tmp_path / "built", tmp_path / name)
    errand = Errand(
        {str(tmp_path / name): place for name, place in places.items()},
        [(line.split(), stdin) for line, stdin in COMMANDS],
    )
    subprocess.run(
        [sys.executable, "-m", "tests.elsewhere"],
        input=json.dumps(dataclasses.asdict(errand)).encode(),
        cwd=TOP,
        env=environment({}),
        timeout=600,
        check=True,
    )
    return {name: (tree(tmp_path / name), tree(tmp_path / f"{name}.said")) for name in places}


def test_macos_and_windows_do_as_linux_does(tmp_path: Path) -> None:
    done = visit(tmp_path, {"here": Place(), "macos": MACOS, "windows": WINDOWS})
    _, said = done["here"]
    statuses = [said[f"{number}.status"] for number in range(len(COMMANDS))]
    assert statuses == [STATUSES.get(line.split()[0], b"0") for line, _ in COMMANDS]
    assert done["macos"] == done["here"]
    check_windows(tree(tmp_path / "built"), done["windows"], done["here"])


def check_windows(before: Mapping[str, bytes], windows: Done, here: Done) -> None:
    """Compare reading, and writing to what is new; all else is refused in a line and a hint."""
    promised = len(READING + WRITING)
    (files, said), (files_here, said_here) = windows, here
    assert first(said, promised) == first(said_here, promised)
    for number in range(promised, len(COMMANDS)):
        problem, hint = said[f"{number}.err"].decode().splitlines()
        assert (said[f"{number}.status"], said[f"{number}.out"]) == (b"2", b"")
        assert problem.startswith("gradclip: ")
        assert hint.startswith("hint: ")
    assert {name: files[name] for name in before} == before
    made = files.keys() - before.keys()
    assert made == {"new.safetensors", "bigger.npy", "report.json", "piped.safetensors"} | {
        f"clipped/{name}.npy" for name in "xyz"
    }
    assert {name: files[name] for name in made - {"bigger.npy", "report.json"}} == {
        name: files_here[name] for name in made - {"bigger.npy", "report.json"}
    }


@pytest.mark.heavy
def test_each_name_alone_can_be_lacking(tmp_path: Path) -> None:
    names = sorted(lacking(ROOM) | lacking("engine.crew"))
    places = {
        f"{module}.{name}": Place(lacks={module: [name]})
        for module, name in names
        if not name.startswith("LOCK_")  # they come with flock
    }
    places["without fcntl"] = Place(without=["fcntl"])
    done = visit(tmp_path, {"here": Place(), **places})
    files, said = done["here"]
    for name in places:
        assert done[name][0] == files, name
        kept = len(COMMANDS) - (name in ("fcntl.flock", "without fcntl"))  # no cache without locks
        assert first(done[name][1], kept) == first(said, kept), name
