"""Work handed to a real cluster: the same digits and bytes as here, whatever becomes of it."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import gradclip_cli
from tests import cluster
from tests.cluster import Cluster
from tests.folders import untouched
from tests.running import Said, environment, gradclip, running

PATIENCE = "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT"
pytestmark = pytest.mark.xdist_group("cluster")


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    """Give a cluster with two workers."""
    with cluster.running(2) as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of every format."""
    pytest.importorskip("distributed")
    whole = tmp_path_factory.mktemp("dumps")
    cluster.written(whole / "a")
    cluster.written(whole / "b", seed=7)
    cluster.read_only(cluster.written(whole / "every"))
    cluster.torch(whole / "t" / "torch.pt")
    cluster.torch(whole / "u" / "torch.pt", seed=21)
    return whole


def said(*arguments: str, cwd: Path, address: str = "", patience: str = "30s") -> Said:
    """Run a command line to its end, with Dask's own configuration."""
    changes = {PATIENCE: patience}
    changes |= {"DASK_SCHEDULER_ADDRESS": address} if address else {}
    done = gradclip(*arguments, stdin=b"", cwd=cwd, stdout=subprocess.PIPE, **changes)
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


def everything(folder: Path) -> dict[str, bytes]:
    """Give all files of a folder, hidden ones included."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


COMMANDS = {
    "inspect": ["inspect", "every", "t/torch.pt", "--json"],
    "inspect by slices": ["inspect", "a", "--clip-norm", "1,5", "--range", "fp16", "--json"],
    "inspect with parameters": ["inspect", "a", "--params", "b", "--agc", "0.01", "--json"],
    "diff": ["diff", "a", "b", "--json"],
    "diff of views": ["diff", "t", "u", "--json"],
    "diff of every format": ["diff", "every", "every", "--json"],
    "trend": ["trend", "a", "b", "every", "t", "--one-gradient", "--json"],
    "apply": ["apply", "a", "t", "--clip-norm", "1", "-o", "out", "--json"],
    "apply into one file": [
        "apply",
        "every",
        "--clip-norm",
        "1",
        "-o",
        "out.safetensors",
        "--json",
    ],
    "apply to slices": ["apply", "a", "--clip-norm", "0.1", "--per-tensor", "-o", "out", "--json"],
    "apply a value": ["apply", "a", "--clip-value", "0.01", "-o", "out", "--json"],
    "apply with a known norm": [
        *("apply", "a", "--clip-norm", "1", "--use-norm", "9", "-o", "out", "--json"),
    ],
    "apply in place": ["apply", "copy", "--clip-norm", "1", "--in-place", "--json"],
    "apply dry": ["apply", "a", "--clip-norm", "1", "--dry-run", "--json"],
    "apply to a stream": ["apply", "a/plain.npy", "--clip-norm", "1", "-o", "-"],
    "apply an archive to a stream": ["apply", "t/torch.pt", "--clip-norm", "1", "-o", "-"],
}


@pytest.mark.parametrize("what", COMMANDS)
def test_reports_and_results_are_those_of_one_machine(
    what: str, two: Cluster, folder: Path, tmp_path: Path
) -> None:
    found = []
    for number, options in enumerate(([], ["--scheduler", two.address])):
        place = tmp_path / str(number)
        place.mkdir()
        for name in ("a", "b", "every", "t", "u"):
            (place / name).symlink_to(folder / name)
        shutil.copytree(folder / "a", place / "copy")
        run = gradclip(*COMMANDS[what], *options, cwd=place)
        assert run.returncode in (0, 1), run.stderr
        found.append((run.returncode, run.stdout, run.stderr, everything(place)))
    assert found[0] == found[1]


def test_every_format_that_is_installed_is_in_the_folder(folder: Path) -> None:
    suffixes = {path.suffix for path in (folder / "every").iterdir()}
    assert {".npy", ".npz", ".safetensors", ""} <= suffixes


def test_python_takes_a_scheduler_as_the_command_does(two: Cluster, folder: Path) -> None:
    found = gradclip_cli.inspect(folder / "a", scheduler=two.address)
    assert found.global_norm == gradclip_cli.inspect(folder / "a").global_norm


def test_what_only_this_process_can_open_it_reads_itself(two: Cluster, folder: Path) -> None:
    data = (folder / "a" / "plain.npy").read_bytes()
    piped = gradclip("inspect", "--json", "--scheduler", two.address, stdin=data)
    with (folder / "a" / "plain.npy").open("rb") as file:
        redirected = gradclip("inspect", "--json", "--scheduler", two.address, stdin=file)
    for run in (piped, redirected):
        assert (run.returncode, run.stderr) == (0, b"")
    assert piped.stdout == gradclip("inspect", "--json", stdin=data).stdout


# What is wrong is one line


def one_line(run: Said, *words: str) -> None:
    """Check that a run ended with status 2 and a line of these words, and a hint."""
    lines = run.err.splitlines()
    assert run.status == 2, run.err
    assert [line.partition(":")[0] for line in lines] == ["gradclip", "hint"], run.err
    for word in words:
        assert word in run.err


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        ("tcp://127.0.0.1:9", ["tcp://127.0.0.1:9: no Dask scheduler answers there"]),
        ("somewhere", ["'somewhere' is no address of a scheduler", "tcp://HOST:8786"]),
        ("http://host:1", ["'http://host:1' is no address"]),
        ("env", ["names no scheduler", "DASK_SCHEDULER_ADDRESS"]),
        ("", ["--scheduler"]),
    ],
)
def test_a_scheduler_that_is_none_is_one_line(
    scheduler: str, words: list[str], folder: Path
) -> None:
    pytest.importorskip("distributed")
    one_line(said("inspect", "a", "--scheduler", scheduler, cwd=folder), *words)


def test_the_environment_names_a_scheduler_where_it_is_asked_for(
    two: Cluster, folder: Path
) -> None:
    options = ["inspect", "a", "--json"]
    asked = said(*options, "--scheduler", "env", cwd=folder, address=two.address)
    plain = said(*options, cwd=folder, address="tcp://127.0.0.1:9")
    assert (asked.status, asked.out) == (0, plain.out)


def test_workers_of_a_scheduler_are_not_numbered_here(two: Cluster, folder: Path) -> None:
    arguments = ["inspect", "a", "--scheduler", two.address, "--workers", "3"]
    one_line(said(*arguments, cwd=folder), "--workers: ")


def test_local_processes_give_the_same(folder: Path) -> None:
    pytest.importorskip("distributed")
    local = said("inspect", "a", "--json", "--scheduler", "local", "--workers", "2", cwd=folder)
    assert (local.status, local.err) == (0, "")
    assert local.out == said("inspect", "a", "--json", cwd=folder).out


@pytest.fixture(scope="module")
def lone() -> Iterator[Cluster]:
    """Give a scheduler that gives a batch up when one worker has ended over it."""
    with cluster.running(0, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as found:
        yield found


# What is done to Python before a worker starts, and what gradclip says then.
CROOKED = {
    "another gradclip": (
        "import importlib.metadata as m; real = m.version\n"
        "m.version = lambda name: '0.0.1' if name == 'gradclip-cli' else real(name)",
        ["this worker has gradclip 0.0.1, and here is", "pip install gradclip-cli=="],
    ),
    "another NumPy": (
        "import numpy; numpy.__version__ = '1.0'",
        ["this worker has NumPy 1.0, and here is", "pip install numpy=="],
    ),
    "no gradclip": (
        "import importlib.metadata as m; real = m.version\n"
        "def version(name):\n"
        "    if name == 'gradclip-cli': raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "version.__module__, version.__qualname__ = 'importlib.metadata', 'version'\n"
        "m.version = version",
        ["this worker has no gradclip", "pip install 'gradclip-cli[dask]=="],
    ),
    "no such file": (
        "import os; real = os.open\n"
        "def opened(path, *more, **others):\n"
        "    if str(path).endswith('plain.npy'): raise FileNotFoundError(2, 'No', path)\n"
        "    return real(path, *more, **others)\n"
        "os.open = opened",
        ["plain.npy: is not there on worker tcp://", "the same paths"],
    ),
    "another file": (
        "import os; real = os.fstat\n"
        "def status(*given):\n"
        "    found = real(*given)\n"
        "    return os.stat_result((*found[:6], found.st_size + 1, *found[7:]))\n"
        "os.fstat = status",
        ["changed while gradclip was reading it: its size went from"],
    ),
    "no memory": (
        "import os\ndef read(*given): raise MemoryError\nos.preadv = read",
        ["a worker ran out of memory", "fewer threads"],
    ),
    "a sudden end": (
        "import os\nos.preadv = lambda *given: os._exit(9)",
        ["ended while it worked on that", "too little memory"],
    ),
}


@pytest.mark.parametrize("what", CROOKED)
def test_a_worker_that_cannot_do_it_is_one_line_and_changes_nothing(
    what: str, lone: Cluster, folder: Path, tmp_path: Path
) -> None:
    program, words = CROOKED[what]
    (tmp_path / "sitecustomize.py").write_text(program)
    shutil.copytree(folder / "a", tmp_path / "a")
    path = os.pathsep.join([str(tmp_path), environment({})["PYTHONPATH"]])
    worker = lone.add_worker(PYTHONPATH=path)
    try:
        arguments = ["apply", "a", "--clip-norm", "1", "--in-place", "--scheduler", lone.address]
        with untouched(tmp_path / "a"):
            one_line(said(*arguments, cwd=tmp_path), *words)
    finally:
        lone.kill(worker)


def test_a_worker_with_another_python_is_said(lone: Cluster, folder: Path, tmp_path: Path) -> None:
    program = "import platform; platform.python_version = lambda: '3.99.0'"
    program += "; platform.machine = lambda: 'abacus'"
    (tmp_path / "sitecustomize.py").write_text(program)
    path = os.pathsep.join([str(tmp_path), environment({})["PYTHONPATH"]])
    worker = lone.add_worker(PYTHONPATH=path)
    try:
        for command in (["inspect", "a"], ["diff", "a", "b"], ["trend", "a", "b"]):
            run = said(*command, "--scheduler", lone.address, "--json", cwd=folder)
            notes = json.loads(run.out)["notes"]
            assert any(note.startswith("Python 3.99.0 on workers") for note in notes), notes
            assert any("the last digit of a norm may differ" in note for note in notes), notes
    finally:
        lone.kill(worker)


def test_a_scheduler_without_workers_is_one_line(folder: Path) -> None:
    with cluster.running(0) as empty:
        arguments = ["inspect", "a", "--scheduler", empty.address]
        run = said(*arguments, cwd=folder, patience="1s")
    one_line(run, "the scheduler has no workers", "dask worker tcp://")


@pytest.mark.heavy
@pytest.mark.parametrize("comes_back", [False, True])
def test_where_the_last_worker_is_lost_another_is_waited_for(
    comes_back: bool, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, time\nos.preadv = lambda *given: time.sleep(60)"
    )
    path = os.pathsep.join([str(tmp_path), environment({})["PYTHONPATH"]])
    with cluster.running(0) as one:
        slow = one.add_worker(PYTHONPATH=path)
        arguments = ["inspect", "a", "--json", "--scheduler", one.address]
        patience = {PATIENCE: "60s" if comes_back else "10s"}
        with running(*arguments, cwd=folder, stdin=-3, **patience) as process:
            time.sleep(8)  # it has asked the worker by then, or soon will
            one.kill(slow)
            if comes_back:
                one.add_worker()
            out, err = process.communicate(timeout=60)
    if comes_back:
        assert (process.returncode, err) == (0, b"")
        assert out.decode() == said("inspect", "a", "--json", cwd=folder).out
    else:
        one_line(Said(process.returncode, "", err.decode()), "has no workers left", "dask worker")
