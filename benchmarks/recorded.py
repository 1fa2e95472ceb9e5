"""What a worker takes for spans and tensors, recorded on this machine with the real visitors.

Bytes come from memory and go there: what moves them is the model's business.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.simulated import Costs
from gradclip_cli.engine.crew import Crew
from gradclip_cli.files.source import Reader, Source
from gradclip_cli.formats.layouts import unchanged
from gradclip_cli.measure.meter import measure_tensors
from gradclip_cli.measure.statistics import PRINTS, Asked
from gradclip_cli.rewrite.edits import Scale
from gradclip_cli.rewrite.outputs import Output, Plan
from gradclip_cli.rewrite.passes import rewrite_at
from gradclip_cli.tensors.dtypes import numeric
from gradclip_cli.tensors.dump import Tensor

_FLOAT32 = numeric("f", 32)
_RUNS = 3


class _Values(Source):
    """Bytes in memory."""

    def __init__(self, data: memoryview) -> None:
        self.path = self.label = "memory"
        self.size = len(data)
        self._data = data

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        yield _ValuesReader(self._data)


class _ValuesReader(Reader):
    def __init__(self, data: memoryview) -> None:
        super().__init__("memory")
        self._data = data

    def read_into(self, view: memoryview, offset: int) -> int:
        size = min(len(view), len(self._data) - offset)
        view[:size] = self._data[offset : offset + size]
        return size


@dataclass(frozen=True, slots=True, eq=False)
class _Desk:
    source: _Values
    room: Any = field(repr=False)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Any]:
        with self.source.opened() as reader:
            yield reader, lambda offset, size: self.room[offset : offset + size]


def record(size: int, tensors: int, asked: Asked = PRINTS) -> tuple[Costs, Costs]:
    """Give the costs of the first and of the second pass, over so many bytes or small tensors."""
    data = np.random.default_rng(345).standard_normal(size // 4, np.float32).view(np.uint8)
    source = _Values(data.data)
    large = [Tensor("large", _FLOAT32, (size // 4,), source, 0, size)]
    few = [Tensor(str(at), _FLOAT32, (16,), source, 64 * at, 64) for at in range(tensors)]
    found = []
    for writing in (False, True):
        by_byte = _least(large, source, data, writing, asked) / size
        by_tensor = _least(few, source, data, writing, asked) / tensors
        found.append(Costs(by_byte, max(by_tensor - 64 * by_byte, 0.0)))
    return found[0], found[1]


def _least(
    tensors: Sequence[Tensor], source: _Values, data: Any, writing: bool, asked: Asked
) -> float:
    """Give the least processor time of some runs: nothing but a neighbour makes one longer."""
    everything = range(len(tensors))
    room = np.empty_like(data)
    output = Output(source, 0, unchanged(tuple(tensors)))
    plan = Plan([Scale(0.5)] * len(tensors), watched=frozenset(everything))
    took = []
    for _ in range(_RUNS):
        begin = time.process_time()
        if writing:
            rewrite_at(_Desk(source, room), output, plan, Crew())
        else:
            measure_tensors(tensors, everything, Crew(), asked=asked)
        took.append(time.process_time() - begin)
    return min(took)
