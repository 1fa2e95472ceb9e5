"""Fingerprints: whatever changes shows, however the tensor was cut; and what stays is named."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradclip_cli
from gradclip_cli.measure import fingerprint
from gradclip_cli.measure.fingerprint import Fingerprint, merged, of_each, written
from gradclip_cli.measure.rows import ROW, UNIT
from gradclip_cli.measure.spans import BLOCK, SPAN_BYTES
from gradclip_cli.rewrite.streams import STREAM_BYTES
from gradclip_cli.series.cache import signed
from gradclip_cli.tensors.dtypes import DType, numeric
from gradclip_cli.tensors.dump import Shape
from tests.dumps import floats, write_safetensors
from tests.readers import strict
from tests.running import Run, gradclip
from tests.steps import write_steps

F16, F32, F64, C64 = numeric("f", 16), numeric("f", 32), numeric("f", 64), numeric("c", 64)
E5M2 = DType("float8_e5m2", "float", 8, "|u1")
REAL_UNIT = UNIT
C128 = numeric("c", 128)
DTYPES = [E5M2, F16, F32, F64, C64, C128]
Stored = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(autouse=True, scope="module")
def short_units() -> Iterator[None]:
    """Let a unit be a row, so that few bytes have many of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "UNIT", ROW)
        yield


def random(count: int, dtype: DType, seed: int = 1) -> Stored:
    numbers = np.random.default_rng(seed)
    return numbers.integers(0, 256, dtype.size_of(count), dtype=np.uint8)


def total(stored: Stored, dtype: DType, first: int = 0, shape: Shape | None = None) -> int:
    found = Fingerprint(dtype, shape, first)
    found.add(stored)
    return found.total()


def signs_of(stored: Stored, dtype: DType) -> Stored:
    lane = dtype.bits // 8 // dtype.lanes
    return stored[lane - 1 :: lane]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@given(st.integers(1, 3 * ROW), st.integers(0, 1 << 30), st.integers(0, 7))
def test_any_bit_shows(dtype: DType, count: int, place: int, bit: int) -> None:
    stored = random(count, dtype)
    changed = stored.copy()
    changed[place % stored.size] ^= 1 << bit
    assert total(stored, dtype, 0) != total(changed, dtype, 0)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@given(st.integers(2, 5000), st.integers(0, 1 << 30), st.integers(0, 1 << 30))
def test_any_two_values_that_change_places_show(dtype: DType, count: int, a: int, b: int) -> None:
    stored = random(count, dtype)
    values = stored.view(f"V{dtype.bits // 8}")
    changed = values.copy()
    changed[[a % count, b % count]] = values[[b % count, a % count]]
    same = changed.tobytes() == stored.tobytes()
    bits = changed.view(np.uint8)
    assert (total(stored, dtype, 0) == total(bits, dtype, 0)) == same


def test_rows_that_change_places_show_anywhere() -> None:
    stored = random(ROW * 300, F32).reshape(300, -1)
    for one, other in ((0, 1), (5, 200), (150, 299)):
        changed = stored.copy()
        changed[[one, other]] = stored[[other, one]]
        assert total(stored.reshape(-1), F32, 0) != total(changed.reshape(-1), F32, 0)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@given(st.sets(st.integers(1, 11), max_size=5).map(sorted))
def test_it_merges_however_a_tensor_is_cut(dtype: DType, cuts: list[int]) -> None:
    stored = random(ROW * 12 + 77, dtype)
    bounds = [0, *(cut * ROW for cut in cuts), dtype.count_in(stored.size)]
    parts = [
        written(total(stored[dtype.size_of(a) : dtype.size_of(b)], dtype, a))
        for a, b in itertools.pairwise(bounds)
    ]
    assert merged(parts) == merged(parts[::-1]) == written(total(stored, dtype, 0))


