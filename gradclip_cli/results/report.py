"""What there is to say about a dump, before how it is said.

A report is made once and only serialised by renderers; the Python functions return the same one
that the commands print.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from types import SimpleNamespace
from typing import Any, Literal

from gradclip_cli.errors import Status
from gradclip_cli.frozen import frozen
from gradclip_cli.measure.laws import Sums
from gradclip_cli.measure.moments import Moments
from gradclip_cli.measure.statistics import FINGERPRINT
from gradclip_cli.results.columns import Result, Sheet, Value
from gradclip_cli.results.figures import (
    CLIPPED,
    SUBNORMAL,
    Clipped,
    Handled,
    Ruling,
    WhatIf,
    Written,
)
from gradclip_cli.results.gates import Gate, status
from gradclip_cli.results.ranging import COLUMNS as RANGED
from gradclip_cli.results.ranging import Ranged, Ranging
from gradclip_cli.results.ranking import Keys
from gradclip_cli.results.report_columns import COLUMNS, WEIGHED, further
from gradclip_cli.tensors.dump import Index, Shape, multi_index
from gradclip_cli.tensors.names import escape, natural, plural


@frozen
class Row:
    """A tensor, or a group of them: what it is, and its measurements if it was measured.

    `norm` is that of its moments, which is taken once; `share` is its part of the sum of squares
    (of |x|^p for another norm), None where that is zero or not finite; `together` are the moments
    of all measured tensors. A group has no shape, its dtype is that of all its tensors or None;
    what no pattern matched has no name. What the user's patterns leave out is `excluded`. It is
    `weighed` where it has a parameter: moments of the gradients that have one, and of these.
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
    together: Moments | None = field(default=None, repr=False, compare=False)
    excluded: bool = False
    ranging: Ranging | None = field(default=None, repr=False, compare=False)
    weighed: tuple[Moments, Moments] | None = field(default=None, repr=False)

    @property
    def param_norm(self) -> float | None:
        """The norm of its parameter, if it has one."""
        return None if self.weighed is None else self.weighed[1].norm

    @property
    def grad_to_param(self) -> float | None:
        """Its norm over that of its parameter; None of a parameter that is zero."""
        if self.weighed is None or not self.weighed[1].norm:
            return None
        return self.weighed[0].norm / self.weighed[1].norm

    @property
    def ranged(self) -> Ranged | None:
        """What a format that was asked about makes of its values."""
        if self.ranging is None or self.moments is None:
            return None
        return self.ranging.of(self.moments)

    @property
    def measured(self) -> bool:
        """Whether it counts towards the norms."""
        return self.moments is not None

    @property
    def rms(self) -> float | None:
        """Root mean square; None of no values."""
        return None if self.moments is None else self.moments.rms

    @property
    def max_abs_index(self) -> Index | None:
        """Multi-index of the largest finite magnitude, the first in C order."""
        moments = self.moments
        if moments is None or moments.largest is None or self.shape is None:
            return None
        position = moments.largest[1]
        return None if position is None else multi_index(position, self.shape)

    @property
    def first_nonfinite(self) -> Index | None:
        """Multi-index of the first value in C order that is NaN or infinite."""
        moments = self.moments
        if moments is None or moments.first_nonfinite is None or self.shape is None:
            return None
        return multi_index(moments.first_nonfinite, self.shape)

    @property
    def finite_norm(self) -> float | None:
        """The norm over the finite values alone."""
        if self.norm is None or self.moments is None or self.norm < math.inf:
            return self.norm
        return self.moments.finite_norm

    @property
    def part(self) -> tuple[float | None, Sums, Sums] | None:
        """Its share, and the exact sums that it and all have: these tell where it was rounded."""
        if self.moments is None or self.together is None:
            return None
        return self.share, self.moments.sums, self.together.sums

    @property
    def bad(self) -> tuple[int, int, int]:
        """How many values are NaN, +inf and -inf."""
        moments = self.moments
        return (0, 0, 0) if moments is None else (moments.nan, moments.posinf, moments.neginf)

    @property
    def further(self) -> SimpleNamespace:
        """What the table of statistics asks for, by name."""
        return SimpleNamespace(**dict(() if self.moments is None else self.moments.further))


KEYS: Keys[Row] = {
    "norm": lambda row: math.inf if row.moments is None else -row.moments.finite_norm,
    "size": lambda row: -row.count,
    "max": lambda row: _minus(None if row.moments is None else row.moments.max_abs),
    "file": lambda row: natural(row.file),
}


def _minus(size: float | None) -> float:
    return math.inf if size is None else -size


