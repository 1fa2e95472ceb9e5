"""From the operands of a command to a dump that no interrupted run has left half replaced."""

from collections.abc import Sequence

from gradclip_cli.dump import Dump
from gradclip_cli.formats import find
from gradclip_cli.journal import settle


def opened(operands: Sequence[str]) -> Dump:
    """Read the headers of a dump, once what an interrupted run left half replaced is whole."""
    found = find(operands)
    finished = [settle(folder) for folder in found.folders]
    if any(finished):
        found = find(operands)
    return found.open()
