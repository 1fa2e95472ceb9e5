"""Damaged caches, reports and journals, for `python -m tests.fuzz`.

The laws: gradclip raises nothing but a `GradclipError` that names the file, soon and without a
warning; what it says of the steps is what they have, whatever stands in the file; a cache that it
refuses stays as it is, and what was said to be kept can be read again.
"""

import json
import math
import os
import random
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gradclip_cli
from gradclip_cli import GradclipError
from gradclip_cli.files.marks import JOURNAL, run_name, staged_path
from gradclip_cli.render.registry import renderer
from gradclip_cli.render.renderer import pieces
from gradclip_cli.results.columns import Result
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.cache import signed
from tests.dumps import floats, write_safetensors
from tests.findings import REFUSED, TAKEN, Finding, check_fit, fresh, nothing_else
from tests.mutants import (
    SAFETENSORS_TOKEN,
    few,
    with_other_bytes,
    with_other_leaves,
    with_other_words,
)

NAN, INF = math.nan, math.inf
STEPS: list[dict[str, list[float]]] = [
    {"l.0": [1.0, -2.0, 2.0], "l.1": [0.5], "é\n": []},
    {"l.0": [3.0, 4.0, 0.0], "l.1": [NAN], "é\n": []},
    {"l.0": [1e200, 1e-200, 0.0], "l.1": [-INF], "é\n": []},
    {"l.0": [1e308, 1e308, 1e308], "l.1": [1e308], "é\n": []},
]
WORDS = [
    *'"{}[],: \n\t\r\0\x7f\x0b\f\xa0\ufeff\u2028',
    *("null", "true", "NaN", "Infinity", "-Infinity", "-1", "-0", "0", "1", "2", "3", "1e400"),
    *("01", "+1", "0x1", "1_0", "18446744073709551616", "9" * 400, "9" * 5_000, "1e-400", "5e-324"),
    *('"tensor"', '"global"', '"group"', '"row"', '"\\ud800"', '"\\udcff"', '"\\u001b[2J"', '""'),
    *("[" * 100_000, '{"a":' * 100_000, "[]", "{}", '"norms":[1],', '"count": 7,', " " * 10_000),
]
LEAVES: list[Any] = [
    *(None, True, False, 0, 1, 2, 3, -1, 1 << 63, 1 << 64, 10**400, 0.0, -0.0, 1.5, -1.5, 1e308),
    *(5e-324, NAN, INF, -INF, "", "x", "1.5", "\ud800", "\udcff", "\x1b[2J", [], {}, [0], [[]]),
    *([None], ["a"], {"a": 1}, [1.5, 2.5], [0, 1, 0, 0, [0]], [[0, 1, 0, 0, [0]]], "tensor"),
]
FIELDS = ["row", "name", "name_bytes", "norms", "counts", "finite_norm", "notes", "measured", "x"]


@dataclass(frozen=True, slots=True)
class Bench:
    """A run in a folder, its sound cache and a report of each step, and what is to be said."""

    steps: list[str]
    cache: bytes
    reports: list[bytes]
    told: dict[str, Any]


@cache
def bench(folder: Path) -> Bench:
    """Write a run, and measure it once."""
    steps = []
    for number, tensors in enumerate(STEPS):
        path = folder / f"step-{number}.safetensors"
        write_safetensors(
            path, {name: floats("F64", (len(some),), some) for name, some in tensors.items()}
        )
        steps.append(str(path))
    kept = folder / "sound"
    run = gradclip_cli.trend(*steps, cache=kept, workers=1)
    reports = [
        text("jsonl", gradclip_cli.inspect(step, fingerprint=True, workers=1)).encode()
        for step in steps
    ]
    return Bench(steps, kept.read_bytes(), reports, told(run))


def text(form: str, result: Result) -> str:
    """Write a result in a format."""
    return "".join(pieces(result, renderer(form, result.sheet, None, True)))


def told(run: Trend) -> dict[str, Any]:
    """Give what JSON says of a run, but for how it was read; a screen takes it, too."""
    str(run)
    found: dict[str, Any] = json.loads(text("json", run))
    del found["notes"]
    return found


# The laws


def with_damaged_cache(rng: random.Random, folder: Path) -> str:
    """Follow a run over a damaged cache; half of them have the right check sums all the same."""
    known = bench(folder)
    raw = damaged(rng, known.cache)
    is_signed = rng.random() < 0.5
    if is_signed:
        raw = b"".join(map(_signed, raw.splitlines(keepends=True)))
    path = fresh(folder / "cache", raw)
    try:
        with nothing_else():
            said = told(gradclip_cli.trend(*known.steps, cache=path, workers=1))
            again = told(gradclip_cli.trend(*known.steps, cache=path, workers=1))
    except GradclipError as error:
        check_fit(error)
        if error.subject != str(path):
            raise Finding(f"another file is blamed: {error}") from error
        if path.read_bytes() != raw:
            raise Finding("what is refused is changed") from None
        return REFUSED
    if said != again:
        raise Finding(f"said {said}, and then {again}")
    if said == known.told:
        return "as measured"
    if is_signed:
        return "as somebody signed"
    raise Finding(f"said {said}, which was never measured")


