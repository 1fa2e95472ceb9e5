"""The options of the commands, each declared once.

Numbers are parsed here, so that a wrong one is told in one line as every other error is.
"""

from collections.abc import Callable
from typing import Annotated

import typer

from gradclip_cli.choices import Format, Layout, Like, Nonfinite, Sort
from gradclip_cli.errors import GradclipError


def _number(option: str, example: str) -> Callable[[str], float]:
    """Give a parser for an option's number that says in one line what is wrong."""

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise GradclipError(
                option, f"{text!r} is not a number", f"give one, for example {example}"
            ) from None

    return number


def _count(option: str) -> Callable[[str], int]:
    """Give a parser for an option that counts something."""

    def count(text: str) -> int:
        if text.isdecimal() and len(text) < 10 and int(text) > 0:
            return int(text)
        raise GradclipError(option, f"{text!r} is not a whole number above 0", "give 1 or more")

    return count


Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH",
        help="Files, folders, or - for standard input; together one gradient.",
        show_default=False,
    ),
]
DumpA = Annotated[
    str, typer.Argument(metavar="A", help="A file, a folder, or - for standard input.")
]
DumpB = Annotated[
    str, typer.Argument(metavar="B", help="The same, to compare with A; errors are relative to A.")
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="GLOB",
        help="Only tensors whose whole name matches; repeatable.",
        show_default=False,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="Not these tensors; wins over --include; repeatable.",
        show_default=False,
    ),
]
WorkerCount = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        parser=_count("--workers"),
        help="Threads; one for each processor if not given.",
        show_default=False,
    ),
]
ReportFormat = Annotated[
    Format | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="table, tsv, csv, json, jsonl or md; table on a terminal, else tsv.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; the status tells.")]
