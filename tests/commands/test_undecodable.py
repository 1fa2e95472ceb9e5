"""Floats that gradclip cannot decode, as a format of others may have: nothing is said of a whole.

Every dtype of safetensors can be decoded; here it is made to know one that cannot.
"""

from pathlib import Path

import pytest

import gradclip_cli
from gradclip_cli.formats import safetensors
from gradclip_cli.tensors.dtypes import DType
from tests.dumps import floats, write_safetensors
from tests.running import Run


@pytest.fixture(autouse=True)
def _of_the_future(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(safetensors._DTYPES, "F4", DType("float4_of_the_future", "opaque", 4))


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    tensors = {"w": floats("F32", (1,), [3]), "s": ("F4", (2,), b"\x11")}
    return write_safetensors(tmp_path / "a.safetensors", tensors)


def test_they_are_listed_unmeasured(dump: Path) -> None:
    report = gradclip_cli.inspect(dump)
    assert {row.name: row.measured for row in report.tensors} == {"w": True, "s": False}
    assert report.says.endswith("; s could not be decoded")
    assert not report.finite


def test_they_are_never_clipped(run: Run, dump: Path) -> None:
    before = dump.read_bytes()
    said = run("apply", str(dump), "--clip-norm", "1", "--in-place")
    assert said.status == 2
    assert "'s' is float4_of_the_future" in said.err
    assert dump.read_bytes() == before


def test_they_pass_no_gate(run: Run, dump: Path) -> None:
    said = run("inspect", str(dump), "--fail-above", "100", "--fail-nonfinite")
    assert said.status == 2
    assert said.err.splitlines() == [
        "gradclip: the global norm is of a part: s could not be decoded",
        "gradclip: whether all values are finite is not known: s could not be decoded",
    ]
    assert run("inspect", str(dump), "--fail-above", "100", "--exclude", "s", "-q").status == 0
    assert run("inspect", str(dump), "--fail-above", "2", "--fail-nonfinite", "-q").status == 2


@pytest.mark.parametrize("by", ["dumps", "cache", "reports"])
def test_they_pass_no_gate_of_a_run(by: str, run: Run, tmp_path: Path) -> None:
    steps = [str(tmp_path / f"step-{step}.safetensors") for step in range(20)]
    for step in steps:
        tensors = {"w": floats("F32", (1,), [3])}
        extra = {"s": ("F4", (2,), b"\x11")} if step == steps[7] else {}
        write_safetensors(Path(step), {**tensors, **extra})
    gates = ["--fail-nonfinite", "--fail-spike"]
    if by == "cache":
        gates += ["--cache", str(tmp_path / "cache")]
        assert run("trend", *steps, *gates).status == 2
    if by == "reports":
        for step in steps:
            Path(f"{step}.jsonl").write_text(run("inspect", step, "--format", "jsonl").out)
        steps = [f"{step}.jsonl" for step in steps]
    said = run("trend", *steps, *gates)
    assert said.status == 2
    assert said.err.splitlines() == [
        "gradclip: step 7: whether all values are finite is not known: s could not be decoded",
        "gradclip: step 7: the norm is of a part: s could not be decoded",
    ]
    assert run("trend", *steps, *gates, "--exclude", "s").status == 0


def test_they_are_compared_by_their_bytes_and_that_is_said(tmp_path: Path) -> None:
    data = bytes(range(4))
    a = write_safetensors(tmp_path / "a.safetensors", {"x": ("F4", (8,), data)})
    b = write_safetensors(tmp_path / "b.safetensors", {"x": ("F4", (8,), data[:-1] + b"\xff")})
    c = write_safetensors(tmp_path / "c.safetensors", {"x": ("U8", (8,), bytes(8))})
    assert gradclip_cli.diff(a, a).verdict == "identical"
    found = gradclip_cli.diff(a, b, rtol=1e9)
    assert (found.verdict, found.rows[0].changed, found.rows[0].difference) == ("differ", 1, None)
    assert "by their bytes" in found.notes[0]
    found = gradclip_cli.diff(a, c, rtol=1e9)
    assert (found.verdict, found.rows[0].state) == ("differ", "dtype")
