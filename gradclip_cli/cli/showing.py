"""`--html`: a page to show, beside what is printed."""

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradclip_cli.cli import boundary, output
from gradclip_cli.cli.declared import Given
from gradclip_cli.errors import GradclipError

_BEGINS = b"<!doctype html>"
_URL = re.compile(r"(--?[\w-]*=|)([A-Za-z][A-Za-z0-9+.-]*://)(.*)", re.DOTALL)

if TYPE_CHECKING:
    from gradclip_cli.results.columns import Result


def check(given: Given, others: Sequence[str]) -> None:
    """Refuse, before anything is read, a page that would take another file's place.

    One that was written into a folder of dumps may be written there again.
    """
    if given.html is None:
        return
    if given.html == "-":
        hint = "name a file: --html page.html"
        raise GradclipError("--html", "- is standard output, where the report goes", hint)
    if _is_page(given.html):
        others = [other for other in others if not os.path.isdir(other)]
    output.check_place(given.html, given.force, others, "the page")


def _is_page(path: str) -> bool:
    if not os.path.isfile(path):  # of a pipe nobody may ever send anything
        return False
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(64).lstrip().startswith(_BEGINS)
    return False


def write(given: Given, *results: "Result") -> None:
    """Write the page, if one is wished: before the report, whose reader may leave."""
    if given.html is None:
        return
    from gradclip_cli.files.staging import write_whole
    from gradclip_cli.render.html.document import document

    text = document(results, command_of(sys.argv[1:]))
    write_whole(given.html, text.encode("utf-8", "backslashreplace"), given.force)


def tell(given: Given) -> None:
    """Say at a terminal where the page is."""
    if given.html is not None and not given.quiet:
        boundary.link("page: ", given.html, f"file://{os.path.realpath(given.html)}")


def command_of(arguments: Sequence[str]) -> str:
    """Give the command line, without what is secret in URLs, be they values of options."""
    return shlex.join(["gradclip", *map(_shown, arguments)])


def _shown(argument: str) -> str:
    found = _URL.fullmatch(argument)
    if found is None:
        return argument
    option, scheme, rest = found.groups()
    from gradclip_cli.files.urls import named

    shown = named(f"{scheme}{rest}")
    if "@" in rest or "?" in rest:  # of what is read otherwise
        shown = re.sub(r"(://)[^/?#]*@", r"\1", shown).partition("?")[0]
    return f"{option}{shown}"
