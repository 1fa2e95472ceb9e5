"""Every kind of `tests.fuzz` that is no dump finds nothing: a few cases here, many if heavy.

Of damaged dumps `formats/test_formats` says the same.
"""

from pathlib import Path

import pytest

from tests.findings import Finding
from tests.fuzz import KINDS, fuzz_kind

FEW = {
    "cache": 100,
    "report": 200,
    "journal": 150,
    "arguments": 100,
    "processes": 3,
    "calls": 150,
    "npz": 150,
    "pt": 150,
    "dcp": 100,
    "hdf5": 10,
    "flax": 10,
    "zarr": 10,
    "index": 150,
}
LIBRARIES = {"hdf5": "h5py", "flax": "msgpack", "zarr": "tensorstore"}  # that read what is damaged
HEAVY = 40  # times as many


@pytest.mark.parametrize(
    ("seed", "times"), [(1, 1), pytest.param(2, HEAVY, marks=pytest.mark.heavy)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_no_law_is_broken(kind: str, seed: int, times: int, tmp_path: Path) -> None:
    if kind in LIBRARIES:
        pytest.importorskip(LIBRARIES[kind])
    ends = fuzz_kind(kind, seed, range(FEW[kind] * times), tmp_path)
    assert ends.total() == FEW[kind] * times
    assert len(ends) > 1, "some are taken, and some are not"


def test_a_finding_says_how_to_repeat_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*_: object) -> str:
        raise Finding("of no law")

    monkeypatch.setitem(KINDS, "cache", found)
    with pytest.raises(Finding, match="--kind cache --seed 3 --start 7 --count 1\nof no law"):
        fuzz_kind("cache", 3, [7], tmp_path)
