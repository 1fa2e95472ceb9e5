"""What is measured, as data: a command, what it is held against, and the bounds it has to keep.

A row's words name files in braces: in a command they become paths, in the row's name what the file
holds. Everything else is in the open here, so this module reads as the list of promises.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Literal

Command = tuple[str, ...]
Quantity = Literal["time", "memory"]
Cache = Literal["warm", "cold"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Bound:
    """At most `factor` times what the competitor takes, `plus` so many seconds or bytes."""

    quantity: Quantity
    factor: float = 1.0
    plus: float = 0.0

    def limit(self, theirs: float) -> float:
        """Give the most that gradclip may take.

        >>> Bound("time", 1.25).limit(2.0), Bound("memory", plus=64).limit(100)
        (2.5, 164.0)
        """
        return theirs * self.factor + self.plus


@dataclass(frozen=True, slots=True)
class Row:
    """Two commands run in turns, and the bounds of the first by the second.

    `against` names the competitor and `needs` the Python module that it cannot do without. `probe`
    is for a competitor that nobody has to have: where this command fails, the row is left out.
    Files are taken out of the page cache before each run where `cache` is "cold".
    """

    name: str
    command: Command
    against: str
    competitor: Command
    bounds: tuple[Bound, ...]
    cache: Cache = "warm"
    runs: int = 5
    needs: str | None = None
    probe: Command | None = None

    @property
    def files(self) -> frozenset[str]:
        """Names of the files that the two commands read."""
        return frozenset().union(*map(_fields, self.command + self.competitor)) - _NOT_FILES

    def called(self, labels: Mapping[str, str]) -> str:
        """Give the row's name with what its files hold."""
        return self.name.format_map(labels)


# Interpreters and the one result that a command may write.
_NOT_FILES = {"python", "torch_python", "output"}


def _fields(word: str) -> frozenset[str]:
    return frozenset(field for _, field, _, _ in Formatter().parse(word) if field)


def _gradclip(*words: str) -> Command:
    return "{python}", "-m", "gradclip_cli", *words


def _clip(file: str, *options: str) -> Command:
    return _gradclip("apply", file, "--clip-norm", "1", "-o", "{output}", *options)


def _beside(name: str, *words: str, python: str = "{python}") -> Command:
    """Run one of the programs that stand beside this module."""
    return python, "-m", f"benchmarks.{name}", *words


def _copy(file: str) -> Command:
    return "sh", "-c", 'cp "$0" "$1" && sync "$1"', file, "{output}"


def _within(factor: float) -> tuple[Bound, ...]:
    return (Bound("time", factor),)


_FASTER_AND_SMALLER = (Bound("time"), Bound("memory"))
_MORE_MEMORY = (Bound("memory", plus=64 * _MIB),)
_MEMORY_RUNS = 2  # peaks hardly vary, and a run takes seconds
_START = 1.15
_START_RUNS = 21  # a tenth of a second each: many runs cost little and calm the median

