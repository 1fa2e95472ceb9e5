"""From the operands of a command to a dump that no interrupted run has left half replaced."""

from collections.abc import Sequence

from gradclip_cli.dump import Dump
from gradclip_cli.errors import GradclipError
from gradclip_cli.formats import find
from gradclip_cli.journal import settle


def opened(operands: Sequence[str]) -> Dump:
    """Read the headers of a dump, while no run has it half replaced.

    What an interrupted run left is finished first; raises `GradclipError` as `find` does.
    """
    found = find(operands)
    finished = [settle(folder) for folder in found.folders]
    if any(finished):
        found = find(operands)
    dump = found.open()
    for folder in found.folders:
        if settle(folder):  # some headers may be of before, others of after
            raise GradclipError(
                folder,
                "another gradclip replaced the files here while this one opened them",
                "run gradclip again",
            )
    return dump
