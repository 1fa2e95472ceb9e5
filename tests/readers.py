"""Readers of reports, by format and as strict as it is, which know nothing of gradclip."""

import csv
import json
import re
from typing import Any, NoReturn

Cells = dict[str, str]


def of_tsv(text: str) -> list[Cells]:
    assert text.endswith("\n")
    head, *rows = [line.split("\t") for line in text[:-1].split("\n")]
    return [dict(zip(head, row, strict=True)) for row in rows]


def of_csv(text: str) -> list[Cells]:
    assert text.count("\r\n") == text.count("\n") == len(text.splitlines()), "RFC 4180"
    head, *rows = csv.reader(text.splitlines(keepends=True), strict=True)
    return [dict(zip(head, row, strict=True)) for row in rows]


def of_md(text: str) -> list[Cells]:
    lines = text.splitlines()
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
    # A pipe inside a cell has a backslash before it, never a space.
    head, rule, *rows = [
        [re.sub(r"\\(.)", r"\1", cell) for cell in line[2:-2].split(" | ")] for line in lines
    ]
    assert rule == ["---"] * len(head)
    return [dict(zip(head, row, strict=True)) for row in rows]


PARSED = {"tsv": of_tsv, "csv": of_csv, "md": of_md}


def strict(text: str, **options: Any) -> Any:
    """Parse JSON as strictly as RFC 8259 is written."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse, **options)


def names_of(form: str, text: str) -> list[str]:
    """Give the names as a reader of the format finds them, before they are unescaped."""
    if form == "tsv":
        return [line.split("\t")[1] for line in text.split("\n")[1:-2]]
    if form == "csv":
        rows = list(csv.reader(text.splitlines(keepends=True), strict=True))
        return [row[1] for row in rows[1:-1]]
    if form == "md":
        cells = [line[2:-2].split(" | ")[1] for line in text.split("\n")[2:-2]]
        return [re.sub(r"\\(.)", r"\1", cell) for cell in cells]
    if form == "json":
        return [tensor["name"] for tensor in json.loads(text)["tensors"]]
    return [json.loads(line)["name"] for line in text.split("\n")[:-2]]
