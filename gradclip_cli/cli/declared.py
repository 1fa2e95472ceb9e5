"""Typer's commands, made of declared options: the one place where plain data becomes Typer.

The help is written here too, since it is made of the same data: `-h` shows what is common and the
examples, `--help` everything, in groups.
"""

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import typer
import typer.core
import typer.main

from gradclip_cli.errors import GradclipError
from gradclip_cli.frozen import constant
from gradclip_cli.options import UNSET, Operand, Option

COMMANDS = {
    "inspect": "Say how large the gradients are, one by one and together.",
    "apply": "Clip the gradients by one rule and write them.",
    "diff": "Say how two dumps differ; status 1 if they do.",
    "check": "Say of each file whether it is sound; status 2 if one is not. Values are not read.",
    "trend": "Follow a run over its steps: when and where it went wrong.",
    "explain": "Say how a trainer came to the norm that it logged; status 1 if nothing tells.",
    "help": "Show this, or what a command can be given.",
}
"""What there is, in the order of the help, and what each does: so the help need import none."""

ELSEWHERE = {
    "inspect": ("norm", "norms", "stats", "stat", "summary", "info", "show", "ls"),
    "apply": ("clip", "scale", "write", "clip-grad-norm"),
    "diff": ("compare", "cmp", "delta"),
    "check": ("verify", "validate", "fsck", "lint"),
    "trend": ("follow", "watch", "monitor", "history", "track", "plot"),
    "explain": ("reconcile", "why", "account"),
}
"""What other tools call each, for whoever comes from there."""

_HELP = (
    Option("brief", "Show the common options and examples, then exit.", flag="-h", group="Other"),
    Option("help", "Show all options, then exit.", flag="--help", group="Other"),
)
_BOTH = Option("help", "Show what is common, or all, then exit.", short="-h", group="Other")


class Given(SimpleNamespace):
    """What was given on a command line, by the names of options and operands."""

    def to(self, function: Any) -> dict[str, Any]:
        """Give what a function has parameters for; what was not given is left to its defaults."""
        wanted = function.__kwdefaults__ or {}
        return {
            name: value
            for name, value in vars(self).items()
            if name in wanted and value is not None
        }


@constant
class Command:
    """A command as data: what it is called, its operands, options and examples.

    `run` is given what was given. `further` gives options that take time to import: where a command
    line has none of them, nor asks for help, they are not made.
    """

    name: str
    operands: tuple[Operand, ...]
    first: tuple[Option, ...]
    examples: tuple[str, ...]
    run: Callable[[Given], None]
    further: Callable[[], tuple[Option, ...]] = tuple

    @property
    def options(self) -> tuple[Option, ...]:
        """All options."""
        return (*self.first, *self.further())

    def options_for(self, arguments: Sequence[str]) -> tuple[Option, ...]:
        """Give the first options, or all where an argument looks like another."""
        known = {flag for option in self.first for flag in (option.flag, option.short)}
        looks = {word.partition("=")[0] for word in arguments if word.startswith("-")}
        return self.first if looks <= known | {"-", "--"} else self.options

    @property
    def does(self) -> str:
        """What it does, in a sentence or two."""
        return COMMANDS.get(self.name, "")


def load(name: str) -> Command:
    """Import a command by its name."""
    command: Command = importlib.import_module(f"gradclip_cli.cli.{name}").command()
    return command


# Typer


def typed(command: Command, options: Sequence[Option] | None = None) -> Any:
    """Make Typer's command of a declared one, with all its options or some."""
    options = command.options if options is None else options

    def callback(**given: Any) -> None:
        del given["brief"]
        command.run(Given(**given))

    parameters = [*map(_operand, command.operands), *map(_option, options), _BRIEF]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    callback.__annotations__ = {one.name: one.annotation for one in parameters}
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["--help"], "max_content_width": 100},
    )
    app.command(command.name, cls=_Command, help=command.does)(callback)
    made: Any = typer.main.get_command(app)
    made.declared = command
    return made


