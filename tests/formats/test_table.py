"""The table in `docs/formats.md`: each of its examples runs, and no format is missing."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from gradclip_cli.formats import registry
from tests import dcps, pts
from tests.running import Run

TOP = Path(__file__).parents[2]
EXAMPLES = re.findall(
    r"^\| `.*\| `gradclip (.*)` \|$", (TOP / "docs" / "formats.md").read_text(), re.MULTILINE
)

LIBRARIES = {".h5": "h5py", ".msgpack": "msgpack", ".zarr/": "tensorstore"}
"""What is read by a library that need not be installed."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work where there is a dump of every row."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(TOP / "sample_grads", tmp_path / "sample_grads")
    for folder in ("model", "layers"):
        (tmp_path / folder).mkdir()
    values = np.array([3.0, 4.0], "<f4")
    save_file({"a": values}, "model/model-00001-of-00001.safetensors")
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}
    Path("model/model.safetensors.index.json").write_text(json.dumps(index))
    save_file({"gradient": values}, "layers/0.w.safetensors")
    np.savez("grads.npz", a=values)
    stored, tensor = pts.tensor("0", values)
    Path("grads.pt").write_bytes(pts.archive({"a": tensor}, [stored]))
    dcps.write(tmp_path / "checkpoint", {"a": (values.shape, dcps.split(values, [[1]]))})
    shutil.copy(TOP / "tests" / "formats" / "hdf5" / "old.h5", "grads.h5")
    shutil.copy(TOP / "tests" / "formats" / "flax" / "tree.msgpack", "grads.msgpack")
    shutil.copytree(TOP / "tests" / "formats" / "zarr" / "v3", "grads.zarr")
    return tmp_path


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_table_runs(example: str, here: Path, run: Run) -> None:
    for suffix, library in LIBRARIES.items():
        if example.endswith(suffix):
            pytest.importorskip(library)
    said = run(*example.split(), "--json")
    assert (said.status, said.err) == (0, "")
    assert json.loads(said.out)["global_norm"] > 0


def test_no_suffix_is_missing_from_the_table() -> None:
    table = (TOP / "docs" / "formats.md").read_text().split("## Files", 1)[0]
    assert len(EXAMPLES) >= 6
    assert [suffix for suffix in registry.suffixes() if f"`{suffix}`" not in table] == []
