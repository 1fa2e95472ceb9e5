"""What limits would have done, as text: percentiles, candidates, the one that is recommended."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from gradclip_cli.choices import Format
from gradclip_cli.render.answers import wrapped
from gradclip_cli.render.grid import UNKNOWN, console_of, number
from gradclip_cli.render.json import dumps
from gradclip_cli.render.rows import Value
from gradclip_cli.render.screen import Screen
from gradclip_cli.render.text import HEADS, LINES, cell
from gradclip_cli.results.report import SCHEMA
from gradclip_cli.series.limits import CAVEAT, RECOMMENDED, Candidate, Suggestion
from gradclip_cli.tensors.names import escape

COLUMNS = (
    "name",
    "limit",
    "clipped",
    "clipped_last",
    "mean_coefficient",
    "worst_coefficient",
    "caught",
    "missed",
    "aggressive",
    "recommended",
)
_TITLES = ("candidate", "limit", "clipped", "last tenth", "mean", "worst", "caught", "missed")


def text(suggestion: Suggestion, form: Format) -> str:
    """Write a suggestion in a format that is not the table."""
    rows: list[tuple[str, dict[str, Value]]] = []
    for percent, limit in suggestion.percentiles:
        rows.append(("percentile", {"name": str(percent), "limit": limit}))
    rows += [("candidate", _values(one, suggestion)) for one in suggestion.candidates]
    if form == "json":
        return dumps(
            {
                **_summary(suggestion),
                **_percentiles(suggestion),
                "candidates": [found for kind, found in rows if kind == "candidate"],
            }
        )
    if form == "jsonl":
        lines = [{"row": kind, **found} for kind, found in rows]
        return "".join(map(dumps, [*lines, {"row": "suggestion", **_summary(suggestion)}]))
    body = [[kind, *(cell(found.get(column)) for column in COLUMNS)] for kind, found in rows]
    return "".join([HEADS[form](["row", *COLUMNS]), *map(LINES[form], body)])


def _values(one: Candidate, suggestion: Suggestion) -> dict[str, Value]:
    return {
        "name": one.name,
        "limit": one.limit,
        "clipped": one.clipped,
        "clipped_last": one.clipped_last,
        "mean_coefficient": one.mean_coefficient,
        "worst_coefficient": one.worst_coefficient,
        "caught": one.caught,
        "missed": one.missed,
        "aggressive": one.is_aggressive,
        "recommended": one is suggestion.recommended,
    }


def _percentiles(suggestion: Suggestion) -> dict[str, Any]:
    return {"percentiles": {str(percent): limit for percent, limit in suggestion.percentiles}}


def _summary(suggestion: Suggestion) -> dict[str, Any]:
    recommended = suggestion.recommended
    return {
        "schema": SCHEMA,
        "steps": suggestion.steps,
        "excluded": suggestion.excluded,
        "recommended": None if recommended is None else recommended.limit,
        "notes": [CAVEAT],
    }


def table(suggestion: Suggestion, screen: Screen) -> str:
    """Write a suggestion for a terminal."""
    console = console_of(screen)
    with console.capture() as capture:
        for line in _lines(suggestion, screen.width):
            line.rstrip()
            console.print(line, soft_wrap=True)
    return capture.get()


def _lines(suggestion: Suggestion, width: int) -> Iterator[Text]:
    if suggestion.candidates:
        yield from _grid(suggestion)
        yield Text()
    for paragraph, style in _words(suggestion):
        for line in wrapped(paragraph, width):
            yield Text(line, style)


def _grid(suggestion: Suggestion) -> Iterator[Text]:
    rows = [_TITLES, *(_cells(one) for one in suggestion.candidates)]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = [_padded(row, widths) for row in rows]
    yield Text(lines[0], "bold")
    yield Text("─" * (sum(widths) + 2 * len(widths) - 2))
    for line, one in zip(lines[1:], suggestion.candidates, strict=True):
        yield Text(line, "bold" if one is suggestion.recommended else "")


def _cells(one: Candidate) -> tuple[str, ...]:
    return (
        one.name,
        UNKNOWN if one.limit is None else number(one.limit),
        _part(one.clipped),
        _part(one.clipped_last),
        f"{one.mean_coefficient:.3f}",
        number(one.worst_coefficient),
        f"{one.caught:,}",
        f"{one.missed:,}",
    )


def _part(share: float) -> str:
    """Write a share of steps; what is not all is never called 100 %, what is not none never 0 %."""
    if share in (0, 1):
        return f"{share * 100:.0f} %"
    return f"{min(max(share * 100, 0.1), 99.9):.1f} %"


def _padded(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        (" " * (width - cell_len(text)), text) for text, width in zip(row, widths, strict=True)
    )
    return "  ".join([f"{first[1]}{first[0]}", *(f"{space}{text}" for space, text in rest)])


def _words(suggestion: Suggestion) -> Iterator[tuple[str, str]]:
    recommended = suggestion.recommended
    if suggestion.excluded:
        count = suggestion.excluded
        what = "step without a finite norm is" if count == 1 else "steps without a finite norm are"
        yield f"{count:,} {what} left out; {suggestion.steps:,} remain", "bold red"
    if recommended is None or recommended.limit is None:
        yield "no limit can be recommended: no step has a norm that is finite and above 0", ""
    else:
        yield f"recommended: --clip-norm {recommended.limit!r}", "bold"
        clipped = f"it clips {_part(recommended.clipped)} of the steps"
        if recommended.missed:
            total = recommended.caught + recommended.missed
            clipped += f" and misses {recommended.missed:,} of {total:,} spikes"
        yield f"the {RECOMMENDED}th percentile of the recorded norms; {clipped}", ""
        if recommended.missed:
            yield (
                "norms of an explosion raise the percentiles: for a limit that prevents it give "
                f"only the steps before step {escape(str(suggestion.first_spike))}",
                "",
            )
    harsh = [one.name for one in suggestion.candidates if one.is_aggressive]
    if harsh:
        yield f"extremely aggressive, more than 50 % of the steps clipped: {', '.join(harsh)}", ""
    yield CAVEAT, "dim"
