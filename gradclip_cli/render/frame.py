"""A result as a table of pandas, which is no dependency and known only here.

It has a row for each row of the first kind, and is indexed by what these are called. Numbers are
numbers: NaN and infinities stay, and what is unknown is missing.
"""

from collections.abc import Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any

from gradclip_cli.errors import GradclipError
from gradclip_cli.results.columns import Result
from gradclip_cli.tensors.names import exact

if TYPE_CHECKING:
    import pandas

# By the type of a column: what holds it exactly beside values that are missing.
_WHOLE: dict[type, str] = {int: "Int64", bool: "boolean"}


def frame(result: Result) -> "pandas.DataFrame":
    """Give the rows; raises `GradclipError` where pandas is missing."""
    try:
        import pandas
    except ImportError:
        raise GradclipError(
            "to_pandas", "needs pandas, which is not installed", "install it: pip install pandas"
        ) from None
    own = result.sheet.own
    told = [*result.told()]
    kinds = {kind for kind, _ in told}
    first = next((kind for kind in result.sheet.keys if kind in kinds), None)
    rows = [result.sheet.values(row) for kind, row in told if kind == first]
    columns = [[_plain(row[place]) for row in rows] for place in range(len(own))]
    names = pandas.Index(columns[0], name=own[0].name)
    made = {
        column.name: pandas.Series(values, names, _dtype(values))
        for column, values in zip(own[1:], columns[1:], strict=True)
    }
    return pandas.DataFrame(made, names)


def _plain(value: Any) -> Any:
    return exact(value) if isinstance(value, str) else value


def _dtype(values: Sequence[Any]) -> str | None:
    """Give a column's dtype; None where pandas finds the right one itself."""
    kinds = {type(value) for value in values} - {NoneType}
    if values and kinds <= {int, float} and kinds != {int}:  # as well where all are unknown
        return "float64"
    if len(kinds) == 1 and None in values:
        return _WHOLE.get(kinds.pop())
    return None if len(kinds) == 1 else "object"