@pytest.mark.parametrize("dtype", [E5M2, F16, F32, F64], ids=lambda dtype: dtype.name)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=9))
def test_small_tensors_have_that_of_each_by_itself(dtype: DType, counts: list[int]) -> None:
    stored = random(sum(counts), dtype)
    ends = np.cumsum(counts) * dtype.bits // 8
    each = [
        total(stored[end - dtype.size_of(count) : end].copy(), dtype, 0)
        for end, count in zip(ends.tolist(), counts, strict=True)
    ]
    assert of_each(stored, dtype, counts) == each


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@given(st.integers(2, 5000), st.integers(0, 3), st.data())
def test_any_values_that_change_their_signs_show(
    dtype: DType, count: int, row: int, data: st.DataObject
) -> None:
    stored = random(count, dtype)
    first = row * ROW // dtype.lanes
    before = total(stored, dtype, first)
    signs = signs_of(stored, dtype)
    step, begin = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 1))
    signs[begin::step] ^= 0x80
    assert total(stored, dtype, first) != before
    signs[begin::step] ^= 0x80
    some = data.draw(st.lists(st.integers(0, signs.size - 1), min_size=1, max_size=9, unique=True))
    signs[some] ^= 0x80
    assert total(stored, dtype, first) != before
    signs[some] ^= 0x80
    assert total(stored, dtype, first) == before


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("apart", [1, 2, 3, ROW])
def test_two_values_that_do_the_same_show_wherever_they_lie(dtype: DType, apart: int) -> None:
    lane = dtype.bits // 8 // dtype.lanes
    stored = np.tile(np.arange(1, lane + 1, dtype=np.uint8), 3 * ROW)
    before = total(stored, dtype)
    found = set()
    for bit in (0x80, 0x40, 0x01):
        for byte in {0, lane - 1}:
            for at in (1, ROW - 1, ROW, ROW + 6, 2 * ROW - apart):
                both = np.array([at, at + apart]) * lane + byte
                stored[both] ^= bit
                found.add(total(stored, dtype))
                stored[both] ^= bit
    assert before not in found
    assert len(found) == 3 * len({0, lane - 1}) * len({1, ROW - 1, ROW, ROW + 6, 2 * ROW - apart})


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@given(st.integers(0, 2 * ROW - 2), st.integers(1, 9))
def test_neighbours_that_change_places_show_anywhere(dtype: DType, at: int, apart: int) -> None:
    stored = random(2 * ROW + 9, dtype)
    values = stored.view(f"V{dtype.bits // 8}")
    changed = values.copy()
    changed[[at, at + apart]] = values[[at + apart, at]]
    same = changed.tobytes() == stored.tobytes()
    after = total(changed.view(np.uint8), dtype, 200 * ROW)
    assert (total(stored, dtype, 200 * ROW) == after) == same


