"""The files of `tests/bad_files`: what is wrong with each, and the verdict that it deserves."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

FOLDER = Path(__file__).parent / "bad_files"


@dataclass(frozen=True, slots=True)
class Case:
    """A file and what is to be said of it; `level` says how bad a wrong answer is."""

    name: str
    file: str
    desc: str
    verdict: Literal["accept", "reject"]
    level: Literal["must", "should"]
    slug: str | None
    names_tensor: str | None
    facts: dict[str, Any]
    note: str | None

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return FOLDER / self.file


CASES = [Case(**case) for case in json.loads((FOLDER / "manifest.json").read_text("utf-8"))]


# Where gradclip answers otherwise than the manifest advises ("should"), and why that is as good.
DEPARTURES = {
    "st_f6_sub_byte": "it is decoded as the specification of MX says, packed from the lowest bits",
    "st_extra_field": "the reference passes it over; it is said, and kept",
    "st_bool_2": "booleans are never computed with: not measured, copied byte for byte",
    "npy_descr_bool": "booleans are never computed with: not measured, copied byte for byte",
}

REJECTED = [case for case in CASES if case.verdict == "reject" and case.name not in DEPARTURES]
ACCEPTED = [case for case in CASES if case.verdict == "accept"]


def by_name(cases: list[Case]) -> pytest.MarkDecorator:
    """Run a test once a case, under the case's name."""
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def is_harmless(text: str) -> bool:
    """Say whether a text can be sent to a terminal: nothing but characters and line ends."""
    return all(line.isprintable() for line in text.split("\n"))
