"""A step that was measured before: what `gradclip inspect --format jsonl` wrote.

Norms, shares and counts are all in it, so the gradients themselves are not needed again.
"""

import json
import math
import os
import stat
from typing import Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.measure.statistics import STATISTICS
from gradclip_cli.series.trajectory import Layout, Measured, Nonfinite
from gradclip_cli.tensors.names import shortened
from gradclip_cli.tensors.selection import Selection

_BEGINNING = b'{"row": "'


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
    except GradclipError:  # of the selection
        raise
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise GradclipError(
            path,
            f"not a whole report of gradclip inspect: {_damage(error)}",
            "write it anew: gradclip inspect DUMP --format jsonl > FILE",
        ) from error


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _damage(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{shortened(str(error))} is missing"
    return shortened(str(error), 120)


def _measured(rows: list[dict[str, Any]], selection: Selection) -> Measured:
    if not rows or rows[-1]["row"] != "global":
        raise ValueError("its last row, global, is missing")
    whole = rows.pop()
    if any(row["row"] != "tensor" for row in rows):
        raise ValueError("its rows are groups, not tensors")
    measured = [row for row in rows if row["measured"]]
    if len(measured) != whole["measured"]:
        raise ValueError(f"it has {len(measured):,} of {whole['measured']:,} measured tensors")
    names = [_name(row) for row in measured]
    unread = [_name(row) for row in rows if not row["measured"] and _is_float(str(row["dtype"]))]
    if len(unread) <= whole["excluded"]:
        unread = []
    chosen = [measured[index] for index in selection.among(names)]
    norms = [row["finite_norm"] for row in chosen]
    everything = len(chosen) == len(measured)
    notes = [str(note) for note in whole["notes"]]
    if not everything:
        notes.append(f"norm of {len(chosen):,} of {len(measured):,} tensors")
    notes += selection.misses(names)
    return Measured.of(
        Layout(
            tuple(map(_name, chosen)),
            tuple(str(row["dtype"]) for row in chosen),
            tuple(int(row["count"]) for row in chosen),
        ),
        norms,
        [row["max_abs"] for row in chosen],
        {position: bad for position, row in enumerate(chosen) if (bad := _nonfinite(row)).count},
        whole["finite_norm"]
        if everything
        else math.hypot(*(math.inf if norm is None else norm for norm in norms)),
        notes,
        {
            one.name: [row[one.name] for row in chosen]
            for one in STATISTICS
            if all(one.name in row for row in chosen)
        },
        [name for name in unread if selection.chooses(name)],
    )


def _is_float(dtype: str) -> bool:
    return "float" in dtype or dtype.startswith("complex")


def _name(row: dict[str, Any]) -> str | None:
    if "name_bytes" in row:
        return os.fsdecode(bytes.fromhex(row["name_bytes"]))
    name = row["name"]
    return None if name is None else str(name)


def _nonfinite(row: dict[str, Any]) -> Nonfinite:
    first = tuple(int(side) for side in row["first_nonfinite"] or ())
    nan, posinf, neginf = (int(row[kind]) for kind in ("nan", "posinf", "neginf"))
    if min(nan, posinf, neginf) < 0:
        raise ValueError(f"{min(nan, posinf, neginf)!r} is not a number of values")
    return Nonfinite(nan, posinf, neginf, first)
