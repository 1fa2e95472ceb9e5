"""What is written is what was decided: whatever changes between the passes, or goes wrong in them.

A page of a file that a process has mapped and written to before changes without a trace in the
file's times, as a training process may do it that holds its dump as `np.memmap`.
"""

import contextlib
import json
import mmap
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradclip_cli
from gradclip_cli.engine.crew import Progress
from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import FileSource
from gradclip_cli.rewrite import passes
from gradclip_cli.tensors.codecs import encode
from tests.dumps import LANES, floats, write_safetensors

COUNT = 40_000
VALUES = [1.0 + n % 7 for n in range(COUNT)]
RULES: dict[str, dict[str, Any]] = {
    "global": {"clip_norm": 1.0},
    "within": {"clip_norm": 1e9},
    "per tensor": {"clip_norm": 300.0, "per_tensor": True},
    "axes": {"clip_norm": 1.0, "per_tensor": True, "axes": "1"},
    "value": {"clip_value": 2.0},
    "torch": {"clip_norm": 1.0, "like": "torch"},
    "zero": {"clip_norm": 1.0, "nonfinite": "zero"},
    "propagate": {"clip_norm": 1.0, "nonfinite": "propagate"},
}
CHANGES = {"NaN": float("nan"), "large": 1e30, "sign": -VALUES[33_000]}