SortBy = Annotated[
    Sort | None,
    typer.Option(
        "--sort",
        metavar="KEY",
        help="name, norm, size, max or file; worst first if not given.",
        show_default=False,
    ),
]
Reverse = Annotated[bool, typer.Option("--reverse", help="Turn the order round.")]
Top = Annotated[
    int | None,
    typer.Option(
        "--top",
        metavar="N",
        parser=_count("--top"),
        help="Only the first N rows.",
        show_default=False,
    ),
]
Everything = Annotated[
    bool, typer.Option("--all", help="All rows, also those that the terminal has no room for.")
]
BadOnly = Annotated[bool, typer.Option("--bad-only", help="Only rows with NaN or infinities.")]
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="N|REGEX",
        help="A row a group: by N name parts, or by a pattern's first group.",
        show_default=False,
    ),
]
FailAbove = Annotated[
    float | None,
    typer.Option(
        "--fail-above",
        metavar="NORM",
        parser=_number("--fail-above", "100"),
        help="Status 1 unless the global norm is finite and at most NORM.",
        show_default=False,
    ),
]
FailNonfinite = Annotated[
    bool, typer.Option("--fail-nonfinite", help="Status 1 if a value is NaN or infinite.")
]
ClipNorm = Annotated[
    float | None,
    typer.Option(
        "--clip-norm",
        metavar="C",
        parser=_number("--clip-norm", "1.0"),
        help="The limit for the norm of all tensors together.",
        show_default=False,
    ),
]
WhatIf = Annotated[
    list[float] | None,
    typer.Option(
        "--clip-norm",
        metavar="C",
        parser=_number("--clip-norm", "1.0"),
        help="Say what clipping to C would do; repeatable.",
        show_default=False,
    ),
]
PerTensor = Annotated[
    bool, typer.Option("--per-tensor", help="--clip-norm limits each tensor's own norm.")
]
Axes = Annotated[
    str | None,
    typer.Option(
        "--axes",
        metavar="I,J",
        help="With --per-tensor: each slice's norm, over these axes.",
        show_default=False,
    ),
]
AgcLimit = Annotated[
    float | None,
    typer.Option(
        "--agc",
        metavar="L",
        parser=_number("--agc", "0.01"),
        help="Adaptive: the limit for each unit's norm / its parameter's; eps 1e-3.",
        show_default=False,
    ),
]
Params = Annotated[
    str | None,
    typer.Option(
        "--params",
        metavar="PATH",
        help="The parameters for --agc, found by name.",
        show_default=False,
    ),
]
AgcLayout = Annotated[
    Layout | None,
    typer.Option(
        "--agc-layout",
        metavar="LAYOUT",
        help="Where weights have their units: jax (last axis, if not given) or torch (first).",
        show_default=False,
    ),
]
PerGroup = Annotated[
    str | None,
    typer.Option(
        "--per-group",
        metavar="N|REGEX",
        help="--clip-norm limits each group's norm; groups as in inspect --group-by.",
        show_default=False,
    ),
]
Average = Annotated[
    bool,
    typer.Option("--average", help="--clip-norm limits each tensor's norm / its number of values."),
]
ClipValue = Annotated[
    str | None,
    typer.Option(
        "--clip-value",
        metavar="V|LO,HI",
        help="Keep each value between -V and V, or LO and HI.",
        show_default=False,
    ),
]
ClipRms = Annotated[
    float | None,
    typer.Option(
        "--clip-rms",
        metavar="C",
        parser=_number("--clip-rms", "1.0"),
        help="The limit for each tensor's root mean square.",
        show_default=False,
    ),
]
NormType = Annotated[
    float | None,
    typer.Option(
        "--norm-type",
        metavar="P",
        parser=_number("--norm-type", "1, 2 or inf"),
        help="The p of the norms: 1, 2, inf, 0 or another; 2 if not given.",
        show_default=False,
    ),
]
Eps = Annotated[
    float | None,
    typer.Option(
        "--eps",
        metavar="E",
        parser=_number("--eps", "1e-6"),
        help="Added to the norm that is divided by.",
        show_default=False,
    ),
]
LikeFramework = Annotated[
    Like | None,
    typer.Option(
        "--like",
        metavar="FRAMEWORK",
        help="To the bit as tensorflow, keras, torch, optax or optax-jit.",
        show_default=False,
    ),
]
UseNorm = Annotated[
    float | None,
    typer.Option(
        "--use-norm",
        metavar="N",
        parser=_number("--use-norm", "12.5"),
        help="Go by this global norm instead of measuring it.",
        show_default=False,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="A file, a folder for several results, or - for stdout.",
        show_default=False,
    ),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the files themselves.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Measure and decide; write nothing.")]
ReportFile = Annotated[
    str | None,
    typer.Option(
        "--report", metavar="FILE", help="Write the report to this file.", show_default=False
    ),
]
OnNonfinite = Annotated[
    Nonfinite,
    typer.Option(
        "--nonfinite",
        metavar="POLICY",
        help="NaN and infinities: refuse, zero, skip or propagate.",
    ),
]
Rtol = Annotated[
    float | None,
    typer.Option(
        "--rtol",
        metavar="R",
        parser=_number("--rtol", "1e-6"),
        help="A tensor passes if its relative L2 error is at most R.",
        show_default=False,
    ),
]
Atol = Annotated[
    float | None,
    typer.Option(
        "--atol",
        metavar="T",
        parser=_number("--atol", "1e-8"),
        help="A tensor passes if no value differs by more than T.",
        show_default=False,
    ),
]
StripPrefix = Annotated[
    list[str] | None,
    typer.Option(
        "--strip-prefix",
        metavar="TEXT",
        help="Take TEXT off the front of names first; repeatable.",
        show_default=False,
    ),
]
Rename = Annotated[
    list[str] | None,
    typer.Option(
        "--rename",
        metavar="REGEX=NEW",
        help="Replace what matches in names first; repeatable.",
        show_default=False,
    ),
]
Steps = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="STEP",
        help="One file or folder a step, or a report of inspect --format jsonl.",
        show_default=False,
    ),
]
StepFrom = Annotated[
    str | None,
    typer.Option(
        "--step-from",
        metavar="REGEX",
        help="What a path's step is: the pattern's first group.",
        show_default=False,
    ),
]
Spike = Annotated[
    str | None,
    typer.Option(
        "--spike",
        metavar="Z,WINDOW",
        help="A spike is above mean + Z σ of the last WINDOW; 6,128 if not given.",
        show_default=False,
    ),
]
Suggest = Annotated[
    bool, typer.Option("--suggest", help="Say what limits would have done to these norms.")
]
Plot = Annotated[
    str | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw norm and layers into FILE.png or FILE.svg.",
        show_default=False,
    ),
]
Cache = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="FILE",
        help="Keep what was measured in FILE.jsonl; only new steps are measured.",
        show_default=False,
    ),
]
