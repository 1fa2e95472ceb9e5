"""From the operands of a run to its steps: folders that hold steps stand for them."""

import os
from collections.abc import Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.formats.folders import NoDumpsError, find
from gradclip_cli.formats.opening import STDIN, is_no_dump
from gradclip_cli.formats.steps import number_of, series
from gradclip_cli.series.order import Operand, folders, ordered
from gradclip_cli.series.recorded import is_report
from gradclip_cli.tensors.names import escape, left_out, listed, plural


def steps_of(
    paths: Sequence[str], step_from: str | None, one_gradient: bool, void_as: str | None = None
) -> tuple[list[Operand], list[str]]:
    """Give the steps that paths are or hold, in order, and notes of how they were read.

    With `one_gradient` a folder is one step, whatever it holds. What is surely no dump is left out.
    Raises `GradclipError` where nothing else is there.
    """
    kept = [path for path in paths if not _is_none(path)]
    if not kept:
        find(paths[:1]).open()  # says what is wrong with it
    ignored = [path for path in paths if path not in kept]
    steps: list[str] = []
    links: list[str] = []
    runs: list[tuple[str, set[str]]] = []
    for path in kept:
        held, left, linked = _held(path, one_gradient, void_as or "")
        ignored += left
        links += linked
        steps += held
        if held != [path]:
            runs.append((path, set(held)))
    again = _again(steps)
    steps = [step for step in steps if step not in again]
    operands = ordered(steps, step_from)
    read = ((path, [one for one in operands if one.path in held]) for path, held in runs)
    notes = [_told(path, some) for path, some in read if some]
    places = folders(steps)
    if len(places) > 1:
        notes.append(f"steps of {len(places):,} folders: {listed(places)}")
    notes += left_out(links)
    if again:
        count = plural(len(again), "link to another step", "links to other steps")
        notes.append(f"{count} left out: {listed(again)}")
    if ignored:
        notes.append(f"{plural(len(ignored), 'path')} ignored: {listed(ignored)}")
    return operands, notes


def _is_none(path: str) -> bool:
    """Say whether a path is surely no step."""
    if path == STDIN or is_report(path):
        return False
    if not os.path.isdir(path):
        return is_no_dump(path)
    try:
        find([path])
    except NoDumpsError:  # where it is named as a step, that is to be said
        return number_of(os.path.basename(path.rstrip(os.sep))) is None
    except (GradclipError, OSError):
        return False
    return False


def _held(
    path: str, one_gradient: bool, void_as: str
) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Give the steps that a path holds, itself if none, what is beside them, and linked folders."""
    if not os.path.isdir(path):
        return [path], [], ()
    try:
        found = find([path], void_as)
    except (GradclipError, OSError):  # as is said in its row
        return [path], [], ()
    for run in series(found.files, least=1) if not one_gradient else ():
        common = run.common()
        if common is not None:
            beside = list(run.beside(common))
            steps = [*run.steps, *(other for other, is_step in beside if is_step)]
            return steps, [other for other, is_step in beside if not is_step], found.links
    return [path], [], found.links


def _again(steps: Sequence[str]) -> list[str]:
    """Give the links that lead to another of these steps.

    Raises `GradclipError` where one is named twice in any other way.
    """
    first: dict[str, str] = {}
    again = []
    for step in sorted(steps, key=_is_link):
        other = first.setdefault(step if step == STDIN else os.path.realpath(step), step)
        if other is step:
            continue
        if step == other or not _is_link(step):
            raise GradclipError(step, f"is the same step as {escape(other)}", "give each step once")
        again.append(step)
    return again


def _is_link(path: str) -> bool:
    return os.path.islink(path.rstrip(os.sep))


def _told(path: str, operands: Sequence[Operand]) -> str:
    """Say which steps a folder holds, and how their names were read."""
    first, last = (os.path.relpath(operands[at].path, path) for at in (0, -1))
    steps = " to ".join(escape(str(operands[at].step)) for at in (0, -1))
    return f"{escape(path)}: {escape(first)} to {escape(last)} are steps {steps}"
