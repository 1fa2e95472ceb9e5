"""What files that cannot be read say of the rows of a comparison: that something is not known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradclip_cli.results.comparison import Compared


def with_unreadable(
    rows: Sequence[Compared], side: int, reasons: Mapping[tuple[str, bool], str]
) -> list[Compared]:
    """Give the rows with those of what a side holds in files that cannot be read.

    `reasons` are by the name of the one tensor in a file, or, False beside it, by that of the file:
    then any tensor that the side lacks may be there.
    """
    lacking = ("only_b", "only_a")[side]
    named = {name: problem for (name, is_tensor), problem in reasons.items() if is_tensor}
    anything = len(named) < len(reasons)
    found = [
        replace(row, state="unreadable", problem=named.get(row.name or ""))
        if row.state == lacking and (anything or row.name in named)
        else row
        for row in rows
    ]
    known = {row.name for row in found if row.state == "unreadable"}
    found += [
        Compared(name, "unreadable", None, None, None, None, None, problem=problem)
        for (name, _), problem in reasons.items()
        if name not in known
    ]
    return found
