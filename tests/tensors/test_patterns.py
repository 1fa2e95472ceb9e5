"""Patterns that a user gives can neither hang, crash nor warn, whichever option takes them."""

import contextlib
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradclip_cli.errors import GradclipError
from gradclip_cli.tensors.groups import group_of
from gradclip_cli.tensors.patterns import Pattern
from tests.running import Run

LONG = "a" * 40 + "!"
HOSTILE = {
    "digits": "1" * 5000,
    "repeated beyond all numbers": "(a{99999999999999999999})",
    "groups": "(a)" * 3000,
    "nested groups": "(" * 3000 + "a" + ")" * 3000,
    "a set in a set": "([[a])",
    "ways without end": "(a|aa)+$",
    "nested repeats": "(a+)+$",
    "unrolled": "((a{1000}){1000}){1000}",
    "none": "(",
    "no such group": r"(a)\7",
    "surrogate": "(\udcff)",
    "empty": "",
}
NAMED = ["--group-by", "--per-group", "--step-from", "--rename"]


def arguments(option: str, pattern: str) -> list[str]:
    match option:
        case "--group-by":
            return ["inspect", f"{LONG}.npy", f"--group-by={pattern}"]
        case "--per-group":
            return ["apply", f"{LONG}.npy", "--clip-norm=1", f"--per-group={pattern}", "--dry-run"]
        case "--step-from":
            return ["trend", f"{LONG}.npy", f"--step-from={pattern}"]
        case _:
            return ["diff", f"{LONG}.npy", f"{LONG}.npy", f"--rename={pattern}=b"]


@pytest.mark.alike(3)
@pytest.mark.parametrize("option", NAMED)
@pytest.mark.parametrize("kind", HOSTILE)
def test_each_ends_at_once_with_a_result_or_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(f"{LONG}.npy", np.ones(2, "f4"))
    begun = time.monotonic()
    done = run(*arguments(option, HOSTILE[kind]))
    assert time.monotonic() - begun < 5, "a bound that tells a hang, and nothing of speed"
    assert done.status in (0, 2)
    lines = done.err.splitlines()
    if done.status == 2:
        assert lines[0].startswith(f"gradclip: {option}: ")
        assert len(lines[0]) < 300
        assert [line[:6] for line in lines[1:]] == ["hint: "]
    else:
        assert lines == []


def test_what_takes_too_long_is_named_with_the_text() -> None:
    with pytest.raises(GradclipError, match=r"'\(a\|aa\)\+\$' takes too long .* 'aaaa.*!'"):
        Pattern("--group-by", "(a|aa)+$", "").found(LONG)


def test_numbers_of_parts_are_numbers_whatever_their_length() -> None:
    assert group_of("2")("a.b.c") == "a.b"
    assert group_of("9" * 5000)("a.b.c") == "a.b.c"
    assert group_of("00002")("a.b.c") == "a.b"


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_a_pattern_or_an_error(text: str, name: str) -> None:
    with contextlib.suppress(GradclipError):
        Pattern("--step-from", text, "").found(name)
