"""The least that a Typer app with gradclip's options can do: import NumPy and print a line or two.

What gradclip takes beyond this at start-up is its own doing.
"""

import sys
from typing import Annotated, Literal

import typer

app = typer.Typer(
    name="minimal",
    help="An app that does nothing.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help, as gradclip's is
)

Format = Literal["table", "tsv", "csv", "json", "jsonl", "md"]
Paths = Annotated[list[str] | None, typer.Argument(help="Files.", show_default=False)]
Include = Annotated[list[str] | None, typer.Option("--include", help="Only these.")]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", help="Not these.")]
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
Form = Annotated[Format | None, typer.Option("--format", help="How to print.")]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
ClipNorm = Annotated[float, typer.Option("--clip-norm", help="The limit.")]
UseNorm = Annotated[float | None, typer.Option("--use-norm", help="A known norm.")]
Output = Annotated[str | None, typer.Option("--output", "-o", help="A file.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the files.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing.")]
ReportFile = Annotated[str | None, typer.Option("--report", help="A file for the report.")]
Nonfinite = Annotated[
    Literal["refuse", "zero", "skip", "propagate"], typer.Option("--nonfinite", help="What to do.")
]


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
    include: Include = None,  # noqa: ARG001
    exclude: Exclude = None,  # noqa: ARG001
    sort: Sort = None,  # noqa: ARG001
    reverse: Reverse = False,  # noqa: ARG001
    top: Top = None,  # noqa: ARG001
    everything: Everything = False,  # noqa: ARG001
    bad_only: BadOnly = False,  # noqa: ARG001
    group_by: GroupBy = None,  # noqa: ARG001
    fail_above: FailAbove = None,  # noqa: ARG001
    fail_nonfinite: FailNonfinite = False,  # noqa: ARG001
    quiet: Quiet = False,  # noqa: ARG001
    form: Form = None,
    json: Json = False,  # noqa: ARG001
    workers: Workers = None,  # noqa: ARG001
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
    clip_norm: ClipNorm,
    paths: Paths = None,
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


if __name__ == "__main__":
    app()