class _Command(typer.core.TyperCommand):
    """A command that writes its own help, and stands by all complaints about its options."""

    declared: Command

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give what is left of the arguments; what is raised knows its context."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # Typer's parser signs only some
            if isinstance(error, _UnparsedError):
                raise error.error from None
            complaint: Any = error
            if getattr(complaint, "ctx", ctx) is None:
                complaint.ctx = ctx
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write all options in their groups."""
        formatter.write_usage(ctx.command_path, _usage(self.declared))
        _write_help(self.declared, formatter, brief=False)


def _operand(operand: Operand) -> inspect.Parameter:
    kind: Any = list[str] | None if operand.many else str
    default = None if operand.many else inspect.Parameter.empty
    made = typer.Argument(metavar=operand.metavar, help=operand.help, show_default=False)
    return _parameter(operand.name, Annotated[kind, made], default)


def _option(option: Option) -> inspect.Parameter:
    kind: Any = str
    if option.is_switch:
        kind = bool
    elif option.choices:
        kind = Literal[tuple(option.choices)]
    elif option.parse is not None:
        kind = option.parse.__annotations__["return"]
    if option.many:
        kind = list[kind]
    if option.default is None:
        kind = kind | None
    made = typer.Option(
        option.flag,
        *([option.short] if option.short else []),
        metavar=option.metavar or None,
        parser=None if option.is_switch or option.choices else _parser(option),
        help=option.told,
        show_default=False,
    )
    return _parameter(option.name, Annotated[kind, made], option.default)


class _UnparsedError(Exception):
    """Carries what a parser raises past Typer, which puts each `ValueError` in words of its own."""

    def __init__(self, error: GradclipError) -> None:
        super().__init__(error)
        self.error = error


def _parser(option: Option) -> Callable[[str], Any]:
    """Give what reads an option's text, of which none is empty."""
    parse = option.parse or str

    @functools.wraps(parse)
    def parsed(text: str) -> Any:
        try:
            if not text and not option.allows_empty:
                flag = option.short or option.flag
                raise GradclipError(flag, "is empty", f"give a value, or leave it out; {UNSET}")
            return parse(text)
        except GradclipError as error:
            raise _UnparsedError(error) from error

    return parsed


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _show_brief(ctx: typer.Context, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:  # which completion is
        command: Any = ctx.command
        formatter: Any = ctx.make_formatter()
        formatter.write_usage(ctx.command_path, _usage(command.declared))
        _write_help(command.declared, formatter, brief=True)
        typer.echo(formatter.getvalue().rstrip("\n"))
        raise typer.Exit


_BRIEF = _parameter(
    "brief", Annotated[bool, typer.Option("-h", is_eager=True, callback=_show_brief)], False
)


# Help


def _usage(command: Command) -> str:
    return " ".join(["[OPTIONS]", *map(_called, command.operands)])


def _called(operand: Operand) -> str:
    return f"[{operand.metavar}]..." if operand.many else operand.metavar


def _write_help(command: Command, formatter: Any, brief: bool) -> None:
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(command.does)
    if command.operands:
        with formatter.section("Arguments"):
            formatter.write_dl([(_called(one), one.help) for one in command.operands])
    if brief:
        common = [option for option in command.options if option.common]
        with formatter.section("Common options"):
            formatter.write_dl([*map(_record, common), (_HELP[1].flag, _HELP[1].help)])
    else:
        for heading, options in _groups([*command.options, _BOTH]):
            with formatter.section(heading):
                formatter.write_dl([*map(_record, options)])
    with formatter.section("Examples"):
        for example in command.examples:
            formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def _groups(options: Sequence[Option]) -> Iterator[tuple[str, list[Option]]]:
    """Give the options by their groups, in the order in which these first appear."""
    for heading in dict.fromkeys(option.group for option in options):
        yield heading, [option for option in options if option.group == heading]


def _record(option: Option) -> tuple[str, str]:
    names = f"{option.short}, {option.flag}" if option.short else option.flag
    usual = f"; {option.default} if not given" if option.default else ""
    return f"{names} {option.metavar}".rstrip(), option.told.removesuffix(".") + usual + "."
