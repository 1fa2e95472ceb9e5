"""The cache of a run: what is kept is right, what changed is measured again, nothing is lost."""

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import gradclip_cli
from gradclip_cli.errors import GradclipError
from gradclip_cli.series.cache import signed
from tests.dumps import GRADS, floats, write_npy
from tests.readers import strict
from tests.running import PATIENCE, Run, end_of, gradclip, one_error, running, until
from tests.steps import INF, NAN, write_steps
from tests.strangers import STRANGERS, write_foreign

STEPS = [
    {"a": [1.0, -2.0], "b": [0.5]},
    {"a": [NAN, INF], "b": [-INF]},
    {"a": [1e200], "b": []},
    {"a": [1e308] * 4, "c": [5e-324]},
    {name: [1.0] for name in STRANGERS},
]


class Counting:
    """Progress that counts the files that are really read."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.size = -1

    def begin(self, _doing: str, size: int) -> None:
        """Take note of how much is to be read."""
        self.size = size

    def advance(self, _size: int, label: str) -> None:
        """Take note of what was read."""
        self.read.append(Path(label).name)


def looked(paths: list[str], cache: Path, **options: object) -> list[str]:
    """Follow a run over a cache; check that the report is that without; give what was read."""
    counting = Counting()
    kept = gradclip_cli.trend(*paths, cache=cache, progress=counting, **options)  # type: ignore[arg-type]
    plain = gradclip_cli.trend(*paths, **options)  # type: ignore[arg-type]
    assert repr(kept) == repr(plain)
    assert (counting.size > 0) == bool(counting.read)
    return counting.read


def names(*numbers: int) -> list[str]:
    return [f"step-{number}.safetensors" for number in numbers]


def test_a_second_look_reads_nothing_and_says_the_same(tmp_path: Path) -> None:
    paths = write_steps(tmp_path / "run", *STEPS)
    cache = tmp_path / "c.jsonl"
    assert looked(paths, cache) == names(0, 1, 2, 3, 4)
    before = cache.read_bytes()
    assert looked(paths, cache) == []
    assert cache.read_bytes() == before


def test_a_new_step_costs_only_itself(tmp_path: Path) -> None:
    paths = write_steps(tmp_path / "run", *STEPS)
    cache = tmp_path / "c.jsonl"
    looked(paths[:2], cache)
    assert looked(paths, cache) == names(2, 3, 4)


def test_each_line_is_strict_json_with_step_and_global_norm(tmp_path: Path) -> None:
    paths = write_steps(tmp_path / "run", *STEPS)
    cache = tmp_path / "c.jsonl"
    looked(paths, cache)
    lines = [strict(line) for line in cache.read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    norms = [line["global_norm"] for line in lines]
    assert norms[1] is norms[3] is None
    assert norms[2] == 1e200


def test_names_that_are_not_utf_8_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "step-1"
    write_foreign(folder)
    assert looked([str(folder)], tmp_path / "c.jsonl") != []
    assert looked([str(folder)], tmp_path / "c.jsonl") == []


@pytest.mark.parametrize("how", ["size", "time", "member", "operand"])
def test_a_step_that_changed_is_measured_again(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "step-1"
    folder.mkdir()
    path = write_npy(folder / "a.npy", floats("<f8", (2,), [3.0, 4.0]))
    cache = tmp_path / "c.jsonl"
    assert looked([str(folder)], cache) == ["a.npy"]
    times = path.stat()
    if how == "size":
        write_npy(path, floats("<f8", (3,), [3.0, 4.0, 12.0]))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif how == "time":
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    elif how == "member":
        write_npy(folder / "b.npy", floats("<f8", (1,), [1.0]))
    read = looked([str(path if how == "operand" else folder)], cache)
    assert read, "also the file alone: there its tensor has no name"
    assert looked([str(folder)], cache) == []


def test_a_change_whose_times_were_put_back_is_noticed_and_said(run: Run, tmp_path: Path) -> None:
    paths = write_steps(tmp_path / "run", *STEPS)
    cache = tmp_path / "c.jsonl"
    looked(paths, cache)
    kept = os.stat(paths[2])
    with open(paths[2], "r+b") as stream:  # as large, and as old
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\x41")
    os.utime(paths[2], ns=(kept.st_atime_ns, kept.st_mtime_ns))
    said = run("trend", *paths, "--cache", cache, "--json")
    told = "1 step measured anew: copied, restored, or changed behind their times; --trust-mtime"
    (note,) = (note for note in strict(said.out)["notes"] if "anew" in note)
    assert note == f"{told} takes them as kept"
    assert looked(paths, cache) == []


def test_what_was_copied_with_its_times_is_trusted_where_that_is_asked(
    run: Run, tmp_path: Path
) -> None:
    paths = write_steps(tmp_path / "run", *STEPS)
    cache = tmp_path / "c.jsonl"
    looked(paths, cache)
    os.rename(tmp_path / "run", tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "run")
    assert looked(paths, cache, trust_mtime=True) == []
    assert looked(paths, cache) == names(0, 1, 2, 3, 4)
    write_steps(tmp_path / "run", *[{"a": [7.0, 8.0]}] * 2)
    said = run("trend", *paths, "--cache", cache, "--json")
    notes = strict(said.out)["notes"]
    assert "2 steps measured anew: their files have changed" in notes


def test_a_cache_of_before_there_were_check_sums_is_measured_anew(tmp_path: Path) -> None:
    paths = write_steps(tmp_path / "run", *STEPS)
    cache = tmp_path / "c.jsonl"
    looked(paths, cache)
    lines = [strict(line) for line in cache.read_text().splitlines()]
    for line in lines:
        del line["crc32"]
    older = "".join(f"{json.dumps(line | {'gradclip_trend': 2})}\n" for line in lines)
    cache.write_text(older)
    told = gradclip_cli.trend(*paths, cache=cache)
    assert "5 steps measured anew: kept by an older gradclip" in told.notes
    assert cache.read_text().startswith(older)
    assert looked(paths, cache) == []


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_steps(tmp_path / "run", *STEPS)

    def none(*_given: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.raises(GradclipError, match="its file system has no locks"):
        gradclip_cli.trend(*paths, cache=tmp_path / "c.jsonl")


def test_another_selection_is_another_measurement(tmp_path: Path) -> None:
    paths = write_steps(tmp_path / "run", {"a": [3.0], "b": [4.0]})
    cache = tmp_path / "c.jsonl"
    for options in ({}, {"include": ["a"]}, {"exclude": ["a"]}, {"include": ["a", "b"]}):
        assert looked(paths, cache, **options) == names(0)
        assert looked(paths, cache, **options) == []
    assert looked(paths, cache, include=["b", "a"]) == [], "the order does not matter"
    assert len(cache.read_text().splitlines()) == 4


def test_step_from_does_not_touch_what_is_kept(tmp_path: Path) -> None:
    paths = write_steps(tmp_path / "run", *STEPS[:2])
    cache = tmp_path / "c.jsonl"
    looked(paths, cache)
    assert looked(paths, cache, step_from="step-(.)") == []


@pytest.mark.parametrize("rest", [1, 40, 200, -1])
def test_a_torn_last_line_is_measured_again(tmp_path: Path, rest: int) -> None:
    paths = write_steps(tmp_path / "run", *STEPS[:3])
    cache = tmp_path / "c.jsonl"
    looked(paths, cache)
    whole = cache.read_bytes()
    *kept, last = whole.splitlines(keepends=True)
    cache.write_bytes(b"".join(kept) + last[:rest])
    assert looked(paths, cache) == names(2)
    assert cache.read_bytes() == whole


def test_nothing_of_a_torn_line_is_left_behind_a_shorter_one(tmp_path: Path) -> None:
    paths = write_steps(tmp_path / "run", STEPS[0], STEPS[4], STEPS[2])
    cache = tmp_path / "c.jsonl"
    looked(paths[:2], cache)
    cache.write_bytes(cache.read_bytes()[:-9])
    assert looked([paths[0], paths[2]], cache) == names(2)
    assert looked([paths[0], paths[2]], cache) == []


def test_only_a_torn_line_is_a_cache_too(tmp_path: Path) -> None:
    paths = write_steps(tmp_path / "run", *STEPS[:1])
    cache = tmp_path / "c.jsonl"
    looked(paths, cache)
    cache.write_bytes(cache.read_bytes()[:-5])
    assert looked(paths, cache) == names(0)
    assert looked(paths, cache) == []


def resigned(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Give what replaces a part of a cache, and gives each line its right check sum."""

    def change(whole: bytes) -> bytes:
        bodies = [line.rpartition(b', "crc32"')[0] for line in whole.replace(old, new).splitlines()]
        return b"".join(signed(body + b"}") for body in bodies)

    return change


