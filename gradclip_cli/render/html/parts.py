"""What a page is made of: a verdict, figures, pictures, tables. A template writes each kind."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Literal

from markupsafe import Markup

from gradclip_cli.frozen import frozen

Tone = Literal["good", "look", "bad"]


@frozen
class Picture:
    """A picture, and what there is to read and to do beside it.

    `name` is that of its kind, `says` what it shows, in a sentence or two. The `legend` has a class
    and words for each mark. `told` is what the script reads out: words for each place `across`, and
    for a grid also the levels of each row. Where there are more places than can be seen, one can
    zoom into them.
    """

    name: str
    title: str
    says: str
    drawn: Markup
    legend: Sequence[tuple[str, str]] = ()
    told: Mapping[str, Any] = field(default_factory=dict)
    beside: Markup | None = None


@frozen
class Head:
    """The head of a table's column, and what it means; a column of numbers is set to the right."""

    title: str
    doc: str
    is_number: bool


@frozen
class Line:
    """A row of a table: its cells, the first of which names it, and whether it is bad news."""

    cells: Sequence[Markup]
    tone: Tone | None = None


@frozen
class Table:
    """A table, the worst first; `left` says which rows and columns are left out."""

    title: str
    heads: Sequence[Head]
    lines: Sequence[Line]
    left: Sequence[str] = ()


@frozen
class Fact:
    """A figure that is true of the whole."""

    title: str
    value: Markup


@frozen
class Part:
    """What a page, or a notebook, shows of one result."""

    kind: str
    tone: Tone
    says: str
    facts: Sequence[Fact]
    sentences: Sequence[tuple[str, bool]]
    pictures: Sequence[Picture]
    tables: Sequence[Table]
    origin: str
