"""Pass 2 with nowhere to write to: what edits would make of a dump, measured and dropped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradclip_cli.engine.crew import Crew
from gradclip_cli.engine.scratch import scratch
from gradclip_cli.engine.sweep import swept
from gradclip_cli.files.source import Reader, Source
from gradclip_cli.measure.spans import SPAN_BYTES
from gradclip_cli.rewrite.outputs import Output, Patch, Plan
from gradclip_cli.rewrite.passes import Outcome, patched, together
from gradclip_cli.tensors.codecs import Stored

Job = tuple[Plan, Sequence[Output]]
"""A plan, and how its results would be laid out."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """A span that a job would edit."""

    job: int
    patch: Patch

    @property
    def place(self) -> Source:
        """What it reads."""
        return self.patch.work.place

    @property
    def size(self) -> int:
        """Number of bytes to read."""
        return self.patch.size

    @property
    def label(self) -> str:
        """What the file is called."""
        return self.patch.label

    def expect(self, reader: Reader) -> None:
        """Tell a reader which bytes will be read."""
        self.patch.expect(reader)


def rehearse(jobs: Sequence[Job], crew: Crew) -> list[dict[int, Outcome]]:
    """Give what each job would come to, as `passes.rewrite` does of one; nothing is written.

    What several jobs edit is tried by one after the other while it is in the system's cache.
    """
    trials = [
        _Trial(job, patch)
        for job, (plan, outputs) in enumerate(jobs)
        for output in outputs
        for patch in plan.patches(output, _itself, SPAN_BYTES)
    ]
    trials.sort(key=_place)
    size = sum(trial.size for trial in trials)
    found: list[list[tuple[int, Outcome]]] = [[] for _ in jobs]
    for job, index, outcome in swept(crew, _tried, trials, "rehearsing", size):
        found[job].append((index, outcome))
    return [together(some) for some in found]


def _itself(source: Source) -> Source:
    return source


def _place(trial: _Trial) -> tuple[str, int, int]:
    return trial.place.path, trial.patch.work.span.offset, trial.job


def _tried(trial: _Trial, reader: Reader) -> Iterator[tuple[int, int, Outcome]]:
    for index, outcome in patched(trial.patch, reader, _nowhere):
        yield trial.job, index, outcome


def _nowhere(_offset: int, size: int) -> Stored:
    return scratch("rehearsed", np.uint8, size)
