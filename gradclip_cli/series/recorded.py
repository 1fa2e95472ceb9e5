"""A step that was measured before: what `gradclip inspect --format jsonl` wrote.

Norms, shares and counts are all in it, so the gradients themselves are not needed again. A report
says much twice, the whole and its parts, a norm and what follows from it: where one does not agree
with the other it was damaged, or put together of several, and is refused.
"""

import json
import math
import os
from collections.abc import Sequence
from typing import Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.files import tree
from gradclip_cli.measure.statistics import STATISTICS
from gradclip_cli.series.restored import agree, check_counts, restored
from gradclip_cli.series.trajectory import Layout, Measured, Nonfinite
from gradclip_cli.tensors.names import quoted, shortened
from gradclip_cli.tensors.renaming import Renaming
from gradclip_cli.tensors.selection import Selection

_BEGINNING = b'{"row": "'


def is_report(path: str) -> bool:
    """Say whether a path is a regular file that begins as a report in JSON Lines does."""
    # What is wrong with it is said where it is opened as a dump.
    return tree.head(path, len(_BEGINNING)) == _BEGINNING


def read_report(path: str, selection: Selection, aligned: Renaming | None = None) -> Measured:
    """Read the measurements out of a report, whose names are `aligned` first.

    Raises `GradclipError` where it is not whole.
    """
    try:
        lines = tree.whole(path).decode("utf-8").removesuffix("\n").split("\n")
        rows = [_object(line) for line in lines]
        if aligned:
            rows = [_aligned(row, aligned) for row in rows]
        return _measured(rows, selection)
    except GradclipError:  # of the selection
        raise
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise GradclipError(
            path,
            f"not a whole report of gradclip inspect: {_damage(error)}",
            "write it anew: gradclip inspect DUMP --format jsonl > FILE",
        ) from error


def _aligned(row: dict[str, Any], aligned: Renaming) -> dict[str, Any]:
    name = _name(row) if row["row"] == "tensor" else None
    if name is None:
        return row
    rest = {key: value for key, value in row.items() if key != "name_bytes"}
    return rest | {"name": aligned(name)}


def _object(line: str) -> dict[str, Any]:
    found = json.loads(line, parse_constant=_refuse, object_pairs_hook=_unique)
    if not isinstance(found, dict):
        raise ValueError("a line that is no object")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in a line")
    return found


def _damage(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{shortened(str(error))} is missing"
    if isinstance(error, RecursionError):
        return "lists in lists without end"
    return shortened(str(error), 120)


def _measured(rows: list[dict[str, Any]], selection: Selection) -> Measured:
    if not rows or rows[-1]["row"] != "global":
        raise ValueError("its last row, global, is missing")
    whole = rows.pop()
    if any(row["row"] != "tensor" for row in rows):
        raise ValueError("its rows are groups, not tensors")
    measured = [row for row in rows if _switch(row, "measured")]
    if len(measured) != whole["measured"]:
        raise ValueError(f"it has {len(measured):,} of {whole['measured']!r} measured tensors")
    if whole["norm_type"] != 2:
        raise ValueError(f"its norms are of p = {whole['norm_type']!r}, and a run's are L2 norms")
    floats = [_name(row) for row in rows if not row["measured"] and _is_float(str(row["dtype"]))]
    unread = [name for name in floats if selection.chooses(name)]
    if len(floats) <= whole["excluded"]:
        unread = []
    every = _restored(measured, whole["finite_norm"], whole["notes"], unread)
    _check_whole(every, measured, whole)
    chosen = selection.among(every.layout.names)
    notes = [*every.notes, *selection.misses(every.layout.names)]
    if len(chosen) == len(measured):
        return _restored(measured, whole["finite_norm"], notes, unread)
    notes.insert(len(every.notes), f"norm of {len(chosen):,} of {len(measured):,} tensors")
    norm = math.hypot(*(every.norms[at] for at in chosen))
    return _restored([measured[at] for at in chosen], norm, notes, unread)


def _restored(
    rows: Sequence[dict[str, Any]],
    finite_norm: float | None,
    notes: Sequence[str],
    unread: Sequence[str | None],
) -> Measured:
    return restored(
        Layout(
            tuple(map(_name, rows)),
            tuple(row["dtype"] for row in rows),
            tuple(row["count"] for row in rows),
        ),
        [row["finite_norm"] for row in rows],
        [row["max_abs"] for row in rows],
        {at: bad for at, row in enumerate(rows) if (bad := _nonfinite(row)).count},
        finite_norm,
        notes,
        {
            one.name: [row[one.name] for row in rows]
            for one in STATISTICS
            if all(one.name in row for row in rows)
        },
        unread,
    )


def _is_float(dtype: str) -> bool:
    return "float" in dtype or dtype.startswith("complex")


def _name(row: dict[str, Any]) -> str | None:
    if "name_bytes" in row:
        return os.fsdecode(bytes.fromhex(row["name_bytes"]))
    name = row["name"]
    return None if name is None else str(name)


def _switch(row: dict[str, Any], key: str) -> bool:
    if not isinstance(row[key], bool):
        raise ValueError(f"{key} is neither true nor false")
    return bool(row[key])


def _nonfinite(row: dict[str, Any]) -> Nonfinite:
    nan, posinf, neginf = counts = tuple(row[kind] for kind in ("nan", "posinf", "neginf"))
    check_counts(counts)
    return Nonfinite(nan, posinf, neginf, tuple(row["first_nonfinite"] or ()))


# What a report says twice


def _check_whole(step: Measured, rows: Sequence[dict[str, Any]], whole: dict[str, Any]) -> None:
    """Raise `ValueError` where the rows and the last are not of one measurement."""
    if whole["count"] != sum(step.layout.counts):
        raise ValueError("its tensors have not as many values as its last row says")
    if whole["nonfinite"] != sum(bad.count for bad in step.nonfinite.values()):
        raise ValueError("its last row counts other values that are not finite")
    if whole["global_norm"] != (None if step.nonfinite else whole["finite_norm"]):
        raise ValueError("its last row has two norms")
    for at, row in enumerate(rows):
        if not _is_of_one(step, at, row):
            raise ValueError(f"tensor {quoted(step.layout.names[at])} has numbers that disagree")


def _is_of_one(step: Measured, at: int, row: dict[str, Any]) -> bool:
    """Say whether a tensor's norm, root mean square, largest magnitude and count fit together."""
    norm, size, count = step.norms[at], step.sizes[at], step.layout.counts[at]
    bad = step.nonfinite.get(at)
    finite = count - (bad.count if bad else 0)
    if math.isnan(size) != (not finite):
        return False
    if row["norm"] != (None if bad else row["finite_norm"]):
        return False
    if bad is None and count and norm < math.inf:
        rms = row["rms"]
        if not isinstance(rms, float) or not agree(norm / math.sqrt(count), rms):
            return False
    most = size * math.sqrt(finite) if finite else 0.0
    return (size <= norm or agree(size, norm) or not finite) and (norm <= most or agree(norm, most))
