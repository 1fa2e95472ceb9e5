"""From the steps of a run, in order, to what is to be said of it."""

import dataclasses
from collections.abc import Sequence

from gradclip_cli.results import answers
from gradclip_cli.results.trend import Trend
from gradclip_cli.series import findings
from gradclip_cli.series.departures import departures
from gradclip_cli.series.layers import fading
from gradclip_cli.series.ranges import RangeRule
from gradclip_cli.series.shifts import shifts
from gradclip_cli.series.silence import silences
from gradclip_cli.series.spikes import SpikeRule
from gradclip_cli.series.trajectory import Step
from gradclip_cli.series.unreadable import Unreadable


def trend_of(
    steps: Sequence[Step], rule: RangeRule | SpikeRule, bad: Sequence[Unreadable] = ()
) -> Trend:
    """Read what is to be said from steps in order, among which bad ones cannot be read."""
    new_levels = tuple(shifts(steps))
    spikes = tuple(findings.spikes(steps, new_levels))
    found = Trend(
        tuple(steps),
        rule,
        findings.first_nonfinite(steps),
        spikes,
        new_levels,
        tuple(departures(steps, [spike.step for spike in spikes])),
        findings.largest_jump(steps),
        fading(steps),
        tuple(findings.always_zero(steps)),
        tuple(findings.notes(steps)),
        tuple(bad),
        silent=tuple(silences(steps)),
    )
    rows = [row for _, row in found.told()]
    found = dataclasses.replace(found, unchanged=tuple(findings.unchanged(rows)))
    return dataclasses.replace(found, verdict=answers.says(found))
