"""A real scheduler with real workers: what Dask costs a batch, and whole commands by them."""

import contextlib
import gc
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(workers: int) -> Iterator[tuple[str, int]]:
    """Give the address of a scheduler with so many workers of one thread, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        scheduler = _started(stack, "scheduler", "--host", "127.0.0.1", "--port", str(port))
        for _ in range(workers):
            _started(stack, "worker", address, "--nthreads", "1", "--no-nanny")
        _wait_for(address, workers)
        yield address, scheduler


def _started(stack: contextlib.ExitStack, *words: str) -> int:
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("dask")), *words, "--no-dashboard"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process.pid


def _wait_for(address: str, workers: int) -> None:
    asked = (
        "import sys, distributed as d\n"
        "with d.Client(sys.argv[1], timeout=60, set_as_default=False) as client:\n"
        "    client.wait_for_workers(int(sys.argv[2]), timeout=60)\n"
    )
    subprocess.run([sys.executable, "-c", asked, address, str(workers)], check=True)


def dask_costs(workers: int, batches: int) -> dict[str, float]:
    """Give what Dask takes for a batch in which nothing is done, in seconds and bytes."""
    with running(workers) as (address, scheduler):
        asked = [address, str(scheduler), str(batches)]
        said = subprocess.check_output(
            [sys.executable, "-m", "benchmarks.real", *asked], cwd=_ROOT, text=True
        )
    found: dict[str, float] = json.loads(said)
    return found


def main(address: str, scheduler: str, batches: str) -> None:
    """Hand out empty batches as a cluster does, and print what each took, as JSON."""
    from gradclip_cli.engine.cluster import cluster

    gc.disable()  # as the command does
    count = int(batches)
    with cluster(address, None, None) as crew:
        for _ in crew.in_order(str, range(64)):  # everything is imported and connected
            pass
        before = time.process_time(), _spent(scheduler), time.perf_counter()
        for _ in crew.in_order(str, range(count)):
            pass
        after = time.process_time(), _spent(scheduler), time.perf_counter()
    names = ("asking", "scheduling", "wall")
    took = [(end - start) / count for start, end in zip(before, after, strict=True)]
    sys.stdout.write(json.dumps(dict(zip(names, took, strict=True))))


def _spent(process: str) -> float:
    """Give the seconds of processor time of a process."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


def timed(*words: str) -> float:
    """Run a command of gradclip and give the seconds that it took."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "gradclip_cli", *words],
        cwd=_ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - begin


if __name__ == "__main__":
    main(*sys.argv[1:])
