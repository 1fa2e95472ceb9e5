"""`gradclip explain`: which way of counting gives the number that a trainer logged."""

import typer

from gradclip_cli.cli import boundary, output, showing
from gradclip_cli.cli.declared import Command, Given
from gradclip_cli.cli.shared import (
    ALIGNED,
    ALL,
    COMBINE,
    FORCE,
    HTML,
    ONE_GRADIENT,
    PATHS,
    REPORT,
    SELECTION,
    VOID_AS,
    WORKERS,
)
from gradclip_cli.errors import GradclipError
from gradclip_cli.options import Option

LOGGED = Option(
    "logged",
    "The number as it stands in the log, each digit of it.",
    metavar="X",
    group="What counts",
    common=True,
)


def run(given: Given) -> None:
    """Measure, look for what gives the number, print and judge."""
    form = output.form_of(given)
    if given.logged is None:
        hint = "give the norm as it stands in the log, for example --logged 12.228"
        raise GradclipError("--logged", "is missing", hint)
    showing.check(given, given.paths or ())
    from gradclip_cli.commands.explain import explain

    with output.progress(hidden=given.quiet) as progress:
        operands = output.operands(given.paths, "is --logged missing before it?")
        found = explain(*operands, progress=progress, logged=given.logged, **given.to(explain))
    showing.write(given, found)
    if not given.quiet:
        output.show(found, form, boundary.stdout(), given.everything)
    showing.tell(given)
    if found.status:
        raise typer.Exit(found.status)


def command() -> Command:
    """Declare the command."""
    return Command(
        "explain",
        (PATHS,),
        (
            LOGGED,
            *SELECTION,
            ONE_GRADIENT,
            COMBINE,
            *ALIGNED,
            VOID_AS,
            ALL,
            HTML,
            FORCE,
            *REPORT,
            WORKERS,
        ),
        (
            "gradclip explain grads.safetensors --logged 11.011",
            "gradclip explain ranks/ --combine pieces --logged 7.7862 --json | jq .says",
        ),
        run,
    )
