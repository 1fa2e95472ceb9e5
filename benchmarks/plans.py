"""Dumps that do not exist, and what a pass over them costs a driver, each in a process of its own.

`python -m benchmarks.plans PLAN PASS WORKERS COSTS` prints what it came to, as JSON. The tensors
say where they lie, as those of a real dump do; no file is ever opened.
"""

import gc
import itertools
import json
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.simulated import Batch, Costs, SimulatedCluster
from gradclip_cli.engine.crew import Crew
from gradclip_cli.files.source import FileSource
from gradclip_cli.formats.layouts import unchanged
from gradclip_cli.measure.gauge import measure_each
from gradclip_cli.measure.meter import measure_tensors
from gradclip_cli.measure.moments import knowing
from gradclip_cli.measure.statistics import FINGERPRINT, PRINTS
from gradclip_cli.rewrite.edits import Scale
from gradclip_cli.rewrite.outputs import Copy, Output, Patch, Plan
from gradclip_cli.rewrite.passes import Outcome, rewrite
from gradclip_cli.tensors.dtypes import numeric
from gradclip_cli.tensors.dump import Tensor

Pass = Literal["measuring", "writing"]
PASSES: tuple[Pass, ...] = ("measuring", "writing")

_FLOAT32 = numeric("f", 32)
_HEAD = 4096  # bytes of a file before its tensors
_KNOWN = 8192  # results that are really measured, of which each batch has some


