"""The command line: arguments in, a report or a one-line error out.

Only the command that is asked for is imported, and nothing here imports NumPy before a command
needs it, so help, version and completion answer at once.
"""

import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
import typer.core
import typer.main

from gradclip_cli import __version__
from gradclip_cli.cli import boundary
from gradclip_cli.cli.declared import COMMANDS, ELSEWHERE, load, typed
from gradclip_cli.errors import GradclipError
from gradclip_cli.options import nearest


class _Commands(typer.core.TyperGroup):
    """The commands, each made when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Give their names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Give one by its name."""
        return typed(load(cmd_name)) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write what there is, each with its first sentence; none is made for it."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, f"{does.removesuffix('.').split('. ')[0]}.")
                    for name, does in COMMANDS.items()
                ]
            )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is named first; raises `GradclipError` that names the nearest."""
        if ctx.resilient_parsing:  # which completion is
            return super().resolve_command(ctx, args)
        name, *rest = args
        check_name(name)
        command = load(name)
        return name, typed(command, command.options_for(rest)), rest


def check_name(name: str) -> None:
    """Raise `GradclipError` where there is no such command, naming the nearest."""
    if name in COMMANDS:
        return
    meant = nearest(name, COMMANDS, ELSEWHERE)
    question = f". Did you mean {meant!r}?" if meant else ""
    raise GradclipError(
        "", f"no such command {name!r}{question}", "gradclip --help shows what can be given"
    )


def _version(wanted: bool) -> None:
    if wanted:
        boundary.writer(boundary.stdout())(f"gradclip {__version__}\n".encode())
        raise typer.Exit


def app() -> Any:
    """Give the program, as Typer has it."""
    program = typer.Typer(
        name="gradclip",
        cls=_Commands,
        help="Inspect and clip gradients on disk: exact, streaming, safe.",
        epilog="gradclip COMMAND -h shows a command's common options and examples.",
        invoke_without_command=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help fits a screen, and spares importing Rich
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )

    @program.callback()
    def _program(
        ctx: typer.Context,
        version: Annotated[  # noqa: ARG001 its callback does all
            bool,
            typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
        ] = False,
    ) -> None:
        if ctx.invoked_subcommand is None:
            typer.echo(ctx.get_help())

    return typer.main.get_command(program)


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line and give its status."""

    def command() -> int:
        # Typer's own ways out would turn errors into frames of text and status 1.
        status = app().main(list(arguments), "gradclip", standalone_mode=False)
        return int(status or 0)

    return boundary.run(command)
