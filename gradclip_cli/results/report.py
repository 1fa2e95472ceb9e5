"""What there is to say about a dump, before how it is said.

A report is made once and only serialised by renderers; the Python functions return the same one
that the commands print.
"""

import itertools
import math
import operator
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from gradclip_cli.choices import Like
from gradclip_cli.frozen import frozen
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.tensors.dump import Dump, Shape, multi_index
from gradclip_cli.tensors.names import natural

if TYPE_CHECKING:  # the rules take time to import, and inspect has none
    from gradclip_cli.rules.decision import Rule

SCHEMA = 1

Index = tuple[int, ...]


@frozen
class Clipped:
    """What clipping did to a tensor, or to all of them together.

    `clip_norm` is None of a rule that limits no norm, `coefficient` where there is not one for all
    values. `norm_after` is measured from what was written; None where nothing was written.
    `flushed` counts values that became zero, `saturated` those cut to the largest that the dtype
    holds.
    """

    norm_before: float
    clip_norm: float | None
    coefficient: float | None
    clipped: bool
    norm_after: float | None
    flushed: int | None
    saturated: int | None


@frozen
class Row:
    """A tensor, or a group of them: what it is, and its measurements if it was measured.

    `norm` is that of its moments, which is taken once; `share` is its part of the sum of squares
    (of |x|^p for another norm), None where that is zero or not finite. A group has no
    shape, its dtype is that of all its tensors or None; what no pattern matched has no name.
    """

    kind: Literal["tensor", "group"]
    name: str | None
    dtype: str | None
    shape: Shape | None
    count: int
    file: str
    moments: Moments | None
    norm: float | None = None
    share: float | None = None
    clipped: Clipped | None = None

    @property
    def measured(self) -> bool:
        """Whether it counts towards the norms."""
        return self.moments is not None

    @property
    def rms(self) -> float | None:
        """Root mean square; None of no values."""
        if self.norm is None or self.moments is None or not self.moments.count:
            return None
        l2_norm = self.norm if self.moments.norm_type == 2 else self.moments.l2_norm
        return l2_norm / math.sqrt(self.moments.count)

    @property
    def max_abs_index(self) -> Index | None:
        """Multi-index of the largest finite magnitude, the first in C order."""
        return None if self.moments is None else self._index(self.moments.max_abs_at)

    @property
    def first_nonfinite(self) -> Index | None:
        """Multi-index of the first value in C order that is NaN or infinite."""
        return None if self.moments is None else self._index(self.moments.first_nonfinite)

    def _index(self, position: int | None) -> Index | None:
        if position is None or self.shape is None:
            return None
        return multi_index(position, self.shape)


@frozen
class Ruling:
    """By which rule a dump was clipped, and how many tensors it changed.

    `eps` was added to norms, `like` is the framework whose arithmetic was asked for; `departures`
    say where its answer is not the exact one.
    """

    rule: "Rule"
    eps: float
    like: Like | None
    changed: int
    departures: tuple[str, ...] = ()


@frozen
class Results:
    """What clipping did to each tensor, by the dump's index, and to all, and by which rule."""

    tensors: Mapping[int, Clipped]
    together: Clipped
    ruling: Ruling


@frozen
class WhatIf:
    """What clipping by a global norm would do; None throughout where it would be refused.

    The numbers are those that `apply` would report; `subnormal` values would have fewer digits than
    others of their dtype, and have not now.
    """

    clip_norm: float
    coefficient: float | None = None
    norm_after: float | None = None
    flushed: int | None = None
    subnormal: int | None = None
    saturated: int | None = None


