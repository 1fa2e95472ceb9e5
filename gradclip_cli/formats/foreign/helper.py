"""Processes that read for us: started when they are needed, asked in turn, ended when idle."""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

from gradclip_cli.engine.crew import INTERRUPTED
from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import Source
from gradclip_cli.files.system import after_forks, open_raw, read_on, waiting_for, widen
from gradclip_cli.files.urls import is_url, whole_of
from gradclip_cli.formats.foreign.child import FRAME
from gradclip_cli.tensors.names import printable, shortened

SILENCE = 120.0  # seconds without a sign of life
IDLE = 3.0  # seconds that a process waits for more to do
_MOST_IDLE = 4
_BOUND = "/dev/fd/"  # a file without a name: it is handed over when a process is started
_OWN = ("/dev/", "/proc/")  # what is there is not the same for each process
_LONGEST = 1 << 30  # bytes of an answer that is no values
_SAID = 200  # characters of what a library says
_DAMAGED = "the file is damaged: copy or save it again"
_ALONE = ("-I", "-X", f"utf8={sys.flags.utf8_mode}")  # names of files are read as here
_START = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from gradclip_cli.formats.foreign.child import main
main()
"""


class Helper:
    """A process in which a library reads what a source describes."""

    def __init__(self, reader: str, source: Source) -> None:
        """Start it; raises `ImportError` where its library is missing."""
        self.reader = reader
        self.label = source.label
        self.holds: tuple[str, tuple[int, ...]] | None = None
        self.is_bound = _is_bound(source.path)
        self._path = _place(source.path)
        passed: tuple[int, ...] = ()
        if self.is_bound:
            passed = (open_raw(source.path, os.O_RDONLY),)
            self._path = f"/dev/fd/{passed[0]}"
        self._library = "the library"
        try:
            self._process = subprocess.Popen(
                [sys.executable, *_ALONE, "-c", _START, json.dumps(_places()), reader],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                cwd=os.sep,
                env={**os.environ, **_QUIET},
                pass_fds=passed,
                start_new_session=True,  # what a terminal sends is for us alone
            )
        finally:
            for descriptor in passed:
                os.close(descriptor)
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        _ALL.add(self)
        self._said = self._process.stdout.fileno()
        widen(self._said)
        self._ask = self._process.stdin.fileno()
        self._wait = waiting_for(self._said, SILENCE)
        try:
            self._library = self._answer()["library"]
        except BaseException:
            self.end()
            raise

    @property
    def number(self) -> int:
        """That of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def open(self, source: Source) -> None:
        """Let it open what a source describes, unless that is open already."""
        self.label = source.label
        wanted = source.path, source.stamp
        if self.holds != wanted:
            path = self._path if self.is_bound else _place(source.path)
            self.ask({"path": path})
            self.holds = wanted

    def ask(self, request: dict[str, Any], view: memoryview | None = None) -> Any:
        """Give the answer to a request, or fill a buffer with it and give the number of bytes."""
        with contextlib.suppress(BrokenPipeError):
            line = memoryview(json.dumps(request).encode() + b"\n")
            while line:
                line = line[os.write(self._ask, line) :]
        return self._answer(view)

    def _answer(self, view: memoryview | None = None) -> Any:
        said: dict[str, Any] = {"busy": True}
        while said.get("busy"):
            head = bytearray(FRAME.size)
            self._fill(memoryview(head))
            length, size = FRAME.unpack(head)
            if length > _LONGEST or size > (len(view) if view is not None else 0):
                raise self._failed("gave an answer that makes no sense")
            text = bytearray(length)
            self._fill(memoryview(text))
            said = json.loads(text)
        if "missing" in said:
            raise ModuleNotFoundError(f"No module named {said['missing']!r}", name=said["missing"])
        if "problem" in said:
            raise GradclipError(self.label, printable(said["problem"]), said["hint"])
        if "error" in said:
            why = shortened(" ".join(said["error"].split()), _SAID)
            raise self._failed(f"cannot read it: {printable(why)}")
        if view is None:
            return said
        self._fill(view[:size])
        return size

    def _fill(self, view: memoryview) -> None:
        while view:
            if not self._wait():
                raise self._failed(f"has said nothing for {SILENCE:.0f} seconds, and was ended")
            got = read_on(self._said, view)
            if not got:
                raise self._failed(f"ended in the middle of it: {self._ending()}")
            view = view[got:]

    def _failed(self, problem: str) -> GradclipError:
        return GradclipError(self.label, f"{self._library} {problem}", _DAMAGED)

    def _ending(self) -> str:
        try:
            status = self._process.wait(SILENCE)
        except subprocess.TimeoutExpired:
            return "it closed its streams"
        if status >= 0:
            return f"status {status}"
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-status).name}"
        return f"signal {-status}"

    def kill(self) -> None:
        """End the process; whoever waits for its answer hears of it."""
        self._process.kill()

    def end(self) -> None:
        """End the process, whatever it does, and wait for that."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


# More threads than one cost memory that is promised, and a library that locks cannot read a disk
# that is read-only.
_QUIET = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "HDF5_USE_FILE_LOCKING": "FALSE",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def _places() -> list[str]:
    """Give where modules are found: not in the folder one works in, unless gradclip is there."""
    home = os.path.abspath(__file__)
    for _ in range(4):
        home = os.path.dirname(home)
    strange = {os.getcwd()} - {home}
    return [place for place in sys.path if os.path.isabs(place) and place not in strange]


def _place(path: str) -> str:
    """Give the path by which another process finds a file, too: its /dev/stdin is another."""
    if is_url(path):
        return whole_of(path)
    whole = os.path.abspath(path)
    return os.path.realpath(whole) if whole.startswith(_OWN) else whole


def _is_bound(path: str) -> bool:
    """Say whether no path leads to a file in another process."""
    return path.startswith(_BOUND) or not (is_url(path) or os.path.exists(_place(path)))


_ALL: "weakref.WeakSet[Helper]" = weakref.WeakSet()


def _kill_all() -> None:
    for helper in [*_ALL]:
        helper.kill()


class _Pool:
    """Processes that have nothing to do, for a while."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Leave all to the process from which this one was forked."""
        self._idle: list[Helper] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def take(self, reader: str, source: Source) -> Helper | None:
        """Give one for a source: best what has it open, never what was started for another."""
        wanted = source.path, source.stamp
        is_bound = _is_bound(source.path)
        with self._lock:
            alike = [one for one in self._idle if one.reader == reader and one.is_alive]
            fitting = [one for one in alike if one.holds == wanted]
            fitting += [one for one in alike if not (one.is_bound or is_bound)]
            if fitting:
                self._idle.remove(fitting[0])
            return fitting[0] if fitting else None

    def put(self, helper: Helper) -> None:
        """Keep one for what comes next."""
        with self._lock:
            self._idle.append(helper)
            surplus = self._idle[:-_MOST_IDLE]
            del self._idle[:-_MOST_IDLE]
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(IDLE, self.close)
            self._timer.daemon = True
            self._timer.start()
        for one in surplus:
            one.end()

    def close(self) -> None:
        """End all that have nothing to do."""
        with self._lock:
            idle, self._idle = self._idle, []
        for helper in idle:
            helper.end()


_POOL = _Pool()
atexit.register(_POOL.close)
INTERRUPTED.append(_kill_all)
after_forks(_POOL.forget)


@contextlib.contextmanager
def helped(reader: str, source: Source) -> Iterator[Helper]:
    """Give a process that has a source open; after any mishap nobody uses it again."""
    helper = _POOL.take(reader, source) or Helper(reader, source)
    try:
        helper.open(source)
        yield helper
    except BaseException:
        helper.end()
        raise
    _POOL.put(helper)
