"""What there is to say about two dumps: tensor by tensor, and the verdict.

Bits decide what is identical, tolerances what is equal. Where B is A times one number in every
tensor, to within the rounding of the dtypes, that number and its likely cause are the answer.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from gradclip_cli.compare.causes import likely
from gradclip_cli.compare.difference import Difference
from gradclip_cli.compare.few import MOST
from gradclip_cli.compare.tolerance import Tolerance
from gradclip_cli.errors import GradclipError, Status
from gradclip_cli.measure.moments import Moments
from gradclip_cli.results.columns import Result, Sheet, Value
from gradclip_cli.results.comparison_columns import SHEET
from gradclip_cli.results.ranking import Keys
from gradclip_cli.tensors.dump import Index, Shape, Tensor, multi_index
from gradclip_cli.tensors.names import escape, named, natural, plural, sides

State = Literal["identical", "equal", "dtype", "differs", "shape", "only_a", "only_b", "unreadable"]
"""What a tensor is in B, seen from A: the same bits; equal within tolerance; the same numbers in
another dtype; other values; another shape, or a dtype whose values cannot be compared; missing;
in a file that cannot be read, or that may be in one."""

Lanes = float | tuple[float, ...]
"""A value: a number, or the real and the imaginary part of one."""

Verdict = Literal["identical", "equal", "multiple", "differ", "unreadable"]


@dataclass(frozen=True, slots=True)
class Compared:
    """A tensor of A, of B or of both: what it is on each side, and how it differs.

    `moments_a` and `moments_b` are None where a side lacks the tensor or it cannot be decoded,
    `difference` where the values cannot be compared. `changed` counts the values, of tensors that
    cannot be decoded the bytes, that are stored differently. `problem` says
    why a file is unreadable.
    """

    name: str | None
    state: State
    a: Tensor | None
    b: Tensor | None
    moments_a: Moments | None
    moments_b: Moments | None
    difference: Difference | None
    changed: int | None = None
    problem: str | None = None
    kind: Literal["tensor"] = "tensor"

    @property
    def same(self) -> bool:
        """Whether the tensor passes."""
        return self.state in ("identical", "equal")

    @property
    def is_opaque(self) -> bool:
        """Whether its values cannot be decoded on a side."""
        return any(side is not None and side.dtype.kind == "opaque" for side in (self.a, self.b))

    @property
    def nonfinite(self) -> int:
        """Number of NaN and infinities on both sides."""
        sides = (self.moments_a, self.moments_b)
        return sum(moments.nonfinite for moments in sides if moments is not None)

    @property
    def shape(self) -> Shape:
        """The shape in A, or where that lacks it in B."""
        tensor = self.a or self.b
        return () if tensor is None else tensor.shape

    @property
    def count(self) -> int:
        """Number of values in A, or where that lacks it in B."""
        return math.prod(self.shape)

    @property
    def max_abs_at(self) -> Index | None:
        """Multi-index of the largest difference, the first in C order; None where there is none."""
        if self.difference is None or not self.difference.gap.max_abs:
            return None
        return self._index(self.difference.gap.max_abs_at)

    @property
    def first_newly(self) -> Index | None:
        """Multi-index of the first value that is finite in A and not in B."""
        return None if self.difference is None else self._index(self.difference.first_newly)

    def _index(self, position: int | None) -> Index | None:
        return None if position is None else multi_index(position, self.shape)

    @property
    def changed_of(self) -> tuple[int, int] | None:
        """How many of how many values are stored differently."""
        return None if self.difference is None else (self.difference.changed, self.count)

    @property
    def remarks(self) -> Iterator[str]:
        """What the numbers of the row do not say, in words."""
        if self.state == "unreadable":
            yield "cannot be read"
            return
        if self.a is None or self.b is None:
            yield "only in B" if self.a is None else "only in A"
            return
        if self.a.shape != self.b.shape:
            yield f"shape {sides(self.a.shape)} → {sides(self.b.shape)}"
            return
        if self.same:
            yield self.state
        if self.difference is not None and self.difference.astray:
            newly = self.difference.newly
            yield (
                f"{newly:,} newly not finite"
                if newly
                else f"{self.difference.astray:,} not finite otherwise"
            )
        if self.a.dtype.name != self.b.dtype.name:
            yield f"{self.a.dtype.name} → {self.b.dtype.name}"
        elif self.difference is None and not self.same:
            yield f"{plural(self.changed or 0, 'byte')} differ"

    @property
    def remark(self) -> str:
        """The same in one line."""
        return ", ".join(self.remarks)


KEYS: Keys[Compared] = {
    "norm": lambda row: _norm(row),
    "size": lambda row: -row.count,
    "max": lambda row: -((row.difference and row.difference.gap.max_abs) or 0.0),
    "file": lambda row: natural("" if (one := row.a or row.b) is None else one.source.label),
}


def _norm(row: Compared) -> float:
    norms = [part.finite_norm for part in (row.moments_a, row.moments_b) if part is not None]
    return -max(norms, default=-1.0)


@dataclass(frozen=True, slots=True)
class Comparison(Result):
    """Two dumps: the rows, worst first, and the difference of all gradients in both together.

    `factor` is the number r for which B = r * A holds in all gradients of both, but for rounding
    and where values are not finite; `compared` says how many gradients that are. Of a factor that
    could be 1 is only said that the difference is `only_rounding`. `worst` is the tensor whose
    values differ most, `nonfinite` the number of values that are not finite on either side, and
    `unread` that of tensors that cannot be decoded. `unreadable` are the errors about members of
    folders that cannot be read. Where all differences come to one thing, the dumps are
    `same_but_for` that. The `sentences` say how they differ, then why.
    """

    rows: tuple[Compared, ...]
    verdict: Verdict
    difference: Difference
    tolerance: Tolerance
    compared: int
    total: int
    counts: dict[State, int]
    files_a: tuple[str, ...]
    files_b: tuple[str, ...]
    factor: float | None = None
    only_rounding: bool = False
    notes: tuple[str, ...] = ()
    worst: Compared | None = None
    nonfinite: int = 0
    unread: int = 0
    unreadable: tuple[GradclipError, ...] = ()
    same_but_for: str | None = None
    sentences: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether the dumps are identical, or equal within the tolerances."""
        return self.verdict in ("identical", "equal")

    @property
    def likely(self) -> tuple[str, ...]:
        """What the factor is likely to come from."""
        return () if self.factor is None else likely(self.factor)

    @property
    def finite(self) -> bool:
        """Whether all gradients of both were read and are finite."""
        whole = self.difference
        sound = math.isfinite(whole.a.norm) and math.isfinite(whole.b.norm)
        return sound and not (self.nonfinite or self.unread or self.unreadable)

    @property
    def says(self) -> str:
        """The verdict, and why."""
        return "; ".join(self.sentences)

    @property
    def status(self) -> Status:
        """The status with which the command ends."""
        if self.unreadable:
            return Status.TROUBLE
        return Status.OK if self.same else Status.VERDICT

    @property
    def origin(self) -> str:
        """What was read."""
        sides = (("A", self.files_a), ("B", self.files_b))
        named = (
            f"{side}: {escape(files[0]) if len(files) == 1 else plural(len(files), 'file')}"
            for side, files in sides
        )
        return ", ".join([plural(self.total, "tensor"), *named])

    __repr__ = Result.__repr__

    # Laid out

    def with_rows(self, rows: Iterable[Compared]) -> "Comparison":
        """Give the same with other rows; the whole stays."""
        return replace(self, rows=tuple(rows))

    @property
    def sheet(self) -> Sheet:
        """How it is laid out."""
        return SHEET

    def told(self) -> Iterator[tuple[str, Compared]]:
        """Give each row with its kind."""
        return ((row.kind, row) for row in self.rows)

    def whole(self) -> dict[str, Value]:
        """Give the values of all gradients in both together."""
        return self._measured | {"state": self.verdict}

    def summary(self) -> Mapping[str, Any]:
        """Give what JSON says of the whole."""
        return {
            "verdict": self.verdict,
            "same": self.same,
            "factor": self.factor,
            "likely": self.likely,
            "only_rounding": self.only_rounding,
            "same_but_for": self.same_but_for,
            "rtol": self.tolerance.relative,
            "atol": self.tolerance.absolute,
            "states": self.counts,
            "compared": self.compared,
            "total": self.total,
            "files_a": self.files_a,
            "files_b": self.files_b,
            **self._measured,
            "unreadable": [
                {**named(error.subject, "file"), "problem": error.problem}
                for error in self.unreadable
            ],
            "changed_values": [
                {**named(name), "index": index, "a": value_a, "b": value_b}
                for name, index, value_a, value_b in self.changed_values
            ],
            "notes": self.notes,
        }

    @property
    def changed_values(self) -> list[tuple[str | None, Index, Lanes, Lanes]]:
        """The values that changed, if they are few: name, index, what they are in A and in B."""
        rows = [row for row in self.rows if row.difference is not None and row.changed]
        lists = [row.difference.few for row in rows if row.difference is not None]
        if any(some is None for some in lists) or sum(len(some or ()) for some in lists) > MOST:
            return []
        return [
            (row.name, multi_index(position, row.shape), _lanes(value_a), _lanes(value_b))
            for row, some in zip(rows, lists, strict=True)
            for position, value_a, value_b in some or ()
        ]

    @property
    def _measured(self) -> dict[str, Value]:
        difference = self.difference
        return {
            "norm_a": difference.a.norm,
            "norm_b": difference.b.norm,
            "nonfinite_a": difference.a.nonfinite,
            "nonfinite_b": difference.b.nonfinite,
            "ratio": difference.ratio,
            "cosine": difference.cosine,
            "relative_error": difference.relative_error,
            "max_abs_diff": difference.gap.max_abs,
            "newly_nonfinite": difference.newly,
            "nonfinite_differ": difference.astray,
            "count": difference.a.count,
            "changed": difference.changed,
        }


def _lanes(value: tuple[float, ...]) -> Lanes:
    return value[0] if len(value) == 1 else value
