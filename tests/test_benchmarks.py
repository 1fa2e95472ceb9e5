"""The benchmarks judge and print what was measured truly; no time is taken here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import curve_table, table
from benchmarks.curve import CURVED, Curve, Curves, Point, Setting, settings
from benchmarks.files import Size
from benchmarks.machine import answers
from benchmarks.plans import PASSES, Pass, Shape, simulate
from benchmarks.results import Result, Results
from benchmarks.rows import ROWS
from benchmarks.sheet import markdown
from benchmarks.simulated import Costs, SimulatedCluster, done_here
from benchmarks.timing import Comparison, Run
from gradclip_cli.engine.crew import Crew
from gradclip_cli.files.source import FileSource
from gradclip_cli.measure.meter import measure_tensors
from gradclip_cli.tensors.dtypes import numeric
from gradclip_cli.tensors.dump import Tensor

INSPECT, _ = CURVED
MACHINE = {"cores": "2"}

KEPT = Result(INSPECT, "kept", Comparison((Run(1.0, 1),), (Run(1.0, 1),)))
MISSED = Result(INSPECT, "missed", Comparison((Run(9.0, 1),), (Run(1.0, 1),)))
BROKEN = Result(INSPECT, "broken", None, "cat ended with status 1")
ABSENT = Result(INSPECT, "absent", None, "not installed", absent=True)


def point(processors: int, workers: int | None, *seconds: float) -> Point:
    """Give a point whose default number of workers is that of its processors."""
    setting = Setting(range(processors), workers)
    return Point(setting, workers or processors, [Run(some, 1 << 20) for some in seconds])


CURVE = Curve(
    INSPECT,
    "inspect FILE",
    3_000_000_000,
    [
        point(1, None, 3.0, 2.0, 9.0),
        point(2, None, 1.5),
        point(2, 1, 2.5),
        point(2, 2, 1.25),
        point(2, 4, 2.0),
    ],
)


@pytest.mark.skipif(shutil.which("taskset") is None, reason="taskset comes with Linux")
def test_a_command_of_the_curve_has_no_other_processors_than_its_own() -> None:
    (first, *_) = sorted(os.sched_getaffinity(0))
    asked = (sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))")
    answer = subprocess.check_output(Setting([first]).put_on(asked), text=True)
    assert answer.split() == [str(first)]


@pytest.mark.parametrize("count", [1, 2, 5, 8, 9, 64, 96])
def test_the_curve_begins_with_one_processor_and_ends_with_all(count: int) -> None:
    found = [some for some in settings(range(count)) if some.workers is None]
    sizes = [len(some.processors) for some in found]
    assert sizes[0] == 1
    assert sizes[-1] == count
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("count", [1, 2, 5, 64])
def test_workers_are_given_up_to_twice_as_many_as_there_are_processors(count: int) -> None:
    given = [some for some in settings(range(count)) if some.workers is not None]
    assert all(len(some.processors) == count for some in given)
    assert {1, 2, 3, 4, count, 2 * count} <= {some.workers for some in given}


def test_the_curve_says_how_many_times_as_fast_as_one_processor() -> None:
    table = markdown(curve_table.sheet(Curves("full", MACHINE, [CURVE])))
    assert "| inspect FILE | 1 | 1 (default) | 3.00 s | 1.00 GB/s | 1.00 × |" in table
    assert "| inspect FILE | 2 | 2 (default) | 1.50 s | 2.00 GB/s | 2.00 × |" in table
    assert "| inspect FILE | 2 | 4 | 2.00 s | 1.50 GB/s | 1.50 × |" in table
    assert "the default of 2 takes 1.20 × the time of the best that was given, 2." in table


def test_the_curve_as_json_has_every_run() -> None:
    document = json.loads(curve_table.document(Curves("full", MACHINE, [CURVE])))
    first, second, *_ = document["curves"][0]["points"]
    assert [run["seconds"] for run in first["runs"]] == [3.0, 2.0, 9.0]
    assert (first["workers"], first["default"]) == (1, True)
    assert (second["bytes_per_second"], second["speed_up"]) == (2e9, 2.0)


def test_a_curve_that_could_not_be_run_says_why_and_fails() -> None:
    broken = Curves("full", MACHINE, [Curve(INSPECT, "inspect FILE", 1, (), "taskset is missing")])
    assert not broken.good
    assert "| inspect FILE | – | – | – | – | taskset is missing |" in markdown(
        curve_table.sheet(broken)
    )
    assert json.loads(curve_table.document(broken))["curves"][0]["reason"] == "taskset is missing"


@pytest.mark.parametrize("size", ["full", "small"])
def test_a_competitor_that_nobody_has_to_have_is_not_missed(size: Size) -> None:
    results = Results(size, MACHINE, [KEPT, ABSENT])
    assert results.good
    sheet = table.sheet(results)
    assert sheet.rows[1][-3:] == ("not installed", "2 ×", "–")
    assert size == "small" or "1 of 1 rows keep" in sheet.remarks[-1]
    assert json.loads(table.document(results))["rows"][1]["met"] is None


@pytest.mark.parametrize("size", ["full", "small"])
def test_a_row_whose_command_fails_has_missed(size: Size) -> None:
    results = Results(size, MACHINE, [KEPT, ABSENT, BROKEN])
    assert not results.good
    assert table.sheet(results).rows[2][-3:] == ("cat ended with status 1", "2 ×", "no")


def test_bounds_count_at_full_size_alone() -> None:
    assert not Results("full", MACHINE, [KEPT, MISSED]).good
    assert Results("small", MACHINE, [KEPT, MISSED]).good


@pytest.mark.parametrize("program", ["none", "another", "stat"])
def test_sft_is_asked_whether_it_has_stat(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = (row for row in ROWS if row.probe is not None)
    assert row.probe is not None
    if program != "none":
        sft = tmp_path / "sft"
        sft.write_text(f"#!/bin/sh\n[ {program} = stat ] && [ $1 = stat ]\n")
        sft.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert answers(row.probe) == (program == "stat")


TOP = Path(__file__).parents[1]
SMALL = Shape("small", 3, 2, 20_000)


def on_disk(folder: Path) -> list[Tensor]:
    """Write a small dump that is laid out as the plans of `benchmarks.scale` are."""
    found = []
    for number in range(3):
        values = np.random.default_rng(number).standard_normal(40_000, np.float32)
        (folder / str(number)).write_bytes(values.tobytes())
        with (folder / str(number)).open("rb") as stream:
            source = FileSource.of(stream.fileno(), str(folder / str(number)), str(number))
        for offset in (0, 80_000):
            shape = (20_000,)
            found.append(Tensor(None, numeric("f", 32), shape, source, offset, 80_000))
    return found


@pytest.mark.parametrize("workers", [1, 2, 64])
def test_simulated_workers_give_the_results_of_a_run_without_them(
    workers: int, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    tensors = on_disk(tmp_path)
    plain = measure_tensors(tensors, range(6), Crew())
    crew = SimulatedCluster(workers, Costs(1e-9, 1e-6), done_here)
    assert measure_tensors(tensors, range(6), crew) == plain


def test_a_plan_takes_less_time_with_more_workers_until_the_storage_is_slowest() -> None:
    pytest.importorskip("distributed")
    slow = Costs(1e-3, 0.0, storage=5e3)
    large = Shape("large", 4, 1, 16 << 20)
    found = [simulate("spans", large, "measuring", workers, slow) for workers in (1, 2, 4, 64)]
    assert [one.took for one in found] == sorted([one.took for one in found], reverse=True)
    assert found[0].took == pytest.approx(large.size * 1e-3, rel=0.01)
    assert found[-1].took == pytest.approx(large.size / 5e3, rel=0.01)
    assert [one.bottleneck for one in found] == ["workers", "workers", "workers", "storage"]


@pytest.mark.parametrize("doing", PASSES)
def test_a_plan_has_each_of_its_batches_done_and_knows_what_the_driver_took(doing: Pass) -> None:
    pytest.importorskip("distributed")
    found = simulate("tensors", SMALL, doing, 2, Costs(1e-9, 1e-6, asking=0.5))
    assert found.batches > 0
    assert found.asking == 0.5 * found.batches
    assert found.took >= found.driver > found.asking


@pytest.mark.heavy  # two schedulers and eight passes: a minute on a busy machine
def test_the_scale_of_a_cluster_is_told_as_a_table_as_json_and_as_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    told, drawn = tmp_path / "scale.json", tmp_path / "scale.png"
    options = ("--quick", "--markdown", "--json", told, "--picture", drawn)
    table = subprocess.check_output(
        (sys.executable, "-m", "benchmarks.scale", *options), text=True, cwd=TOP
    )
    found = json.loads(told.read_text())["found"]
    assert len(found) == 8
    assert table.count("\n| 70 TB in 2,097,280 spans | ") == 4
    assert table.count("\n| 1,000,000 tensors of 16 KiB | ") == 4
    assert "An empty batch on Dask, workers: 2: driver " in table
    assert drawn.read_bytes().startswith(b"\x89PNG")