@given(st.permutations(range(6)), st.sampled_from([1, 2, 64, ROW // 4]))
def test_pieces_that_change_places_show(order: list[int], size: int) -> None:
    values = np.ones(2 * ROW, "<f4")
    pieces = values[ROW - 2 * size :][: 6 * size].reshape(6, size)
    pieces[:] = np.arange(6)[:, None]
    before = total(values.view(np.uint8), F32, 200 * ROW)
    pieces[:] = pieces[order]
    after = total(values.view(np.uint8), F32, 200 * ROW)
    assert (after == before) == (order == sorted(order))


def test_no_two_of_many_small_changes_come_to_the_same() -> None:
    """Changes of one kind, or of two, that a sum without weights, or modulo 2**64, would miss."""
    count, found = 48, set()
    base = np.random.default_rng(3).standard_normal(count).astype("<f8")
    sets = [some for size in range(5) for some in itertools.combinations(range(count), size)]
    signs = np.array([sum(1 << at for at in some) for some in sets], np.uint64)
    for at in range(0, signs.size, 20_000):
        chosen = signs[at : at + 20_000, None] >> np.arange(count, dtype=np.uint64) & 1
        for change in (np.uint64(1 << 63), np.uint64(1 << 52), np.uint64(1)):
            some = chosen[:: 1 if change >> 63 else 10]
            changed = (base.view("<u8") ^ (some * change)).view(np.uint8).reshape(-1)
            found |= set(of_each(changed, F64, [count] * len(some)))
    swaps = np.array(list(itertools.permutations(range(7))))
    changed = np.tile(base, (len(swaps), 1))
    changed[:, :7] = base[swaps]
    found |= set(of_each(changed.view(np.uint8).reshape(-1), F64, [count] * len(swaps)))
    tenths = sum(len(signs[at : at + 20_000 : 10]) for at in range(0, signs.size, 20_000))
    # What changes nothing is among each of the four.
    assert len(found) == signs.size + 2 * tenths + len(swaps) - 3


def test_single_signs_of_two_rows_show_anywhere() -> None:
    values = np.ones(ROW * 40, "<f8")
    before = total(values.view(np.uint8), F64)
    found = {before}
    for one, other in ((1, 2), (3, 30), (17, 18)):
        values[[one * ROW + 5, other * ROW + 9]] *= -1
        found.add(total(values.view(np.uint8), F64))
        values[[one * ROW + 5, other * ROW + 9]] *= -1
    assert len(found) == 4
    assert total(values.view(np.uint8), F64) == before


def test_it_takes_pieces_as_they_come() -> None:
    stored = random(ROW * 110 + 3, F32)
    pieces = Fingerprint(F32)
    for at in range(0, stored.size, 7 * ROW * 4):
        pieces.add(stored[at : at + 7 * ROW * 4])
    assert pieces.total() == total(stored, F32)


def test_spans_of_any_pass_begin_with_units() -> None:
    for itemsize, lanes in ((1, 1), (2, 1), (4, 1), (8, 1), (8, 2), (16, 2)):
        for size in (SPAN_BYTES, STREAM_BYTES):
            assert size // itemsize // ROW * ROW * lanes % REAL_UNIT == 0
    assert BLOCK % REAL_UNIT == BLOCK // 2 % REAL_UNIT == 0


def test_the_order_in_memory_shows() -> None:
    stored = random(6, F32)
    shapes = (None, (2, 3), (3, 2))
    assert len({total(stored, F32, 0, shape) for shape in shapes}) == 3


def test_dtype_order_of_bytes_and_length_show() -> None:
    zeros = np.zeros(64, np.uint8)
    found = {total(zeros, dtype, 0) for dtype in (*DTYPES, numeric("f", 32, ">"))}
    found |= {total(zeros[:60], F32, 0), total(zeros[:56], F32, 0)}
    assert len(found) == len(DTYPES) + 3


def test_reports_and_caches_have_them_and_a_plain_report_has_not(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "UNIT", REAL_UNIT)  # as other processes have it
    path = str(tmp_path / "g.safetensors")
    write_safetensors(Path(path), {"a": floats("F32", (9000,), [0.5] * 9000)})
    *rows, _ = map(strict, run("inspect", path, "--format", "jsonl").out.splitlines())
    (expected,) = [row["fingerprint"] for row in rows]
    assert len(expected) == 16
    assert "fingerprint" not in run("inspect", path, "--json").out
    assert "fingerprint" not in run("inspect", path).out
    report = gradclip_cli.inspect(path, fingerprint=True, workers=3)
    assert report.rows[0].further.fingerprint == expected
    cache = tmp_path / "c.jsonl"
    run("trend", path, "--cache", str(cache))
    assert strict(cache.read_text())["fingerprint"] == [expected]
    piped = gradclip("inspect", "--format", "jsonl", stdin=Path(path).read_bytes())
    assert strict(piped.stdout.decode().splitlines()[0])["fingerprint"] == expected


def test_a_negative_and_an_order_in_memory_are_no_copies(tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal((40, 40))
    for step, array in enumerate((values, -values, np.asfortranarray(-values.T))):
        np.save(tmp_path / f"step-{step}.npy", array)
    found = gradclip_cli.trend(*sorted(tmp_path.glob("*.npy")))
    prints = [step.measured.further["fingerprint"][0] for step in found.steps]
    assert len(set(prints)) == 3
    np.save(tmp_path / "step-1.npy", values)
    first, second, _ = gradclip_cli.trend(*sorted(tmp_path.glob("*.npy"))).steps
    assert first.measured.further == second.measured.further


def test_an_empty_tensor_has_one_and_is_not_said_to_stay(tmp_path: Path) -> None:
    paths = write_steps(tmp_path, *[{"w": [float(n)], "empty": []} for n in range(4)])
    found = gradclip_cli.inspect(paths[0], fingerprint=True)
    assert {row.name: len(row.further.fingerprint) for row in found.rows} == {"w": 16, "empty": 16}
    assert gradclip_cli.trend(*paths).unchanged == ()


# What does not change is said


def test_a_stale_tensor_is_named_with_its_steps_and_zeros_are_not(run: Run, tmp_path: Path) -> None:
    steps: list[dict[str, list[float]]] = [
        {
            "stale": [0.5, 0.25],
            "late": [1.0 if n > 3 else 2.0 + n],
            "zero": [0.0],
            "live": [1.0 + n],
            "twice": [float(n // 2 + 1)],
        }
        for n in range(8)
    ]
    paths = write_steps(tmp_path, *steps)
    found = gradclip_cli.trend(*paths)
    told = [(one.tensor, one.first.step, one.last.step, one.count) for one in found.unchanged]
    assert sorted(told) == [("late", 4, 7, 4), ("stale", 0, 7, 8)]
    assert found.always_zero == ("zero",)
    said = run("trend", *paths, "--format", "table", COLUMNS="160").out
    assert "1 tensor has the same values in all 8 steps: stale\n" in said
    assert "1 tensor has the same values from step 4 to 7, in 4 steps: late\n" in said
    whole = strict(run("trend", *paths, "--json").out)
    assert {"tensor": "late", "from": 4, "to": 7, "steps": 4} in whole["unchanged"]
    reports = []
    for path in paths:
        reports.append(f"{path}.jsonl")
        Path(reports[-1]).write_text(run("inspect", path, "--format", "jsonl").out)
    assert {one.tensor for one in gradclip_cli.trend(*reports).unchanged} == {"late", "stale"}


def test_what_has_no_fingerprint_is_not_said_to_stay(run: Run, tmp_path: Path) -> None:
    paths = write_steps(tmp_path, *[{"w": [1.0]}] * 4)
    reports = []
    for number, path in enumerate(paths):
        text = run("inspect", path, "--format", "jsonl").out
        reports.append(tmp_path / f"r{number}.jsonl")
        fingerprint = strict(text.splitlines()[0])["fingerprint"]
        reports[-1].write_text(text.replace(f', "fingerprint": "{fingerprint}"', ""))
    assert gradclip_cli.trend(*reports).unchanged == ()
    assert len(gradclip_cli.trend(*paths).unchanged) == 1


def test_an_unreadable_step_ends_what_is_said_to_stay(run: Run, tmp_path: Path) -> None:
    paths = write_steps(tmp_path, *[{"w": [1.0]}] * 8)
    Path(paths[3]).write_bytes(Path(paths[3]).read_bytes()[:-1])

    def told() -> list[tuple[int | str, int | str, int]]:
        found = gradclip_cli.trend(*paths).unchanged
        return [(one.first.step, one.last.step, one.count) for one in found]

    assert told() == [(0, 2, 3), (4, 7, 4)]
    Path(paths[0]).write_bytes(b"\x80")  # the run that is left is shorter than three
    assert told() == [(4, 7, 4)]
    said = run("trend", *paths, "--format", "table", COLUMNS="160").out
    assert "1 tensor has the same values from step 4 to 7, in 4 steps: w\n" in said


def test_a_report_without_fingerprints_is_cached_once(run: Run, tmp_path: Path) -> None:
    (path,) = write_steps(tmp_path, {"w": [1.0]})
    text = run("inspect", path, "--format", "jsonl").out
    fingerprint = strict(text.splitlines()[0])["fingerprint"]
    report, cache = tmp_path / "step-1.jsonl", tmp_path / "c"
    report.write_text(text.replace(f', "fingerprint": "{fingerprint}"', ""))
    for _ in range(3):
        (step,) = gradclip_cli.trend(report, cache=cache).steps
        assert step.measured.further == {}
    assert len(cache.read_text().splitlines()) == 1


def test_groups_have_none(run: Run, tmp_path: Path) -> None:
    (path,) = write_steps(tmp_path, {"a.w": [1.0], "a.b": [2.0]})
    said = run("inspect", path, "--format", "jsonl", "--group-by", "1").out
    assert '"row": "group"' in said
    assert "fingerprint" not in said


def test_a_cache_of_before_is_measured_anew(run: Run, tmp_path: Path) -> None:
    (path,) = write_steps(tmp_path, {"w": [1.0]})
    cache = tmp_path / "c.jsonl"
    run("trend", path, "--cache", str(cache))
    (line,) = cache.read_text().splitlines()
    found = strict(line)
    del found["fingerprint"], found["crc32"]
    old = signed(json.dumps(found).encode()).decode()
    cache.write_text(old)
    run("trend", path, "--cache", str(cache))
    assert cache.read_text() == f"{old}{line}\n"


def test_other_fingerprints_of_an_earlier_version_are_no_change(run: Run, tmp_path: Path) -> None:
    paths = write_steps(tmp_path, *[{"w": [1.0]}] * 4)
    cache = tmp_path / "c.jsonl"
    run("trend", *paths[:2], "--cache", str(cache))
    lines = cache.read_text().splitlines()
    old = [line.replace('_trend": 3', '_trend": 1') for line in lines]
    known = strict(lines[0])["fingerprint"][0]
    old = [line.replace(known, "0123456789abcdef") for line in old]
    cache.write_text("".join(f"{line}\n" for line in old))
    (found,) = gradclip_cli.trend(*paths, cache=cache).unchanged
    assert found.count == 4
    assert cache.read_text().splitlines()[:4] == [*old, *lines]
