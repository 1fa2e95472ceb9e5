"""Pass 2 into a stream, whose bytes are given in order: a pipe, or what packs them."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from gradclip_cli.engine.crew import Crew
from gradclip_cli.engine.sweep import swept
from gradclip_cli.files.source import Reader, Source
from gradclip_cli.formats.layouts import Pack
from gradclip_cli.rewrite.outputs import Output, Plan, Task
from gradclip_cli.rewrite.passes import Outcome, Results, done, rewrite, together
from gradclip_cli.tensors.codecs import Stored

STREAM_BYTES = 1 << 20  # what goes to a pipe waits in memory, so its pieces are small


class _InTurn:
    """Keeps one source open while what is read of it follows each other."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._source: Source | None = None
        self._reader: Reader | None = None

    def reader(self, source: Source) -> Reader:
        if self._reader is None or source is not self._source:
            self.close()
            self._reader, self._source = self._open.enter_context(source.opened()), source
        return self._reader

    def close(self) -> None:
        self._reader = None
        self._open.close()


@dataclass(frozen=True, slots=True, eq=False)
class _StreamDesk:
    """A source alone: bytes are gathered in memory, a task at a time."""

    source: Source
    in_turn: _InTurn | None

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        if self.in_turn is not None:
            yield self.in_turn.reader(self.source)
            return
        with self.source.opened() as reader:
            yield reader


def rewrite_to_stream(
    output: Output, plan: Plan, crew: Crew, write: Callable[[bytes], object]
) -> tuple[dict[int, Outcome], bytes]:
    """Give an output's bytes to `write`, in order (pass 2), but for the last of them.

    These are given with what came of each tensor, so that a reader who is to get no whole result
    can be left without them.
    """
    alone = not all(tensor.source.seeks for tensor in output.layout.given)
    in_turn = _InTurn() if alone else None
    tasks = plan.tasks(output, partial(_StreamDesk, in_turn=in_turn), STREAM_BYTES, alone)
    found: list[tuple[int, Outcome]] = []
    size = plan.size(output)
    last = b""
    hands = crew.alone if alone else crew.here
    with contextlib.closing(in_turn or _InTurn()):
        for data, results in swept(hands, _bytes_of, tasks, "writing", size, enough=0):
            if last:
                write(last)
            last = data.tobytes()
            found += results
    return together(found), last


def _bytes_of(task: Task, reader: Reader) -> Iterator[tuple[Stored, Results]]:
    """Give a task's bytes and outcomes, for a target that can only be written in order."""
    whole = np.empty(task.written, np.uint8)

    def room(offset: int, size: int) -> Stored:
        start = offset - task.offset
        return whole[start : start + size]

    yield whole, [*done(task, (reader, room))]


def rewrite_all(outputs: Sequence[Output], plan: Plan, crew: Crew) -> dict[int, Outcome]:
    """Write outputs as `passes.rewrite`, of any layout: some are packed, some have checksums."""
    plain = [output for output in outputs if output.layout.pack is None]
    found = rewrite(plain, plan, crew)
    views = [output for output in plain if not output.layout.is_new and output.changes(plan.edits)]
    if any(tensor.source.apart for output in views for tensor in output.layout.given):
        from gradclip_cli.rewrite.scattered import scatter  # hardly ever needed

        found |= scatter(views, plan, crew)
    for output in outputs:
        layout = output.layout
        if layout.pack is not None:
            found |= _packed(layout.pack, output, plan, crew)
        elif layout.seal is not None:
            indices = (index for index in output.indices if index in found and found[index].changed)
            if changed := [output.tensors[index - output.first] for index in indices]:
                layout.seal(output.path, changed)
    return found


def _packed(pack: Pack, output: Output, plan: Plan, crew: Crew) -> dict[int, Outcome]:
    """Write an output through what packs it; an error in that has no file's name of its own."""
    try:
        with pack(output.path) as write:
            outcomes, last = rewrite_to_stream(output, plan, crew, write)
            write(last)
    except OSError as error:
        error.filename = error.filename or output.label
        raise
    return outcomes
