"""What each command does, as a function that returns the report that the command prints."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from gradclip_cli import targets
from gradclip_cli.choices import Nonfinite
from gradclip_cli.clipping import Decision, Edit, clip_by_global_norm, clip_coefficient
from gradclip_cli.crew import Crew
from gradclip_cli.dump import Dump, DumpFile, Tensor, multi_index
from gradclip_cli.errors import GradclipError, RefusedError
from gradclip_cli.executors import crew
from gradclip_cli.formats import promoted
from gradclip_cli.moments import Moments
from gradclip_cli.names import quoted
from gradclip_cli.opening import found, opened
from gradclip_cli.passes import (
    Outcome,
    Output,
    Progress,
    Silent,
    measure_tensors,
    rewrite,
    rewrite_to_stream,
)
from gradclip_cli.report import Clipping, Report, report
from gradclip_cli.selection import Selection, gradients, holds_only_integers, undecodable
from gradclip_cli.spooling import finish, has_stream, settled, spool
from gradclip_cli.staging import copy_into, staging

Path = str | os.PathLike[str]
Write = Callable[[bytes], object]

_NAMED = 20  # tensors beyond these are counted in a message, not listed


def inspect(
    *paths: Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure dumps: files, or folders of them, together one gradient.

    `include` and `exclude` are shell patterns over whole tensor names. Raises `GradclipError` for a
    path that is no sound dump, and where nothing is selected.
    """
    dump = opened(found([os.fspath(path) for path in paths]))
    chosen = gradients(dump, Selection(include, exclude))
    moments = _measured(dump, chosen, workers, progress or Silent())
    return report(dump, moments, notes(dump, chosen))


