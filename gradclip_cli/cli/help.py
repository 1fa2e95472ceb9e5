"""`gradclip help`: the same as `gradclip --help`, or a command's."""

from gradclip_cli.cli.declared import Command, Given
from gradclip_cli.errors import GradclipError
from gradclip_cli.options import Operand

NAME = Operand("names", "The command to be helped with; none for all.", "COMMAND", many=True)


def run(given: Given) -> None:
    """Show the help of the program, or of a command."""
    from gradclip_cli.cli import app

    names = given.names or ()
    for name in names:
        app.check_name(name)
    if len(names) > 1:
        raise GradclipError("", f"{len(names)} commands are named", "name one at a time")
    app.app().main([*names, "--help"], "gradclip", standalone_mode=False)


def command() -> Command:
    """Declare the command."""
    return Command(
        "help",
        (NAME,),
        (),
        ("gradclip help", "gradclip help apply"),
        run,
    )