@dataclass(frozen=True, slots=True)
class Shape:
    """So many files of so many tensors of so many values of float32."""

    label: str
    files: int
    tensors: int
    values: int

    @property
    def size(self) -> int:
        """Number of bytes of all tensors."""
        return 4 * self.files * self.tensors * self.values

    def part(self, share: int) -> "Shape":
        """Give the same with so many times fewer files."""
        return Shape(self.label, max(self.files // share, 1), self.tensors, self.values)


PLANS: Mapping[str, Shape] = {
    "spans": Shape("70 TB in 2,097,280 spans", 13_108, 1, 160 << 23),
    "tensors": Shape("1,000,000 tensors of 16 KiB", 200, 5_000, 4 << 10),
}


@dataclass(frozen=True, slots=True)
class Found:
    """What a pass came to; times in seconds, memory in bytes above the imports.

    `took` is the whole pass. The driver was at work for `driver`, `asking` of it in Dask; `worker`
    is the work of all workers together, `storage` and `scheduler` are how long these had to do.
    `dump` is the memory of the tensors alone, `memory` the peak, and `sent` and `got` are bytes.
    """

    plan: str
    doing: Pass
    workers: int
    batches: int
    took: float
    driver: float
    asking: float
    worker: float
    storage: float
    scheduler: float
    memory: int
    dump: int
    sent: int
    got: int

    @property
    def shares(self) -> Mapping[str, float]:
        """How long each would take if it alone were slow."""
        return {
            "workers": self.worker / self.workers,
            "storage": self.storage,
            "scheduler": self.scheduler,
            "driver": self.driver,
        }

    @property
    def bottleneck(self) -> str:
        """What the others wait for."""
        return max(self.shares, key=lambda name: self.shares[name])


def tensors_of(shape: Shape) -> list[Tensor]:
    """Give the tensors of a dump, file by file, with stamps that are made up."""
    size = 4 * shape.values
    found = []
    for number in range(shape.files):
        name = f"step-1000/gradients-{number:05}-of-{shape.files:05}.safetensors"
        length = _HEAD + shape.tensors * size
        source = FileSource(f"/dumps/{name}", name, 1, number + 1, length, 10**18, 10**18)
        found += [
            Tensor(
                f"model.layers.{number}.weight.{index}",
                _FLOAT32,
                (shape.values // 1024, 1024),
                source,
                _HEAD + index * size,
                size,
            )
            for index in range(shape.tensors)
        ]
    return found


def outputs_of(shape: Shape, tensors: Sequence[Tensor]) -> list[Output]:
    """Give each file as it is to be written, at a path that is made up."""
    status = os.stat("/")
    own = (
        (first, tuple(tensors[first : first + shape.tensors]))
        for first in range(0, len(tensors), shape.tensors)
    )
    return [
        Output(
            some[0].source,
            first,
            unchanged(some),
            f"{some[0].source.path}.part",
            status,
            some[0].source.label,
        )
        for first, some in own
    ]


def passes(shape: Shape, doing: Pass, tensors: Sequence[Tensor]) -> Callable[[Crew], Any]:
    """Give a pass over tensors, as `apply` does it: everything is scaled, and proved afterwards."""
    everything = range(len(tensors))
    if doing == "measuring":
        return lambda crew: measure_tensors(tensors, everything, crew, asked=PRINTS)
    outputs = outputs_of(shape, tensors)
    plan = Plan([Scale(0.5)] * len(tensors), watched=frozenset(everything))
    return lambda crew: rewrite(outputs, plan, crew)


class Answers:
    """Results of the kinds that workers send, really measured once and then given again.

    What differs from batch to batch, the numbers of tensors, is pickled each time; the rest is
    once for each number of parts. The driver unpickles both.
    """

    def __init__(self) -> None:
        drawn = np.random.default_rng(345).standard_normal(_KNOWN * 64, np.float32)
        each = measure_each(drawn.astype(np.float64), [64] * _KNOWN, 2.0, None)
        prints = (f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in range(_KNOWN))
        self._moments = [
            knowing(one, ((FINGERPRINT.name, shown),))
            for one, shown in zip(each, prints, strict=True)
        ]
        self._known: dict[tuple[int, bool], bytes] = {}

    def __call__(
        self, work: object, batch: Batch
    ) -> tuple[bytes, Callable[[bytes], list[tuple[int, Any]]]]:
        """Give what is sent for a batch, and what makes parts of it."""
        patches = [task for task in batch if isinstance(task, Patch)]
        own = [task.work for task in patches] or [
            task for task in batch if not isinstance(task, Copy)
        ]
        indices = [index for task in own for index in task.indices]
        kind = len(indices), bool(patches)
        if kind not in self._known:
            self._known[kind] = _pickled(self._results(*kind))
        numbers = _pickled(indices)
        return numbers + self._known[kind], partial(_parts, len(numbers))

    def _results(self, count: int, is_written: bool) -> list[Any]:
        some = list(itertools.islice(itertools.cycle(self._moments), count))
        if not is_written:
            return some
        return [
            Outcome(one, None, 0, True, 0, 0x9E3779B97F4A7C15 * at % 2**64)
            for at, one in enumerate(some)
        ]


def _pickled(what: object) -> bytes:
    return pickle.dumps(what, pickle.HIGHEST_PROTOCOL)


def _parts(split: int, sent: bytes) -> list[tuple[int, Any]]:
    view = memoryview(sent)
    return [*zip(pickle.loads(view[:split]), pickle.loads(view[split:]), strict=True)]


def peak() -> int:
    """Give the most bytes that this process has held in memory."""
    return _kilobytes("VmHWM")


def resident() -> int:
    """Give the bytes that this process holds in memory."""
    return _kilobytes("VmRSS")


def _kilobytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise LookupError(name)


def simulate(name: str, shape: Shape, doing: Pass, workers: int, costs: Costs) -> Found:
    """Do a pass over a dump with so many simulated workers."""
    answers = Answers()
    before = resident()
    tensors = tensors_of(shape)
    run = passes(shape, doing, tensors)
    dump = resident() - before
    crew = SimulatedCluster(workers, costs, answers)
    run(crew)
    clock, simulated = crew.clock, crew.simulated
    driver = clock.worked
    moved = shape.size * (2 if doing == "writing" else 1)
    return Found(
        plan=name,
        doing=doing,
        workers=workers,
        batches=simulated.batches,
        took=clock.now,
        driver=driver,
        asking=costs.asking * simulated.batches,
        worker=simulated.busy,
        storage=moved / costs.storage,
        scheduler=costs.scheduling * simulated.batches,
        memory=peak() - before,
        dump=dump,
        sent=simulated.sent,
        got=simulated.got,
    )


def main(name: str, doing: str, workers: str, costs: str, share: str = "1") -> None:
    """Print what a pass came to, as JSON."""
    (known,) = (one for one in PASSES if one == doing)
    shape = PLANS[name].part(int(share))
    gc.disable()  # as the command does
    found = simulate(name, shape, known, int(workers), Costs(**json.loads(costs)))
    sys.stdout.write(json.dumps(asdict(found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
