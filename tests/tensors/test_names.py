"""Names out of files are strangers: safe in every format, told apart, and given back exactly."""

import json
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gradclip_cli.tensors.names import escape, unescape
from tests.dumps import floats, write_npy, write_safetensors
from tests.readers import names_of
from tests.running import SGR, gradclip, in_shell, on_terminal
from tests.steps import write_steps
from tests.strangers import CODES, FOREIGN, LONG, STRANGERS, write_foreign

WIDE = 1000
FORMATS = ["table", "tsv", "csv", "md", "json", "jsonl"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a dump of strangers, and a folder of files with foreign names."""
    folder = tmp_path_factory.mktemp("names")
    numbers = {name: floats("F32", (1,), [float(n + 1)]) for n, name in enumerate(STRANGERS)}
    write_safetensors(folder / "strangers.safetensors", numbers)
    write_foreign(folder / "foreign")
    return folder


@pytest.fixture(scope="module")
def report(folder: Path) -> Callable[..., bytes]:
    """Give a function that inspects once for each way of asking, in a pipe."""

    @cache
    def run(operand: str, form: str, surroundings: str = "") -> bytes:
        script = f"{surroundings} gradclip inspect {operand} --format {form} --sort norm --reverse"
        done = in_shell(script, folder, COLUMNS=str(WIDE))
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    return run


def in_table(text: str) -> list[str]:
    """Give the first column of a table."""
    head, _, *lines = text.split("\n")
    width = re.match(r"tensor +", head)
    assert width is not None
    return [line[: width.end() - 2].rstrip() for line in lines[: lines.index("")]]


# Every format, in a pipe and on a terminal


@pytest.mark.parametrize(
    ("operand", "form"),
    [
        *(("strangers.safetensors", form) for form in FORMATS),
        *(("foreign", form) for form in ("table", "tsv", "json")),
    ],
)
def test_only_printable_characters_come_out(
    report: Callable[..., bytes], operand: str, form: str
) -> None:
    text = report(operand, form).decode("utf-8")
    parts = re.split({"tsv": r"[\t\n]", "csv": r"\r\n"}.get(form, r"\n"), text)
    assert [part for part in parts if not part.isprintable()] == []


@pytest.mark.parametrize("form", FORMATS)
def test_a_terminal_gets_the_same_and_only_colours(
    folder: Path, report: Callable[..., bytes], form: str
) -> None:
    arguments = ("inspect", "strangers.safetensors", "--sort", "norm", "--reverse", "--all")
    shown = on_terminal(*arguments, "--format", form, columns=WIDE, cwd=folder)
    assert shown.status == 0
    codes = set(re.findall("\x1b[^m]*m", shown.raw))
    assert codes <= CODES
    assert bool(codes) == (form == "table")
    piped = report("strangers.safetensors", form).decode("utf-8")
    # The terminal itself writes a line feed as carriage return and line feed.
    assert SGR.sub("", shown.raw) == piped.replace("\n", "\r\n")


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_gives_names_exactly(report: Callable[..., bytes], form: str) -> None:
    assert names_of(form, report("strangers.safetensors", form).decode("ascii")) == STRANGERS


@pytest.mark.parametrize("form", ["tsv", "csv", "md"])
def test_unescaping_gives_names_back(report: Callable[..., bytes], form: str) -> None:
    written = names_of(form, report("strangers.safetensors", form).decode("utf-8"))
    assert [unescape(name) for name in written] == STRANGERS
    assert len(set(written)) == len(STRANGERS)
    assert [name for name in written if name.startswith(("=", "+", "-", "@"))] == []


def test_the_table_tells_names_apart(report: Callable[..., bytes]) -> None:
    cells = in_table(report("strangers.safetensors", "table").decode("utf-8"))
    assert cells == [escape(name) for name in STRANGERS]
    assert len(set(cells)) == len(STRANGERS)


def test_a_pipe_gets_long_names_whole(folder: Path) -> None:
    done = in_shell("gradclip inspect strangers.safetensors | cat", folder, COLUMNS="80")
    assert len(LONG) == 200
    assert f"\t{LONG}\t".encode() in done.stdout


# Names of files


def test_a_file_name_that_is_not_utf_8_is_given_back(report: Callable[..., bytes]) -> None:
    expected = sorted(FOREIGN)
    tsv = names_of("tsv", report("foreign", "tsv").decode("utf-8"))
    assert sorted(os.fsencode(unescape(name)) for name in tsv) == expected
    tensors = json.loads(report("foreign", "json"))["tensors"]
    assert sorted(exact(tensor) for tensor in tensors) == expected
    assert [tensor["name"] for tensor in tensors if "name_bytes" not in tensor] == ["a\\udcffb"]
    assert len(set(in_table(report("foreign", "table").decode("utf-8")))) == len(FOREIGN)


def exact(tensor: dict[str, Any]) -> bytes:
    """Give a name's bytes as JSON has them."""
    if "name_bytes" in tensor:
        return bytes.fromhex(tensor["name_bytes"])
    return os.fsencode(tensor["name"])


@pytest.mark.parametrize("where", ["report", "error"])
def test_a_path_that_is_a_stranger_is_written_safely(tmp_path: Path, where: str) -> None:
    path = tmp_path / "a\x1b[31mb\n\u202e[bold]\udcff.npy"
    if where == "report":
        write_npy(path, floats("<f4", (1,), [3.0]))
    done = gradclip("inspect", path.name, "--format", "table", cwd=tmp_path)
    text = (done.stdout or done.stderr).decode("utf-8")
    assert done.returncode == (0 if where == "report" else 2)
    assert all(line.isprintable() for line in text.splitlines())
    assert r"a\x1b[31mb\x0a\u202e[bold]\udcff" in text


# Surroundings that know only ASCII


@pytest.mark.parametrize(
    ("surroundings", "form"),
    [
        ("LC_ALL=C", "tsv"),
        ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0", "table"),
        ("PYTHONIOENCODING=ascii", "tsv"),
        ("PYTHONIOENCODING=ascii", "table"),
        ("LC_ALL=C PYTHONIOENCODING=ascii", "json"),
    ],
)
def test_the_surroundings_do_not_change_a_byte(
    report: Callable[..., bytes], surroundings: str, form: str
) -> None:
    expected = report("strangers.safetensors", form)
    assert report("strangers.safetensors", form, surroundings) == expected


def test_help_and_errors_need_only_ascii() -> None:
    done = gradclip("inspect", "--help", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, b"")
    done = gradclip("inspect", "层.npy", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert done.stderr.decode("utf-8").startswith("gradclip: 层.npy: no such file")


# The escape itself

any_text = st.text(st.characters(exclude_categories=()))
tricky = st.text(st.sampled_from("\\x4aU0u1=+-@ \n\x1b\u202e\udcff\U0001f600é"))


@given(any_text | tricky)
@example("\\x41")
@example("\\\\x41")
@example("\ud800")
@example("-\ud800\\")
def test_any_text_comes_back(name: str) -> None:
    assert unescape(escape(name)) == name


@given(any_text | tricky)
@example("=")
@example("\t=")
def test_what_is_escaped_is_safe(name: str) -> None:
    written = escape(name)
    assert written.isprintable()
    assert written == "-" or not written.startswith(("=", "+", "-", "@"))
    written.encode("utf-8")


@given(tricky, tricky)
@example("\n", "\\x0a")
@example("\\n", "\n")
def test_different_names_are_written_differently(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)


def test_standard_input_is_shown_as_it_is_given(tmp_path: Path) -> None:
    (path,) = write_steps(tmp_path, {"-": [3.0]})
    done = gradclip("trend", "-", "--format=tsv", stdin=Path(path).read_bytes())
    _, row = done.stdout.decode().splitlines()
    assert row.startswith("step\t-\t-\t3.0\t\t-\t")


@given(st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="\\")))
def test_an_honest_name_stays_as_it_is(name: str) -> None:
    if not name.startswith(("=", "+", "-", "@")):
        assert escape(name) == name
