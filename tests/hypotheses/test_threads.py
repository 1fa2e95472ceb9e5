"""Each hypothesis explains a number that somebody asked about in public."""

import json
from pathlib import Path

import pytest

from gradclip_cli.hypotheses.table import ALTERATIONS, HYPOTHESES
from tests.hypotheses.threads import THREADS, Thread
from tests.running import Run

TABLE = {one.name: one.source for one in (*HYPOTHESES, *ALTERATIONS)}
SLOW = {one.name for one in HYPOTHESES if one.slow}


@pytest.mark.parametrize("thread", THREADS, ids=lambda one: f"{one.hypothesis}-{one.logged}")
def test_what_was_asked_in_a_thread_is_answered(thread: Thread, here: Path, run: Run) -> None:
    thread.write(here)
    combine = [f"--combine={one}" for one in thread.combine]
    found = run("inspect", ".", *combine, "--json")
    assert json.loads(found.out)["global_norm"] == (
        None if thread.norm != thread.norm else pytest.approx(thread.norm, rel=1e-3)
    )
    said = run("explain", ".", "--logged", thread.logged, *combine, "--json")
    answer = json.loads(said.out)
    assert (said.status, answer["explained"]) == (0, True)
    assert any(
        (fit["hypotheses"], fit["grade"]) == ([thread.hypothesis], "likely")
        and thread.says in fit["hypothesis"]
        for fit in answer["fits"]
    )


def test_every_hypothesis_has_a_thread() -> None:
    assert {thread.hypothesis for thread in THREADS} | SLOW == set(TABLE)
    assert {source for name, source in TABLE.items() if name not in SLOW} <= {
        thread.url for thread in THREADS
    }
