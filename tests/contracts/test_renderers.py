"""Every registered output format keeps the contract, and every kind of result has a page."""

import csv
import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import gradclip_cli
from gradclip_cli.render import words
from gradclip_cli.render.registry import PAGES, RENDERERS
from gradclip_cli.render.renderer import Renderer, pieces
from gradclip_cli.results.columns import Column, Result, Sheet
from gradclip_cli.results.trend import SHEET, Trend
from tests.contracts.renderers import RESULTS, SAMPLES, RendererContract
from tests.written import plain


@pytest.mark.parametrize("form", RENDERERS, scope="class")
class TestEachRenderer(RendererContract):
    """The contract, for each output format of the registry."""

    @pytest.fixture(autouse=True)
    def _of_the_registry(self, form: str) -> None:
        self.form = form


@pytest.fixture(params=RESULTS, ids=str)
def result(request: pytest.FixtureRequest, tmp_path: Path) -> Result:
    return RESULTS[request.param](tmp_path)


def test_every_kind_of_result_has_a_page_and_every_page_a_kind(tmp_path: Path) -> None:
    kinds = {make(tmp_path).sheet.name for make in RESULTS.values()}
    assert kinds == PAGES.keys()


def test_every_column_has_words_that_there_are_and_a_sentence(result: Result) -> None:
    for column in result.sheet.columns:
        assert column.words in words.CELLS or column.words == "name"
        assert column.doc or not column.name or column.words == "name"


def test_no_two_columns_have_one_name(result: Result) -> None:
    names = result.sheet.names
    assert len({*names}) == len(names)


def test_each_line_of_a_table_of_cells_has_them_all(result: Result) -> None:
    lines = plain(result, "tsv").splitlines()
    assert {line.count("\t") for line in lines} == {len(result.sheet.names)}
    rows = list(csv.reader(io.StringIO(plain(result, "csv"), newline="")))
    assert {len(row) for row in rows} == {1 + len(result.sheet.names)}


def test_json_and_its_lines_say_the_same(result: Result) -> None:
    whole = json.loads(plain(result, "json"))
    lines = [json.loads(line) for line in plain(result, "jsonl").splitlines()]
    *rows, last = [{key: line[key] for key in line if key != "row"} for line in lines]
    kept = [row for kind, row in zip(lines, rows, strict=False) if kind["row"] in result.sheet.keys]
    listed = [row for key in result.sheet.keys.values() for row in whole.pop(key, ())]
    assert kept == listed
    assert last.items() <= whole.items()
    assert lines[-1]["row"] == result.sheet.last


def test_rich_prints_a_result_as_a_terminal_shows_it(result: Result) -> None:
    # What is longer than a line Rich breaks, as a terminal does.
    assert "".join("".join(_printed(result, 80)).split()) == "".join(plain(result, "table").split())


@pytest.mark.parametrize("width", [1, 12, 14, 39, 40])
def test_rich_prints_a_result_in_any_console(width: int, result: Result) -> None:
    assert _printed(result, width)


def _printed(result: Result, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(result)
    return capture.get().splitlines()


class _Late(Renderer):
    def row(self, kind: str, row: Any) -> str:
        return row if row == "said" else ""


@dataclasses.dataclass(frozen=True)
class _Told(Result):
    rows: tuple[str, ...]

    def told(self) -> Iterator[tuple[str, str]]:
        return (("row", row) for row in self.rows)


def test_many_rows_without_a_word_do_not_end_the_text() -> None:
    result = _Told(("",) * 5000 + ("said",))
    assert "".join(pieces(result, _Late(SHEET, None, everything=True))) == "said"


def test_a_run_has_room_for_what_its_steps_are_called() -> None:
    names = [f"step-{number}.safetensors" for number in (120_000, 120_001)]
    steps = [SAMPLES / "step-19.safetensors", SAMPLES / "step-20.safetensors"]
    run = gradclip_cli.trend(*steps)
    longer = dataclasses.replace(
        run,
        steps=tuple(
            dataclasses.replace(step, step=name)
            for step, name in zip(run.steps, names, strict=True)
        ),
    )
    assert all(any(name in line for line in _printed(longer, 80)) for name in names)


def test_a_column_with_a_title_stands_in_the_table_of_a_run() -> None:
    run = _run_with(Column("", "threshold", title="begins"))
    assert "begins" in plain(run, "table").splitlines()[0]


def _run_with(column: Column) -> Result:
    run = RESULTS["trend"](SAMPLES)
    assert isinstance(run, Trend)

    class Wider(Trend):
        __slots__ = ()

        @property
        def sheet(self) -> Sheet:
            return dataclasses.replace(SHEET, columns=(*SHEET.columns, column))

    fields = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
    return Wider(**fields)
