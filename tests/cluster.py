"""A real scheduler of Dask and real workers, started by their own commands, and dumps for them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradclip_cli.errors import GradclipError
from tests import dcps, pts
from tests.dumps import npy_bytes, npz_bytes, safetensors_bytes
from tests.running import PATIENCE, environment

DASK = Path(sys.executable).with_name("dask")
VALUES = 600_000  # of a tensor, so that a folder is worth a cluster's while


class Cluster:
    """A scheduler and its workers, each a group of processes that can be killed."""

    def __init__(self, folder: Path, **changes: str) -> None:
        self._folder = folder
        self._changes = changes
        self.workers: list[subprocess.Popen[bytes]] = []
        self.start()

    def start(self) -> None:
        """Start a scheduler on a port of its own."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self.scheduler = self._started(
            "scheduler", "--host", "127.0.0.1", "--port", str(port), **self._changes
        )
        last = time.monotonic() + PATIENCE
        while time.monotonic() < last:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.05)
        raise AssertionError("the scheduler does not answer")

    def add_worker(self, *options: str, **changes: str) -> subprocess.Popen[bytes]:
        """Start a worker of one thread, without a nanny that would start it again."""
        given = ("--nthreads", "1", "--no-nanny", *options)
        self.workers.append(self._started("worker", self.address, *given, **changes))
        return self.workers[-1]

    def _started(self, what: str, *options: str, **changes: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(DASK), what, *options, "--no-dashboard"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=environment(changes),
                start_new_session=True,
            )

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End one of its processes at once, and all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def end(self) -> None:
        """End all, the scheduler first."""
        for process in (self.scheduler, *self.workers):
            self.kill(process)
        self.workers.clear()

    def again(self, workers: int) -> None:
        """Start another scheduler, with so many workers."""
        self.start()
        for _ in range(workers):
            self.add_worker()


@contextlib.contextmanager
def running(workers: int, **changes: str) -> Iterator[Cluster]:
    """Give a cluster with so many workers, its scheduler in an environment with changes."""
    pytest.importorskip("distributed")
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder), **changes)
        try:
            for _ in range(workers):
                cluster.add_worker()
            yield cluster
        finally:
            cluster.end()


def gradients(seed: int, count: int = VALUES) -> Any:
    """Give an array of values in single precision, shape `(count,)`."""
    found = np.random.default_rng(seed).standard_normal(count, np.float32)
    return found * np.float32(0.01)


def written(folder: Path, seed: int = 0) -> Path:
    """Write a folder of files that gradclip clips, of each format, one with many small tensors."""
    folder.mkdir()
    values = [gradients(seed + number) for number in range(4)]
    single, shape = values[0].tobytes(), (VALUES,)
    (folder / "plain.npy").write_bytes(npy_bytes(("<f4", shape, single)))
    stored = {"stored": ("<f4", (VALUES // 100, 100), values[1].tobytes())}
    (folder / "stored.npz").write_bytes(npz_bytes(stored))
    packed = {"packed": ("<f2", shape, values[2].astype("<f2").tobytes())}
    (folder / "packed.npz").write_bytes(npz_bytes(packed, zipfile.ZIP_DEFLATED))
    short = (values[3].view("<u4") >> 16).astype("<u2").tobytes()
    several = {f"small.{at}": ("F32", (3,), single[12 * at : 12 * at + 12]) for at in range(99)}
    several |= {"large": ("BF16", shape, short)}
    (folder / "several.safetensors").write_bytes(safetensors_bytes(several))
    return folder


def torch(path: Path, seed: int = 20) -> Path:
    """Write a file of torch.save, whose tensor is a transposed view."""
    path.parent.mkdir()
    storage = pts.Stored.of("0", gradients(seed))
    turned = storage.view(0, (100, VALUES // 100), (1, 100))
    path.write_bytes(pts.archive({"torch": turned}, [storage]))
    return path


def read_only(folder: Path, seed: int = 50) -> Path:
    """Add dumps of formats that are read and not written, as far as their libraries are here."""
    values = [gradients(seed + number) for number in range(4)]
    chunks = dcps.split(values[3], [[VALUES // 2]])
    dcps.write(folder / "checkpoint", {"chunked": ((VALUES,), chunks)})
    with contextlib.suppress(ImportError):
        import h5py

        with h5py.File(folder / "data.h5", "w") as file:
            file.create_dataset("hdf5", data=values[0], chunks=(10_000,), compression="gzip")
    with contextlib.suppress(ImportError):
        import msgpack

        array = msgpack.packb(([VALUES], "float32", values[1].tobytes()))
        (folder / "tree.msgpack").write_bytes(msgpack.packb({"flax": msgpack.ExtType(1, array)}))
    with contextlib.suppress(ImportError):
        import tensorstore as ts

        spec = {
            "driver": "zarr",
            "kvstore": {"driver": "file", "path": f"{folder / 'array.zarr'}/"},
            "metadata": {"dtype": "<f4", "shape": [VALUES], "chunks": [50_000]},
        }
        ts.open(spec, create=True).result().write(values[2]).result()
    return folder


# Work for workers, who import this


def slowly(item: tuple[str, float]) -> tuple[str, float]:
    """Give an item back after some seconds."""
    time.sleep(item[1])
    return item


def where(item: tuple[str, float]) -> str:
    """Give the address of the worker, after some seconds."""
    import distributed

    time.sleep(item[1])
    return str(distributed.get_worker().address)


def refused(item: str) -> None:
    """Refuse an item."""
    raise GradclipError(item, "no such thing")


def divided(item: int) -> float:
    """Divide by an item."""
    return 1 / item