class Between(Progress):
    """Progress that does something when pass 2 begins."""

    def __init__(self, change: Callable[[], object]) -> None:
        self._change = change

    def begin(self, what: str, size: int) -> None:
        if what == "writing":
            self._change()


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """Write a dump of a large tensor and many small ones, which share their spans."""
    path = tmp_path / "in" / "dump.safetensors"
    path.parent.mkdir()
    small = {f"s{n}": floats("F32", (2, 3), [float(n), 1, 2, 3, 4, 5]) for n in range(6)}
    write_safetensors(path, {"large": floats("F32", (COUNT // 40, 40), VALUES), **small})
    return path


@contextlib.contextmanager
def mapped(path: Path, offset: int, value: float) -> Iterator[Between]:
    """Change a value through a mapping whose page is dirty already, unseen by the file's times."""
    with open(path, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as memory:
        memory[offset : offset + 4] = memory[offset : offset + 4]
        stamp = os.stat(path)

        def change() -> None:
            memory[offset : offset + 4] = struct.pack("<f", value)
            assert (now := os.stat(path)).st_mtime_ns == stamp.st_mtime_ns
            assert now.st_ctime_ns == stamp.st_ctime_ns

        yield Between(change)


def place_of(path: Path, tensor: str, number: int) -> int:
    """Give where in a dump a value of a tensor lies."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    begin: int = json.loads(data[8:start])[tensor]["data_offsets"][0]
    return start + begin + 4 * number


@pytest.mark.alike(2)
@pytest.mark.parametrize(
    "change",
    [pytest.param(one, marks=[] if one == "sign" else pytest.mark.heavy) for one in CHANGES],
)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("tensor", "number"), [("large", 33_000), ("s4", 2)])
def test_values_that_change_between_the_passes_are_never_written(
    dump: Path, rule: str, change: str, tensor: str, number: int
) -> None:
    target = dump.parent.parent / "out.safetensors"
    target.write_bytes(b"before")
    with (
        mapped(dump, place_of(dump, tensor, number), CHANGES[change]) as between,
        pytest.raises(GradclipError, match=f"'{tensor}' are not those that were measured"),
    ):
        gradclip_cli.apply(dump, output=target, force=True, progress=between, **RULES[rule])
    assert target.read_bytes() == b"before"
    assert sorted(os.listdir(target.parent)) == ["in", "out.safetensors"]


def test_in_place_nothing_of_a_set_is_replaced(dump: Path) -> None:
    other = dump.with_name("other.safetensors")
    write_safetensors(other, {"o": floats("F32", (3,), [3.0, 4.0, 5.0])})
    before = other.read_bytes()
    with (
        mapped(dump, place_of(dump, "large", 7), 99.0) as between,
        pytest.raises(GradclipError, match="not those that were measured"),
    ):
        gradclip_cli.apply(dump.parent, clip_norm=1.0, in_place=True, progress=between)
    assert other.read_bytes() == before
    assert sorted(os.listdir(dump.parent)) == ["dump.safetensors", "other.safetensors"]


@pytest.mark.parametrize("rule", ["global", "within"])
@pytest.mark.parametrize("number", [0, COUNT - 1])
def test_who_reads_a_stream_gets_a_file_cut_short_and_no_whole_wrong_one(
    tmp_path: Path, rule: str, number: int
) -> None:
    values = np.arange(1, 1_000_001, dtype=np.float32)
    path = tmp_path / "x.npy"
    np.save(path, values)
    right: list[bytes] = []
    gradclip_cli.apply(path, output=right.append, **RULES[rule])
    given: list[bytes] = []
    with (
        mapped(path, 128 + 4 * number, 0.5) as between,
        pytest.raises(GradclipError, match="not those that were measured"),
    ):
        gradclip_cli.apply(path, output=given.append, progress=between, **RULES[rule])
    assert len(b"".join(right)) == path.stat().st_size
    assert 0 < len(b"".join(given)) < len(b"".join(right))


def test_a_copy_that_shares_the_blocks_is_looked_at_itself(
    dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = dump.parent.parent / "out.safetensors"
    place = place_of(dump, "large", 12)
    spoilt = False

    def shared(_source: int, path: str, _label: str) -> bool:
        shutil.copyfile(dump, path)
        if spoilt:
            with open(path, "r+b") as stream:
                stream.seek(place)
                stream.write(b"\xff")
        return True

    monkeypatch.setattr(passes, "cloned", shared)
    gradclip_cli.apply(dump, output=target, clip_norm=1e9)
    assert target.read_bytes() == dump.read_bytes()
    spoilt = True
    with pytest.raises(GradclipError, match="'large' are not those that were measured"):
        gradclip_cli.apply(dump, output=target, clip_norm=1e9, force=True)
    assert target.read_bytes() == dump.read_bytes()


@pytest.mark.alike(2)
@pytest.mark.parametrize("known", [{}, {"use_norm": 900.0}], ids=["two passes", "one pass"])
@pytest.mark.parametrize("rule", ["global", "per tensor", "axes", "value", "zero"])
@pytest.mark.parametrize(("value", "says"), [(1e9, "was decided"), (float("nan"), "not finite")])
def test_what_comes_out_otherwise_than_decided_is_not_written(
    dump: Path,
    rule: str,
    known: dict[str, Any],
    value: float,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if known and rule not in ("global", "zero"):
        pytest.skip("no rule of one norm")
    target = dump.parent.parent / "out.safetensors"

    def failing(results: Any, dtype: Any, data: Any) -> int:
        results[results.size // 2] = value
        return encode(results, dtype, data)

    monkeypatch.setattr("gradclip_cli.rewrite.passes.encode", failing)
    with pytest.raises(GradclipError, match=says):
        gradclip_cli.apply(dump, output=target, **RULES[rule], **known)
    assert not target.exists()


def test_a_write_whose_time_is_put_back_is_seen(dump: Path) -> None:
    before = os.stat(dump)

    def change() -> None:
        with open(dump, "r+b") as stream:
            stream.seek(place_of(dump, "s1", 0))
            stream.write(struct.pack("<f", 77.0))
        os.utime(dump, ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(GradclipError, match="changed while gradclip was reading it"):
        gradclip_cli.apply(dump, output=dump.parent / "o", clip_norm=1.0, progress=Between(change))
    with open(dump, "rb") as stream:
        source = FileSource.of(stream.fileno(), str(dump), "dump")
    os.utime(dump, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(GradclipError, match="its times or attributes were changed"):
        source.check()


@pytest.mark.parametrize(
    "code",
    [
        *("F64", "F4"),
        *(pytest.param(one, marks=pytest.mark.heavy) for one in ("F32", "F8_E4M3FNUZ", "F6_E3M2")),
    ],
)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=40),
    part=st.sampled_from([0.9, 0.5, 0.3, 0.1, 0.01]),
    per_tensor=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_the_smallest_values_of_a_dtype_are_never_taken_for_a_fault(
    code: str, sizes: list[int], part: float, per_tensor: bool
) -> None:
    sizes += [0] * (-len(sizes) % 8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        write_safetensors(path, {"w": (code, (len(sizes),), LANES[code].pack(sizes))})
        limit = gradclip_cli.inspect(path).global_norm * part
        if limit:
            gradclip_cli.apply(path, clip_norm=limit, per_tensor=per_tensor, in_place=True)


def test_sums_of_float64_that_drift_are_no_failing_memory(tmp_path: Path) -> None:
    for hundredth in range(1, 100):
        values = np.full(8191, hundredth / 100 + 0.001)
        values[0] *= 1e8
        np.save(tmp_path / "w.npy", values)
        gradclip_cli.apply(tmp_path / "w.npy", clip_norm=hundredth / 100, dry_run=True)
