"""gradclip in pipelines: what it reads and writes, how it ends, and what it leaves behind.

Everything here is a process with real pipes and descriptors; those that get signals, or limits of
the system, are really started.
"""

import contextlib
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.dumps import GRADS, floats, header_of, npy_bytes, safetensors_bytes, twos
from tests.running import (
    COMMAND,
    PATIENCE,
    end_of,
    environment,
    feeding,
    gradclip,
    in_shell,
    on_terminal,
    one_error,
    running,
    until,
)

HALVED = safetensors_bytes({"a": floats("F32", (2,), [1.5, 2]), "b": floats("F32", (1,), [6])})
ARRAY = npy_bytes(floats("<f4", (3,), [2, 3, 6]))
HALVED_ARRAY = npy_bytes(floats("<f4", (3,), [1, 1.5, 3]))
NORMS = {GRADS: 13.0, ARRAY: 7.0}

BAD = safetensors_bytes({"a": floats("F32", (2,), [3, math.nan])})


def sparse(path: Path, count: int) -> Path:
    """Write a dump of so many float32 that hardly takes space: 3, 4, zeros, and 12 at the end."""
    with path.open("wb") as stream:
        stream.write(header_of(count))
        stream.write(floats("F32", (2,), [3, 4])[2])
        stream.seek(4 * (count - 3), os.SEEK_CUR)
        stream.write(floats("F32", (1,), [12])[2])
    return path


def many(count: int = 3000) -> bytes:
    """Give a dump whose report is longer than any pipe's buffer."""
    return safetensors_bytes({f"{'layer' * 12}.{index}": twos(1) for index in range(count)})


# Standard input and output


