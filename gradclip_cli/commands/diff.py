"""How two dumps differ: the function behind `gradclip diff`."""

import contextlib
import dataclasses
import os
import shlex
from collections.abc import Container, Sequence
from typing import TypeGuard

from gradclip_cli.commands.measuring import (
    able,
    brought,
    combined,
    factors,
    strays,
    uncounted,
    unmatched,
)
from gradclip_cli.commands.opening import found, opened
from gradclip_cli.commands.spooling import finish, has_stream, settled, spool
from gradclip_cli.compare.alignment import likely_prefix
from gradclip_cli.compare.comparing import compare_tensors
from gradclip_cli.compare.pairs import Pair, is_mixed
from gradclip_cli.compare.tolerance import Tolerance
from gradclip_cli.engine.crew import Crew, Progress
from gradclip_cli.engine.hiring import crew
from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.formats.folders import Unreadable
from gradclip_cli.formats.opening import STDIN, name_by_file
from gradclip_cli.measure.meter import measure_tensors
from gradclip_cli.measure.moments import Moments
from gradclip_cli.options import Count, Path
from gradclip_cli.results.comparing import compared, comparison
from gradclip_cli.results.comparison import Compared, Comparison
from gradclip_cli.results.unreadable import with_unreadable
from gradclip_cli.tensors.dtypes import VoidAs
from gradclip_cli.tensors.dump import Dump, Tensor
from gradclip_cli.tensors.gradients import gradient_kinds
from gradclip_cli.tensors.names import left_out, plural
from gradclip_cli.tensors.renaming import Renaming, renamed, renaming
from gradclip_cli.tensors.selection import Selection

_AS_ONE = "each side has one tensor, one of them without a name of its own: these are compared"

_Sides = tuple[Tensor | None, Tensor | None]


