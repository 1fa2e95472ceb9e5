"""Names of tensors and files that could do harm where they are shown, or be taken for others."""

import os
from pathlib import Path

import pytest

from tests.dumps import floats, write_npy

LONG = "transformer." * 16 + "q_weight"

STRANGERS = [
    LONG,
    f"{LONG[:-1]}s",
    "a[bold]b",
    "[/oops]",
    "[link=https://example.org]a",
    ":warning:",
    "a\x1b[31mb",
    "a\\x1b[31mb",
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[H",
    "a\tb",
    "a\\tb",
    "a\nb",
    "a\rb",
    "a\r\nb",
    "a\x00b",
    "a\x08\x08b",
    "a\x7fb",
    "a\x9b31mb",
    "a\x85b",
    "=cmd()",
    "+1",
    "-1",
    "@x",
    "'=cmd()",
    "tensor",
    "global",
    "group",
    "nan",
    "",
    " ",
    "  ",
    "a",
    "a ",
    " a",
    "a b",
    "a  b",
    "a\u202egnp.b",
    "a\u2066b",
    "\u200fa",
    "a\u200bb",
    "a\u2028b",
    "a\u2029b",
    "a\u00a0b",
    "a\ufeffb",
    "a\U000e0001b",
    "😀",
    "👩\u200d🔬",
    "层.2",
    "e\u0301",
    "é",
    "a|b",
    "a\\|b",
    "a | b",
    "a\\",
    "a\\\\",
    "\\",
    "\\x41",
    "A",
    "\\u0041",
    '"',
    'a "quoted" b',
    "it's",
    "a,b",
    "a;b",
    "`a` *b* _c_ <d> &amp; #e ~f~",
    "–",
    "…",
]

FOREIGN = [
    b"\xff\xfe",
    b"a\x80b",
    b"caf\xe9",
    b"\xed\xa0\x80",
    b"a\\udcffb",
    b"a\xffb",
    b"=a\n\x1b[31m\xff",
]
"""Names of files that are not UTF-8, and one that looks as if it were escaped."""

CODES = {"\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[1;31m", "\x1b[0m"}
"""What the table says to a terminal: bold, dim, red, and back to normal."""


def write_foreign(folder: Path) -> None:
    """Write a file of each foreign name, of norms 1, 2, …, where the file system takes them."""
    folder.mkdir()
    for number, name in enumerate(FOREIGN, 1):
        path = Path(os.fsdecode(bytes(folder) + b"/" + name + b".npy"))
        try:
            write_npy(path, floats("<f4", (1,), [number]))
        except OSError:
            pytest.skip("this file system takes only names in UTF-8")
