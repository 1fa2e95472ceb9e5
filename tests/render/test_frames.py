"""`to_pandas`: a row for each row of a result, numbers as numbers, and no need for pandas."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from tests.dumps import floats, write_safetensors
from tests.notebooks import needs
from tests.render.test_pages_to_show import HOSTILE
from tests.render.test_results_in_python import RESULTS
from tests.running import program
from tests.steps import INF, NAN, write_steps

needs_pandas = needs("pandas")


@needs_pandas
@pytest.mark.parametrize("name", RESULTS)
def test_a_frame_has_the_rows_and_the_names_of_json(name: str) -> None:
    result = RESULTS[name][1]()
    found = result.to_pandas()
    rows = result.to_dict()[result.sheet.keys[result.sheet.key]]
    assert [found.index.name, *found.columns] == [column.name for column in result.sheet.own]
    assert [*found.index] == [row[found.index.name] for row in rows]
    for column in found:
        told = [row[column] for row in rows]
        if found[column].dtype.kind in "if" and None not in told:
            assert [*found[column]] == told


@needs_pandas
def test_numbers_are_numbers_and_what_is_unknown_is_missing(tmp_path: Path) -> None:
    (bad,) = write_steps(tmp_path, {"a": [NAN, 1.0], "b": [INF], "c": [3.0, 4.0], "none": []})
    found = gradclip_cli.inspect(bad).to_pandas()
    assert found.norm["c"] == 5
    assert math.isnan(found.norm["a"])
    assert found.norm["b"] == INF
    assert found.nan.sum() == 1
    assert {str(found[name].dtype) for name in ("norm", "share", "rms", "max_abs")} == {"float64"}
    assert {str(found[name].dtype) for name in ("count", "zeros", "nan")} == {"int64"}
    assert found["shape"]["c"] == (2,)
    assert found.first_nonfinite["a"] == (0,)
    assert found.share.isna().all()


@needs_pandas
def test_whole_numbers_stay_whole_beside_unknown_ones(tmp_path: Path) -> None:
    (good,) = write_steps(tmp_path, {"a": [3.0, 0.0]})
    np.save(tmp_path / "odd.npy", np.arange(3))
    both = (good, str(tmp_path / "odd.npy"))
    found = gradclip_cli.inspect(*both, one_gradient=True).to_pandas()
    assert str(found.zeros.dtype) == "Int64"
    assert found.zeros["a"] == 1
    assert found.zeros.isna()["odd"]


@needs_pandas
def test_steps_are_numbers_and_one_that_cannot_be_read_has_a_row(tmp_path: Path) -> None:
    steps = write_steps(tmp_path, {"a": [1.0]}, {"a": [NAN]}, {"a": [2.0]})
    Path(steps[2]).write_bytes(b"\0junk")
    found = gradclip_cli.trend(*steps).to_pandas()
    assert [*found.index] == [0, 1, 2]
    assert found.index.dtype.kind == "i"
    assert [one if isinstance(one, str) else None for one in found.mark] == [
        None,
        "nonfinite",
        "unreadable",
    ]
    assert str(found.nonfinite.dtype) == "Int64"
    assert found.problem.isna().tolist() == [True, True, False]


@needs_pandas
def test_names_are_data_in_a_frame_and_those_that_are_no_unicode_are_escaped(
    tmp_path: Path,
) -> None:
    tensors = {name: floats("F64", (1,), [1.0]) for name in HOSTILE}
    write_safetensors(tmp_path / "a.safetensors", tensors)
    found = gradclip_cli.inspect(tmp_path / "a.safetensors").to_pandas()
    assert {*found.index} == {*HOSTILE}
    odd = tmp_path / "\udcff.npy"
    np.save(odd, np.ones(1))
    assert [*gradclip_cli.inspect(odd).to_pandas().index] == [r"\udcff"]


@needs_pandas
def test_dumps_of_nothing_and_results_of_nothing_have_frames(tmp_path: Path) -> None:
    empty = write_steps(tmp_path, {}, {})
    for result in (
        gradclip_cli.trend(*empty),
        gradclip_cli.suggest(gradclip_cli.trend(*empty)),
        gradclip_cli.diff(*empty),
        gradclip_cli.explain(RESULTS["report"][0][1], logged="123.456789"),
    ):
        found = result.to_pandas()
        assert found.index.name == result.sheet.own[0].name


@needs_pandas
def test_a_tensor_without_a_name_has_a_row(tmp_path: Path) -> None:
    (path,) = write_steps(tmp_path, {"a": [3.0], "b": [4.0]})
    report = gradclip_cli.inspect(path)
    first, second = report.rows
    report = report.with_rows([first, dataclasses.replace(second, name=None)])
    found = report.to_pandas()
    assert found.index.isna().tolist() == [False, True]
    assert [*found.norm] == [4.0, 3.0]


def test_without_pandas_the_way_to_it_is_told(tmp_path: Path) -> None:
    (path,) = write_steps(tmp_path, {"a": [1.0]})
    text = (
        "import sys; sys.modules['pandas'] = None; import gradclip_cli\n"
        "try: gradclip_cli.inspect(sys.argv[1]).to_pandas()\n"
        "except gradclip_cli.GradclipError as error: print(error)"
    )
    done = program(text, path)
    assert done.out.splitlines() == [
        "to_pandas: needs pandas, which is not installed",
        "hint: install it: pip install pandas",
    ]