@frozen
class Report:
    """A dump: its rows, worst first, and the moments of the measured tensors together.

    `total` tensors are in the dump, `measured` of them count. `files` are the labels of its files,
    `notes` are sentences that a reader must not miss, `clipped` and `ruling` say what `apply` did,
    and `worst` is the tensor to blame, whichever rows are shown. `what_if` has one entry for each
    limit that `inspect` was asked about.
    """

    rows: tuple[Row, ...]
    moments: Moments
    total: int
    measured: int
    files: tuple[str, ...]
    ignored: int = 0
    notes: tuple[str, ...] = ()
    clipped: Clipped | None = None
    worst: Row | None = None
    ruling: Ruling | None = None
    what_if: tuple[WhatIf, ...] = ()

    @property
    def tensors(self) -> tuple[Row, ...]:
        """The rows that are tensors."""
        return tuple(row for row in self.rows if row.kind == "tensor")

    @property
    def global_norm(self) -> float:
        """The norm of all measured tensors together; NaN or inf where a value is."""
        return self.moments.norm

    @property
    def finite_norm(self) -> float:
        """The same over the finite values alone."""
        return self.moments.finite_norm

    @property
    def overflows(self) -> bool:
        """Whether the norm of finite values is beyond float64."""
        return math.isinf(self.moments.finite_norm)


def report(
    dump: Dump,
    moments: Mapping[int, Moments],
    notes: Iterable[str] = (),
    results: Results | None = None,
) -> Report:
    """Put a dump's measurements together; `moments` lacks the tensors that do not count."""
    whole = merge(moments.values())
    norm = whole.norm
    norms = {index: part.norm for index, part in moments.items()}
    clipped = results.tensors if results is not None else {}
    rows = [
        Row(
            "tensor",
            tensor.name,
            tensor.dtype.name,
            tensor.shape,
            tensor.count,
            tensor.source.label,
            moments.get(index),
            norms.get(index),
            share_of(norms[index], whole, norm) if index in norms else None,
            clipped.get(index),
        )
        for index, tensor in enumerate(dump.tensors)
    ]
    ordered = worst_first(rows)
    return Report(
        tuple(ordered),
        whole,
        len(rows),
        len(moments),
        tuple(file.source.label for file in dump.files),
        dump.ignored,
        tuple(notes),
        None if results is None else results.together,
        ordered[0] if ordered else None,
        None if results is None else results.ruling,
    )


def share_of(norm: float, whole: Moments, global_norm: float) -> float | None:
    """Give a part's share of the sum of |x|^p; None where that is zero or not finite."""
    p = whole.norm_type
    if p == math.inf or not 0 < global_norm < math.inf:
        return None
    ratio = norm / global_norm
    return ratio**p if p else ratio


def worst_first(rows: Iterable[Row]) -> list[Row]:
    """Sort rows: what is not finite first, then by norm, largest first; unmeasured last.

    Equals come in the natural order of their names, which is too slow a key for all rows.
    """
    rows = list(rows)
    finite = [row for row in rows if row.norm is not None and row.norm < math.inf]
    finite.sort(key=operator.attrgetter("norm"), reverse=True)
    norms = [row.norm for row in finite]
    if any(map(operator.eq, norms, norms[1:])):  # 100,000 groups of one take longer than the sort
        groups = itertools.groupby(finite, key=operator.attrgetter("norm"))
        finite = [row for _, equals in groups for row in _by_name([*equals])]
    if len(finite) == len(rows):
        return finite
    others = [row for row in rows if row.norm is None or not row.norm < math.inf]
    measured = [row for row in others if row.norm is not None]
    unmeasured = [row for row in others if row.norm is None]
    return [*_ranked(measured), *finite, *_ranked(unmeasured)]


def _ranked(rows: Iterable[Row]) -> list[Row]:
    keyed = sorted(((_badness(row), row) for row in rows), key=operator.itemgetter(0))
    groups = itertools.groupby(keyed, key=operator.itemgetter(0))
    return [row for _, equals in groups for row in _by_name([row for _, row in equals])]


def _badness(row: Row) -> tuple[bool, bool, float]:
    if row.norm is None or row.moments is None:
        return True, True, 0.0
    return not row.moments.nonfinite, False, -row.moments.finite_norm


def _by_name(rows: list[Row]) -> list[Row]:
    return rows if len(rows) == 1 else sorted(rows, key=lambda row: natural(row.name or ""))
