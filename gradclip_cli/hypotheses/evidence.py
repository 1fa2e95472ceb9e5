"""What a dump tells of a number that was logged: the norm of each tensor, in each of its files."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field

from gradclip_cli.frozen import frozen


@frozen
class Held:
    """A tensor as it stands in one file, the file's number first, and its norm there."""

    file: int
    norm: float


@frozen
class Counted:
    """A tensor that counts once: its L2 norm, its largest magnitude, its number of axes.

    `way` says what those `held` in several files are to each other: pieces, copies, sum or mean; it
    is empty for a tensor of one file. `finite_norm` is the norm of the values that are finite.
    """

    name: str
    norm: float
    finite_norm: float
    largest: float
    count: int
    axes: int
    held: tuple[Held, ...]
    way: str = ""

    @property
    def is_finite(self) -> bool:
        """Whether all its values are, and its norm is no larger than numbers go."""
        return math.isfinite(self.norm)


@frozen
class Evidence:
    """All tensors that count, and what `files` they stand in.

    `tied` are tensors of several names that hold the same values. `otherwise` has norms of the dump
    by what its parts could be to each other, but are not. `singly` gives the norms of the tensors
    as sums in float32 have them, by the number of sums that a tensor's squares go into; it reads
    all values again, so it is asked last.
    """

    tensors: tuple[Counted, ...]
    files: tuple[str, ...]
    tied: tuple[tuple[Counted, ...], ...] = ()
    otherwise: Mapping[str, float] = field(default_factory=dict)
    singly: Callable[[], Mapping[int, Sequence[float]]] | None = None
    exact: float | None = None

    @property
    def norm(self) -> float:
        """The norm of all tensors together, which may be known more exactly than from theirs."""
        return joint(one.norm for one in self.tensors) if self.exact is None else self.exact

    @property
    def copies(self) -> tuple[Counted, ...]:
        """The tensors that stand in several files as copies."""
        return tuple(one for one in self.tensors if one.way == "copies")

    def of_files(self) -> list[float]:
        """Give the norm of what each file holds."""
        norms: list[list[float]] = [[] for _ in self.files]
        for tensor in self.tensors:
            for part in tensor.held:
                norms[part.file].append(part.norm)
        return [*map(joint, norms)]


def joint(norms: Iterable[float]) -> float:
    """Give the norm of what has these norms: the root of the sum of their squares.

    >>> joint([3.0, 4.0]), joint([3 * 2.0**900, 4 * 2.0**900]) / 2.0**900, joint([])
    (5.0, 5.0, 0.0)
    """
    found = [*norms]
    return math.nan if any(map(math.isnan, found)) else math.hypot(*found)
