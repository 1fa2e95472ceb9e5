"""The ideas that make gradclip fast, each held by something that is counted, not timed."""

import fcntl
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from gradclip_cli.engine import crew
from gradclip_cli.measure import spans
from gradclip_cli.results.report_columns import COLUMNS
from tests.dumps import write_safetensors
from tests.written import plain

MIB = 1 << 20
NAMES = tuple(column.name for column in COLUMNS if column.name)


def large(path: Path, code: str, size: int) -> Path:
    """Write a file with one tensor of so many bytes."""
    data = np.random.default_rng(5).integers(0, 0x38, size, dtype=np.uint8).tobytes()
    itemsize = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1}[code]
    return write_safetensors(path, {"w": (code, (size // itemsize,), data)})


@pytest.mark.parametrize(
    "code",
    [
        "F32",
        pytest.param("F16", marks=pytest.mark.heavy),
        pytest.param("BF16", marks=pytest.mark.heavy),
        pytest.param("F8_E4M3", marks=pytest.mark.heavy),
    ],
)
@pytest.mark.parametrize("work", ["inspect", "apply"])
def test_memory_is_a_few_blocks_whatever_the_size_of_a_tensor(
    code: str, work: str, tmp_path: Path
) -> None:
    peaks = []
    for size in (16 * MIB, 48 * MIB):
        path = large(tmp_path / f"{size}.safetensors", code, size)
        tracemalloc.start()
        try:
            if work == "inspect":
                gradclip_cli.inspect(path, workers=1)
            else:
                gradclip_cli.apply(path, clip_norm=1.0, output=tmp_path / f"{size}.out", workers=1)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()

    assert max(peaks) < 40 * MIB
    assert peaks[1] < peaks[0] + MIB


class Calls:
    """Counts what a function of `os` is asked for."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: list[tuple[object, ...]] = []
        self._really: Callable[..., object] = getattr(os, name)
        monkeypatch.setattr(os, name, self)

    def __call__(self, *given: object, **named: object) -> object:
        """Take note and do it."""
        self.given.append(given)
        return self._really(*given, **named)


def test_each_byte_is_read_once_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 8 * MIB
    path = large(tmp_path / "a.safetensors", "F32", size)
    reads = Calls("preadv", monkeypatch)

    gradclip_cli.inspect(path, workers=1)

    offsets = [int(str(offset)) for _, _, offset in reads.given]
    assert len(offsets) == size // (spans.BLOCK * 4)
    assert sorted(set(offsets)) == offsets


def test_small_tensors_side_by_side_are_read_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {f"w{index}": ("F32", (64,), bytes(256)) for index in range(1000)}
    path = write_safetensors(tmp_path / "a.safetensors", tensors)
    reads = Calls("preadv", monkeypatch)

    gradclip_cli.inspect(path, workers=1)

    assert len(reads.given) == 1


def test_each_array_of_a_folder_is_read_once_for_its_header_and_once_for_its_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(10):
        np.save(tmp_path / f"w{index}.npy", np.ones(64, np.float32))
    heads, reads = Calls("pread", monkeypatch), Calls("preadv", monkeypatch)

    gradclip_cli.inspect(tmp_path, workers=1)

    assert len(heads.given) <= 10
    assert len(reads.given) == 10


def test_a_file_within_the_limit_is_cloned_where_the_file_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = large(tmp_path / "a.safetensors", "F32", 8 * MIB)
    asked: list[int] = []

    def clone(target: int, request: int, source: int) -> int:
        """Do what a file system does that shares blocks, at some more expense."""
        asked.append(request)
        os.pwrite(target, path.read_bytes(), 0)
        return source

    monkeypatch.setattr(fcntl, "ioctl", clone)
    reads, writes = Calls("preadv", monkeypatch), Calls("pwrite", monkeypatch)
    gradclip_cli.apply(path, clip_norm=1e9, output=tmp_path / "out", workers=1)

    assert asked == [0x40049409]  # FICLONE
    assert len(writes.given) == 1
    blocks = 8 * MIB // (spans.BLOCK * 4)
    assert len(reads.given) == 2 * blocks, "measured, and the clone looked at, which it is to be"
    assert (tmp_path / "out").read_bytes() == path.read_bytes()


def test_a_result_is_written_once_in_large_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = large(tmp_path / "a.safetensors", "F32", 24 * MIB)
    writes = Calls("pwrite", monkeypatch)

    gradclip_cli.apply(path, clip_norm=1.0, output=tmp_path / "out", workers=1)

    sizes = [len(data) for _, data, _ in writes.given if isinstance(data, memoryview)]
    assert sum(sizes) == path.stat().st_size
    assert len(sizes) <= 24 // 4 + 3


def test_rows_of_json_look_alike_whichever_way_they_are_written(tmp_path: Path) -> None:
    report = gradclip_cli.inspect(
        write_safetensors(
            tmp_path / "a.safetensors",
            {
                "by \x7f template": ("F32", (2, 2), np.arange(4, dtype="<f4").tobytes()),
                "in one dimension": ("F32", (3,), np.arange(3, dtype="<f4").tobytes()),
                "a scalar": ("F32", (), np.ones((), "<f4").tobytes()),
                "not finite": ("F32", (2,), np.array([np.nan, 1], "<f4").tobytes()),
                "empty": ("F32", (0,), b""),
            },
        )
    )
    finite = gradclip_cli.inspect(tmp_path, exclude=["not finite"])

    for some in (report, finite):
        text = plain(some, "json")
        document = json.loads(text)
        assert text == json.dumps(document).replace("\x7f", "\\u007f") + "\n"
        assert {tuple(row) for row in document["tensors"]} == {NAMES}
        assert [
            (row["max_abs_index"], row["norm"]) for row in document["tensors"] if row["measured"]
        ] == [
            (
                None if row.max_abs_index is None else list(row.max_abs_index),
                row.norm if row.norm == row.norm else None,
            )
            for row in some.rows
            if row.measured
        ]


# How many workers


def grant(root: Path, groups: str, files: dict[str, str]) -> str:
    """Lay out a control group as the kernel shows it."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


@pytest.mark.parametrize(
    ("groups", "files", "workers"),
    [
        ("0::/\n", {}, 8),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 8),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "250000 100000\n"}, 3),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 1),
        ("0::/../other\n", {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        (
            "4:cpu,cpuacct:/job\n0::/job\n",
            {
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            "4:cpu,cpuacct:/\n",
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
        ("", {}, 8),
    ],
    ids=[
        "no limit",
        "max",
        "rounded up",
        "a group above",
        "namespace",
        "v1",
        "v1 no limit",
        "none",
    ],
)
def test_the_number_of_workers_follows_affinity_and_quota(
    groups: str,
    files: dict[str, str],
    workers: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    assert crew.workers_here(grant(tmp_path, groups, files)) == workers
