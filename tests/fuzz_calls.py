"""Argument lists and calls of chance, for `python -m tests.fuzz`.

The laws: a command ends soon with a documented status, and says in lines of its own why that is
not 0; a function raises nothing but a `GradclipError`; nothing is warned of, nothing is left
behind, and where `apply` fails no file has changed.
"""

import contextlib
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np

import gradclip_cli
from gradclip_cli import GradclipError
from gradclip_cli.cli import app
from gradclip_cli.cli.declared import COMMANDS, load
from gradclip_cli.commands.given import alternatives
from gradclip_cli.options import Option
from tests.dumps import floats, write_npy, write_safetensors
from tests.findings import Finding, check_fit, limits, nothing_else
from tests.running import COMMAND, environment

NAN, INF = math.nan, math.inf
SECONDS = 5
COMMANDS_RUN = [name for name in COMMANDS if name != "help"]
STATUSES = (0, 1, 2)

PATHS = [
    *("a.npy", "s.safetensors", "f16.npy", "int.npy", "run", "run/step-1.npy", "run/step-2.npy"),
    *("bad.npy", "text", "empty", "none.npy", "missing/x.npy", "a.npy/x", "report.jsonl", "socket"),
    *("locked.npy", "shut", "shut/a.npy"),
    *("é\U0001f600.npy", "\udcff.npy", "-", "", ".", "..", "/dev/null", "/", "a" * 300, "a\nb"),
    *(
        "link",
        "circle",
        "-a.npy",
        "out/x.npy",
        "out/",
        "out",
        "new.safetensors",
        "p.png",
        "c.jsonl",
    ),
]
LIKELY, LOCKED = PATHS[:7], "locked.npy"
NUMBERS = [
    *("1", "0", "2", "5.0", "-1", "0.5", "1e-300", "1e300", "1e308", "1e999", "5e-324", "nan"),
    *("inf", "-inf", "0x1p3", "1_0", "٣", "9" * 400, "1,5", "0.5,1,5", "-1,1", "1,-1", ",", "1,"),
    *("0.001", "512", "513", " 1", "1 ", "+1", "1e", "", "3,10", "2,2", "nan,1", "0,0", "-0"),
]
TEXTS = [
    *("*", "l.*", "l.0", "nothing", "[", "[!", "**", "(", "(.)", r"\d+", "step-(.*)", "(a+)+$"),
    *(
        "(" * 200,
        "a{99999}",
        "a{1,9999999999}",
        "(?<x>.)",
        r"\1",
        "x=y",
        "=",
        "l=k",
        "(.)=\\1",
        "()",
    ),
    *("a=\\9", "\udcff", "é", "\x1b[2J", "x" * 5_000, "", ".orig", "/", "a/b", ".", "..", "1", "2"),
]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, 2, -1, 10**400, 1.5, -0.0, NAN, INF, -INF, 5e-324, 1e308, 2 + 3j),
    *(
        "",
        "a.npy",
        "x",
        b"a.npy",
        Path("a.npy"),
        [],
        [1.0],
        [1, "x"],
        {},
        {"a": [1.0]},
        (),
        object(),
    ),
    *(
        int,
        np.float32(2),
        np.array(3.0),
        np.array([1.0, 2.0]),
        range(3),
        [None],
        {"a": None},
        "torch",
    ),
    *(["a.npy"], ["l.*"], "refuse", "zero", "\udcff", "\0", [[1.0], [2.0, 3.0]], (0,), [0, 1], "2"),
]

LIKELY_VALUES: dict[Any, Sequence[Any]] = {
    bool: (True, False),
    float: (0.5, 1.0, 2, np.float32(3)),
    int: (0, 1, 2),
    str: TEXTS,
}


