"""The notebook of the docs: it is kept without outputs, and shows each result when it is run."""

import json
import re
from typing import Any

import pytest

from tests.notebooks import executed, needs, needs_a_kernel
from tests.pages import TOP
from tests.render.test_pages_to_show import Seen

NOTEBOOK = TOP / "docs" / "notebook.ipynb"
RESULTS = ("inspect", "trend", "suggest", "diff", "explain", "check", "apply")


def _code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _html(cell: Any) -> str:
    """Give what a cell that ends in a result shows of it."""
    (shown,) = [one for one in cell["outputs"] if one["output_type"] == "execute_result"]
    return str(shown["data"]["text/html"])


def test_the_notebook_is_kept_without_outputs_and_small() -> None:
    text = NOTEBOOK.read_text("utf-8")
    notebook = json.loads(text)
    assert [cell["outputs"] for cell in _code(notebook)] == [[]] * len(_code(notebook))
    assert {cell["execution_count"] for cell in _code(notebook)} == {None}
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    assert notebook["metadata"].keys() == {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert len(text) < 8000


def test_the_notebook_calls_each_function_of_a_result() -> None:
    code = "".join("".join(cell["source"]) for cell in _code(json.loads(NOTEBOOK.read_text())))
    assert {*re.findall(r"gradclip_cli\.(\w+)\(", code)} == {*RESULTS}
    assert code.count(".plot()") == code.count(".to_pandas()") == 1


@pytest.mark.parametrize("folder", ["", "docs"])
@needs_a_kernel
@needs("pandas", "matplotlib")
def test_the_notebook_runs_and_shows_each_result(folder: str) -> None:
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    executed(notebook, TOP / folder)
    cells = _code(notebook)
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    told: dict[str, str] = {}
    for cell in cells:
        called = re.findall(r"gradclip_cli\.(\w+)\(", cell["source"])
        if called:
            told[called[0]] = Seen(_html(cell)).texts["h2"][0]
        elif "to_pandas" in cell["source"]:
            assert Seen(_html(cell)).texts["th"][1:3] == ["norm", "share"]
        elif ".plot()" in cell["source"]:
            (picture,) = cell["outputs"]
            assert "image/png" in picture["data"]
    verdicts = {
        "inspect": "all finite; rnn.weight_hh_l0 has 98.2 % of the squared norm",
        "trend": "rnn.weight_hh_l0 leaves its range at step 16 and does not come back",
        "suggest": "recommended: --clip-norm 2.04",
        "diff": "differ: 6 of 6 tensors, in value",
        "explain": "16075600 is explained: a loss scale of 2^16 left in",
        "check": "sound: 11 files",
        "apply": "clipped: the global norm was 433422.3932561914 and is 4.999999998325325",
    }
    assert told.keys() == verdicts.keys()
    for name, verdict in verdicts.items():
        assert told[name].startswith(verdict), name
