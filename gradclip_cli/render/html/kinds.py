"""What a page has of each kind of result: its figures, its sentences, its tables."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gradclip_cli.frozen import constant
from gradclip_cli.registry import load
from gradclip_cli.render.html.numbers import text
from gradclip_cli.render.html.parts import Event, Fact, Part, Picture, Sentence, Table, Tone
from gradclip_cli.render.html.tables import LONGEST_NAME, table, worst_steps
from gradclip_cli.render.registry import PICTURES
from gradclip_cli.results.answers import paragraphs
from gradclip_cli.results.columns import Column, Result, Sheet
from gradclip_cli.results.comparison import Comparison
from gradclip_cli.results.limiting import Limit
from gradclip_cli.results.report import Report
from gradclip_cli.results.story import story
from gradclip_cli.results.suggestion import CAVEAT, REASON, Suggestion
from gradclip_cli.results.trend import Trend
from gradclip_cli.tensors.names import escape, plural, printable, shortened

_LONGEST = 2000  # characters of a sentence
_MOST_NOTES = 50
_WORST = "the worst first"
_USUAL = {"norm_type": 2}
_SAME = {"finite_norm": "global_norm", "measured": "total", "compared": "total"}  # told once


@constant
class Kind:
    """What a page has of a kind of result.

    `facts` are keys of its summary, as JSON has it, with their words; those that are None are left
    out; `more` are figures that are not there by themselves. `sentences` come below the verdict,
    bad news marked. The `story` is what happened, and what follows from that.
    """

    facts: Mapping[str, str]
    sentences: Callable[[Any], Iterator[Sentence]]
    tables: Callable[[Any], Iterator[Table]]
    more: Callable[[Any], Sequence[Fact]] = lambda _: ()
    story: Callable[[Any], tuple[list[Event], str]] = lambda _: ([], "")


def part(found: Result, limits: Sequence[Limit]) -> Part:
    """Give what is shown of a result."""
    name = found.sheet.name
    kind = KINDS[name]
    summary = found.summary()
    facts = [
        Fact(words, text(summary[key]))
        for key, words in kind.facts.items()
        if summary.get(key) not in (None, _USUAL.get(key))
        and summary[key] != summary.get(_SAME.get(key, ""))
    ]
    facts += kind.more(found)
    drawn = (load(picture)(found, limits) for picture in PICTURES.get(name, ()))
    pictures: list[Picture] = [picture for picture in drawn if picture is not None]
    said = [Sentence(shortened(one.says, _LONGEST), one.kind) for one in kind.sentences(found)]
    if len(said) > _MOST_NOTES:
        said = [*said[:_MOST_NOTES], Sentence(f"… {len(said) - _MOST_NOTES:,} more")]
    says = shortened(found.says, _LONGEST)
    tables = [one for one in kind.tables(found) if one.lines]
    origin = shortened(found.origin, _LONGEST)
    events, moral = kind.story(found)
    return Part(name, tone_of(found), says, facts, said, pictures, tables, origin, events, moral)


def tone_of(found: Result) -> Tone:
    """Say whether a result is good news, something to look at, or bad."""
    if found.finite is False:
        return "bad"
    strays = isinstance(found, Trend) and (found.spikes or found.shifts or found.departures)
    return "look" if strays or found.status else "good"


def limits_of(found: Result) -> list[Limit]:
    """Give the limits that a result knows of."""
    if isinstance(found, Report):
        norms = dict.fromkeys(one.clip_norm for one in found.what_if if one.rule.is_joint)
        return [Limit(norm, "--clip-norm") for norm in norms if norm]
    if isinstance(found, Suggestion) and found.best is not None and found.recommended:
        return [Limit(found.recommended, "recommended: --clip-norm", found.best.clipped)]
    return [found.limit] if isinstance(found, Trend) and found.limit is not None else []


def _notes(found: Any) -> Iterator[Sentence]:
    return (Sentence(printable(note)) for note in found.notes)


# A report


def _of_report(found: Report) -> Iterator[Sentence]:
    for gate in found.gates:
        if gate.says and not gate.status:
            yield Sentence(gate.says)
    yield from _notes(found)


def _report_tables(found: Report) -> Iterator[Table]:
    if found.what_if:
        yield table("What limits would do", _CHANCES, found.what_if, _calm)
    rows = found.telling
    what = "Groups" if rows and rows[0].kind == "group" else "Tensors"
    yield table(what, found.sheet, rows, lambda row: "bad" if any(row.bad) else None, _WORST)


_CHANCES = Sheet(
    "what-if",
    (
        Column("limit", "rule.bound", "the limit, or the limits"),
        Column("rule", "rule.word", "the rule"),
        Column("clip_norm", "clip_norm", "the limit, where it is one for a norm"),
        Column("coefficient", "coefficient", "what values would be multiplied by"),
        Column("norm_after", "norm_after", "the norm then"),
        Column("changed", "changed", "number of tensors that would change"),
        Column("flushed", "flushed", "number of values that would become zero"),
        Column("subnormal", "subnormal", "number of values that would lose digits"),
        Column("saturated", "saturated", "number cut to the largest that the dtype holds"),
    ),
    "chance",
    {},
)


def _calm(_row: Any) -> Tone | None:
    return None


# A run


def _story(found: Trend) -> tuple[list[Event], str]:
    """Give what happened, and the moral."""
    told = story(found)
    events = [
        Event(
            round((event.place + 0.5) / len(found.steps), 6),
            shortened(escape(event.tensor or ""), LONGEST_NAME),
            f"step {event.step}",
            [shortened(one, _LONGEST) for one in event.says],
        )
        for event in told.numbered
    ]
    left = (
        f" {plural(told.left, 'more event is', 'more events are')} left out." if told.left else ""
    )
    return events, told.moral + left


def _of_trend(found: Trend) -> Iterator[Sentence]:
    for bad in found.unreadable:
        said = f"step {escape(str(bad.step))} cannot be read: {printable(bad.problem)}"
        yield Sentence(said, "bad")
    for said, is_bad in paragraphs(found):
        yield Sentence(said.strip(), "bad" if is_bad else "more" if said[0] == " " else "")
    if found.limited:
        yield Sentence(found.limited)
    yield from _notes(found)


def _loudest(found: Trend) -> Sequence[Fact]:
    if (step := found.loudest) is None:
        return ()
    where = Fact("at step", text(step.step if isinstance(step.step, int) else escape(step.step)))
    return Fact("largest norm", text(step.global_norm)), where


def _trend_tables(found: Trend) -> Iterator[Table]:
    rows = worst_steps(row for _, row in found.told())

    def tone(row: Any) -> Tone | None:
        norm = getattr(row, "global_norm", None)
        if norm is None or not math.isfinite(norm):
            return "bad"
        return "look" if row.mark == "spike" else None

    yield table("Steps", found.sheet, rows, tone, _WORST)


# Others


def _of_suggestion(found: Suggestion) -> Iterator[Sentence]:
    if found.warning:
        yield Sentence(found.warning, "bad")
    if found.best is not None:
        yield Sentence(REASON)
    yield Sentence(CAVEAT)


def _of_comparison(found: Comparison) -> Iterator[Sentence]:
    for error in found.unreadable:
        yield Sentence(f"{printable(error.subject)}: {printable(error.problem)}", "bad")
    yield from _notes(found)


def _comparison_tables(found: Comparison) -> Iterator[Table]:
    rows = [row for row in found.rows if row.state != "identical"] or list(found.rows)
    same = len(found.rows) - len(rows)
    title = f"Tensors, but for {plural(same, 'identical one')}" if same else "Tensors"
    yield table(title, found.sheet, rows, lambda row: "bad" if row.nonfinite else None, _WORST)


def _of_problem(row: Any) -> Tone | None:
    return "bad" if getattr(row, "problem", None) else None


def _rows(title: str) -> Callable[[Result], Iterator[Table]]:
    def tables(found: Result) -> Iterator[Table]:
        rows = [row for kind, row in found.told() if kind == found.sheet.key]
        rows.sort(key=lambda row: bool(getattr(row, "sound", False)))
        yield table(title, found.sheet, rows, _of_problem)

    return tables


KINDS = {
    "report": Kind(
        {
            "global_norm": "global norm",
            "finite_norm": "without what is not finite",
            "norm_type": "norm type",
            "nonfinite": "values not finite",
            "measured": "tensors measured",
            "total": "tensors",
            "count": "values",
            "limit": "limit",
            "coefficient": "coefficient",
            "norm_after": "norm after",
        },
        _of_report,
        _report_tables,
    ),
    "trend": Kind(
        {
            "count": "steps",
            "clip_norm": "limit",
            "clipped": "clipped",
        },
        _of_trend,
        _trend_tables,
        _loudest,
        _story,
    ),
    "comparison": Kind(
        {
            "verdict": "verdict",
            "relative_error": "relative error",
            "norm_a": "norm of A",
            "norm_b": "norm of B",
            "ratio": "B/A",
            "cosine": "cosine",
            "factor": "factor",
            "max_abs_diff": "largest difference",
            "changed": "values changed",
            "count": "values",
            "newly_nonfinite": "newly not finite",
            "compared": "tensors compared",
            "total": "tensors",
        },
        _of_comparison,
        _comparison_tables,
    ),
    "suggestion": Kind(
        {
            "recommended": "recommended limit",
            "steps": "steps",
            "used": "steps that it rests on",
            "excluded": "steps left out",
        },
        _of_suggestion,
        _rows("Ways to clip"),
    ),
    "explanation": Kind(
        {
            "logged": "logged",
            "global_norm": "exact norm",
            "tried_alone": "hypotheses tried",
            "tried_by_twos": "by twos",
            "by_chance": "would fit by chance",
            "measured": "tensors measured",
            "count": "values",
        },
        _notes,
        _rows("What gives that number"),
    ),
    "soundness": Kind({}, _notes, _rows("Files")),
}
"""By the names of sheets."""
