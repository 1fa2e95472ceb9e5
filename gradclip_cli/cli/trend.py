"""`gradclip trend`: a run over its steps."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradclip_cli.cli import boundary, output, showing
from gradclip_cli.cli.declared import Command, Given
from gradclip_cli.cli.shared import (
    ALIGNED,
    ALL,
    COMBINE,
    FAIL_NONFINITE,
    FORCE,
    HTML,
    ONE_GRADIENT,
    REPORT,
    SCHEDULER,
    SELECTION,
    VOID_AS,
    WORKERS,
)
from gradclip_cli.options import Operand, Option, number

if TYPE_CHECKING:
    from gradclip_cli.render.progress import Bar
    from gradclip_cli.results.gates import Gate
    from gradclip_cli.results.trend import Trend

STEPS = Operand(
    "steps",
    "One file or folder a step, or a report of inspect --format jsonl.",
    "STEP",
    many=True,
)
STEP_FROM = Option(
    "step_from",
    "What a path's step is: the pattern's first group.",
    metavar="REGEX",
    group="What counts",
    common=True,
)
SPIKE = Option(
    "spike",
    "A spike is above mean + Z σ of the last WINDOW.",
    metavar="Z,WINDOW",
    group="What counts",
    common=True,
)
SUGGEST = Option(
    "suggest",
    "Say what limits would have done to these norms.",
    group="Report",
    common=True,
    default=False,
)
CLIP_NORM = Option(
    "clip_norm",
    "Draw this limit, and say how many steps it clips.",
    metavar="C",
    parse=number("clip_norm", "1.0"),
    group="Report",
    common=True,
)
PLOT = Option(
    "plot",
    "Draw norm and layers into FILE.png or FILE.svg.",
    metavar="FILE",
    group="Where it goes",
    common=True,
)
CACHE = Option(
    "cache",
    "Keep what was measured, so that new steps alone are.",
    metavar="FILE",
    group="Where it goes",
    common=True,
)
TRUST_MTIME = Option(
    "trust_mtime",
    "Take cached steps by size and mtime alone: what was copied.",
    group="Where it goes",
    default=False,
)
FAIL_SPIKE = Option(
    "fail_spike",
    "Status 1 if a step is a spike, 2 if too few can tell.",
    group="Report",
    common=True,
    default=False,
)


def run(given: Given) -> None:
    """Follow the run, and print its rows as they become known."""
    form = output.form_of(given)
    steps = output.operands(given.steps)
    if given.plot is not None:
        from gradclip_cli.render.plots import file as plot

        plot.check(given.plot)
        others = [*steps, *([given.cache] if given.cache else [])]
        output.check_place(given.plot, given.force, others, "the picture")
    showing.check(given, [*steps, *(path for path in (given.cache, given.plot) if path)])
    from gradclip_cli.commands.trend import Audience, trend
    from gradclip_cli.results.suggestion import suggest
    from gradclip_cli.series.spikes import rule_of

    given.spike = None if given.spike is None else rule_of(given.spike)
    with output.progress(hidden=given.quiet) as bar:
        shows = not given.quiet and not given.suggest
        audience: Any = _listening(form, given.everything, bar) if shows else Audience()
        found = trend(*steps, progress=bar, audience=audience, **given.to(trend))
    found = dataclasses.replace(found, gates=_gates(found, given))
    suggested = suggest(found) if given.suggest else None
    showing.write(given, *filter(None, (found, suggested)))
    if shows:
        audience.end(found)
        output.remark(found, form)
    elif suggested is not None and not given.quiet:
        output.show(suggested, form, boundary.stdout(), everything=False)
    if given.plot is not None:
        from gradclip_cli.files.staging import write_whole

        write_whole(given.plot, plot.drawn(found, given.plot), given.force)
    showing.tell(given)
    output.judge(found, given.quiet, [bad.error for bad in found.unreadable])


def _gates(found: "Trend", given: Given) -> "tuple[Gate, ...]":
    """Give the answers to what was asked of the run."""
    if not given.fail_nonfinite and not given.fail_spike:
        return ()
    from gradclip_cli.results import gating

    asked = [gating.finite_steps(found)] if given.fail_nonfinite else []
    return (*asked, *([gating.no_spike(found)] if given.fail_spike else ()))


def _listening(form: str | None, everything: bool, bar: "Bar | None") -> Any:
    """Give what writes a run's rows to stdout as they become known."""
    from gradclip_cli.commands.trend import Audience
    from gradclip_cli.render.registry import renderer
    from gradclip_cli.results.trend import SHEET

    stream = boundary.stdout()
    write = boundary.writer(stream)
    page = renderer(form, SHEET, stream, everything)

    def say(text: str) -> None:
        if not text:
            return
        if bar is not None and stream.isatty():  # the bar would stand in the way; it comes back
            bar.end()
        write(text.encode("utf-8", "backslashreplace"))

    class Listening(Audience):
        def begin(self, steps: Sequence[int | str]) -> None:
            say(page.begin(steps))

        def step(self, step: Any) -> None:
            say(page.row("step", step))

        def end(self, found: "Trend") -> None:
            for text in page.end(found):
                say(text)

    return Listening()


def command() -> Command:
    """Declare the command."""
    return Command(
        "trend",
        (STEPS,),
        (
            STEP_FROM,
            SPIKE,
            *SELECTION,
            ONE_GRADIENT,
            COMBINE,
            *ALIGNED,
            VOID_AS,
            SUGGEST,
            CLIP_NORM,
            dataclasses.replace(FAIL_NONFINITE, group="Report"),
            FAIL_SPIKE,
            PLOT,
            HTML,
            CACHE,
            TRUST_MTIME,
            FORCE,
            ALL,
            *REPORT,
            WORKERS,
            SCHEDULER,
        ),
        (
            "gradclip trend run/ --html run.html",
            r"gradclip trend run/step-*/ --step-from 'step-(\d+)' --cache run.jsonl",
            "gradclip trend run/ --suggest",
        ),
        run,
    )