def _signed(line: bytes) -> bytes:
    body, comma, _ = line.rpartition(b', "crc32"')
    return signed(body + b"}") if comma and line.endswith(b"\n") else line


def with_damaged_report(rng: random.Random, folder: Path) -> str:
    """Follow a run of which one step is a damaged report."""
    known = bench(folder)
    number = rng.randrange(len(STEPS))
    sound = known.reports[number]
    raw = damaged(rng, sound)
    path = fresh(folder / "report-7", raw)
    kept = folder / "cache"
    kept.unlink(missing_ok=True)
    try:
        with nothing_else():
            run = gradclip_cli.trend(path, cache=kept, workers=1)
            said = told(run)
            gradclip_cli.trend(path, cache=kept, workers=1)
    except GradclipError as error:
        check_fit(error)
        if error.subject != str(path):
            raise Finding(f"another file is blamed: {error}") from error
        if kept.exists() and kept.stat().st_size:
            raise Finding("what cannot be read is kept") from error
        return REFUSED
    (step,), (true,) = said["steps"], [known.told["steps"][number]]
    for one in ("global_norm", "finite_norm", "nonfinite", "share"):
        if step[one] != true[one]:
            raise Finding(f"{one} is said to be {step[one]}, and is {true[one]}")
    return TAKEN


def with_damaged_journal(rng: random.Random, folder: Path) -> str:
    """Inspect a folder in which a run was stopped that left a damaged journal."""
    known = bench(folder)
    place = folder / "stopped"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    target = fresh(place / "a.safetensors", Path(known.steps[0]).read_bytes())
    others = [fresh(place / "b.txt", b"b"), fresh(folder / "c.txt", b"c")]
    token = "0123456789abcdef"
    staged = staged_path(str(target), token)
    Path(staged).write_bytes(Path(known.steps[1]).read_bytes())
    entries = [[".", os.path.basename(staged), target.name, True, None]]
    journal = json.dumps(entries).encode()
    if rng.random() < 0.5:
        tree = with_other_leaves(rng, journal.decode(), [*LEAVES, *JOURNALED], FIELDS)
        raw = tree.encode("utf-8", "surrogatepass")
    else:
        raw = damaged(rng, journal)
    fresh(place / run_name(token), raw)
    (place / JOURNAL).symlink_to(run_name(token))
    try:
        with nothing_else():
            norm = gradclip_cli.inspect(place, workers=1).finite_norm
    except GradclipError as error:
        check_fit(error)
        word = REFUSED
    else:
        if norm not in [known.told["steps"][number]["finite_norm"] for number in (0, 1)]:
            raise Finding(f"a norm of {norm!r}, which neither file has")
        word = TAKEN
    if [other.read_bytes() for other in others] != [b"b", b"c"]:
        raise Finding("another file was changed")
    return word


JOURNALED = [
    *("..", "/", "../..", "b.txt", "../c.txt", "/etc/passwd", ".", "\0", "a/b", "a" * 5_000),
    *(".orig", ".x.gradclip-0123456789abcdef.tmp", ".gradclip-0123456789abcdef.run"),
]

# What is damaged


def damaged(rng: random.Random, raw: bytes) -> bytes:
    """Change a file of JSON Lines: its bytes, its words, its values or its lines."""
    lines = raw.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            return with_other_bytes(rng, raw)
        case 1:
            text = with_other_words(rng, lines[at].decode(), SAFETENSORS_TOKEN, WORDS)
            lines[at] = text.encode("utf-8", "surrogatepass")
        case 2 | 3 | 4:
            lines[at] = f"{with_other_leaves(rng, lines[at].decode(), LEAVES, FIELDS)}\n".encode(
                "utf-8", "surrogatepass"
            )
        case _:
            for _ in few(rng):
                at, there = rng.randrange(len(lines)), rng.randrange(len(lines))
                match rng.randrange(4):
                    case 0:
                        lines[at : at + 1] = []
                    case 1:
                        lines.insert(at, lines[there])
                    case 2:
                        lines[at], lines[there] = lines[there], lines[at]
                    case _:
                        lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
                lines = lines or [b""]
    return b"".join(lines)