def diff(
    a: Path,
    b: Path,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    strip_prefix: Sequence[str] = (),
    rename: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    combine: Sequence[str] = (),
    void_as: VoidAs | None = None,
    workers: Count | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    r"""Compare two dumps, each a file, a folder or `-`, tensor by tensor.

    Without `rtol` and `atol` only equal bits are the same; a tensor passes if its relative L2 error
    or its largest absolute difference is within bounds. `strip_prefix` and `rename`, texts of the
    form `REGEX=NEW`, align names first; `include` and `exclude` match aligned names. What
    tensors of one name in several files of A or B are to each other `combine` says. `void_as` is
    the dtype of arrays whose files say no more than the size of their values. `scheduler` is that
    of `inspect`. Raises `GradclipError` for a path that is no sound dump, and where nothing is
    selected.
    """
    tolerance = Tolerance(rtol, atol)
    aligned = renaming(strip_prefix, rename)
    operands = (*tree.begun([os.fspath(a), os.fspath(b)]),)
    if operands == (STDIN, STDIN):
        raise GradclipError(STDIN, "standard input can be read only once", "name a file for A or B")
    bad: tuple[list[Unreadable], list[Unreadable]] = ([], [])
    places = (
        found(operands[:1], void_as, combine, aligned),
        found(operands[1:], void_as, combine, aligned),
    )
    dumps = opened(places[0], bad[0]), opened(places[1], bad[1])

    def matched(dumps: tuple[Dump, Dump]) -> list[_Sides]:
        named = map(renamed, map(_own, dumps, operands), (aligned, aligned), operands)
        return _matched(*_as_one(*named))

    with contextlib.ExitStack() as stack:
        selection = Selection(include, exclude)
        dumps = _rereadable(dumps, _selected(matched(dumps), selection), stack)
        everything = matched(dumps)
        tensors = _selected(everything, selection)
        pairs = {index: pair for index, pair in enumerate(tensors) if _is_comparable(pair)}
        a_streams, b_streams = map(has_stream, dumps)
        with crew(workers, progress, scheduler) as everybody:
            hands = able(everybody, *dumps)
            if a_streams or b_streams:
                hands = hands.alone
            measured = compare_tensors([*pairs.values()], b_streams, hands)
            differences = dict(zip(pairs, measured, strict=True))
            norms_a, norms_b = (
                _norms([pair[side] for pair in tensors], differences, hands) for side in (0, 1)
            )
            said = everybody.notes
        for dump in dumps:
            finish(dump)
    rows = [
        compared(one, other, (norms_a.get(at), norms_b.get(at)), differences.get(at), tolerance)
        for at, (one, other) in enumerate(tensors)
    ]
    kinds = [gradient_kinds(dump) for dump in dumps]
    gradients = [
        differences[at]
        for at, pair in pairs.items()
        if all(tensor.dtype.kind in some for tensor, some in zip(pair, kinds, strict=True))
    ]
    for side, unreadable in enumerate(bad):
        rows = with_unreadable(rows, side, _reasons(unreadable, aligned, selection))
    files_a, files_b = ((*(file.source.label for file in dump.files),) for dump in dumps)
    notes = [*_notes(dumps, rows), *said]
    if len(rows) < len(everything):
        notes.insert(0, f"{len(rows):,} of {len(everything):,} tensors compared")
    names = [tensor.name for sides in everything if (tensor := sides[0] or sides[1])]
    notes += selection.misses(names)
    own = [*map(_own, dumps, operands)]
    notes += aligned.misses([one.name for both in own for one in both])
    if _as_one(*own) != (*own,):
        notes.append(_AS_ONE)
    errors = [error for unreadable in bad for _, error in unreadable]
    return comparison(rows, gradients, tolerance, (files_a, files_b), notes, errors)


def _reasons(
    unreadable: Sequence[Unreadable], aligned: Renaming, selection: Selection
) -> dict[tuple[str, bool], str]:
    """Say why files cannot be read; by the name of their tensor, if they give it, or their own."""
    reasons = {}
    for place, error in unreadable:
        name = name_by_file(place.relative)
        if name is None:
            reasons[place.relative, False] = error.problem
        elif selection.chooses(aligned(name)):
            reasons[aligned(name), True] = error.problem
    return reasons


def _own(dump: Dump, operand: str) -> list[Tensor]:
    """Give a dump's tensors under their own names; one that a single file names has none."""
    tensors = dump.tensors
    if [file.is_named_by_file for file in dump.files] == [True] and not tree.is_folder(operand):
        return [dataclasses.replace(tensor, name=None) for tensor in tensors]
    return [*tensors]


def _as_one(a: list[Tensor], b: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Give the one tensor of each dump the name that only one of the two has."""
    if len(a) == len(b) == 1 and (a[0].name is None) != (b[0].name is None):
        name = b[0].name if a[0].name is None else a[0].name
        a, b = ([dataclasses.replace(one, name=name) for one in both] for both in (a, b))
    return a, b


def _matched(tensors_a: Sequence[Tensor], tensors_b: Sequence[Tensor]) -> list[_Sides]:
    """Give each tensor with that of its name in the other dump: those of A, then the rest of B."""
    others = {tensor.name: tensor for tensor in tensors_b}
    matched: list[_Sides] = [(tensor, others.pop(tensor.name, None)) for tensor in tensors_a]
    return matched + [(None, tensor) for tensor in others.values()]


def _selected(sides: Sequence[_Sides], selection: Selection) -> list[_Sides]:
    chosen = selection.chosen([tensor for a, b in sides if (tensor := a or b)])
    return [sides[index] for index in chosen]


def _is_comparable(sides: _Sides) -> TypeGuard[Pair]:
    a, b = sides
    if a is None or b is None or a.shape != b.shape:
        return False
    return a.dtype.name == b.dtype.name or "opaque" not in (a.dtype.kind, b.dtype.kind)


def _rereadable(
    dumps: tuple[Dump, Dump], sides: Sequence[_Sides], stack: contextlib.ExitStack
) -> tuple[Dump, Dump]:
    """Keep what comes as a stream in a file, unless one reading of it, in order, is enough.

    It is not where both are streams, where a tensor is measured by itself, or where one side lies
    in C order and the other in Fortran order.
    """
    a, b = dumps
    if not all(_is_comparable(pair) and not is_mixed(pair) for pair in sides):
        a = _kept(a, stack)
    elif not has_stream(a):
        return dumps
    return a, _kept(b, stack)


def _kept(dump: Dump, stack: contextlib.ExitStack) -> Dump:
    spools = spool(dump, stack)
    finish(dump)
    return settled(dump, spools)


def _norms(
    tensors: Sequence[Tensor | None], known: Container[int], crew: Crew
) -> dict[int, Moments]:
    """Measure the tensors that were not compared."""
    alone = {
        at: tensor
        for at, tensor in enumerate(tensors)
        if tensor is not None and tensor.dtype.kind != "opaque" and at not in known
    }
    if not alone:
        return {}
    measured = measure_tensors([*alone.values()], range(len(alone)), crew)
    return {at: measured[number] for number, at in enumerate(alone)}


def _notes(dumps: tuple[Dump, Dump], rows: Sequence[Compared]) -> list[str]:
    """Say what a reader of the numbers must not miss."""
    notes = []
    ignored = sum(dump.ignored for dump in dumps)
    if ignored:
        notes.append(f"{plural(ignored, 'other file')} ignored")
    notes += left_out([link for dump in dumps for link in dump.links])
    each = (brought, strays, uncounted, combined)
    notes += dict.fromkeys(note for dump in dumps for said in each for note in said(dump))
    notes += unmatched(*dumps)
    notes += factors(tensor for row in rows if (tensor := row.a or row.b))
    opaque = sorted({row.a.dtype.name for row in rows if row.a and row.a.dtype.kind == "opaque"})
    if opaque:
        notes.append(f"compared by their bytes, cannot be decoded: {', '.join(opaque)}")
    bad_a, bad_b = (
        sum(moments.nonfinite for moments in side if moments is not None)
        for side in ([row.moments_a for row in rows], [row.moments_b for row in rows])
    )
    if bad_a or bad_b:
        notes.append(
            f"{bad_a:,} values of A and {bad_b:,} of B are not finite; all but norms are "
            "over the values that are finite in both"
        )
    only_a, only_b = (
        [row.name for row in rows if row.state == state and row.name is not None]
        for state in ("only_a", "only_b")
    )
    prefix = likely_prefix(only_a, only_b) or likely_prefix(only_b, only_a)
    if prefix:
        notes.append(f"--strip-prefix {shlex.quote(prefix)} would align more names")
    return notes