WRONG = [
    (b'"norms": [', b'"norms": [1, '),
    (b'"norms": [2', b'"norms": [-2'),
    (b'"norms": [2.', b'"norms": [3.'),
    (b'"norms": [2', b'"norms": [NaN, 2'),
    (b'"norms": [2.', b'"norms": ["2'),
    (b'"max_abs": [2', b'"max_abs": [-2'),
    (b'"max_abs": [2.0', b'"max_abs": [1e400'),
    (b'"max_abs": [2.0', b'"max_abs": [1' + b"0" * 400),
    (b'"names": [', b'"names": [[], '),
    (b'"names": ["a"', b'"names": [3'),
    (b'"dtypes": ["float64"', b'"dtypes": [null'),
    (b'"counts": [2', b'"counts": [-2'),
    (b'"counts": [2', b'"counts": [2.5'),
    (b'"counts": [2', b'"counts": [true'),
    (b'"finite_norm": 2', b'"finite_norm": -2'),
    (b'"finite_norm": 2.', b'"finite_norm": "2'),
    (b'"notes": []', b'"notes": ' + b"[" * 100_000),
    (b'"notes": []', b'"notes": "of one"'),
    (b'"notes": []', b'"notes": [1]'),
    (b'"notes": []', b'"notes": ["\\ud800"]'),
    (b'"names": ["a"', b'"names": ["\\ud800"'),
    (b'"files": [[', b'"files": [[3, '),
    (b'"fingerprint": [', b'"fingerprint": [{}'),
    (b'"nonfinite_at": [[0', b'"nonfinite_at": [[7'),
    (b'"nonfinite_at": [[0, 1', b'"nonfinite_at": [[0, -1'),
    (b'"nonfinite_at": [[0, 1', b'"nonfinite_at": [[0, "1"'),
    (b'"nonfinite_at": [[0, 1, 1, 0, [0]', b'"nonfinite_at": [[0, 1, 1, 0, "0"'),
    (b'"nonfinite_at": [[0, 1, 1, 0, [0]', b'"nonfinite_at": [[0, 0, 0, 0, [0]'),
]
"""Parts of a line of a cache, and what they cannot be."""


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"hello\n",
        lambda _: b"hello",
        lambda _: b"{",
        lambda _: b'{"row": "global"}\n',
        lambda _: GRADS,
        lambda _: b"\n",
        lambda whole: whole + b"{}\n",
        lambda whole: b"{}\n" + whole,
        lambda whole: whole + b"\x00\x00\x00",
        lambda whole: whole.replace(b'"gradclip_trend": 3', b'"gradclip_trend": 4'),
        *(resigned(old, new) for old, new in WRONG),
    ],
)
def test_what_is_no_cache_is_refused_and_left_as_it_is(
    run: Run, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    paths = write_steps(tmp_path / "run", STEPS[0], STEPS[1])
    cache = tmp_path / "c.jsonl"
    looked(paths, cache)
    foreign = change(cache.read_bytes())
    cache.write_bytes(foreign)
    said = run("trend", *paths, "--cache", str(cache))
    assert said.status == 2
    assert f"{cache}: not a cache that gradclip trend wrote" in one_error(said.err)
    assert cache.read_bytes() == foreign


@pytest.mark.parametrize(("old", "new"), WRONG)
def test_a_line_that_was_damaged_is_named_and_none_of_its_numbers_believed(
    run: Run, tmp_path: Path, old: bytes, new: bytes
) -> None:
    paths = write_steps(tmp_path / "run", STEPS[0], STEPS[1])
    cache = tmp_path / "c.jsonl"
    looked(paths, cache)
    whole = cache.read_bytes()
    damaged = whole.replace(old, new)
    assert damaged != whole
    cache.write_bytes(damaged)
    said = run("trend", *paths, "--cache", str(cache))
    assert (said.status, said.out) == (2, "")
    assert "is damaged: its check sum is not that of its text" in one_error(said.err)
    assert cache.read_bytes() == damaged
    sound = [line for line in whole.splitlines(keepends=True) if line in damaged]
    cache.write_bytes(b"".join(sound))
    assert len(looked(paths, cache)) == 2 - len(sound), "the hint is right"


def test_a_dump_is_never_taken_for_a_cache(tmp_path: Path) -> None:
    paths = write_steps(tmp_path / "run", *STEPS[:2])
    before = Path(paths[0]).read_bytes()
    for cache in (paths[0], str(tmp_path), "/dev/null"):
        with pytest.raises(GradclipError):
            gradclip_cli.trend(*paths, cache=cache)
    assert Path(paths[0]).read_bytes() == before


def test_a_pattern_that_names_the_cache_among_the_steps_does_no_harm(tmp_path: Path) -> None:
    paths = write_steps(tmp_path, *STEPS[:2])
    cache = tmp_path / "c.jsonl"
    for _ in range(2):
        trend = gradclip_cli.trend(*paths, cache, cache=cache)
        assert len(trend.steps) == 2


def test_two_runs_do_not_write_to_one_cache(tmp_path: Path) -> None:
    (path,) = write_steps(tmp_path, STEPS[0])
    fifo = tmp_path / "step-9"
    os.mkfifo(fifo)
    cache = tmp_path / "c.jsonl"
    with running("trend", path, str(fifo), "--cache", str(cache)) as process:
        until(lambda: cache.exists() and cache.stat().st_size > 0, process.poll)
        done = gradclip("trend", path, "--cache", str(cache))
        assert done.returncode == 2
        assert "another gradclip is writing to it" in one_error(done.stderr)
        fifo.write_bytes(GRADS)
        process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
)
def test_a_run_that_is_stopped_leaves_a_cache_that_resumes(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    paths = write_steps(tmp_path, *STEPS[:3])
    fifo = tmp_path / "step-9"
    os.mkfifo(fifo)
    cache = tmp_path / "c.jsonl"
    with running("trend", *paths, str(fifo), "--cache", str(cache)) as process:
        until(lambda: cache.exists() and cache.read_bytes().count(b"\n") == 3, process.poll)
        process.send_signal(number)
        found, said = end_of(process)
    assert (found, said) == (status, b"")
    assert [json.loads(line)["step"] for line in cache.read_text().splitlines()] == [0, 1, 2]
    assert looked(paths, cache) == []


def test_a_cache_takes_a_hundred_steps_in_a_moment(tmp_path: Path) -> None:
    paths = write_steps(tmp_path, *[{f"l.{n}": [1.0] for n in range(8)}] * 300)
    cache = tmp_path / "c.jsonl"
    gradclip_cli.trend(*paths, cache=cache)
    took = []
    for _ in range(2):
        before = os.times()
        gradclip_cli.trend(*paths, cache=cache)
        after = os.times()
        took.append(after.user + after.system - before.user - before.system)
    assert min(took) < 0.3, "2,000 take less than a second, the start included"
