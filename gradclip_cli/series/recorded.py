"""A step that was measured before: what `gradclip inspect --format jsonl` wrote.

Norms, shares and counts are all in it, so the gradients themselves are not needed again.
"""

import json
import math
import os
import stat
from array import array
from typing import Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.series.trajectory import Layout, Measured, Nonfinite
from gradclip_cli.tensors.names import shortened
from gradclip_cli.tensors.selection import Selection

_BEGINNING = b'{"row": "'


class _UnfitError(Exception):
    """Says in words why a report cannot stand for a step."""


def is_report(path: str) -> bool:
    """Say whether a path is a regular file that begins as a report in JSON Lines does."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as stream:
            return stream.read(len(_BEGINNING)) == _BEGINNING
    except OSError:  # what is wrong with it is said where it is opened as a dump
        return False


def read_report(path: str, selection: Selection) -> Measured:
    """Read the measurements out of a report; raises `GradclipError` where it is not whole."""
    try:
        with open(path, encoding="utf-8") as stream:
            rows = [json.loads(line, parse_constant=_refuse) for line in stream]
        return _measured(rows, selection)
    except (
        _UnfitError,
        ArithmeticError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        problem = str(error) if isinstance(error, _UnfitError) else _damage(error)
        raise GradclipError(
            path,
            f"not a whole report of gradclip inspect: {problem}",
            "write it anew: gradclip inspect DUMP --format jsonl > FILE",
        ) from error


def _refuse(constant: str) -> float:
    raise _UnfitError(f"{constant} is not JSON")


def _damage(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{shortened(str(error))} is missing"
    return shortened(str(error), 120)


def _measured(rows: list[dict[str, Any]], selection: Selection) -> Measured:
    if not rows or rows[-1]["row"] != "global":
        raise _UnfitError("its last row, global, is missing")
    whole = rows.pop()
    if any(row["row"] != "tensor" for row in rows):
        raise _UnfitError("its rows are groups, not tensors")
    measured = [row for row in rows if row["measured"]]
    if len(measured) != whole["measured"]:
        raise _UnfitError(f"it has {len(measured):,} of {whole['measured']:,} measured tensors")
    names = [_name(row) for row in measured]
    chosen = selection.among(names)
    norms = array("d", [_number(measured[index]["finite_norm"]) for index in chosen])
    everything = len(chosen) == len(measured)
    notes = [str(note) for note in whole["notes"]]
    if not everything:
        notes.append(f"norm of {len(chosen):,} of {len(measured):,} tensors")
    return Measured(
        Layout(
            tuple(names[index] for index in chosen),
            tuple(str(measured[index]["dtype"]) for index in chosen),
            tuple(_count(measured[index]["count"]) for index in chosen),
        ),
        norms,
        array("d", [_size(measured[index]["max_abs"]) for index in chosen]),
        {
            position: bad
            for position, index in enumerate(chosen)
            if (bad := _nonfinite(measured[index])).count
        },
        _number(whole["finite_norm"]) if everything else math.hypot(*norms),
        tuple(notes),
    )


def _name(row: dict[str, Any]) -> str | None:
    if "name_bytes" in row:
        return os.fsdecode(bytes.fromhex(row["name_bytes"]))
    name = row["name"]
    return None if name is None else str(name)


def _number(value: float | None) -> float:
    """Give a norm of finite values, which is null only beyond float64."""
    norm = math.inf if value is None else float(value)
    if not norm >= 0:
        raise _UnfitError(f"{norm!r} is not a norm")
    return norm


def _count(value: int) -> int:
    if int(value) < 0:
        raise _UnfitError(f"{value!r} is not a number of values")
    return int(value)


def _size(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _nonfinite(row: dict[str, Any]) -> Nonfinite:
    first = tuple(int(side) for side in row["first_nonfinite"] or ())
    return Nonfinite(_count(row["nan"]), _count(row["posinf"]), _count(row["neginf"]), first)