ROWS = (
    # Reading and writing as fast as the machine does.
    Row(
        "inspect {large}",
        _gradclip("inspect", "{large}"),
        "cat FILE > /dev/null",
        ("cat", "{large}"),
        _within(2),
    ),
    Row(
        "inspect {large}, not in the page cache",
        _gradclip("inspect", "{large}"),
        "dd bs=4M, not in the page cache",
        ("dd", "bs=4M", "status=none", "if={large}", "of=/dev/null"),
        _within(1.1),
        cache="cold",
    ),
    Row(
        "apply to {large}, clipped",
        _clip("{large}"),
        "cp and sync FILE",
        _copy("{large}"),
        _within(1.3),
    ),
    Row(
        "apply to {large}, within the limit",
        _gradclip("apply", "{large}", "--clip-norm", "1e9", "-o", "{output}"),
        "cp and sync FILE",
        _copy("{large}"),
        _within(1.2),
    ),
    # Memory that does not grow with the file.
    Row(
        "inspect {large}, two workers",
        _gradclip("inspect", "{large}", "--workers", "2"),
        "the imports alone",
        _beside("imports"),
        _MORE_MEMORY,
        runs=_MEMORY_RUNS,
    ),
    Row(
        "apply to {large}, clipped, two workers",
        _clip("{large}", "--workers", "2"),
        "the imports alone",
        _beside("imports"),
        _MORE_MEMORY,
        runs=_MEMORY_RUNS,
    ),
    # The way it is done today.
    *(
        Row(
            f"inspect {{float32}}, against {name}",
            _gradclip("inspect", "{float32}"),
            f"{name}: load all, norm of each",
            _beside("naive", needs, "inspect", "{float32}", python=python),
            _FASTER_AND_SMALLER,
            needs=needs,
        )
        for name, needs, python in (
            ("NumPy", "numpy", "{python}"),
            ("torch", "torch", "{torch_python}"),
        )
    ),
    Row(
        "inspect {float32}, against sft",
        _gradclip("inspect", "{float32}"),
        "sft stat FILE",
        ("sft", "stat", "{float32}"),
        _FASTER_AND_SMALLER,
        probe=("sft", "stat", "--help"),  # other programs have that name too
    ),
    *(
        Row(
            f"apply to {{loaded}}, clipped, against {name}",
            _clip("{loaded}"),
            f"{name}: load all, clip, save",
            _beside("naive", needs, "clip", "{loaded}", "{output}", python=python),
            _FASTER_AND_SMALLER,
            needs=needs,
        )
        for name, needs, python in (
            ("NumPy", "numpy", "{python}"),
            ("torch", "torch", "{torch_python}"),
        )
    ),
    # Narrow floats cost more work a byte.
    *(
        Row(
            f"inspect {{{dtype}}}",
            _gradclip("inspect", f"{{{dtype}}}"),
            "the same bytes as float32",
            _gradclip("inspect", "{float32}"),
            _within(factor),
        )
        for dtype, factor in (("bfloat16", 1.5), ("float16", 2), ("float8_e4m3", 4))
    ),
    *(
        Row(
            f"apply to {{{dtype}}}, clipped",
            _clip(f"{{{dtype}}}"),
            "cp and sync FILE",
            _copy(f"{{{dtype}}}"),
            _within(2),
        )
        for dtype in ("bfloat16", "float16")
    ),
    # A page, for which each value is looked at once more.
    Row(
        "inspect --html {float32}",
        _gradclip("inspect", "{float32}", "--html", "{output}"),
        "without a page",
        _gradclip("inspect", "{float32}"),
        _within(1.5),
    ),
    # Many small things.
    Row(
        "inspect --json {tensors}",
        _gradclip("inspect", "--json", "{tensors}"),
        "the same bytes as one tensor",
        _gradclip("inspect", "--json", "{one}"),
        (Bound("time", plus=1.5),),
    ),
    Row(
        "inspect {arrays}",
        _gradclip("inspect", "{arrays}"),
        "cat FOLDER/*.npy > /dev/null",
        ("sh", "-c", 'cd "$0" && cat *.npy', "{arrays}"),
        (Bound("time", plus=2),),
    ),
    # Starting up, beside a minimal app with the same options.
    *(
        Row(
            f"gradclip {words}",
            _gradclip(*words.split()),
            f"a minimal app{remark}",
            # Not by `-m`, which compiles a module at every start.
            ("{python}", "-c", "from benchmarks.minimal_app import app; app()", *words.split()),
            _within(_START),
            runs=_START_RUNS,
        )
        for words, remark in (
            ("inspect {tiny} --format table", ", NumPy and a Rich table"),
            ("inspect {tiny} --format tsv", ", NumPy, no Rich"),
            ("--version", ""),
            ("--help", ""),
        )
    ),
)