def arrays() -> list[Any]:
    """Give what somebody may take for an array, and arrays of all kinds."""
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    return [
        *(1.0, 3, True, None, "x", b"x", 2 + 3j, NAN, INF, 10**400, object(), [], [[]], {}, set()),
        *([1.0, 2.0], [1.0, None], [[1.0], [2.0, 3.0]], ["a"], cyclic, range(4), iter([1.0, 2.0])),
        np.array([3.0, 4.0], "<f4"),
        np.array([3.0, 4.0], ">f2"),
        np.array([[1e308, 1e308], [5e-324, NAN]]),
        np.array([INF, -INF, 1.0], "f4"),
        np.array([1 + 2j, 3j], "c8"),
        np.zeros((0, 3)),
        np.zeros((2, 0), "f2"),
        np.array(2.0),
        np.float16(3),
        np.asfortranarray(np.ones((2, 3))),
        np.ones((4, 4))[::2, ::-1],
        np.broadcast_to(np.float64(1), (3, 3)),
        np.array([1, 2], "i4"),
        np.array([True, False]),
        np.array(["a"], object),
        np.array(["2020-01-01"], "M8[D]"),
        np.array([(1.0, 2)], "f8,i4"),
        np.array(["text"]),
        np.array([1.0], np.longdouble),
        np.ones((1,) * 32),
        np.ma.masked_array([1.0, 2.0], [True, False]),
    ]


# Where it happens


@cache
def bench(folder: Path) -> Path:
    """Write what is to be read, once; gives a folder that is to stay as it is."""
    place = folder / "sound"
    (place / "run").mkdir(parents=True)
    (place / "empty").mkdir()
    (place / "shut").mkdir()
    (place / "out").mkdir()
    for name in ("a", "-a", "é\U0001f600", "\udcff", "locked", "shut/a"):
        write_npy(place / f"{name}.npy", floats("<f8", (2,), [3.0, 4.0]))
    write_npy(place / "f16.npy", floats("<f2", (2, 2), [NAN, INF, 1.0, -2.0]))
    np.save(place / "int.npy", np.arange(4))
    for number in (1, 2, 3):
        write_npy(place / "run" / f"step-{number}.npy", floats("<f8", (2,), [3.0, 4.0 * number]))
    write_safetensors(
        place / "s.safetensors",
        {"l.0.w": floats("F32", (2, 2), [1.0, 2.0, 3.0, 4.0]), "l.1": floats("BF16", (1,), [0.5])},
    )
    (place / "bad.npy").write_bytes(b"\x93NUMPY\x01\0")
    (place / "text").write_text("what is no dump\n")
    (place / "report.jsonl").write_text('{"row": "global"}\n')
    (place / "link").symlink_to("a.npy")
    (place / "circle").symlink_to("circle")
    return place


def _listed(place: Path) -> dict[str, bytes | None]:
    """Give what is in a folder, by path, and the bytes of what is a file."""
    found: dict[str, bytes | None] = {}
    for folder, folders, names in os.walk(place):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            is_file = os.path.isfile(path) and not os.path.islink(path) and name != LOCKED
            found[os.path.relpath(path, place)] = Path(path).read_bytes() if is_file else None
    return found


def _lock(place: Path, mode: int) -> None:
    """Let nobody but root read a file and a folder, or let them again."""
    for name in (LOCKED, "shut"):
        (place / name).chmod(mode)


@contextlib.contextmanager
def _in_fresh(folder: Path) -> Iterator[Path]:
    """Go to a folder as `bench` made it, with a socket; what is left behind there is a finding."""
    place = folder / "here"
    if not place.exists():
        shutil.copytree(bench(folder), place, symlinks=True)
        _lock(place, 0)
    before = _listed(place)
    with contextlib.chdir(place), contextlib.closing(socket.socket(socket.AF_UNIX)) as there:
        there.bind("socket")
        try:
            yield place
        finally:
            os.unlink("socket")
    after = _listed(place)
    litter = [name for name in after if ".gradclip" in name]
    if after != before:
        _lock(place, 0o755)
        shutil.rmtree(place)
    if litter:
        raise Finding(f"left behind: {litter}")


# Argument lists


def with_arguments(rng: random.Random, folder: Path) -> str:
    """Run a command line of chance in this process."""
    return _held(rng, folder, _here)


def with_processes(rng: random.Random, folder: Path) -> str:
    """Run a command line of chance as a process of its own."""
    return _held(rng, folder, _there)