def apply(
    *paths: Path,
    clip_norm: float,
    output: Path | Write | None = None,
    in_place: bool = False,
    force: bool = False,
    dry_run: bool = False,
    nonfinite: Nonfinite = "refuse",
    use_norm: float | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Clip dumps by their joint L2 norm and write the result to `output`, or in place.

    `output` is a path, or for a single file a function that is given its bytes in order.
    `use_norm` is a norm known already, which spares the measuring. Raises `GradclipError` for what
    cannot be read or written, and `RefusedError` for gradients that cannot be clipped; either way
    every target is as it was.
    """
    _check_limits(clip_norm, use_norm)
    watch = progress or Silent()
    operands = [os.fspath(path) for path in paths]
    dump = opened(found(operands))
    selection = Selection(include, exclude)
    chosen = gradients(dump, selection)
    _refuse_undecodable(undecodable(dump, selection))
    with contextlib.ExitStack() as stack:
        target = None
        spools: Mapping[int, int] = {}
        if not dry_run:
            target = _destination(dump, operands, output, in_place, force, stack)
            spools = spool(dump, stack)
        # One pass is enough where the norm is known, all values are rewritten anyway, and a refusal
        # can still discard what was written.
        one_pass = (
            use_norm is not None
            and isinstance(target, targets.Targets)
            and nonfinite != "skip"
            and clip_coefficient(use_norm, clip_norm) != 1
            and not spools
        )
        moments: Mapping[int, Moments] = {}
        if not one_pass:
            moments = _measured(dump, chosen, workers, watch)
            _refuse_nonfinite(dump, moments, nonfinite)
            dump = settled(dump, spools)
        known = [moments.get(index) for index in chosen]
        try:
            decision = clip_by_global_norm(known, clip_norm, nonfinite, use_norm)
        except RefusedError as error:
            raise RefusedError(_called(dump.files), error.problem, error.hint) from error
        edits = _edits(dump, chosen, decision)
        hands = stack.enter_context(crew(workers))
        with _written(dump, edits, target, in_place, hands, watch, one_pass) as outcomes:
            if one_pass:
                moments = _before(outcomes, chosen)
                _refuse_nonfinite(dump, moments, nonfinite)
    clipping = Clipping(clip_norm, decision, chosen, None if dry_run else outcomes)
    return report(dump, moments, notes(dump, chosen, writing=True), clipping)


def _measured(
    dump: Dump, chosen: Sequence[int], workers: int | None, watch: Progress
) -> dict[int, Moments]:
    # A stream can be read only in order, so by one worker.
    with crew(1 if has_stream(dump) else workers) as hands:
        moments = measure_tensors(dump.tensors, chosen, hands, watch)
    finish(dump)
    return moments


def _check_limits(clip_norm: float, use_norm: float | None) -> None:
    if not 0 < clip_norm < math.inf:
        raise GradclipError(
            "--clip-norm",
            f"{clip_norm!r} is not a limit for a norm",
            "give a finite number above 0, for example 1.0",
        )
    if use_norm is not None and not 0 <= use_norm < math.inf:
        raise GradclipError(
            "--use-norm",
            f"{use_norm!r} is not a norm to go by",
            "give the finite global norm, 0 or more, that gradclip inspect reported",
        )


def _destination(
    dump: Dump,
    operands: Sequence[str],
    output: Path | Write | None,
    in_place: bool,
    force: bool,
    stack: contextlib.ExitStack,
) -> targets.Targets | Write:
    """Give where the results go; whatever can be refused is refused here."""
    if in_place:
        if any(not file.relative for file in dump.files):
            raise GradclipError("--in-place", "standard input has no place", "write with -o FILE")
        return targets.in_place(dump)
    if output is None:
        raise GradclipError(
            "-o", "nothing says where the result goes", "name a file with -o, or add --in-place"
        )
    if not callable(output):
        path = os.fspath(output)
        if not targets.is_special(path):
            return targets.beside(dump, operands, path, force)
        # A device or a FIFO is written through, never replaced.
        stream = stack.enter_context(open(path, "wb"))  # noqa: SIM115
        output = stream.write
    if len(dump.files) != 1:
        raise GradclipError(
            "-o",
            f"{len(dump.files):,} files cannot go to one stream",
            "name a folder with -o FOLDER/, or clip one file",
        )
    return output


def _edits(dump: Dump, chosen: Sequence[int], decision: Decision) -> list[Edit | None]:
    """Give an edit for each tensor of the dump; integers are at least turned into float64."""
    edits: list[Edit | None] = [None] * len(dump.tensors)
    unchanged = Edit(1.0) if holds_only_integers(dump) else None
    for index, edit in zip(chosen, decision.edits, strict=True):
        edits[index] = edit or unchanged
    return edits


@contextlib.contextmanager
def _written(
    dump: Dump,
    edits: Sequence[Edit | None],
    target: targets.Targets | Write | None,
    only_changed: bool,
    hands: Crew,
    watch: Progress,
    measure_before: bool,
) -> Iterator[Mapping[int, Outcome]]:
    """Write the results and give what came of each tensor; they take their places at the end."""
    outputs = _outputs(dump, edits)
    if target is None:
        yield {}
    elif not isinstance(target, targets.Targets):
        yield rewrite_to_stream(outputs[0], edits, hands, watch, target)
    else:
        with staging(target) as area:
            places = zip(outputs, target.files, strict=True)
            staged = [
                dataclasses.replace(
                    output, path=area.file(place, output.size), label=output.file.source.label
                )
                for output, place in places
                if not only_changed or output.changes(edits)
            ]
            for companion, place in target.companions:
                copy_into(area, companion.path, place)
            outcomes = rewrite(staged, edits, hands, watch, measure_before)
            for output in staged if only_changed else ():
                own = (outcomes[index] for index in output.indices if index in outcomes)
                if not any(outcome.changed for outcome in own):
                    area.drop(output.path)
            yield outcomes

            def check() -> None:
                # What others wrote meanwhile is not to be lost by taking its place.
                for file in dump.files if only_changed else ():
                    file.source.check()

            area.commit(check)


def _outputs(dump: Dump, edits: Sequence[Edit | None]) -> list[Output]:
    """Lay out each result; only integers that become float64 move anything."""
    outputs = []
    first = 0
    for file in dump.files:
        own = edits[first : first + len(file.tensors)]
        names = {tensor.name for tensor, edit in zip(file.tensors, own, strict=True) if edit}
        if names and holds_only_integers(dump):
            header, tensors = promoted(file, names)
            outputs.append(Output(file, first, tensors, header))
        else:
            outputs.append(Output(file, first, file.tensors))
        first += len(file.tensors)
    return outputs


def _before(outcomes: Mapping[int, Outcome], chosen: Sequence[int]) -> dict[int, Moments]:
    """Give what was measured while writing; an empty tensor was not touched at all."""
    found = {index: outcomes[index].before for index in chosen if index in outcomes}
    return {index: found.get(index) or Moments() for index in chosen}


def _refuse_undecodable(tensors: Sequence[Tensor]) -> None:
    if tensors:
        raise GradclipError(
            tensors[0].source.label,
            f"{len(tensors):,} tensors have a dtype that gradclip cannot decode, so the joint norm "
            "would be wrong",
            "leave them out by name: --exclude 'PATTERN'",
            _listed([f"{quoted(tensor.name)} is {tensor.dtype.name}" for tensor in tensors]),
        )


def _refuse_nonfinite(dump: Dump, moments: Mapping[int, Moments], nonfinite: Nonfinite) -> None:
    """Raise `RefusedError` that names each tensor with NaN or infinities."""
    bad = {index: part for index, part in moments.items() if part.nonfinite}
    if not bad or nonfinite != "refuse":
        return
    tensors = dump.tensors
    lines = []
    for index, part in bad.items():
        counts = ((part.nan, "NaN"), (part.posinf, "+inf"), (part.neginf, "-inf"))
        found = ", ".join(f"{count:,} {what}" for count, what in counts if count)
        at = multi_index(part.first_nonfinite or 0, tensors[index].shape)
        lines.append(f"{quoted(tensors[index].name)}: {found}, first at {list(at)}")
    raise RefusedError(
        _called(
            [file for file in dump.files if any(tensors[i].source is file.source for i in bad)]
        ),
        f"{len(bad):,} of {len(moments):,} tensors hold values that are not finite; nothing was "
        "written",
        "--nonfinite zero writes 0 for them, skip leaves those tensors as they are",
        _listed(lines),
    )


def _called(files: Sequence[DumpFile]) -> str:
    return files[0].source.label if len(files) == 1 else f"{len(files):,} files"


def _listed(lines: Sequence[str]) -> tuple[str, ...]:
    rest = len(lines) - _NAMED
    return (*lines[:_NAMED], *([f"… and {rest:,} more"] if rest > 0 else []))


def notes(dump: Dump, chosen: Sequence[int], writing: bool = False) -> list[str]:
    """Say what a reader of the numbers must not miss."""
    said = []
    if len(dump.files) > 1:
        said.append(f"one gradient from {len(dump.files):,} files")
    if dump.ignored:
        said.append(f"{dump.ignored:,} other files ignored")
    tensors = dump.tensors
    if len(chosen) < len(tensors):
        said.append(f"norm of {len(chosen):,} of {len(tensors):,} tensors")
    if holds_only_integers(dump):
        said.append("integers taken as gradients" + (", written as float64" if writing else ""))
    opaque = sorted({tensor.dtype.name for tensor in tensors if tensor.dtype.kind == "opaque"})
    if opaque:
        said.append(f"not measured, cannot be decoded: {', '.join(opaque)}")
    return said
