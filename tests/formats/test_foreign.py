"""What is read in a process of its own: whatever that does, one line is said, and nothing is left.

The libraries are toys, of `tests.foreign`.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import gradclip_cli
from gradclip_cli.errors import GradclipError
from gradclip_cli.formats import registry
from gradclip_cli.formats.foreign import helper
from gradclip_cli.formats.foreign.listing import ForeignSource
from gradclip_cli.formats.opening import open_file
from tests.running import PATIENCE, TOP, Run, environment, one_error, until


@pytest.fixture
def by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Give a way to have a file read by one of the toys."""

    def given(name: str) -> Path:
        line = f"tests.foreign:{name.upper()}"
        monkeypatch.setattr(registry, "FORMATS", [*registry.FORMATS, line])
        path = tmp_path / "x.toy"
        path.write_bytes(b"toy")
        return path

    return given


@pytest.mark.parametrize("name", ["toy", "talking", "busy"])
def test_what_it_reads_is_measured_whatever_it_prints(
    name: str, by: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setattr(helper, "SILENCE", 0.9)  # a sign of life comes every half a second
    said = run("inspect", by(name), "--format", "tsv")
    assert (said.status, said.err) == (0, "")
    assert "\t13.0\t" in said.out


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("dying", "toy 1.0 ended in the middle of it: signal SIGSEGV"),
        ("dying_later", "toy 1.0 ended in the middle of it: status 7"),
        ("hanging", "toy 1.0 has said nothing for 1 seconds, and was ended"),
        ("hungry", "toy 1.0 cannot read it: it needs more than 4 GiB of memory"),
        ("raising", r"toy 1.0 cannot read it: many words in \x1b[31m two lines xxx"),
        ("missing", "which needs no_such_library to be read, and that is not installed"),
    ],
)
def test_its_end_is_one_line_that_names_file_and_library(
    name: str, problem: str, by: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setattr(helper, "SILENCE", 1.0)
    path = by(name)
    said = run("inspect", path)
    assert said.status == 2
    line = one_error(said.err.replace("\n    ", " "))
    assert line.startswith(f"gradclip: {path}: ")
    assert problem in line
    assert "hint: " in said.err
    assert ("pip install 'gradclip-cli[toys]'" in said.err) == (name == "missing")


@pytest.mark.parametrize(
    ("path", "library", "extra"),
    [
        ("hdf5/old.h5", "h5py", "hdf5"),
        ("zarr/v2", "numpy", "zarr"),  # of the two that are missing here, what it wants first
        ("flax/tree.msgpack", "msgpack", "flax"),
    ],
)
def test_without_its_library_it_says_which_extra_brings_it(
    path: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    plain = [str(TOP), *(place for place in sys.path if "site-packages" not in place)]
    monkeypatch.setattr(helper, "_places", lambda: plain)
    helper._POOL.close()
    said = run("inspect", Path(__file__).parent / path)
    assert said.status == 2
    line = one_error(said.err.replace("\n    ", " "))
    assert f"needs {library} to be read, and that is not installed" in line
    assert f"pip install 'gradclip-cli[{extra}]'" in said.err


def test_one_that_is_killed_between_two_readings_is_an_error_and_not_used_again(
    by: Callable[[str], Path],
) -> None:
    path = by("toy")
    source = open_file(str(path), path.name).tensors[0].source
    assert isinstance(source, ForeignSource)
    view = memoryview(bytearray(12))
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(source.opened())
        reader.read_exactly(view[:4], 0)
        os.kill(reader._helper.number, signal.SIGKILL)  # type: ignore[attr-defined]
        with pytest.raises(GradclipError, match="signal SIGKILL"):
            reader.read_exactly(view[4:], 4)
    assert gradclip_cli.inspect(path).global_norm == 13


def test_it_is_used_again_and_ends_when_it_is_idle(
    by: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "IDLE", 0.3)
    path = by("toy")
    numbers = set()
    for _ in range(3):
        source = open_file(str(path), path.name).tensors[0].source
        with source.opened() as reader:
            numbers.add(reader._helper.number)  # type: ignore[attr-defined]
    assert len(numbers) == 1
    until(lambda: not Path(f"/proc/{numbers.copy().pop()}").exists(), lambda: False)


def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"toy")
    program = (
        "import os, sys, time\n"
        "from gradclip_cli.files.source import FileSource\n"
        "from gradclip_cli.formats.foreign.helper import Helper\n"
        "file = os.open(sys.argv[1], os.O_RDONLY)\n"
        "source = FileSource.of(file, sys.argv[1], 'x')\n"
        "helper = Helper('tests.foreign:toy', source)\n"
        "print(helper.number, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "x")],
        stdout=subprocess.PIPE,
        env=environment({}),
    ) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        assert Path(f"/proc/{number}").exists()
        process.kill()
    last = time.monotonic() + PATIENCE

    def is_gone() -> bool:
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        return state in "ZX"  # nobody waits for what has lost its parent, where nobody is init

    until(is_gone, lambda: time.monotonic() > last)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interrupt_waits_for_no_library(workers: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toy"
    path.write_bytes(b"toy")
    program = (
        "from gradclip_cli.formats import registry\n"
        "registry.FORMATS.append('tests.foreign:SLOW')\n"
        "from gradclip_cli.cli.app import main\n"
        "main()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "inspect", path, "--workers", workers],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment({}),
    ) as process:
        until((tmp_path / "x.toy.read").exists, process.poll)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE / 3)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_nothing_is_imported_from_the_folder_one_works_in(
    by: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("struct", "json", "resource", "no_such_library"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('run')")
    path = by("missing")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    with pytest.raises(GradclipError, match="needs no_such_library"):
        gradclip_cli.inspect(path)


def test_it_is_read_by_several_at_once(by: Callable[[str], Path]) -> None:
    path = by("toy")
    assert gradclip_cli.inspect(path, workers=3).global_norm == 13
    assert str(gradclip_cli.diff(path, path)).startswith("identical")
