"""Workers and schedulers that are killed in the midst of a change: nothing is half done."""

import hashlib
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cluster
from tests.cluster import Cluster
from tests.dumps import safetensors_bytes
from tests.running import end_of, gradclip
from tests.running import running as started

pytestmark = pytest.mark.xdist_group("cluster")

FILES, VALUES = 3, 8 << 20  # of each file: it takes a while to clip them
ONCE_OR_OFTEN = [1, pytest.param(20, marks=pytest.mark.heavy)]
CLIP = ("apply", "g", "--clip-norm", "1", "--in-place", "-q")

Digests = dict[str, str]
Process = subprocess.Popen[bytes]


def digests(folder: Path) -> Digests:
    """Give what is in a folder, hidden files included, by their digests."""
    return {
        str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of dumps."""
    pytest.importorskip("distributed")
    folder = tmp_path_factory.mktemp("kills") / "original"
    folder.mkdir()
    for number in range(FILES):
        tensors = {f"w{number}": ("F32", (VALUES,), cluster.gradients(number, VALUES).tobytes())}
        (folder / f"{number}.safetensors").write_bytes(safetensors_bytes(tensors))
    return folder


@pytest.fixture(scope="module")
def clipped(original: Path) -> Digests:
    """Give what clipping makes of it here."""
    shutil.copytree(original, original.parent / "here" / "g")
    done = gradclip(*CLIP, cwd=original.parent / "here")
    assert done.returncode == 0, done.stderr
    return digests(original.parent / "here" / "g")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """Give a folder in which a copy is called g."""
    shutil.copytree(original, tmp_path / "g")
    return tmp_path


def moments(folder: Path, address: str, times: int) -> Iterator[float]:
    """Give random moments of a run that clips the dumps, in seconds from its start."""
    shutil.copytree(folder / "g", folder / "warm" / "g")
    begun = time.monotonic()
    with started(*CLIP, "--scheduler", address, cwd=folder / "warm") as process:
        assert end_of(process) == (0, b"")
    usual = time.monotonic() - begun
    chance = random.Random(times)
    return (chance.uniform(0.3 * usual, usual) for _ in range(times))


def begun(two: Cluster, folder: Path, original: Path, times: int) -> Iterator[Process]:
    """Give runs that clip the dumps, each begun anew, at random moments of them."""
    for moment in moments(folder, two.address, times):
        shutil.rmtree(folder / "g")
        shutil.copytree(original, folder / "g")
        with started(*CLIP, "--scheduler", two.address, cwd=folder) as process:
            time.sleep(moment)
            yield process


def once_more(two: Cluster, folder: Path) -> Digests:
    """Clip the dumps without a mishap; gives what is there then."""
    done = gradclip(*CLIP, "--scheduler", two.address, cwd=folder)
    assert (done.returncode, done.stderr) == (0, b"")
    return digests(folder / "g")


@pytest.mark.parametrize("times", ONCE_OR_OFTEN)
def test_a_killed_worker_changes_nothing(
    times: int, folder: Path, original: Path, clipped: Digests
) -> None:
    with cluster.running(2) as two:
        for process in begun(two, folder, original, times):
            two.kill(two.workers.pop(0))
            two.add_worker()
            assert end_of(process) == (0, b"")
            assert digests(folder / "g") == clipped


@pytest.mark.parametrize("times", ONCE_OR_OFTEN)
def test_a_killed_scheduler_leaves_old_files_or_new(
    times: int, folder: Path, original: Path, clipped: Digests
) -> None:
    before = digests(original)
    statuses = set()
    with cluster.running(2) as two:
        for process in begun(two, folder, original, times):
            two.end()
            status, said = end_of(process)
            statuses.add(status)
            if status:
                assert (status, said.count(b"\n")) == (2, 2), said
                assert b"scheduler" in said
                assert digests(folder / "g") == before
            else:
                assert digests(folder / "g") == clipped
            two.again(2)
            assert {*once_more(two, folder)} == {*before}
    assert 2 in statuses or times == 1


@pytest.mark.parametrize("times", ONCE_OR_OFTEN)
def test_a_killed_run_leaves_old_files_or_new_though_workers_go_on(
    times: int, folder: Path, original: Path, clipped: Digests
) -> None:
    before = digests(original)
    with cluster.running(2) as two:
        for process in begun(two, folder, original, times):
            process.kill()
            process.wait()
            assert {*once_more(two, folder)} == {*before}
            time.sleep(0.2)  # whoever is late finds nothing to write to
            assert digests(folder / "g") == clipped
