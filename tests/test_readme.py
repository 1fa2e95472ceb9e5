"""What the README prints is what it promises."""

import doctest
import re
import shutil

import pytest

from tests.readme import README, TOP, blocks, run_again


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block.splitlines()[0][2:60])
def test_a_transcript_of_the_readme_is_what_its_commands_print(block: str) -> None:
    for tool in ("jq", "awk", "paste"):
        if re.search(rf"\b{tool}\b", block) and shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    assert run_again(block) == block


def test_the_python_of_the_readme_gives_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOP)
    result = doctest.testfile(str(README), module_relative=False)
    assert result.attempted > 3
    assert result.failed == 0


def test_the_readme_names_every_option_of_every_command() -> None:
    from gradclip_cli.cli import app

    text = README.read_text("utf-8")
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"gradclip {command.callback.__name__}" in text


def test_every_promise_of_the_readme_names_a_test_that_there_is() -> None:
    text = README.read_text("utf-8")
    promises = text.split("\n## Promises\n")[1].split("\n## ")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 10
    for row in rows:
        named = re.findall(r"`(test_\w+)::(test_\w+)`", row)
        assert named, row
        for module, test in named:
            (path,) = (TOP / "tests").rglob(f"{module}.py")
            assert f"def {test}(" in path.read_text("utf-8"), test
