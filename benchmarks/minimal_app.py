"""The least that a Typer app with gradclip's options can do: import NumPy and print a line or two.

What gradclip takes beyond this at start-up is its own doing. It has all the commands too, since
Typer makes each of them, with its options, whichever is called.
"""

# ruff: noqa: ARG001  # what the options say is of no use to it

import sys
from typing import Annotated, Literal

import typer

app = typer.Typer(
    name="minimal",
    help="An app that does nothing.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help, as gradclip's is
)

Texts = list[str] | None
Paths = Annotated[Texts, typer.Argument(help="Files.", show_default=False)]
DumpA = Annotated[str, typer.Argument(help="A file.")]
DumpB = Annotated[str, typer.Argument(help="Another file.")]
Include = Annotated[Texts, typer.Option("--include", help="Only these.")]
Exclude = Annotated[Texts, typer.Option("--exclude", help="Not these.")]
NormType = Annotated[float | None, typer.Option("--norm-type", help="The p of the norms.")]
WhatIf = Annotated[list[float] | None, typer.Option("--clip-norm", help="Limits to try.")]
Sort = Annotated[
    Literal["name", "norm", "size", "max", "file"] | None,
    typer.Option("--sort", help="By which column."),
]
Reverse = Annotated[bool, typer.Option("--reverse", help="Turn the order round.")]
Top = Annotated[int | None, typer.Option("--top", help="Only the first rows.")]
Everything = Annotated[bool, typer.Option("--all", help="All rows.")]
BadOnly = Annotated[bool, typer.Option("--bad-only", help="Only the bad rows.")]
GroupBy = Annotated[str | None, typer.Option("--group-by", help="A row a group.")]
FailAbove = Annotated[float | None, typer.Option("--fail-above", help="A limit.")]
FailNonfinite = Annotated[bool, typer.Option("--fail-nonfinite", help="Status 1 if so.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")]
Workers = Annotated[int | None, typer.Option("--workers", help="Threads.")]
Form = Annotated[
    Literal["table", "tsv", "csv", "json", "jsonl", "md"] | None,
    typer.Option("--format", help="How to print."),
]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
ClipNorm = Annotated[float | None, typer.Option("--clip-norm", help="The limit.")]
PerTensor = Annotated[bool, typer.Option("--per-tensor", help="Each by itself.")]
Axes = Annotated[str | None, typer.Option("--axes", help="Over these axes.")]
PerGroup = Annotated[str | None, typer.Option("--per-group", help="Each group by itself.")]
Average = Annotated[bool, typer.Option("--average", help="By the average norm.")]
ClipValue = Annotated[str | None, typer.Option("--clip-value", help="Each value.")]
ClipRms = Annotated[float | None, typer.Option("--clip-rms", help="The limit of an RMS.")]
Agc = Annotated[float | None, typer.Option("--agc", help="The limit of a ratio.")]
Params = Annotated[str | None, typer.Option("--params", help="Another file.")]
AgcLayout = Annotated[
    Literal["jax", "torch"] | None, typer.Option("--agc-layout", help="Which axis.")
]
Eps = Annotated[float | None, typer.Option("--eps", help="Added to a norm.")]
Like = Annotated[
    Literal["tensorflow", "keras", "torch", "optax", "optax-jit"] | None,
    typer.Option("--like", help="Whose arithmetic."),
]
Output = Annotated[str | None, typer.Option("--output", "-o", help="A file.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the files.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing.")]
Nonfinite = Annotated[
    Literal["refuse", "zero", "skip", "propagate"], typer.Option("--nonfinite", help="What to do.")
]
UseNorm = Annotated[float | None, typer.Option("--use-norm", help="A known norm.")]
ReportFile = Annotated[str | None, typer.Option("--report", help="A file for the report.")]
Rtol = Annotated[float | None, typer.Option("--rtol", help="A relative error.")]
Atol = Annotated[float | None, typer.Option("--atol", help="An error.")]
StripPrefix = Annotated[Texts, typer.Option("--strip-prefix", help="Off the names.")]
Rename = Annotated[Texts, typer.Option("--rename", help="Other names.")]
StepFrom = Annotated[str | None, typer.Option("--step-from", help="A pattern.")]
Spike = Annotated[str | None, typer.Option("--spike", help="A rule.")]
Suggest = Annotated[bool, typer.Option("--suggest", help="Say more.")]
Plot = Annotated[str | None, typer.Option("--plot", help="A picture.")]
Cache = Annotated[str | None, typer.Option("--cache", help="A file to keep.")]


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write("minimal 1.0\n")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    pass


@app.command()
def inspect(
    paths: Paths = None,
    include: Include = None,
    exclude: Exclude = None,
    norm_type: NormType = None,
    clip_norm: WhatIf = None,
    sort: Sort = None,
    reverse: Reverse = False,
    top: Top = None,
    everything: Everything = False,
    bad_only: BadOnly = False,
    group_by: GroupBy = None,
    fail_above: FailAbove = None,
    fail_nonfinite: FailNonfinite = False,
    quiet: Quiet = False,
    form: Form = None,
    json: Json = False,
    workers: Workers = None,
) -> None:
    """Print how many files were given."""
    import numpy as np

    count = str(np.int64(len(paths or ())))
    if form != "table":
        sys.stdout.write(f"files\t{count}\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("files")
    table.add_row(count)
    Console().print(table)


@app.command()
def apply(
    paths: Paths = None,
    clip_norm: ClipNorm = None,
    per_tensor: PerTensor = False,
    axes: Axes = None,
    per_group: PerGroup = None,
    average: Average = False,
    norm_type: NormType = None,
    clip_value: ClipValue = None,
    clip_rms: ClipRms = None,
    agc: Agc = None,
    params: Params = None,
    agc_layout: AgcLayout = None,
    eps: Eps = None,
    like: Like = None,
    output: Output = None,
    in_place: InPlace = False,
    force: Force = False,
    dry_run: DryRun = False,
    nonfinite: Nonfinite = "refuse",
    use_norm: UseNorm = None,
    include: Include = None,
    exclude: Exclude = None,
    report_file: ReportFile = None,
    quiet: Quiet = False,
    form: Form = None,
    json: Json = False,
    workers: Workers = None,
) -> None:
    """Do nothing; the options alone take time."""


@app.command()
def diff(
    a: DumpA,
    b: DumpB,
    rtol: Rtol = None,
    atol: Atol = None,
    strip_prefix: StripPrefix = None,
    rename: Rename = None,
    include: Include = None,
    exclude: Exclude = None,
    sort: Sort = None,
    reverse: Reverse = False,
    top: Top = None,
    everything: Everything = False,
    quiet: Quiet = False,
    form: Form = None,
    json: Json = False,
    workers: Workers = None,
) -> None:
    """Do nothing either."""


@app.command()
def check(paths: Paths = None, quiet: Quiet = False, json: Json = False) -> None:
    """Do nothing either."""


@app.command()
def trend(
    steps: Paths = None,
    step_from: StepFrom = None,
    spike: Spike = None,
    suggest: Suggest = False,
    plot: Plot = None,
    force: Force = False,
    cache: Cache = None,
    include: Include = None,
    exclude: Exclude = None,
    everything: Everything = False,
    quiet: Quiet = False,
    form: Form = None,
    json: Json = False,
    workers: Workers = None,
) -> None:
    """Do nothing either."""
