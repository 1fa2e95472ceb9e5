"""What `gradclip inspect` does, as a function that returns the report that the command prints."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradclip_cli.commands.measuring import Path, measured, notes
from gradclip_cli.commands.opening import gradient
from gradclip_cli.commands.spooling import settled, spool
from gradclip_cli.engine.crew import Progress, crew
from gradclip_cli.results.report import Report
from gradclip_cli.results.reporting import report
from gradclip_cli.tensors.gradients import gradients, undecodable
from gradclip_cli.tensors.selection import Selection

if TYPE_CHECKING:
    from gradclip_cli.commands.what_if import Chance


def inspect(
    *paths: Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    one_gradient: bool = False,
    norm_type: float | None = None,
    clip_norm: float | Sequence[float] = (),
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure dumps: files, or folders of them, together one gradient.

    The steps of a run are none, and refused, unless `one_gradient` says so. `include` and `exclude`
    are shell patterns over whole tensor names. `norm_type` is the p of the norms, 2 if not given,
    infinite for the largest magnitude. With one or more limits `clip_norm` the report says what
    clipping to each would do, for which the values are read again. Raises `GradclipError` for a
    path that is no sound dump, and where nothing is selected.
    """
    limits = [clip_norm] if isinstance(clip_norm, int | float) else clip_norm
    p = 2.0
    chances: Sequence[Chance] = ()
    if limits or norm_type is not None:  # else the rules need not be imported, which takes time
        from gradclip_cli.rules.choosing import chosen as chosen_rule
        from gradclip_cli.rules.terms import norm_type_of

        p = norm_type_of(norm_type)
        terms = {"norm_type": norm_type}
        chances = [chosen_rule(None, {"clip_norm": limit, **terms}) for limit in limits]
    dump = gradient([os.fspath(path) for path in paths], one_gradient)
    selection = Selection(include, exclude)
    chosen = gradients(dump, selection)
    with contextlib.ExitStack() as stack:
        spools = spool(dump, stack) if chances else {}
        moments = measured(dump, chosen, workers, progress, p)
        unread = len(undecodable(dump, selection))
        seen = report(dump, moments, notes(dump, chosen, selection, p), unread=unread)
        if not chances:
            return seen
        from gradclip_cli.commands.what_if import what_if

        hands = stack.enter_context(crew(workers, progress))
        told = what_if(settled(dump, spools), moments, chances, hands)
    return dataclasses.replace(seen, what_if=told)
