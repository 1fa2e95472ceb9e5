"""Workers that read objects of a store by themselves."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cluster
from tests.cluster import Cluster
from tests.running import gradclip
from tests.stores import BUCKET, Store, served

pytestmark = pytest.mark.xdist_group("cluster")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Give a store that holds two folders of dumps, `a` and `b`."""
    with served() as found:
        folder = tmp_path_factory.mktemp("objects")
        found.put("a", cluster.written(folder / "a"))
        found.put("b", cluster.written(folder / "b", seed=5))
        found.put("t/torch.pt", cluster.torch(folder / "t" / "torch.pt"))
        yield found


@pytest.fixture(scope="module")
def two(store: Store) -> Iterator[Cluster]:
    """Give a cluster whose workers find the store."""
    with cluster.running(0) as found:
        for _ in range(2):
            found.add_worker(**store.environment)
        yield found


def seen(
    store: Store, *arguments: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command that finds the store."""
    return gradclip(*arguments, stdin=b"", stdout=subprocess.PIPE, cwd=cwd, **store.environment)


A, B, T = (f"s3://{BUCKET}/{name}" for name in ("a", "b", "t/torch.pt"))
COMMANDS = {
    "inspect": ["inspect", A, T, "--json"],
    "diff": ["diff", A, B, "--json"],
    "trend": ["trend", f"{A}/", f"{B}/", "--one-gradient", "--json"],
    "apply": ["apply", A, "--clip-norm", "1", "-o", "out/", "--json"],
}


@pytest.mark.parametrize("what", COMMANDS)
def test_they_find_what_one_machine_finds(
    what: str, two: Cluster, store: Store, tmp_path: Path
) -> None:
    found = []
    for number, options in enumerate(([], ["--scheduler", two.address])):
        place = tmp_path / str(number)
        place.mkdir()
        run = seen(store, *COMMANDS[what], *options, cwd=place)
        files = {path.name: path.read_bytes() for path in place.rglob("*") if path.is_file()}
        found.append((run.returncode, run.stdout, run.stderr, files))
    assert found[0] == found[1]
    assert found[0][0] in (0, 1)


def test_each_byte_is_read_once(two: Cluster, store: Store, tmp_path: Path) -> None:
    folder = cluster.written(tmp_path / "new", seed=9)  # nobody has kept a part of it
    url = store.put("new", folder)
    store.proxy.forget()
    assert seen(store, "inspect", url, "--scheduler", two.address).returncode == 0
    for path in folder.iterdir():
        size = path.stat().st_size
        read = sum(one.sent for one in store.proxy.read(f"new/{path.name}"))
        assert size <= read <= 1.01 * size + 2 * 65536, path.name


def test_results_go_to_the_store_and_are_the_same(two: Cluster, store: Store) -> None:
    clip = ["apply", A, T, "--clip-norm", "1", "-q", "-o"]
    for name, options in (("here", []), ("there", ["--scheduler", two.address])):
        run = seen(store, *clip, f"s3://{BUCKET}/{name}/", *options)
        assert run.returncode == 0, run.stderr
    for key in [key for key in store.held() if key.startswith("here/")]:
        assert store.get(key) == store.get(key.replace("here/", "there/", 1))


def test_a_worker_without_the_keys_is_one_line(two: Cluster, store: Store) -> None:
    with cluster.running(0) as other:
        environment = {**store.environment, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
        other.add_worker(**environment)
        run = seen(store, "inspect", A, "--scheduler", other.address)
    lines = run.stderr.decode().splitlines()
    assert (run.returncode, len(lines)) == (2, 2), run.stderr
    assert "no credentials are found" in lines[0]


def test_an_object_that_changes_meanwhile_is_an_error(
    two: Cluster, store: Store, tmp_path: Path
) -> None:
    shutil.copytree(cluster.written(tmp_path / "c"), tmp_path / "d")
    url = store.put("c", tmp_path / "c")
    changed: list[int] = []

    def swap(_number: int, asked: object) -> str:
        if str(getattr(asked, "path", "")).endswith("plain.npy") and getattr(asked, "span", None):
            start, _ = asked.span  # type: ignore[attr-defined] # it has one
            if start and not changed:
                changed.append(start)
                store.put("c/plain.npy", os.urandom(100) + (tmp_path / "d/plain.npy").read_bytes())
        return ""

    store.proxy.fault = swap
    run = seen(store, "inspect", url, "--scheduler", two.address, "--json")
    store.proxy.forget()
    assert changed
    assert (run.returncode, b"changed while gradclip was reading it" in run.stderr) == (2, True)
    assert run.stdout == b"" or not json.loads(run.stdout).get("finite")
