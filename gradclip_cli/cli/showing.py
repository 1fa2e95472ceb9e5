"""`--html`: a page to show, beside what is printed."""

import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradclip_cli.cli import boundary, output
from gradclip_cli.cli.declared import Given

if TYPE_CHECKING:
    from gradclip_cli.results.columns import Result


def check(given: Given, others: Sequence[str]) -> None:
    """Refuse, before anything is read, a page that would take another file's place."""
    if given.html is not None:
        output.check_place(given.html, given.force, others)


def page(given: Given, *results: "Result") -> None:
    """Write the page, if one is wished, and say at a terminal where it is."""
    if given.html is None:
        return
    from gradclip_cli.files.staging import write_whole
    from gradclip_cli.render.html.document import document

    text = document(results, command_of(sys.argv[1:]))
    write_whole(given.html, text.encode("utf-8", "backslashreplace"), given.force)
    if not given.quiet:
        boundary.link("page: ", given.html, f"file://{os.path.realpath(given.html)}")


def command_of(arguments: Sequence[str]) -> str:
    """Give the command line, without what is secret in URLs."""
    from gradclip_cli.files.urls import named

    return shlex.join(["gradclip", *map(named, arguments)])
