"""How time falls with processors: the same command on one, on two, and so on up to all of them.

`workers` is left to gradclip, so the curve shows what its default makes of the processors. On all
of them it is also given, below and above the default, to show whether another number is better.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.files import Size
from benchmarks.rows import ROWS, Command, Row
from benchmarks.timing import Run, median

CURVED = tuple(row for row in ROWS if row.name in ("inspect {large}", "apply to {large}, clipped"))
"""The rows whose commands are measured; what they are held against plays no part."""

_EACH = 8  # processors up to which every number is measured; from there on they double


@dataclass(frozen=True, slots=True)
class Setting:
    """The processors that a command may use, by number, and `--workers`, None where left out."""

    processors: Sequence[int]
    workers: int | None = None

    def put_on(self, command: Command) -> Command:
        """Give the command as it runs on these processors alone.

        >>> Setting((0, 2), 4).put_on(("gradclip", "inspect"))
        ('taskset', '-c', '0,2', 'gradclip', 'inspect', '--workers', '4')
        """
        pinned = ("taskset", "-c", ",".join(map(str, self.processors)), *command)
        return pinned if self.workers is None else (*pinned, "--workers", str(self.workers))


def numbers(processors: int) -> tuple[int, ...]:
    """Give the numbers of processors that make up the curve.

    >>> numbers(3), numbers(48)
    ((1, 2, 3), (1, 2, 4, 8, 16, 32, 48))
    """
    if processors <= _EACH:
        return tuple(range(1, processors + 1))
    powers = (1 << power for power in range(processors.bit_length()))
    return tuple(sorted({*powers, processors}))


def settings(processors: Sequence[int]) -> tuple[Setting, ...]:
    """Give the settings to measure: the curve, then all processors with numbers of workers.

    >>> [(len(some.processors), some.workers) for some in settings((0, 1))]
    [(1, None), (2, None), (2, 1), (2, 2), (2, 3), (2, 4)]
    """
    some = numbers(len(processors))
    given = sorted({*some, 1, 2, 3, 4, 2 * len(processors)})
    return (
        *(Setting(processors[:number]) for number in some),
        *(Setting(processors, workers) for workers in given),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """A setting, the number of workers that it came to, and the runs."""

    setting: Setting
    workers: int
    runs: Sequence[Run]

    @property
    def seconds(self) -> float:
        """The median time."""
        return median(self.runs, "time")


@dataclass(frozen=True, slots=True)
class Curve:
    """One command in every setting; no points where it could not be run, and `reason` says why."""

    row: Row
    name: str
    size: int
    points: Sequence[Point]
    reason: str = ""

    def throughput(self, point: Point) -> float:
        """Give the bytes of the file that a second sees done."""
        return self.size / point.seconds

    def gain(self, point: Point) -> float:
        """Give how many times as fast a point is as one processor."""
        return self.points[0].seconds / point.seconds

    @property
    def default(self) -> Point:
        """All processors, with the workers that gradclip takes by itself."""
        return [point for point in self.points if point.setting.workers is None][-1]

    @property
    def best(self) -> Point:
        """The fastest on all processors with workers given."""
        given = (point for point in self.points if point.setting.workers is not None)
        return min(given, key=lambda point: point.seconds)


@dataclass(frozen=True, slots=True)
class Curves:
    """The curves of all commands, and the machine that ran them."""

    size: Size
    machine: Mapping[str, str]
    curves: Sequence[Curve]

    @property
    def good(self) -> bool:
        """Whether every command could be run."""
        return all(curve.points for curve in self.curves)
