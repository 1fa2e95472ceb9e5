"""A statistic that stands nowhere else: it is measured, merged, shown in every format, and kept."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from gradclip_cli.measure import statistics
from gradclip_cli.measure.gauge import measure
from gradclip_cli.measure.moments import merge
from gradclip_cli.measure.places import Places
from gradclip_cli.measure.rows import ROW
from gradclip_cli.tensors.codecs import Values
from tests.dumps import floats, write_safetensors
from tests.running import run_here
from tests.written import plain

# The recipe: an entry in measure/statistics.py.


def negatives(values: Values, lanes: int) -> int:
    """Count the values of a block, each of so many lanes, whose real part is below zero."""
    import numpy as np

    return int(np.count_nonzero(values[::lanes] < 0))


NEGATIVES = statistics.Statistic(
    name="negatives",
    doc="number of values below zero",
    measure=negatives,
    merge=sum,
    title="negative",
    words="count",
)
# End of the recipe.


@pytest.fixture(autouse=True)
def _listed() -> Iterator[None]:
    statistics.STATISTICS.append(NEGATIVES)
    yield
    statistics.STATISTICS.remove(NEGATIVES)


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    tensors = {
        "layer.a": floats("F32", (3,), [-3, 4, -12]),
        "layer.b": floats("F32", (2,), [float("nan"), -1]),
        "large": floats("F32", (ROW + 1,), [-1.0] * (ROW + 1)),
        "complex": floats("C64", (2,), [-1, 1, 1, -1]),
        "steps": ("I64", (1,), bytes(8)),
    }
    return write_safetensors(tmp_path / "dump.safetensors", tensors)


FOUND = {"layer.a": 2, "layer.b": 1, "large": ROW + 1, "complex": 1, "steps": None}


def test_each_tensor_has_it_and_the_whole(dump: Path) -> None:
    report = gradclip_cli.inspect(dump)
    whole = json.loads(plain(report, "json"))
    assert {row["name"]: row["negatives"] for row in whole["tensors"]} == FOUND
    assert whole["negatives"] == ROW + 5


def test_it_does_not_depend_on_how_values_were_cut() -> None:
    values = np.random.default_rng(1).standard_normal(3 * ROW + 5)
    parts = [
        measure(values[begin : begin + ROW], 1, Places(begin))
        for begin in range(0, values.size, ROW)
    ]
    assert merge(parts) == measure(values)
    assert dict(merge(parts).further)["negatives"] == int((values < 0).sum())


@pytest.mark.parametrize("form", ["tsv", "csv", "md"])
def test_it_is_the_last_column(form: str, dump: Path) -> None:
    head, *_, last = plain(gradclip_cli.inspect(dump), form).splitlines()
    assert head.strip("| ").endswith("negatives")
    assert last.strip("| ").endswith(str(ROW + 5))


def test_it_is_a_column_of_the_table_and_of_groups(
    dump: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ("inspect", dump, "--group-by", "1", "--format", "table")
    said = run_here(capfd, *given, COLUMNS="160")
    assert "negative" in said.out
    (row,) = (line for line in said.out.splitlines() if line.startswith("layer "))
    assert " 3 " in f"{row} "


def test_the_report_of_apply_has_it_behind_all_other_columns(
    dump: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ("apply", dump, "--clip-norm", "1", "--nonfinite", "zero", "--dry-run")
    head = run_here(capfd, *given).out.splitlines()[0].split("\t")
    assert head[-1] == "negatives"


def test_the_cache_of_a_run_keeps_it(dump: Path, tmp_path: Path) -> None:
    cache = tmp_path / "run.jsonl"
    gradclip_cli.trend(dump, cache=cache)
    (line,) = map(json.loads, cache.read_text().splitlines())
    assert dict(zip(line["names"], line["negatives"], strict=True)) == {
        name: count for name, count in FOUND.items() if count is not None
    }
    (step,) = gradclip_cli.trend(dump, cache=cache).steps
    assert step.measured.further["negatives"] == line["negatives"]


def test_a_recorded_report_gives_it_back(dump: Path, tmp_path: Path) -> None:
    path = tmp_path / "step-1.jsonl"
    path.write_text(plain(gradclip_cli.inspect(dump), "jsonl"))
    (step,) = gradclip_cli.trend(path).steps
    assert sum(step.measured.further["negatives"]) == ROW + 5
