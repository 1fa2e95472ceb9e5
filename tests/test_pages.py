"""What the pages print is what they promise, and nothing on them leads nowhere."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.made import RECIPES, code, made
from tests.pages import PAGES, README, TOP, blocks, missing, run_again

PROMISES = TOP / "docs" / "promises.md"
FENCED = re.compile(r"^```.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)


def _name(page: Path) -> str:
    return str(page.relative_to(TOP))


def _prose(page: Path) -> str:
    """Give a page's text without code, in which brackets and hashes mean something else."""
    return FENCED.sub("", page.read_text("utf-8"))


def _links(page: Path) -> list[str]:
    """Give where a page's links and pictures lead, other sites left out."""
    found = re.findall(r"\]\(([^)\s]+)\)", _prose(page))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def _anchors(page: Path) -> set[str]:
    """Give what GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _promises() -> list[str]:
    rows = [line for line in PROMISES.read_text("utf-8").splitlines() if line.startswith("| ")]
    return rows[1:]


TRANSCRIPTS = [
    pytest.param(
        block,
        id=f"{_name(page)}: {block.splitlines()[0][2:70]}",
        marks=pytest.mark.heavy if number and page.parent.name == "docs" else [],
    )
    for page in PAGES
    for number, block in enumerate(blocks(page))
]
WITH_PYTHON = [page for page in PAGES if ">>> " in page.read_text("utf-8")]
LINKS = [
    pytest.param(page, link, id=f"{_name(page)}: {link}") for page in PAGES for link in _links(page)
]
KEPT = [
    pytest.param(module, test, id=f"{module}::{test}")
    for row in _promises()
    for module, test in re.findall(r"`(test_\w+)::(test_\w+)`", row)
]


@pytest.mark.parametrize("block", TRANSCRIPTS)
def test_a_transcript_is_what_its_commands_print(block: str) -> None:
    if tools := missing(block):
        pytest.skip(f"not installed: {', '.join(tools)}")
    assert run_again(block) == block


@pytest.mark.parametrize("page", WITH_PYTHON, ids=_name)
def test_the_python_of_a_page_gives_what_it_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(TOP / "sample_grads", tmp_path / "sample_grads")
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert result.attempted > 0
    assert result.failed == 0


def test_the_python_of_the_library_is_shown() -> None:
    assert TOP / "docs" / "python.md" in WITH_PYTHON


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES[1:], ids=_name)
def test_a_page_is_linked_to_by_another(page: Path) -> None:
    others = [other for other in PAGES if other != page]
    leading = [(other.parent / link.split("#")[0]) for other in others for link in _links(other)]
    assert page in map(Path.resolve, leading)


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_a_link_leads_somewhere(page: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.exists()
    assert target.is_relative_to(TOP), "outside the repository nobody else has it"
    if anchor:
        assert anchor in _anchors(target)


def test_the_pages_name_every_command_and_every_option() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    commands = re.findall(r"^  (\w+) {2,}", _help().split("Commands:")[1], re.MULTILINE)
    assert len(commands) >= 5
    for command in ("", *commands):
        assert re.search(rf"\bgradclip {command}\b", text), command
        options = re.findall(r"(?<=[ ,])-{1,2}[a-z][a-z-]*", _options(_help(command)))
        assert "--help" in options, command
        for option in options:
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{command} {option}"


def _help(command: str = "") -> str:
    program = [str(Path(sys.executable).parent / "gradclip"), *command.split(), "--help"]
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    return subprocess.run(
        program, env=environment, capture_output=True, text=True, check=True
    ).stdout


def _options(text: str) -> str:
    """Give the part of a help text where options begin lines: the flags, without what they do."""
    lines = re.findall(r"^  (-.*?)(?: {2,}|$)", text, re.MULTILINE)
    return "".join(f" {line}\n" for line in lines)


def test_there_are_promises() -> None:
    assert len(_promises()) > 10
    for row in _promises():
        assert "::" in row, row


@pytest.mark.parametrize(("module", "test"), KEPT)
def test_a_promise_names_a_test_that_there_is(module: str, test: str) -> None:
    found = [path.read_text("utf-8") for path in (TOP / "tests").rglob(f"{module}.py")]
    assert found, f"no {module}.py below tests"
    assert any(f"def {test}(" in text for text in found)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_what_is_made_from_the_code_is_true(page: Path) -> None:
    assert page.read_text("utf-8") == made(page)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_short(recipe: str) -> None:
    module, _ = RECIPES[recipe]
    assert len([line for line in code(module).splitlines() if line]) <= 50
