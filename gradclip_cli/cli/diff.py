"""`gradclip diff`: how two dumps differ."""

import dataclasses

import typer

from gradclip_cli.cli import boundary, output, showing
from gradclip_cli.cli.declared import Command, Given
from gradclip_cli.cli.shared import (
    ALIGNED,
    COMBINE,
    FORCE,
    HTML,
    REPORT,
    ROWS,
    SCHEDULER,
    SELECTION,
    VOID_AS,
    WORKERS,
)
from gradclip_cli.errors import together
from gradclip_cli.options import Operand, Option, number

A = Operand("a", "A file, a folder, or - for standard input.", "A")
B = Operand("b", "The same, to compare with A; errors are relative to A.", "B")
RTOL = Option(
    "rtol",
    "A tensor passes if its relative L2 error is at most R.",
    metavar="R",
    parse=number("rtol", "1e-6"),
    group="What passes",
    common=True,
)
ATOL = Option(
    "atol",
    "A tensor passes if no value differs by more than T.",
    metavar="T",
    parse=number("atol", "1e-8"),
    group="What passes",
    common=True,
)


_ALIGNED = tuple(dataclasses.replace(option, common=True) for option in ALIGNED)


def run(given: Given) -> None:
    """Compare, print and judge."""
    form = output.form_of(given)
    from gradclip_cli.commands.diff import diff
    from gradclip_cli.results.comparison import KEYS
    from gradclip_cli.results.ranking import arranged

    output.operands([given.a, given.b], "is --rtol or --atol missing before it?")
    showing.check(given, [given.a, given.b])
    with output.progress(hidden=given.quiet) as progress:
        found = diff(given.a, given.b, progress=progress, **given.to(diff))
    showing.write(given, found)
    if not given.quiet:
        rows = arranged(found.rows, KEYS, given.sort, given.reverse, given.top)
        everything = given.everything or given.top is not None
        output.show(found.with_rows(rows), form, boundary.stdout(), everything)
    showing.tell(given)
    if found.unreadable:
        raise together(found.unreadable)
    if found.status:
        raise typer.Exit(found.status)


def command() -> Command:
    """Declare the command."""
    return Command(
        "diff",
        (A, B),
        (
            RTOL,
            ATOL,
            *_ALIGNED,
            *SELECTION,
            COMBINE,
            VOID_AS,
            *ROWS,
            HTML,
            FORCE,
            *REPORT,
            WORKERS,
            SCHEDULER,
        ),
        (
            "gradclip diff step-19.safetensors step-20.safetensors",
            "gradclip diff grads/ clipped/ --rtol 1e-6 -q && echo unharmed",
            "gradclip diff eager.safetensors compiled.safetensors --strip-prefix _orig_mod.",
            r"gradclip diff a/ b/ --rename '_fsdp_wrapped_module\.=' --json | jq .verdict",
            "zstdcat old.zst | gradclip diff - new.safetensors",
        ),
        run,
    )
