"""Rows as text by a template for each set of types that their values have.

Most rows of a result have values of the same types. What becomes of each is then known before: of
100,000 rows a template writes three in the time that one value after the other takes for one.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradclip_cli.results.columns import Column, Sheet

Types = tuple[type, ...]


class Template:
    """The text of a row whose values have some types.

    `parts` are its texts, one a value, each with a place for it as the operator `%` has them;
    `written` turn values into texts, by their place. A value that cannot be raises `ValueError`.
    """

    def __init__(
        self, text: str, types: Types, written: Mapping[int, Callable[[Any], object]]
    ) -> None:
        self._text = text
        self._written = [*written.items()]
        floats = [at for at, kind in enumerate(types) if kind is float]
        self._floats: Callable[[Any], Any] = (
            operator.itemgetter(*floats)
            if len(floats) > 1
            else lambda values: [values[at] for at in floats]
        )

    def is_finite(self, values: Sequence[Any]) -> bool:
        """Say whether all numbers are finite; of numbers near the end of float64 it may say no."""
        return math.isfinite(sum(self._floats(values)))

    def filled(self, values: Sequence[Any]) -> str:
        """Give the text of a row."""
        texts = [*values]
        for at, written in self._written:
            texts[at] = written(texts[at])
        return self._text % tuple(texts)


class Templates:
    """The templates of a sheet's rows, each made when it is first needed."""

    def __init__(self, sheet: Sheet, make: Callable[[Sequence[Column], Types], Template]) -> None:
        self._columns = sheet.named
        self._make = make
        self._made: dict[Types, Template] = {}

    def of(self, values: Sequence[Any]) -> Template:
        """Give the template for a row's values."""
        types = tuple(map(type, values))
        template = self._made.get(types)
        if template is None:
            template = self._made[types] = self._make(self._columns, types)
        return template