Ended = tuple[int, bytes, bytes]


def _held(rng: random.Random, folder: Path, run: Callable[[Sequence[str]], Ended]) -> str:
    name = rng.choice(COMMANDS_RUN)
    arguments = [name, *_arguments(rng, name)]
    with _in_fresh(folder) as place:
        before = _listed(place)
        try:
            status, _, err = run(arguments)
        except BaseException as error:
            raise Finding(f"{arguments} raised {error!r}") from error
        after = _listed(place)
    told = f"{arguments}: status {status}, {err.decode('utf-8', 'replace')}"
    if status not in STATUSES:
        raise Finding(told)
    if b"Traceback" in err or b"Warning" in err:
        raise Finding(told)
    is_quiet = any(word in ("--quiet", "-q", "-qq") for word in arguments)
    if status == 2 and not err and name != "check" and not is_quiet:
        raise Finding(f"nothing is said: {told}")
    if status == 2 and err and not err.startswith(b"gradclip: "):
        raise Finding(f"it does not begin as an error: {told}")
    if name == "apply" and status and any(after.get(path) != before[path] for path in before):
        raise Finding(f"a file has changed: {told}")
    return f"{name} {status}"


def _arguments(rng: random.Random, name: str) -> list[str]:
    """Give options and paths, most of them likely ones, in any order."""
    command = load(name)
    words = [[path] for path in rng.choices(LIKELY, k=rng.choice((1, 1, 1, 1, 1, 2, 3)))]
    if name == "diff" and len(words) == 1:
        words *= 2
    if rng.random() < 0.2:
        words[rng.randrange(len(words))] = [rng.choice(PATHS)]
    if rng.random() < 0.05:
        words = []
    if name == "apply" and rng.random() < 0.7:
        words += [["--clip-norm", "1.0"], ["-o", rng.choice(("new.npy", "out", "-"))]]
    for option in rng.choices(command.options, k=rng.choice((0, 0, 1, 1, 1, 2, 2, 4))):
        words.append(_given(rng, option))
    if rng.random() < 0.05:
        words.append([rng.choice(("--", "--no-such", "-Z", "-qq", "--=", "-o", "--top=", "-h"))])
    rng.shuffle(words)
    return [word.replace("\0", "") for some in words for word in some]


def _given(rng: random.Random, option: Option) -> list[str]:
    flag = option.short if option.short and rng.random() < 0.3 else option.flag
    if option.is_switch:
        return [flag if rng.random() < 0.97 else f"{flag}=1"]
    likely: Sequence[str] = [*option.choices] or NUMBERS if option.parse else TEXTS
    if option.metavar in ("PATH", "FILE", "OUT") or option.name in ("params", "output", "cache"):
        likely = PATHS
    value = rng.choice(rng.choice((likely, likely, likely, NUMBERS, TEXTS, PATHS)))
    return [f"{flag}={value}"] if flag.startswith("--") and rng.random() < 0.3 else [flag, value]


