"""From the operands of a command to a dump that no interrupted run has left half replaced."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.files.marks import run_of
from gradclip_cli.files.urls import named
from gradclip_cli.formats.folders import Found, Unreadable, find
from gradclip_cli.tensors.dump import Dump
from gradclip_cli.tensors.renaming import Renaming, renamed


def gradient(
    operands: Sequence[str],
    one_gradient: bool,
    void_as: str | None = None,
    combine: Sequence[str] = (),
    aligned: Renaming | None = None,
) -> Dump:
    """Open a dump that is one gradient; raises `GradclipError` for the steps of a run.

    With `one_gradient` they are taken for one all the same. Bytes without a meaning are `void_as`,
    and `combine` says what tensors of one name in several files are to each other; names are
    `aligned` first.
    """
    files = found(operands, void_as, combine, aligned)
    if not one_gradient and len(files.files) > 1:
        _refuse_steps(files, combine)
    return opened(files)


def _refuse_steps(files: Found, combine: Sequence[str]) -> None:
    import shlex

    from gradclip_cli.formats.steps import series  # one file needs none of it, and should not wait

    for run in series(files.files):
        common = run.common(files.aligned)
        if common is None or (common.files and not common.tensors):
            continue
        if len({*map(tree.real, run.steps)}) < len(run.steps):
            continue  # one that is given twice is told as such
        first, *_, last = run.steps
        if run.folder:
            first, last = (tree.below(step, run.folder) for step in (first, last))
        hint = "give the same files to gradclip trend"
        if run.folder:
            hint = f"follow them: gradclip trend {shlex.quote(run.folder.rstrip(os.sep))}"
            if combine:
                asked = " ".join(f"--combine {shlex.quote(one)}" for one in combine)
                hint += f"; say {asked} there, too"
        if not common.has_names:
            hint += "; --one-gradient takes them for one all the same"
        raise GradclipError(
            run.folder.rstrip(os.sep),
            f"{len(run.steps):,} steps, {first} to {last}, not one gradient",
            hint,
        )


def found(
    operands: Sequence[str],
    void_as: str | None = None,
    combine: Sequence[str] = (),
    aligned: Renaming | None = None,
) -> Found:
    """Find the files of a dump, once no interrupted run has left them half replaced."""
    files = find(operands, void_as or "", combine, aligned)
    finished = [_finished(folder) for folder in files.folders]
    return find(operands, void_as or "", combine, aligned) if any(finished) else files


def read_by(operands: Iterable[str]) -> Iterator[str]:
    """Give the paths of all files that operands name, those that make up a folder included."""
    for operand in operands:
        with contextlib.suppress(GradclipError, OSError):  # what is wrong is said when it is opened
            files = find([operand])
            yield from (place.path for place in files.files)
            yield from (place.path for _, place in files.aside)
            yield from (one.path for one in files.companions)
            yield from files.parts


def opened_parameters(
    path: str, void_as: str | None, aligned: Renaming, combine: Sequence[str] = ()
) -> Dump:
    """Open the parameters of a model; raises `GradclipError` where aligned names are the same."""
    path = named(path)
    parameters = opened(found([path], void_as, combine, aligned))
    renamed(parameters.tensors, aligned, path)
    return parameters


def opened(files: Found, unreadable: list[Unreadable] | None = None) -> Dump:
    """Read the headers of a dump, while no run has it half replaced."""
    dump = files.open(unreadable)
    for folder in files.folders:
        if _finished(folder):  # some headers may be of before, others of after
            raise GradclipError(
                folder,
                "another gradclip replaced the files here while this one opened them",
                "run gradclip again",
            )
    return dump


def _finished(folder: str) -> bool:
    """Finish what an interrupted run left in a folder; says whether there was anything."""
    if run_of(folder) is None:
        return False
    from gradclip_cli.files.journal import settle  # hardly ever needed, and it takes time to import

    return settle(folder)