@frozen
class Report(Result):
    """A dump: its rows, worst first, and the moments of the measured tensors together.

    `total` tensors are in the dump, `measured` of them count, `excluded` were left out by the
    user's patterns. `files` are the labels of its files,
    `notes` are sentences that a reader must not miss, `clipped`, `ruling` and `handled` say what
    `apply` did, and `worst` is the tensor to blame, whichever rows are shown. `what_if` has one
    entry for each rule that `inspect` was asked about. `written` says where `apply` wrote: two
    results that differ in nothing else are equal. Chosen tensors that are `unread` could not be
    decoded; the `verdict` is the sentence to read first, and `gates` are the answers to what a
    script asked. `ranging` is a format that was asked about; `weighed` are the moments of all
    gradients that have parameters, and of these.
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
    written: Written | None = field(default=None, repr=False, compare=False)
    unread: tuple[str | None, ...] = ()
    verdict: str = ""
    gates: tuple[Gate, ...] = ()
    handled: Handled | None = None
    excluded: int = 0
    ranging: Ranging | None = None
    weighed: tuple[Moments, Moments] | None = None

    @property
    def tensors(self) -> tuple[Row, ...]:
        """The rows that are tensors."""
        return tuple(row for row in self.rows if row.kind == "tensor")

    @property
    def telling(self) -> tuple[Row, ...]:
        """The rows that a person is shown: without those that the user's patterns left out."""
        return tuple(row for row in self.rows if not row.excluded)

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

    @property
    def stored(self) -> Iterator[tuple[str, Moments]]:
        """The dtypes and moments of the measured tensors."""
        for row in self.rows:
            if row.kind == "tensor" and row.moments is not None:
                yield row.dtype or "", row.moments

    @property
    def finite(self) -> bool:
        """Whether all gradients were read and their norm is finite."""
        return math.isfinite(self.global_norm) and not self.unread

    @property
    def says(self) -> str:
        """The verdict, whether it is but rehearsed, and which gates failed."""
        said = [self.verdict]
        if self.written is not None and self.written.dry_run:
            said.append("in a dry run: nothing was written")
        return "; ".join([*said, *(gate.says for gate in self.gates if gate.status)])

    @property
    def status(self) -> Status:
        """The status with which the command ends; of a gate that cannot judge, trouble."""
        return status(self.gates)

    @property
    def origin(self) -> str:
        """What was read."""
        files = escape(self.files[0]) if len(self.files) == 1 else plural(len(self.files), "file")
        count = plural(self.moments.count, "value")
        return f"{self.measured:,} of {plural(self.total, 'tensor')}, {count}, from {files}"

    __repr__ = Result.__repr__

    # Laid out

    def with_rows(self, rows: Iterable[Row]) -> "Report":
        """Give the same with other rows; the whole stays."""
        return dataclasses.replace(self, rows=tuple(rows))

    @property
    def sheet(self) -> Sheet:
        """How it is laid out."""
        known = () if self.clipped else dict(self.moments.further)  # clipping's own use of it
        asked = (*(RANGED if self.ranging else ()), *(WEIGHED if self.weighed else ()))
        columns = (*COLUMNS, *(CLIPPED if self.clipped else ()), *asked, *further(known))
        if self.what_if:
            unknown = (dataclasses.replace(column, value="") for column in CLIPPED)
            columns = (*columns, *unknown, SUBNORMAL)
        return Sheet(
            "report",
            columns,
            "tensor",
            {"tensor": "tensors", "group": "groups"},
            aside=frozenset({"what-if"}),
        )

    def told(self) -> Iterator[tuple[str, Any]]:
        """Give each row with its kind."""
        for row in self.rows:
            yield row.kind, row
        for chance in self.what_if:
            yield "what-if", chance.values()

    def whole(self) -> Mapping[str, Value]:
        """Give the values of all measured tensors together; what only a tensor has is None."""
        row = Row("group", None, None, None, self.moments.count, "", self.moments)
        norm, ranging = self.global_norm, self.ranging
        row = dataclasses.replace(
            row, norm=norm, clipped=self.clipped, ranging=ranging, weighed=self.weighed
        )
        sheet = self.sheet
        return dict(zip(sheet.names, sheet.values(row), strict=True)) | {"measured": None}

    def summary(self) -> dict[str, Any]:
        """Give what JSON says of the whole."""
        moments = self.moments
        summary: dict[str, Any] = {
            "global_norm": self.global_norm,
            "finite_norm": self.finite_norm,
            "norm_type": _norm_type(moments.norm_type),
            "count": moments.count,
            "nonfinite": moments.nonfinite,
            "overflow": self.overflows,
            "measured": self.measured,
            "total": self.total,
            "excluded": self.excluded,
            "files": self.files,
            "ignored": self.ignored,
            "notes": self.notes,
            **{name: value for name, value in moments.further if name != FINGERPRINT.name},
        }
        if self.ranging is not None:
            summary["range"] = self.ranging.values()
        if self.what_if:
            summary["what_if"] = [chance.values() for chance in self.what_if]
        for gate in self.gates:
            if gate.limit is not None:
                summary |= {"limit": gate.limit, "tolerance": gate.tolerance}
        for said in (self.clipped, self.ruling, self.handled, self.written):
            summary |= {} if said is None else said.values()
        return summary


def _norm_type(p: float) -> int | float | str:
    if p == math.inf:
        return "inf"
    return int(p) if p.is_integer() else p