@pytest.mark.parametrize(
    ("data", "operands"),
    [(GRADS, ("-",)), (ARRAY, ())],
    ids=["safetensors, named -", "npy, no operand"],
)
def test_inspect_reads_a_pipe_and_knows_it_by_content(
    data: bytes, operands: tuple[str, ...]
) -> None:
    done = gradclip("inspect", *operands, "--json", stdin=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["global_norm"] == NORMS[data]
    assert json.loads(done.stdout)["files"] == ["standard input"]


@pytest.mark.parametrize(
    ("data", "halved", "operands"),
    [(GRADS, HALVED, ()), (ARRAY, HALVED_ARRAY, ("-",))],
    ids=["safetensors, no operand", "npy, named -"],
)
def test_apply_reads_a_pipe_writes_a_pipe_and_reports_to_stderr(
    data: bytes, halved: bytes, operands: tuple[str, ...]
) -> None:
    limit = NORMS[data] / 2
    done = gradclip("apply", *operands, "--clip-norm", repr(limit), stdin=data)
    assert (done.returncode, done.stdout) == (0, halved)
    head, *rows = [line.split("\t") for line in done.stderr.decode().splitlines()]
    whole = dict(zip(head, rows[-1], strict=True))
    assert whole["row"] == "global"
    assert float(whole["norm_before"]) == 2 * limit
    assert float(whole["norm_after"]) == limit


def test_a_report_in_json_goes_to_stderr_when_the_bytes_go_to_stdout() -> None:
    done = gradclip("apply", "-o", "-", "--clip-norm", "6.5", "--json", stdin=GRADS)
    assert done.stdout == HALVED
    assert json.loads(done.stderr)["norm_after"] == 6.5


def test_report_sends_the_report_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    done = gradclip("apply", "--clip-norm", "6.5", "--json", "--report", str(path), stdin=GRADS)
    assert (done.stdout, done.stderr) == (HALVED, b"")
    assert json.loads(path.read_bytes())["norm_after"] == 6.5


def test_the_report_is_on_stdout_when_the_bytes_go_to_a_file(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    done = gradclip("apply", "--clip-norm", "6.5", "-o", str(out), "--json", stdin=GRADS)
    assert (done.returncode, done.stderr) == (0, b"")
    assert out.read_bytes() == HALVED
    assert json.loads(done.stdout)["norm_after"] == 6.5


def test_refused_gradients_send_nothing_down_the_pipe() -> None:
    done = gradclip("apply", "--clip-norm", "1", stdin=BAD)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"'a': 1 NaN, first at [1]" in done.stderr


def test_clips_chain(tmp_path: Path) -> None:
    (tmp_path / "g.safetensors").write_bytes(GRADS)
    done = in_shell(
        "cat g.safetensors | gradclip apply --clip-norm 6.5 -q | gradclip apply --clip-norm 3.25 -q"
        " | gradclip inspect --json",
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["global_norm"] == 3.25


def test_a_redirected_file_is_read_in_place(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    path.write_bytes(GRADS)
    with path.open("rb") as stream:
        done = gradclip("inspect", "--json", stdin=stream)
        assert os.lseek(stream.fileno(), 0, os.SEEK_CUR) == 0, "it was read as a stream"
    assert json.loads(done.stdout)["global_norm"] == 13
    # With no right to write a byte to a file, there can be no spool.
    done = in_shell("ulimit -f 0; gradclip apply --clip-norm 6.5 -q < g.safetensors", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, HALVED, b"")


def test_what_somebody_else_began_to_read_goes_on_as_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "framed"
    path.write_bytes(b"a line for another reader\n" + GRADS)
    done = in_shell("{ read -r line; gradclip inspect --json; } < framed", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["global_norm"] == 13
    with path.open("rb") as stream:
        os.lseek(stream.fileno(), 26, os.SEEK_SET)
        done = gradclip("apply", "--clip-norm", "6.5", "-q", stdin=stream)
        assert os.lseek(stream.fileno(), 0, os.SEEK_CUR) == path.stat().st_size
    assert (done.returncode, done.stdout) == (0, HALVED)


def test_a_fifo_can_be_an_operand_and_is_known_by_content(tmp_path: Path) -> None:
    fifo = tmp_path / "grads.safetensors"
    os.mkfifo(fifo)
    with running("inspect", str(fifo), "--json") as process:
        with feeding(fifo, lambda: process.poll() is not None) as stream:
            stream.write(ARRAY)
        out, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, b"")
    assert json.loads(out)["global_norm"] == 7


def test_apply_writes_to_a_fifo_and_does_not_replace_it(tmp_path: Path) -> None:
    fifo = tmp_path / "out"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    done = gradclip("apply", "--clip-norm", "6.5", "-o", str(fifo), "--json", stdin=GRADS)
    if done.returncode:  # let the reader go
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    reader.join()
    assert (done.returncode, got) == (0, [HALVED])
    assert fifo.is_fifo()
    assert json.loads(done.stdout)["norm_after"] == 6.5


def test_a_socket_can_be_standard_input() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.sendall(GRADS)
        here.shutdown(socket.SHUT_WR)
        done = gradclip("inspect", "--json", stdin=there.fileno())
    assert json.loads(done.stdout)["global_norm"] == 13


def test_a_pipe_and_a_file_are_one_gradient(tmp_path: Path) -> None:
    (tmp_path / "c.npy").write_bytes(npy_bytes(floats("<f4", (1,), [84])))
    done = gradclip("inspect", "-", "c.npy", "--json", stdin=GRADS, cwd=tmp_path)
    report = json.loads(done.stdout)
    assert report["global_norm"] == 85
    assert report["files"] == ["standard input", "c.npy"]


def test_standard_input_is_named_once() -> None:
    done = gradclip("inspect", "-", "-", stdin=GRADS)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "only once" in one_error(done.stderr)


def test_writing_to_dev_stdout_leaves_the_stream_clean(tmp_path: Path) -> None:
    (tmp_path / "g.safetensors").write_bytes(GRADS)
    done = in_shell("gradclip apply g.safetensors --clip-norm 6.5 -o /dev/stdout | cat", tmp_path)
    assert (done.returncode, done.stdout) == (0, HALVED)


# Standard input that is nothing, or damaged


def test_without_operands_nothing_is_read_from_dev_null() -> None:
    done = gradclip("apply", "--clip-norm", "1", stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "nothing is piped in" in one_error(done.stderr)
    assert b"hint: name files or folders, or - for a pipe" in done.stderr


def test_without_operands_nothing_is_read_from_a_terminal() -> None:
    shown = on_terminal("inspect")
    said = shown.raw.encode()
    assert shown.status == 2
    assert b"nothing is piped in" in one_error(said).encode()
    assert b"hint: name files or folders, or - for a pipe" in said


def test_a_closed_standard_input_is_nothing(tmp_path: Path) -> None:
    done = in_shell("gradclip inspect <&-", tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "nothing is piped in" in one_error(done.stderr)


@pytest.mark.parametrize(
    ("command", "data", "problem"),
    [
        (("inspect",), ARRAY[:-1], "ends after 139 bytes, in the middle of its tensors"),
        (("inspect",), GRADS + b"\n", "more bytes follow the last tensor, which ends at byte "),
        (("apply", "--clip-norm", "1"), GRADS[:-4], "bytes, in the middle of its tensors"),
        (("apply", "--clip-norm", "1"), ARRAY + ARRAY, "more bytes follow the last tensor"),
        (("apply", "--clip-norm", "1"), b"", "empty: 0 bytes"),
    ],
    ids=[
        "a truncated npy",
        "safetensors with a line end",
        "truncated safetensors",
        "two npy",
        "nothing",
    ],
)
def test_a_damaged_stream_is_an_error(command: tuple[str, ...], data: bytes, problem: str) -> None:
    done = gradclip(*command, "-", stdin=data)
    assert (done.returncode, done.stdout) == (2, b"")
    assert one_error(done.stderr).startswith("gradclip: standard input: ")
    assert problem in one_error(done.stderr)


# The spool of apply


def test_apply_keeps_a_stream_in_an_unnamed_file_of_tmpdir(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc to look at")
    spool = tmp_path / "spool"
    spool.mkdir()
    values = bytes(1_200_000) + floats("F32", (2,), [3, 4])[2]
    data = safetensors_bytes({"a": ("F32", (300_002,), values)})
    with running(
        "apply", "--clip-norm", "2.5", "-q", stdin=subprocess.PIPE, TMPDIR=str(spool)
    ) as process:
        held = Path(f"/proc/{process.pid}/fd")

        def kept() -> bool:
            links = [os.readlink(link) for link in held.iterdir() if link.exists()]
            return any(link.startswith(f"{spool}/") for link in links) and bytes_kept() > 1000

        def bytes_kept() -> int:
            status = [os.stat(link) for link in held.iterdir()]
            return sum(one.st_size for one in status if one.st_nlink == 0)

        assert process.stdin is not None
        process.stdin.write(data[:-1000])
        process.stdin.flush()
        until(kept, lambda: process.poll() is not None)
        assert list(spool.iterdir()) == []
        out, said = process.communicate(data[-1000:], timeout=PATIENCE)
    assert (process.returncode, said) == (0, b"")
    assert out == data[:-8] + floats("F32", (2,), [1.5, 2])[2]
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize(
    "command", [("apply", "--clip-norm=1"), ("inspect",)], ids=lambda one: one[0]
)
def test_a_tmpdir_that_does_not_exist_is_named(command: tuple[str, ...], tmp_path: Path) -> None:
    data = safetensors_bytes({"a": ("F32", (2,), bytes(8))})
    done = gradclip(*command, stdin=data, TMPDIR=str(tmp_path / "gone"))
    assert (done.returncode, done.stdout) == (2, b"")
    assert one_error(done.stderr).startswith(f"gradclip: {tmp_path}/gone: no such folder")
    assert b"hint: make it: mkdir -p FOLDER" in done.stderr


def refused_for_space(tmpdir: Path, data: bytes, start: tuple[str, ...] = ()) -> bytes:
    """Send only the beginning of a dump and wait for the refusal; gives what is said."""
    clip = ("apply", "--clip-norm", "1")
    with running(*clip, before=start, stdin=subprocess.PIPE, TMPDIR=str(tmpdir)) as process:
        assert process.stdin is not None
        process.stdin.write(data)
        process.stdin.flush()
        # stdin stays open: what is said must be said before the rest of the stream is there.
        assert process.wait(PATIENCE) == 2
        assert process.stdout is not None
        assert process.stdout.read() == b""
        assert process.stderr is not None
        return process.stderr.read()


def test_too_little_space_for_the_spool_is_said_at_once(tmp_path: Path) -> None:
    array = npy_bytes(("<f4", *twos(500_000)[1:]))
    limited = ("bash", "-c", 'ulimit -f 1000; exec "$@"', "bash")
    said = refused_for_space(tmp_path, array[:10_000], limited)
    problem = f"too little space for the {len(array):,} bytes of standard input"
    assert one_error(said) == f"gradclip: {tmp_path}: {problem}"
    assert b"hint: set TMPDIR to a folder with more room" in said


def test_a_small_disk_for_the_spool_is_said_at_once(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "gradclip-test", str(disk)]
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root can mount a small disk")
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow mounting")
    try:
        data = safetensors_bytes({"a": twos(500_000)})
        said = refused_for_space(disk, data[:10_000])
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    problem = f"too little space for the {len(data):,} bytes of standard input"
    assert one_error(said) == f"gradclip: {disk}: {problem}"


# A pipeline is started and its peaks of memory are read in a small process of its own, because what
# a process starts is charged with the memory that the process itself had when it forked.
_PEAKS = """
import json, os, subprocess, sys
commands = json.loads(sys.argv[1])
chain, before = [], None
for command in commands:
    last = len(chain) == len(commands) - 1
    chain.append(subprocess.Popen(command, stdin=before, stdout=None if last else subprocess.PIPE))
    if before:
        before.close()
    before = chain[-1].stdout
results = [os.wait4(process.pid, 0)[1:] for process in chain]
found = [[os.waitstatus_to_exitcode(status), usage.ru_maxrss] for status, usage in results]
print(json.dumps(found), file=sys.stderr)
"""


def peaks(*commands: tuple[str, ...]) -> tuple[Any, list[int]]:
    """Run a pipeline whose end writes JSON; give that, and each command's peak in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAKS, json.dumps(commands)],
        capture_output=True,
        env=environment({}),
        timeout=900,
        check=True,
    )
    found = json.loads(done.stderr)
    assert [status for status, _ in found] == [0] * len(commands)
    return json.loads(done.stdout), [peak // 1024 for _, peak in found]


CLIP = (*COMMAND, "apply", "--quiet", "--clip-norm")
INSPECT = (*COMMAND, "inspect", "--json")


@pytest.mark.heavy
def test_a_stream_larger_than_the_memory_it_takes(tmp_path: Path) -> None:
    path = sparse(tmp_path / "large.safetensors", 64 << 20)
    report, memory = peaks(("cat", str(path)), (*CLIP, "6.5"), INSPECT)
    assert report["global_norm"] == 6.5
    assert report["count"] == 64 << 20
    assert max(memory) < 150, f"the stream has 256 MiB, the commands took {memory}"


@pytest.mark.heavy
def test_clips_of_four_gibibytes_chain_in_bounded_memory(tmp_path: Path) -> None:
    path = sparse(tmp_path / "huge.safetensors", 1 << 30)
    report, memory = peaks(("cat", str(path)), (*CLIP, "6.5"), (*CLIP, "3.25"), INSPECT)
    assert report["global_norm"] == 3.25
    assert report["count"] == 1 << 30
    assert max(memory) < 150, memory


# Standard output that is a terminal, closed, full, or nobody reads


@pytest.mark.parametrize("output", [(), ("-o", "-")], ids=["no -o", "-o -"])
def test_apply_does_not_write_bytes_to_a_terminal(tmp_path: Path, output: tuple[str, ...]) -> None:
    path = tmp_path / "g.safetensors"
    path.write_bytes(GRADS)
    shown = on_terminal("apply", str(path), "--clip-norm", "1", *output)
    said = shown.raw.encode()
    assert shown.status == 2
    assert one_error(said) == "gradclip: -o: the clipped bytes would go to the terminal"
    assert b"hint: name a file with -o, add --in-place, or pipe them on" in said


@pytest.mark.parametrize(
    ("command", "buffering"),
    [
        pytest.param(("inspect", "--json"), "1", id="inspect --json, PYTHONUNBUFFERED"),
        pytest.param(("apply", "--clip-norm", "1", "-q"), "", id="apply"),
    ],
)
def test_a_reader_that_goes_away_ends_it_silently(
    tmp_path: Path, command: tuple[str, ...], buffering: str
) -> None:
    path = tmp_path / "many.safetensors"
    path.write_bytes(many())
    name, *options = command
    with running(name, str(path), *options, PYTHONUNBUFFERED=buffering) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 141


def test_help_that_nobody_reads_ends_silently() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = gradclip("inspect", "--help", stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_head_takes_one_line_and_that_is_all(tmp_path: Path) -> None:
    (tmp_path / "many.safetensors").write_bytes(many())
    done = in_shell("gradclip inspect many.safetensors | head -1", tmp_path)
    assert (done.returncode, done.stderr) == (141, b"")
    assert done.stdout.startswith(b"row\tname\tdtype\t")
    assert done.stdout.count(b"\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        "inspect g.safetensors > /dev/full",
        "apply g.safetensors --clip-norm 1 > /dev/full",
        "inspect g.safetensors >&-",
        "--version >&-",
    ],
)
def test_output_that_cannot_be_written_is_an_error(tmp_path: Path, command: str) -> None:
    if "/dev/full" in command and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "g.safetensors").write_bytes(GRADS)
    done = in_shell(f"gradclip {command}", tmp_path)
    assert done.returncode == 2
    one_error(done.stderr)


@pytest.mark.parametrize("buffering", ["", "1"], ids=["buffered", "PYTHONUNBUFFERED"])
def test_a_disk_that_becomes_full_is_an_error(tmp_path: Path, buffering: str) -> None:
    path = tmp_path / "g.safetensors"
    path.write_bytes(safetensors_bytes({"a": twos(500_000)}))
    done = in_shell(
        "ulimit -f 1000; gradclip apply --clip-norm 1 -q < g.safetensors > out",
        tmp_path,
        PYTHONUNBUFFERED=buffering,
    )
    assert (tmp_path / "out").stat().st_size < path.stat().st_size
    assert done.returncode == 2
    assert one_error(done.stderr).startswith("gradclip: standard output: cannot be written to")


@pytest.mark.parametrize("where", ["2>&-", "2> /dev/full"])
def test_a_useless_stderr_does_not_change_the_status_of_an_error(
    tmp_path: Path, where: str
) -> None:
    if where == "2> /dev/full" and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = in_shell(f"gradclip inspect missing.npy {where}", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_a_closed_stderr_does_not_cost_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "g.safetensors").write_bytes(GRADS)
    done = in_shell("gradclip apply g.safetensors --clip-norm 6.5 2>&-", tmp_path)
    assert (done.returncode, done.stdout) == (0, HALVED)


# Signals

SIGNALS = [
    pytest.param(signal.SIGINT, 130, id="SIGINT"),
    pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
    pytest.param(signal.SIGHUP, 129, id="SIGHUP"),
]


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_signal_ends_it_while_nothing_comes(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    fifo = tmp_path / "silent"
    os.mkfifo(fifo)
    with (
        running("inspect", str(fifo)) as process,
        feeding(fifo, lambda: process.poll() is not None),
    ):
        process.send_signal(number)
        assert end_of(process) == (status, b"")


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_signal_in_the_middle_of_a_stream_leaves_no_file(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    fifo, spool = tmp_path / "fifo", tmp_path / "spool"
    os.mkfifo(fifo)
    spool.mkdir()
    data = safetensors_bytes({"a": twos(300_000)})
    out = tmp_path / "out.safetensors"
    with (
        running(
            *("apply", str(fifo), "--clip-norm", "1", "-o", str(out)),
            TMPDIR=str(spool),
        ) as process,
        feeding(fifo, lambda: process.poll() is not None) as stream,
    ):
        stream.write(data[:-1000])  # longer than the pipe: most of it has been read
        process.send_signal(number)
        assert end_of(process) == (status, b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "spool"]
    assert list(spool.iterdir()) == []


def test_ctrl_c_ends_it_while_the_reader_is_slow(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    path.write_bytes(safetensors_bytes({"a": twos(300_000)}))
    with running("apply", str(path), "--clip-norm", "1") as process:
        assert process.stdout is not None
        assert process.stdout.read(1)  # it has begun to write, and the pipe is full
        process.send_signal(signal.SIGINT)
        assert end_of(process) == (130, b"")


@pytest.mark.alike(2)
@pytest.mark.parametrize(
    ("numbers", "statuses", "where"),
    [
        pytest.param([signal.SIGINT], [130], ("-o", "out"), id="SIGINT, one file"),
        pytest.param([signal.SIGTERM], [143], ("--in-place",), id="SIGTERM, in place"),
        pytest.param([signal.SIGHUP], [129], ("-o", "out/"), id="SIGHUP, into a new folder"),
        pytest.param(
            [signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
            [129, 130, 143],
            ("-o", "out/"),
            id="all together",
        ),
    ],
)
def test_a_signal_while_it_writes_a_file_leaves_everything_as_it_was(
    tmp_path: Path, numbers: list[signal.Signals], statuses: list[int], where: tuple[str, ...]
) -> None:
    source = sparse(tmp_path / "g.safetensors", 24 << 20)
    before = source.stat()
    places = [place if place.startswith("-") else f"{tmp_path}/{place}" for place in where]

    def writing() -> bool:
        """Say whether there is a hidden file, or an open one without a name."""
        opened = Path(f"/proc/{process.pid}/fd")
        with contextlib.suppress(OSError):
            if any(os.readlink(path).startswith(f"{tmp_path}/#") for path in opened.iterdir()):
                return True
        return any(path.name.startswith(".") for path in tmp_path.rglob("*"))

    with running("apply", str(source), "--clip-norm", "1", *places) as process:
        until(writing, lambda: process.poll() is not None)
        process.send_signal(signal.SIGSTOP)  # hold still, so that the signal does not come late
        assert writing(), "it was faster than this test"
        for number in numbers:
            process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        status, said = end_of(process)
    assert said == b""
    assert status in statuses
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]
    after = source.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def traced(folder: Path, *injections: str) -> tuple[int, list[str]]:
    """Clip two files into `out/`, with signals sent at system calls; give status and calls."""
    log = folder.parent / "calls"
    calls = ["-e", "trace=openat,?mkdir,mkdirat,fsync,?unlink,unlinkat"]
    for injection in injections:
        calls += ["-e", f"inject={injection}"]
    clip = ("apply", "a.npy", "b.npy", "--clip-norm", "1", "-o", "out/", "-q", "--workers", "1")
    done = subprocess.run(
        ["strace", "-qq", "-o", str(log), *calls, *COMMAND, *clip],
        capture_output=True,
        cwd=folder,
        env=environment({"PYTHONDONTWRITEBYTECODE": "1"}),
        timeout=PATIENCE,
        check=False,
    )
    assert done.stderr == b""
    return done.returncode, log.read_text().splitlines()


@pytest.fixture
def two_files(tmp_path: Path) -> Path:
    """Give a folder with two dumps, where system calls can be traced."""
    probe = ["strace", "-qq", "-e", "trace=none", "true"]
    if not shutil.which("strace") or subprocess.run(probe, capture_output=True, check=False).stderr:
        pytest.skip("strace is not installed, or not allowed")
    folder = tmp_path / "dumps"
    folder.mkdir()
    (folder / "a.npy").write_bytes(ARRAY)
    (folder / "b.npy").write_bytes(ARRAY)
    return folder


def test_a_signal_at_the_very_moment_a_folder_is_made_leaves_nothing(two_files: Path) -> None:
    status, _ = traced(two_files, "?mkdir,mkdirat:signal=SIGTERM:when=1")
    assert status == 143
    assert sorted(path.name for path in two_files.iterdir()) == ["a.npy", "b.npy"]


def test_a_signal_at_the_very_moment_a_file_is_made_leaves_nothing(two_files: Path) -> None:
    status, calls = traced(two_files)
    assert status == 0
    opened = [call for call in calls if call.startswith("openat")]
    made = [index for index, call in enumerate(opened) if "O_EXCL" in call and "/.out." in call]
    assert len(made) == 2
    shutil.rmtree(two_files / "out")
    status, _ = traced(two_files, f"openat:signal=SIGTERM:when={made[-1] + 1}")
    assert status == 143
    assert sorted(path.name for path in two_files.iterdir()) == ["a.npy", "b.npy"]


def test_a_second_signal_does_not_disturb_the_tidying_up(two_files: Path) -> None:
    """A terminal that is closed sends SIGHUP, and then its shell sends it once more."""
    status, calls = traced(
        two_files, "fsync:signal=SIGTERM:when=1", "?unlink,unlinkat:signal=SIGHUP:when=1"
    )
    assert status in (129, 143)
    assert any(call.startswith("unlink") for call in calls)
    assert sorted(path.name for path in two_files.iterdir()) == ["a.npy", "b.npy"]


def test_ctrl_c_before_it_has_begun_shows_no_traceback(two_files: Path) -> None:
    _, calls = traced(two_files)
    shutil.rmtree(two_files / "out")
    opened = [call for call in calls if call.startswith("openat")]
    (first, *_) = (index for index, call in enumerate(opened) if "/typer/" in call)
    status, _ = traced(two_files, f"openat:signal=SIGINT:when={first + 1}")
    assert status in (130, -signal.SIGINT)


def test_signals_that_were_ignored_stay_ignored(tmp_path: Path) -> None:
    """As under nohup, which lets a command outlive its terminal."""
    fifo = tmp_path / "grads"
    os.mkfifo(fifo)
    ignoring = ("bash", "-c", 'trap "" INT TERM HUP; exec "$@"', "bash")
    with running("inspect", str(fifo), "--json", before=ignoring) as process:
        with feeding(fifo, lambda: process.poll() is not None) as stream:
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                process.send_signal(number)
            with contextlib.suppress(BrokenPipeError):
                stream.write(GRADS)
        out, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, b"")
    assert json.loads(out)["global_norm"] == 13
