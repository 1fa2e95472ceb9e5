"""An option that stands nowhere else: one declaration is its help, its parser and its messages."""

import pytest

from gradclip_cli.cli import declared, shared
from gradclip_cli.cli.declared import Command, Given
from gradclip_cli.errors import GradclipError
from gradclip_cli.options import Option, count

# The recipe: a declaration in cli/shared.py, in a group of options that commands share.

PATIENCE = Option(
    "patience",
    "Wait so many seconds for a file that is being written.",
    metavar="N",
    parse=count("patience"),
    group="What counts",
    common=True,
)
SELECTION = (*shared.SELECTION, PATIENCE)
# A Python function that heeds it has a parameter of its name and default.
# End of the recipe.

seen: list[Given] = []


@pytest.fixture
def command() -> Command:
    seen.clear()
    return Command("toy", (shared.PATHS,), SELECTION, ("toy",), seen.append)


def test_it_is_parsed_and_given(command: Command) -> None:
    declared.typed(command).main(["a", "--patience", "7"], "toy", standalone_mode=False)
    assert (seen[0].patience, seen[0].paths) == (7, ["a"])


def test_a_function_gets_it_by_its_name_and_otherwise_has_its_own_default(
    command: Command,
) -> None:
    def wait(*, patience: int = 3) -> int:
        return patience

    for arguments in (["--patience", "7"], []):
        declared.typed(command).main(arguments, "toy", standalone_mode=False)
    assert [wait(**given.to(wait)) for given in seen] == [7, 3]


@pytest.mark.parametrize("text", ["x", "0", "1.5", "9" * 20])
def test_a_wrong_one_is_told_as_others_are(text: str, command: Command) -> None:
    told = f"--patience: '{text}' is not a whole number from 1 to 999,999,999"
    with pytest.raises(GradclipError, match=told):
        declared.typed(command).main(["--patience", text], "toy", standalone_mode=False)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_help_shows_it(flag: str, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    declared.typed(command).main([flag], "toy", standalone_mode=False)
    assert "--patience N" in capsys.readouterr().out
