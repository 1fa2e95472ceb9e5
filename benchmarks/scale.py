"""`python -m benchmarks.scale`: what a cluster takes that nobody has here, and how true that is.

The driver is run for real against simulated workers, up to 4,096; what is known of them is recorded
first. Then real workers, as many as there are processors here, are held against two threads, and
against what is foretold of them.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks import scale_table
from benchmarks.machine import describe
from benchmarks.plans import PASSES, PLANS, Found, Pass, Shape, simulate
from benchmarks.real import dask_costs, running, timed
from benchmarks.recorded import record
from benchmarks.sheet import markdown, show
from benchmarks.simulated import Costs

LINK, STORAGE = 2e9, 200e9
"""Bytes a second that a worker moves, and that all of them together do."""

_ROOT = Path(__file__).parents[1]
_START = 0.002  # seconds that a worker takes for a batch besides: opening files, pickling


@dataclass(frozen=True, slots=True)
class Beside:
    """Real workers beside threads, seconds of whole commands; `foretold` where it is known."""

    command: str
    workers: int
    threads: Sequence[float]
    cluster: Sequence[float]
    foretold: float | None = None

    @property
    def ratio(self) -> float:
        """How many times as long the workers take as the threads."""
        return statistics.median(self.cluster) / statistics.median(self.threads)


@dataclass(frozen=True, slots=True)
class Scale:
    """All that was measured: `dask` by the number of real workers."""

    machine: dict[str, str]
    load: tuple[float, float]
    costs: dict[Pass, Costs]
    dask: dict[int, dict[str, float]]
    found: Sequence[Found]
    beside: Sequence[Beside]


def main() -> int:
    """Measure, and print what it came to."""
    given = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):  # files and workers go, as for an interrupt
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))
    begun = os.getloadavg()[0]
    costs, dask = recorded(given.quick)
    workers = (1, 8) if given.quick else (1, 8, 64, 512, 4096)
    found = simulated(costs, workers, 2048 if given.quick else 1) if given.only != "real" else []
    with tempfile.TemporaryDirectory(prefix="gradclip-scale-", dir=given.folder) as folder:
        machine = dict(describe(sys.executable, Path(folder)))
        skipped = given.quick or given.only == "simulated"
        beside = [] if skipped else besides(Path(folder), costs, given.runs, given.gibibytes)
    scale = Scale(machine, (begun, os.getloadavg()[0]), costs, dask, found, beside)
    sheets = scale_table.sheets(scale)
    for sheet in sheets:
        if given.markdown:
            sys.stdout.write(markdown(sheet) + "\n")
        else:
            show(sheet)
    if given.json is not None:
        given.json.write_text(json.dumps(asdict(scale), indent=1) + "\n")
    if given.picture is not None:
        scale_table.draw(scale, given.picture)
    return 0


def recorded(quick: bool) -> tuple[dict[Pass, Costs], dict[int, dict[str, float]]]:
    """Give what a batch costs in each pass, with Dask's part from two real workers."""
    each = record(1 << (24 if quick else 28), 1000 if quick else 20_000)
    dask = {number: dask_costs(number, 50 if quick else 1000) for number in (1, 2)}
    known = {"asking": dask[2]["asking"], "scheduling": dask[2]["scheduling"], "batch": _START}
    return {
        one: replace(costs, **known, link=LINK, storage=STORAGE)
        for one, costs in zip(PASSES, each, strict=True)
    }, dask


def simulated(costs: dict[Pass, Costs], workers: Sequence[int], share: int) -> list[Found]:
    """Give what both passes over each plan come to, each in a process of its own, two at once."""
    asked = [(name, one, number) for name in PLANS for number in workers for one in PASSES]

    def simulate_apart(one: tuple[str, Pass, int]) -> Found:
        name, doing, number = one
        words = [name, doing, str(number), json.dumps(asdict(costs[doing])), str(share)]
        said = subprocess.check_output(
            [sys.executable, "-m", "benchmarks.plans", *words], cwd=_ROOT, text=True
        )
        return Found(**json.loads(said))

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(simulate_apart, asked))


def besides(folder: Path, costs: dict[Pass, Costs], runs: int, gibibytes: float) -> list[Beside]:
    """Hold real workers against as many threads, by whole commands in turns."""
    size = int(gibibytes * (1 << 30))
    path, result, tiny = (
        str(folder / f"{name}.safetensors") for name in ("dump", "result", "tiny")
    )
    for name, tensors in ((path, size >> 24), (tiny, 1)):
        subprocess.run([sys.executable, "-c", _MAKING, name, str(tensors)], cwd=_ROOT, check=True)
    shape = Shape("local", 1, size >> 24, 1 << 22)
    commands = {
        "inspect": ("inspect",),
        "apply --clip-norm 1": ("apply", "--clip-norm", "1", "--force", "-o", result),
    }
    found = []
    for workers in (1, 2):
        with running(workers) as (address, _):
            start = min(timed("inspect", tiny, "--scheduler", address) for _ in range(3))
            here = replace(costs["measuring"], link=float("inf"), storage=float("inf"))
            foretold = start + simulate("local", shape, "measuring", workers, here).took
            for name, (command, *options) in commands.items():
                took: tuple[list[float], list[float]] = ([], [])
                for _ in range(1 + runs):
                    took[0].append(timed(command, path, *options, "--workers", str(workers)))
                    took[1].append(timed(command, path, *options, "--scheduler", address))
                known = foretold if name == "inspect" else None
                found.append(Beside(name, workers, took[0][1:], took[1][1:], known))
    return found


_MAKING = (
    "import sys, pathlib as p, benchmarks.making as m, benchmarks.files as f\n"
    "m.make(f.File('', 'F32', int(sys.argv[2]), (1024, 4096)), p.Path(sys.argv[1]))\n"
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.scale",
        description="Run the driver of a cluster against simulated workers, and beside real ones.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few workers and small dumps: shows that it runs"
    )
    parser.add_argument(
        "--only", choices=("simulated", "real"), help="only these workers, instead of both"
    )
    parser.add_argument(
        "--gibibytes", type=float, default=8, help="that real workers are given (default: 8)"
    )
    parser.add_argument(
        "--runs", type=int, default=5, help="of each command beside another (default: 5)"
    )
    parser.add_argument(
        "--folder",
        metavar="DIR",
        default=tempfile.gettempdir(),
        help="where 16 GiB of files go for a while",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all that was measured")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    parser.add_argument("--picture", metavar="PNG", type=Path, help="draw run and driver time")
    return parser


if __name__ == "__main__":
    sys.exit(main())