def _here(arguments: Sequence[str]) -> Ended:
    ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in ours}
    streams = sys.stdin, sys.stdout, sys.stderr
    kept = [os.dup(number) for number in range(3)]
    try:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with open(os.devnull, "rb") as nothing:
                for number, file in enumerate((nothing, out, err)):
                    os.dup2(file.fileno(), number)
            with (
                open(0, closefd=False) as sys.stdin,
                open(1, "w", closefd=False) as sys.stdout,
                open(2, "w", closefd=False) as sys.stderr,
                limits(SECONDS),
            ):
                status = app.run(arguments)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read())
        return status, texts[0], texts[1]
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, descriptor in enumerate(kept):
            os.dup2(descriptor, number)
            os.close(descriptor)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _there(arguments: Sequence[str]) -> Ended:
    done = subprocess.run(
        [*COMMAND, *map(os.fsencode, arguments)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=environment({"PYTHONWARNINGS": "default"}),
        timeout=4 * SECONDS,  # the start included, beside others
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


# Calls


IN_MEMORY = ("clip_by_average_norm", "clip_by_global_norm", "clip_by_norm", "clip_by_value")
FUNCTIONS = ("apply", "check", "diff", "inspect", "suggest", "trend", *IN_MEMORY, "global_norm")
RULES = {
    "rule": [name for name in gradclip_cli.__all__ if name.startswith("Clip")],
    "spike": [name for name in gradclip_cli.__all__ if name.endswith("Rule")],
}


def with_calls(rng: random.Random, folder: Path) -> str:
    """Call a function of the package with arguments of chance."""
    name = rng.choice(FUNCTIONS)
    function = getattr(gradclip_cli, name)
    with _in_fresh(folder) as place:
        positional, named = _parameters(rng, name, function.__signature__.parameters.values())
        before = _listed(place)
        told = f"{name}(*{positional!r:.500}, **{named!r:.500})"
        try:
            with nothing_else():
                repr(function(*positional, **named))
        except GradclipError as error:
            try:
                check_fit(error, has_hint=False)
            except Finding as finding:
                raise Finding(f"{told}: {finding}") from error
            if name == "apply" and _listed(place) != before:
                raise Finding(f"{told}: a file has changed: {error}") from error
            return f"{name} refused"
        except Finding as finding:
            raise Finding(f"{told}: {finding}") from finding.__cause__
    return f"{name} done"


def _parameters(
    rng: random.Random, name: str, parameters: Sequence[Parameter]
) -> tuple[list[Any], dict[str, Any]]:
    positional: list[Any] = []
    named: dict[str, Any] = {}
    share = rng.choice((0.0, 0.03, 0.1))  # of the parameters that need not be given
    for one in parameters:
        if one.kind is one.VAR_POSITIONAL:
            positional += [_operand(rng) for _ in range(rng.choice((0, 1, 1, 1, 2, 3)))]
        elif one.kind is one.POSITIONAL_OR_KEYWORD and one.default is one.empty:
            positional.append(_argument(rng, one.name))
        elif one.name in RULES and rng.random() < 2 * share:
            named[one.name] = _rule(rng, rng.choice(RULES[one.name]))
        elif rng.random() < share:
            named[one.name] = _value(rng, one.annotation)
    if name == "apply" and rng.random() < 0.7:
        named |= (
            {"output": "new.npy"} if "rule" in named else {"clip_norm": 1.0, "output": "new.npy"}
        )
    if rng.random() < 0.03:
        named["no_such"] = 1
    return positional, named


def _value(rng: random.Random, annotation: Any) -> Any:
    """Give any value, or one that an annotation takes."""
    kind = rng.choice(alternatives(annotation))
    if rng.random() < 0.4 or kind is Any:
        return rng.choice(VALUES)
    if get_origin(kind) is Literal:
        return rng.choice(get_args(kind))
    return rng.choice(LIKELY_VALUES.get(kind, VALUES))


def _rule(rng: random.Random, name: str) -> Any:
    """Make a rule; what it is made of is looked at where it is used."""
    rule = getattr(gradclip_cli, name)
    wanted = [one for one in signature(rule).parameters.values() if one.default is one.empty]
    given = {one.name: rng.choice((1.0, 2, *VALUES)) for one in wanted}
    given |= {one: rng.choice(VALUES) for one in signature(rule).parameters if rng.random() < 0.2}
    return rule(**given)


def _operand(rng: random.Random) -> Any:
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(LIKELY)
    return rng.choice(PATHS) if kind < 0.8 else rng.choice([*VALUES, {"a": rng.choice(arrays())}])


def _argument(rng: random.Random, name: str) -> Any:
    if name == "t_list":
        some = arrays()
        return (
            [rng.choice(some) for _ in range(rng.randrange(4))] if rng.random() < 0.8 else some[0]
        )
    if name == "t":
        return rng.choice(arrays())
    if name == "trend" and rng.random() < 0.8:
        return gradclip_cli.trend("run", workers=1)
    if name in ("a", "b"):
        return _operand(rng)
    return rng.choice((1.0, 0.5, 2.0, -1.0)) if rng.random() < 0.6 else rng.choice(VALUES)
