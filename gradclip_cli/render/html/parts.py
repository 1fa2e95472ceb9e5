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

    `name` is that of its kind, `says` what it shows, in a sentence or two. The `legend` has each
    mark, drawn, with its words. `told` is what the script reads out: words for each place `across`,
    and for a grid also the levels of each row; one can zoom into places.
    """

    name: str
    title: str
    says: str
    drawn: Markup
    legend: Sequence[tuple[Markup, str]] = ()
    told: Mapping[str, Any] = field(default_factory=dict)
    beside: Markup | None = None


@frozen
class Head:
    """The head of a table's column, what it means, and whether it has numbers or tensors' names."""

    title: str
    doc: str
    kind: Literal["num", "name", ""]


@frozen
class Line:
    """A row of a table: its cells, the first of which names it, and whether it is bad news."""

    cells: Sequence[Markup]
    tone: Tone | None = None


@frozen
class Table:
    """A table in an `order` that is told; `left` says which rows and columns are left out."""

    title: str
    heads: Sequence[Head]
    lines: Sequence[Line]
    left: Sequence[str] = ()
    order: str = ""


@frozen
class Fact:
    """A figure that is true of the whole."""

    title: str
    value: Markup


@frozen
class Sentence:
    """What is said below the figures: bad news, or what belongs to the sentence before."""

    says: str
    kind: Literal["bad", "more", ""] = ""


@frozen
class Event:
    """What happened at a step; `at` is where, as a part of all steps, `row` what it is said of."""

    at: float
    row: str
    title: str
    says: Sequence[str]


@frozen
class Part:
    """What a page, or a notebook, shows of one result."""

    kind: str
    tone: Tone
    says: str
    facts: Sequence[Fact]
    sentences: Sequence[Sentence]
    pictures: Sequence[Picture]
    tables: Sequence[Table]
    origin: str
    events: Sequence[Event] = ()
    moral: str = ""
