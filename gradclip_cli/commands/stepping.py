"""From the operands of a run to its steps: folders that hold steps stand for them."""

import os
from collections.abc import Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.formats.folders import NoDumpsError, Place, find
from gradclip_cli.formats.opening import STDIN, is_no_dump, open_regular
from gradclip_cli.formats.paths import number_of
from gradclip_cli.formats.steps import gathered, series
from gradclip_cli.series.order import Operand, folders, ordered
from gradclip_cli.series.recorded import is_report
from gradclip_cli.tensors.names import escape, left_out, listed, plural
from gradclip_cli.tensors.renaming import Renaming


def steps_of(
    paths: Sequence[str],
    step_from: str | None,
    one_gradient: bool,
    void_as: str | None = None,
    aligned: Renaming | None = None,
) -> tuple[list[Operand], list[str]]:
    """Give the steps that paths are or hold, in order, and notes of how they were read.

    With `one_gradient` a folder is one step, whatever it holds; the names of tensors in steps are
    `aligned`. What is surely no dump is left out.
    Raises `GradclipError` where nothing else is there.
    """
    with tree.looked_at(paths):
        kept = [path for path in paths if not _is_none(path)]
    if not kept:
        find(paths[:1]).open()  # says what is wrong with it
    ignored = [path for path in paths if path not in kept]
    found: list[tuple[str, tuple[str, ...]]] = []
    links: list[str] = []
    runs: list[tuple[str, set[str]]] = []
    for path in kept:
        held, left, linked = _held(path, one_gradient, void_as or "", aligned or Renaming())
        ignored += left
        links += linked
        found += held.items()
        if [*held] != [path]:
            runs.append((path, set(held)))
    again = _again([step for step, _ in found])
    made = _joined(found, again)
    steps = [*made]
    operands = [
        Operand(one.path, one.step, () if (one.path,) == made[one.path] else made[one.path])
        for one in ordered(steps, step_from)
    ]
    read = ((path, [one for one in operands if one.path in held]) for path, held in runs)
    notes = [_told(path, some) for path, some in read if some]
    places = folders(steps)
    if len(places) > 1:
        notes.append(f"steps of {len(places):,} folders: {listed(places)}")
    notes += left_out(links)
    if again:
        count = plural(len(again), "link to another step", "links to other steps")
        notes.append(f"{count} left out: {listed(again)}")
    several = [one for one in operands if one.paths]
    if several:
        count = plural(len(several), "step is", "steps are")
        notes.append(f"{count} several files or folders, such as {escape(several[0].path)}")
    if ignored:
        notes.append(f"{plural(len(ignored), 'path')} ignored: {listed(ignored)}")
    return operands, notes


def _is_none(path: str) -> bool:
    """Say whether a path is surely no step."""
    if path == STDIN or is_report(path):
        return False
    if not tree.is_folder(path):
        return is_no_dump(path)
    try:
        find([path])
    except NoDumpsError:  # where it is named as a step, that is to be said
        return number_of(os.path.basename(path.rstrip(os.sep))) is None
    except (GradclipError, OSError):
        return False
    return False


def _joined(
    found: Sequence[tuple[str, tuple[str, ...]]], again: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Give steps with the paths that make them: those of all ranks are one."""
    made = {step: paths for step, paths in found if step not in again}
    with tree.looked_at([step for step in made if not tree.is_folder(step)]):
        groups = gathered([step for step in made if not is_report(step)], _names_none)
    last = {some[-1]: (called, some) for called, some in groups.items() if len(some) > 1}
    several = {step for _, some in last.values() for step in some}
    joined: dict[str, tuple[str, ...]] = {}
    for step, paths in made.items():
        if step in last:
            called, some = last[step]
            joined[called] = _that_hold([path for one in some for path in made[one]])
        elif step not in several:
            joined[step] = paths
    return joined


def _that_hold(paths: Sequence[str]) -> tuple[str, ...]:
    """Leave out the folders of ranks that have no part in a step, but not all."""
    empty = {
        path
        for path in paths
        if tree.is_folder(path) and not any(names for _, _, names in tree.walk(path))
    }
    return tuple(path for path in paths if path not in empty or len(empty) == len(paths))


def _names_none(path: str) -> bool:
    """Say whether a file names none of its tensors; what cannot be read says nothing."""
    try:
        return not tree.is_folder(path) and open_regular(path, path).is_named_by_file
    except (GradclipError, OSError):
        return False


def _held(
    path: str, one_gradient: bool, void_as: str, aligned: Renaming
) -> tuple[dict[str, tuple[str, ...]], list[str], tuple[str, ...]]:
    """Give the steps that a path holds, itself if none, what is beside them, and linked folders.

    Each step has the paths that make it.
    """
    if not tree.is_folder(path):
        return {path: (path,)}, [], ()
    try:
        found = find([path], void_as)
    except (GradclipError, OSError):  # as is said in its row
        return {path: (path,)}, [], ()
    for run in series(found.files, least=1) if not one_gradient else ():
        common = run.common(aligned)
        if common is not None:
            beside = list(run.beside(common, aligned))
            steps = {step: _paths(step, places) for step, places in run.steps.items()}
            steps |= {other: (other,) for other, is_step in beside if is_step}
            return steps, [other for other, is_step in beside if not is_step], found.links
    return {path: (path,)}, [], found.links


def _paths(step: str, places: Sequence[Place]) -> tuple[str, ...]:
    """Give the paths that make a step: its own, or those of its files."""
    return (step,) if tree.exists(step) else tuple(place.path for place in places)


def _again(steps: Sequence[str]) -> list[str]:
    """Give the links that lead to another of these steps.

    Raises `GradclipError` where one is named twice in any other way.
    """
    first: dict[str, int] = {}
    again = []
    for number, step in sorted(enumerate(steps), key=lambda one: _is_link(one[1])):
        real = step if step == STDIN else tree.real(step)
        if first.setdefault(real, number) == number:
            continue
        other = steps[first[real]]
        if step == other or not _is_link(step):
            raise GradclipError(step, f"is the same step as {escape(other)}", "give each step once")
        again.append(step)
    return again


def _is_link(path: str) -> bool:
    return tree.is_link(path.rstrip(os.sep))


def _told(path: str, operands: Sequence[Operand]) -> str:
    """Say which steps a folder holds, and how their names were read."""
    first, last = (tree.below(operands[at].path, path) for at in (0, -1))
    steps = " to ".join(escape(str(operands[at].step)) for at in (0, -1))
    return f"{escape(path)}: {escape(first)} to {escape(last)} are steps {steps}"
