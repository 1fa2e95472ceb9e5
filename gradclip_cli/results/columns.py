"""How a result is laid out, whatever the format: its columns, its rows, and what is true of it all.

A kind of result has one table of columns, which every format, the documentation and `--sort` read.
Columns are only ever appended. A value that is unknown is None; numbers are not rounded.
"""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from gradclip_cli import registry
from gradclip_cli.errors import Status
from gradclip_cli.frozen import constant
from gradclip_cli.tensors.names import named

SCHEMA = 1

Value = str | int | float | bool | tuple[int, ...] | tuple[str, ...] | None


@constant
class Column:
    """A column: its name, the attribute of a row that it shows, and a sentence about it.

    An attribute may be a path, as `moments.zeros`; what a row has not got is unknown. In the table
    of a terminal the column stands under its `title`, if it has one, written as the `words` of
    `render.words` that these name; where there is no room, a higher `rank` goes first and 0 stays.
    One without a name stands only there.
    """

    name: str
    value: str
    doc: str = ""
    title: str | None = None
    words: str = "text"
    rank: int = 0
    left: bool = False

    def of(self, row: Any) -> Any:
        """Give a row's value; None of a column that only other rows have, whose path is empty."""
        if not self.value:
            return None
        for attribute in self.value.split("."):
            row = getattr(row, attribute, None)
        return row


@constant
class Sheet:
    """How a kind of result, called `name`, is laid out.

    `key` is where JSON has its rows, and `keys` those of other kinds of rows; what has no key JSON
    has elsewhere. `last` is the kind of the line with which JSON Lines ends. `aside` are kinds that
    JSON Lines has not got as lines.
    """

    name: str
    columns: tuple[Column, ...]
    key: str
    keys: Mapping[str, str]
    last: str = "global"
    aside: frozenset[str] = frozenset()

    @cached_property
    def named(self) -> tuple[Column, ...]:
        """The columns that every format has."""
        return tuple(column for column in self.columns if column.name)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(column.name for column in self.named)

    @cached_property
    def own(self) -> tuple[Column, ...]:
        """Those of them that the first kind of rows has."""
        return tuple(column for column in self.named if column.value)

    @cached_property
    def titled(self) -> tuple[Column, ...]:
        """The columns of a terminal's table."""
        return tuple(column for column in self.columns if column.title is not None)

    @cached_property
    def _get(self) -> Callable[[Any], tuple[Value, ...]]:
        get = operator.attrgetter(*[column.value for column in self.own])
        unknown = (None,) * (len(self.named) - len(self.own))
        return (lambda row: get(row) + unknown) if unknown else get

    def values(self, row: Any) -> tuple[Value, ...]:
        """Give a row's values by column; a mapping has them by name."""
        if type(row) is dict:
            return tuple(map(row.get, self.names))
        try:
            return self._get(row)
        except AttributeError:  # something is unknown
            return tuple([column.of(row) for column in self.named])

    def by_name(self, row: Any) -> dict[str, Any]:
        """Give what JSON has of a row; a name that is no Unicode is escaped, its bytes beside."""
        if type(row) is dict:
            return row
        found = dict(zip(self.names, self.values(row), strict=True))
        for column in self.named:
            if not column.value:
                del found[column.name]
            elif column.words == "name":
                found |= named(column.of(row), column.name)
        return found


class Result:
    """What a command found, as renderers take it: a sheet, rows with their kinds, a summary."""

    __slots__ = ()

    @property
    def sheet(self) -> Sheet:
        """How it is laid out."""
        raise NotImplementedError

    @property
    def finite(self) -> bool | None:
        """Whether all that counts was read and its norm is finite; None where that is not known."""
        raise NotImplementedError

    @property
    def says(self) -> str:
        """The sentence that a person has to know first, names escaped."""
        raise NotImplementedError

    @property
    def status(self) -> Status:
        """The status with which the command ends."""
        return Status.OK

    def told(self) -> Iterable[tuple[str, Any]]:
        """Give each row with its kind; a row is an object, or values by the names of columns."""
        raise NotImplementedError

    def labels(self) -> Sequence[int | str]:
        """Give what the rows are called, where a table must know it before the first of them."""
        return ()

    def whole(self) -> Mapping[str, Value] | None:
        """Give the values of all rows together, by column; None where there are none."""
        return None

    def summary(self) -> Mapping[str, Any]:
        """Give what JSON says of the whole."""
        raise NotImplementedError

    def beside(self) -> Mapping[str, Any]:
        """Give what JSON has beside the rows, and JSON Lines in lines of their own."""
        return {}

    @property
    def origin(self) -> str:
        """What was read, in a line."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Give the verdict, and what was read."""
        return f"{self.says}\n{self.origin}"

    def __str__(self) -> str:
        """Give what fits a screen of a terminal."""
        return registry.text(self)

    def __rich__(self) -> Any:
        """Give what Rich prints: the table that a terminal gets."""
        return registry.rich(self)

    def _repr_html_(self) -> str:
        """Give what a notebook shows: the parts of the page that `--html` writes."""
        return registry.html(self)

    def to_dict(self) -> dict[str, Any]:
        """Give what `--json` prints, as Python has it: None for what is not finite."""
        return registry.data(self)

    def to_pandas(self) -> Any:
        """Give a DataFrame with a row for each tensor, step, candidate, fit or file.

        Its index is what these are called, its columns have the names of JSON. Numbers are numbers:
        NaN and infinities stay, and what is unknown is missing. Raises `GradclipError` where pandas
        is not installed.
        """
        return registry.frame(self)

    def plot(self, axes: Any = None) -> Any:
        """Draw what there is to see into Matplotlib axes, or those of a new figure; give them.

        Raises `GradclipError` where Matplotlib is not installed.
        """
        return registry.plot(self, axes)
