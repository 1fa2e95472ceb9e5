"""`gradclip check`: whether files are sound."""

import typer

from gradclip_cli.cli import boundary, output
from gradclip_cli.cli.declared import Command, Given
from gradclip_cli.cli.shared import QUIET, VOID_AS
from gradclip_cli.options import Operand, Option

PATHS = Operand("paths", "Files, folders, or - for standard input.", "PATH", many=True)
JSON = Option("json", "Print one JSON object.", group="Report", common=True, default=False)


def run(given: Given) -> None:
    """Look at each file, print and judge."""
    from gradclip_cli.commands.check import check

    found = check(*output.operands(given.paths), **given.to(check))
    if not given.quiet:
        form = "json" if given.json else "table"
        output.show(found, form, boundary.stdout(), everything=False)
    if found.status:
        raise typer.Exit(found.status)


def command() -> Command:
    """Declare the command."""
    return Command(
        "check",
        (PATHS,),
        (VOID_AS, QUIET, JSON),
        (
            "gradclip check grads.safetensors",
            'gradclip check step-*/ -q || echo "a dump is damaged"',
            "gradclip check grads/ --json | jq -r '.files[] | select(.sound | not) | .file'",
        ),
        run,
    )
