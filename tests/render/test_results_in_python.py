"""What Python and a notebook get of each result: the JSON, and the parts of the page."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import gradclip_cli
from gradclip_cli.results.columns import Result
from tests.render.test_pages_to_show import HOSTILE, STEPS, Seen
from tests.running import Run, loaded_by
from tests.steps import write_steps

GOOD, BAD = STEPS[-2:]
RESULTS: dict[str, tuple[list[str], Callable[[], Result]]] = {
    "report": (["inspect", BAD], lambda: gradclip_cli.inspect(BAD)),
    "clipped": (
        ["apply", BAD, "--clip-norm", "5", "--dry-run"],
        lambda: gradclip_cli.apply(BAD, clip_norm=5, dry_run=True),
    ),
    "trend": (["trend", *STEPS], lambda: gradclip_cli.trend(*STEPS)),
    "suggestion": (
        ["trend", *STEPS, "--suggest"],
        lambda: gradclip_cli.suggest(gradclip_cli.trend(*STEPS)),
    ),
    "comparison": (["diff", GOOD, BAD], lambda: gradclip_cli.diff(GOOD, BAD)),
    "explanation": (
        ["explain", BAD, "--logged", "433422.39"],
        lambda: gradclip_cli.explain(BAD, logged="433422.39"),
    ),
    "soundness": (["check", BAD, GOOD], lambda: gradclip_cli.check(BAD, GOOD)),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_dictionary_is_the_json(name: str, run: Run) -> None:
    command, result = RESULTS[name]
    assert result().to_dict() == json.loads(run(*command, "--json").out)


@pytest.mark.parametrize("name", RESULTS)
def test_a_notebook_shows_the_parts_of_the_page(name: str) -> None:
    result = RESULTS[name][1]()
    shown = Seen(result._repr_html_())
    assert shown.texts["h2"][0] == result.says
    assert "table" in shown.texts
    assert "script" not in shown.texts
    assert not [one for _, given in shown.elements for one in given if one in ("style", "id")]


def test_names_are_data_in_a_notebook(tmp_path: Path) -> None:
    steps = write_steps(tmp_path, *({name: [1.0], "other": [2.0]} for name in HOSTILE))
    for text in (
        gradclip_cli.trend(*steps)._repr_html_(),
        gradclip_cli.inspect(steps[0])._repr_html_(),
    ):
        assert {tag for tag, _ in Seen(text).elements}.isdisjoint(("script", "img"))


def test_neither_takes_time_where_nobody_asks() -> None:
    assert loaded_by("inspect", BAD, "-q").isdisjoint(("jinja2", "markupsafe", "pandas"))
