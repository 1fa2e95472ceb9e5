"""Rows as text by columns: what a thousand rows have in common is asked once.

Most values of a column are of one type, so that what becomes of them need be asked but once, and
is done in one sweep.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from gradclip_cli.results.columns import Sheet

_ROWS = 1000

Writers = Mapping[type, Callable[[Sequence[Any]], Iterable[Any]]]
"""By the type of values: what writes some."""


def batches(told: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, list[Any]]]:
    """Give rows with their kind, up to a thousand of one kind at a time."""
    for kind, rows in itertools.groupby(told, key=lambda row: row[0]):
        while some := [row for _, row in itertools.islice(rows, _ROWS)]:
            yield kind, some


def texts(sheet: Sheet, rows: Iterable[Any], writers: Writers) -> Iterator[Iterable[Any]]:
    """Give the texts of rows, one column after the other."""
    for values in zip(*map(sheet.values, rows), strict=True):
        kinds = {*map(type, values)}
        if len(kinds) == 1:
            yield writers[kinds.pop()](values)
        else:
            yield [text for value in values for text in writers[type(value)]([value])]
