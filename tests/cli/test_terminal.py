"""What a person sees: tables that fit, progress, completion and help, on a real pseudo-terminal."""

import contextlib
import json
import math
import os
import re
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from rich.cells import cell_len

from tests.dumps import Stored, floats, header_of, write_safetensors
from tests.running import (
    COMMAND,
    HEIGHT,
    Shown,
    asked,
    end_of,
    end_on,
    feeding,
    frames,
    gradclip,
    in_shell,
    on_terminal,
    running,
    terminal,
)

# pexpect forks, which newer versions of Python warn of where a library has started threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

WIDTHS = [40, 80, 100, 160, 200]


# The table

MOST_LINES = 6  # of a row, where its name is long and the terminal narrow
BIG = "model.decoder.layers.{}.self_attention.rotary_embedding.q_proj.lora_A.weight"


def dumps() -> Iterator[tuple[str, dict[str, Stored]]]:
    """Give the dumps to look at, by name."""
    three = {
        "model.embed_tokens.weight": floats("BF16", (4, 5), [0.5] * 20),
        BIG.format(10): floats("F32", (2, 3, 1), [1.0, -7.5, 0.0, 0.25, 0.0, 0.0]),
        "model.norm.bias": floats("F16", (1,), [0.25]),
    }
    yield "3", three
    yield "3 bad", three | {"model.norm.bias": floats("F16", (3,), [0.25, math.nan, -math.inf])}
    many = {
        f"model.layers.{layer}.{part}_proj.weight": floats("F32", (2, 1), [layer + 1.0, 0.0])
        for layer in range(100)
        for part in ("gate", "up", "down")
    }
    yield "300", many
    bad = {BIG.format(layer): floats("F32", (2,), [math.nan, 1.0]) for layer in range(5)}
    yield "300 bad", dict(list(many.items())[:295]) | bad
    yield "shares", {"w": floats("F64", (1,), [1.0]), "x": floats("F64", (1,), [1e-3])}
    yield (
        "edges",
        {
            "most": floats("F64", (1,), [1.0]),
            "little": floats("F64", (1,), [1e-9]),
            "least": floats("F64", (1,), [1e-170]),
        },
    )
    yield (
        "wordy",
        {
            "model.decoder.layers.10.conv.weight": floats(
                "F16", (20, 20, 10), [math.nan, math.inf, -math.inf, 1.0] * 1000
            ),
            "b": floats("F32", (1,), [1.0]),
        },
    )
    yield (
        "far",
        {
            BIG.format(10): (
                *("F8_E5M2", (1, 1200, 1, 1000)),
                bytes(1_199_999) + floats("F8_E5M2", (1,), [math.nan])[2],
            )
        },
    )
    yield (
        "opaque",
        {
            "a": floats("F32", (1,), [1.0]),
            **{
                code: (code, (8,), bytes(size))
                for code, size in (("F4", 4), ("F6_E2M3", 6), ("F6_E3M2", 6), ("F8_E8M0", 8))
            },
            **{code: (code, (1,), b"\0") for code in ("F8_E4M3FNUZ", "F8_E5M2FNUZ")},
        },
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the dumps."""
    folder = tmp_path_factory.mktemp("screens")
    for name, tensors in dumps():
        write_safetensors(folder / f"{name}.safetensors", tensors)
    return folder


class Screens:
    """Inspects dumps on terminals, once for each way of asking."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[tuple[str, ...], Shown] = {}

    def __call__(self, dump: str, *options: str, columns: int = 80, under: str = "") -> Shown:
        """Give what a terminal of so many columns shows; `under` sets a variable: `NAME=value`."""
        asked = (dump, *options, str(columns), under)
        if asked not in self._seen:
            changes = dict([under.split("=")]) if under else {}
            arguments = (f"{dump}.safetensors", *options)
            shown = on_terminal("inspect", *arguments, columns=columns, cwd=self._folder, **changes)
            assert shown.status == 0, shown.raw
            self._seen[asked] = shown
        return self._seen[asked]


@pytest.fixture(scope="module")
def screens(folder: Path) -> Screens:
    """Give a function that inspects on a terminal."""
    return Screens(folder)


every_screen = pytest.mark.parametrize(
    ("dump", "columns"),
    [
        *((dump, columns) for dump in ("3", "300") for columns in WIDTHS),
        *((dump, columns) for dump in ("3 bad", "300 bad") for columns in (40, 80, 160)),
    ],
)


def assert_nothing_wraps(shown: Shown) -> None:
    assert [line for line in shown.lines if cell_len(line) > shown.columns] == []
    tall = [line.rstrip() for line in shown.screen(len(shown.lines) + 5).display]
    assert tall[: len(shown.lines)] == shown.lines
    assert not any(tall[len(shown.lines) :])


@every_screen
def test_nothing_is_wider_than_the_terminal(screens: Screens, dump: str, columns: int) -> None:
    assert_nothing_wraps(screens(dump, columns=columns))


@pytest.mark.parametrize("dump", ["wordy", "far", "opaque"])
def test_what_is_long_to_say_does_not_wrap_either(screens: Screens, dump: str) -> None:
    assert_nothing_wraps(screens(dump))


@every_screen
def test_a_table_fits_the_height_and_counts_what_it_leaves_out(
    screens: Screens, dump: str, columns: int
) -> None:
    shown = screens(dump, columns=columns)
    total = int(dump.split()[0])
    screen = shown.screen(HEIGHT)
    assert screen.display[0].startswith("tensor "), "the head has not scrolled away"
    found = [line for line in shown.lines if line.startswith("… ")]
    if total == 3:
        assert found == []
    else:
        assert found == [f"… {total - len(shown.rows)} more, --all shows them"]
        wasted = HEIGHT - 1 - screen.cursor.y
        assert wasted == 0 or 0 < wasted < MOST_LINES, "the prompt has a line, and a row its lines"
    assert len(shown.rows) == total - (0 if total == 3 else total - len(shown.rows))


@every_screen
def test_the_first_columns_stay_and_numbers_stand_right(
    screens: Screens, dump: str, columns: int
) -> None:
    shown = screens(dump, columns=columns)
    head = shown.lines[0]
    titles = re.split(" {2,}", head)
    kept = ["norm", "not"] if "bad" in dump else ["norm", "share"]
    assert titles[0].startswith("tensor")
    found = [title.removesuffix(" finite") for title in titles]
    assert [title for title in found if title in kept] == kept
    for title in ("norm", "share", "max |x|", "rms", "zeros"):
        if title in titles:
            end = head.index(title) + len(title)
            assert {row.ljust(end + 1)[end] for row in shown.rows} == {" "}, title
            assert " " not in {row[end - 1] for row in shown.rows}
    if "bad" not in dump:
        needed = {"max |x|"} if columns >= (100 if dump == "300" else 160) else set()
        needed |= {"dtype", "shape"} if columns >= 160 else set()
        needed |= {"rms", "at", "zeros"} if columns == 200 else set()
        assert set(titles) >= needed


def test_long_names_go_on_in_a_second_line_and_stand_whole_where_there_is_room(
    screens: Screens,
) -> None:
    name = BIG.format(10)
    lines = screens("3").lines
    assert lines[0].startswith("tensor model.…  ")
    (at,) = [at for at, line in enumerate(lines) if line.startswith("decoder.layers.10.")]
    assert f"model.{lines[at].split('  ')[0]}{lines[at + 1].strip()}" == name
    assert any(row.startswith(f"{name}  ") for row in screens("3", columns=200).rows)
    narrow, wide = (screens("300", columns=columns).rows for columns in (80, 200))
    assert not any("…" in row for row in [*narrow, *wide]), "these names fit"


@pytest.mark.parametrize("columns", [40, 80, 100])
@pytest.mark.parametrize("command", ["inspect", "diff", "apply", "trend"])
def test_two_rows_never_look_alike(command: str, columns: int, tmp_path: Path) -> None:
    names = [f"base_model.model.layers.{n}.{BIG.format(9 - n)}" for n in range(10)]
    for step in (1.0, 2.0):
        tensors = {
            name: floats("F32", (2,), [at + step, step * at**2]) for at, name in enumerate(names)
        }
        write_safetensors(tmp_path / f"step-{step:.0f}.safetensors", tensors)
    one, two = "step-1.safetensors", "step-2.safetensors"
    given = {
        "inspect": (one,),
        "diff": (one, two),
        "apply": (one, "--clip-norm=0.5", "--per-tensor", "--dry-run"),
        "trend": (one, two),
    }
    shown = on_terminal(command, *given[command], *["--all"], columns=columns, cwd=tmp_path)
    assert_nothing_wraps(shown)
    if command != "trend":
        rows = [row.split()[0] for row in shown.rows if not row.startswith("B/A:")]
        assert len({*rows}) == len(rows) == 10, "each begins with what differs"
    assert not re.search(r"\w…\w", "".join(shown.lines)), "no name is cut within"
    told = re.sub(r"\s", "", "".join(shown.lines))
    middles = [f"{n}.{BIG.format(9 - n).split('.self')[0]}" for n in range(10)]
    if command != "trend" or columns == 100:
        assert [middle for middle in middles if middle not in told] == []


def test_all_shows_all(screens: Screens) -> None:
    shown = screens("300 bad", "--all")
    assert len(shown.rows) == 300
    assert not any("--all" in line for line in shown.lines)
    assert_nothing_wraps(shown)


def test_the_foot_says_the_norm_and_the_verdict(screens: Screens) -> None:
    norm, verdict, facts = screens("300").lines[-3:]
    assert norm.startswith("global norm  ")
    squares = 3 * sum(layer**2 for layer in range(101))
    assert float(norm[13:]) == pytest.approx(math.sqrt(squares), rel=1e-15)
    assert re.fullmatch(
        r"all finite; model\.layers\.99\.\w+_proj\.weight has 1\.0 % of the squared norm", verdict
    )
    assert facts == "300 tensors · 600 values · 300.safetensors"
    norm, verdict, _ = screens("3 bad", columns=160).lines[-3:]
    assert norm.startswith("global norm  nan  without what is not finite ")
    assert verdict == "not finite: 1 NaN, 1 -inf, likely first in model.norm.bias at [1]"


def test_the_verdict_is_on_the_whole_whichever_rows_are_shown(screens: Screens) -> None:
    assert screens("300", "--sort", "name", "--top", "1").lines[-3:] == screens("300").lines[-3:]
    everything = screens("300 bad", columns=160).lines[-3:]
    assert screens("300 bad", "--reverse", "--top", "1", columns=160).lines[-3:] == everything


def test_top_shows_that_many_rows_however_low_the_terminal(screens: Screens) -> None:
    assert len(screens("300", "--top", "30").rows) == 30


def test_shares_are_never_rounded_to_all_or_nothing(screens: Screens) -> None:
    assert [re.findall(r"\S+ %", row) for row in screens("shares").rows] == [["99.9 %"], ["<0.1 %"]]
    assert "has 99.9 % of the squared norm" in screens("shares").raw


def test_not_even_shares_that_float64_rounds_are_all_or_nothing(screens: Screens) -> None:
    assert [re.findall(r"\S+ %", row) for row in screens("edges").rows] == [
        ["99.9 %"],
        ["<0.1 %"],
        ["<0.1 %"],
    ]
    assert "100 %" not in screens("edges").raw


# Colours, surroundings


def test_what_is_not_finite_stands_out_in_colour_and_in_words(screens: Screens) -> None:
    shown = screens("3 bad", columns=160)
    bad, *good = shown.raw.split("\r\n")[2:5]
    assert "\x1b[1;31m" in bad
    assert not any("31m" in row for row in good)
    assert re.fullmatch(r"model\.norm\.bias +float16 +3 +nan +nan .* 1 NaN, 1 -inf", shown.rows[0])
    assert screens("3 bad", columns=160, under="NO_COLOR=").raw == shown.raw


@pytest.mark.parametrize("variable", ["NO_COLOR=1", "TERM=dumb"])
def test_plain_means_no_escape_sequence_at_all(screens: Screens, variable: str) -> None:
    shown = screens("3 bad", columns=160, under=variable)
    assert "\x1b" not in shown.raw
    assert "\x1b" in screens("3 bad", columns=160).raw
    assert shown.lines == screens("3 bad", columns=160).lines


def test_columns_and_lines_win_over_what_the_terminal_says(screens: Screens) -> None:
    assert screens("3", columns=160, under="COLUMNS=80").raw == screens("3").raw
    assert len(screens("300", under="LINES=60").rows) == len(screens("300").rows) + 36


def test_a_table_in_a_pipe_has_80_columns_and_no_end(screens: Screens, folder: Path) -> None:
    done = gradclip("inspect", "300 bad.safetensors", "--format", "table", cwd=folder)
    assert done.stdout.decode().splitlines() == screens("300 bad", "--all").lines


def test_json_on_a_terminal_is_json(screens: Screens) -> None:
    shown = screens("300 bad", "--json")
    assert json.loads(shown.raw)["total"] == 300


def test_apply_says_on_a_terminal_what_it_did(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "g.safetensors", {"a": floats("F32", (2,), [3, 4])})
    shown = on_terminal(
        *("apply", "g.safetensors", "--clip-norm", "2.5", "-o", "out"), cwd=tmp_path, NO_COLOR="1"
    )
    assert shown.status == 0
    assert_nothing_wraps(shown)
    said = dict(re.split(" {2,}", line)[:2] for line in shown.lines if "  " in line)
    assert said == {
        "norm before": "5.0",
        "limit": "2.5",
        "coefficient": "0.5",
        "clipped": "yes",
        "norm after": "2.5",
    }


# Progress

STEP = 32 << 20  # how much of a stream is measured before progress is told
STEPS = 3
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


@contextlib.contextmanager
def slow(path: Path, ended: Callable[[], object]) -> Iterator[IO[bytes]]:
    """Feed all but half a step of a dump into a FIFO in more than a second; give the FIFO."""
    with feeding(path, ended) as stream:
        stream.write(header_of(STEPS * STEP // 4))
        feed(stream, STEP)
        time.sleep(1.1)
        feed(stream, STEP)
        # A step is told of when the next one is begun.
        feed(stream, STEP // 2)
        yield stream


def feed(stream: IO[bytes], size: int) -> None:
    """Write so many zeros."""
    view = memoryview(bytes(size))
    while view:
        view = view[stream.write(view) :]


def test_progress_is_shown_after_a_second_and_then_gone(tmp_path: Path) -> None:
    fifo = tmp_path / "grads"
    os.mkfifo(fifo)
    with terminal("inspect", "grads", cwd=tmp_path) as child:
        with slow(fifo, lambda: not child.isalive()) as stream:
            child.expect(r"64\.0/96\.0 MiB[^\r]*grads")
            seen = child.before + child.after
            feed(stream, STEP // 2)
        rest, status = end_on(child)
    assert status == 0
    drawn = [frame for frame in frames(seen + rest) if frame.startswith("measuring ")]
    complete = r"measuring [━╺╸ ]+ [\d.]+/96\.0 MiB +[\d.]+ \wi?B/s +\d:\d\d:\d\d +grads"
    assert any(re.fullmatch(complete, frame.rstrip()) for frame in drawn)
    assert max(map(cell_len, drawn)) <= 80
    shown = Shown(seen + rest, status, 80)
    display = shown.screen(HEIGHT).display
    assert display[0].startswith("tensor "), "the bar is gone"
    assert not any("measuring" in line for line in display)
    assert shown.raw.rfind(SHOW) > shown.raw.rfind(HIDE) > -1, "the cursor is there again"


@pytest.mark.parametrize(
    ("number", "status"),
    [
        pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM", marks=pytest.mark.heavy),
    ],
)
def test_a_signal_takes_the_progress_away_and_gives_the_cursor_back(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    fifo = tmp_path / "[b]:bug:\x1b[31m"
    os.mkfifo(fifo)
    with (
        terminal("inspect", fifo.name, cwd=tmp_path) as child,
        slow(fifo, lambda: not child.isalive()),
    ):
        child.expect(r"64\.0/96\.0 MiB[^\r]*\r")
        seen = child.before + child.after
        if number == signal.SIGINT:
            child.sendintr()
        else:
            child.kill(number)
        rest, found = end_on(child)
    assert found == status
    raw = seen + rest
    assert raw.rfind(SHOW) > raw.rfind(HIDE) > -1
    assert not "".join(Shown(raw, status, 80).screen(HEIGHT).display).strip()
    assert any(frame.rstrip().endswith(r" [b]:bug:\x1b[31m") for frame in frames(raw))


def test_there_is_no_progress_where_nobody_looks(tmp_path: Path) -> None:
    fifo = tmp_path / "grads"
    os.mkfifo(fifo)
    with running("inspect", str(fifo), "--json") as process:
        with slow(fifo, lambda: process.poll() is not None) as stream:
            feed(stream, STEP // 2)
        assert end_of(process) == (0, b"")


# Completion and help

ASKED = {
    "--help": ("--help",),
    "--version": ("--version",),
    "inspect --help": ("inspect", "--help"),
    "apply --help": ("apply", "--help"),
    "trend --help": ("trend", "--help"),
}


def completed(shell: str, line: str) -> tuple[str, frozenset[str]]:
    """Ask for completion of a command line as the script of Typer does for a shell."""
    return asked(
        _GRADCLIP_COMPLETE=f"complete_{shell}",
        COMP_WORDS=line,
        COMP_CWORD=str(line.count(" ")),
        _TYPER_COMPLETE_ARGS=line,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )


HEAVY = {"numpy", "safetensors"}


@pytest.mark.parametrize("arguments", ASKED.values(), ids=ASKED.keys())
def test_help_and_version_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    text, imported = asked(*arguments)
    assert text
    assert "typer" in imported
    assert not imported & HEAVY


def test_an_inspection_does_import_what_is_heavy(folder: Path) -> None:
    _, imported = asked("inspect", str(folder / "3.safetensors"))
    assert imported >= HEAVY


@pytest.mark.parametrize(
    "shell", ["bash", *(pytest.param(one, marks=pytest.mark.heavy) for one in ("zsh", "fish"))]
)
def test_completion_knows_commands_options_and_choices_and_imports_nothing_heavy(
    shell: str,
) -> None:
    for line, wanted in (
        ("gradclip ", {"inspect", "apply", "diff", "check", "trend", "explain", "help"}),
        ("gradclip inspect --fail", {"--fail-above", "--fail-nonfinite"}),
        ("gradclip inspect --format js", {"json", "jsonl"}),
    ):
        text, imported = completed(shell, line)
        assert set(re.findall(r"(?m)^[^\w-]*(?:_arguments[^\w-]+)?([\w-]+)", text)) == wanted
        assert not imported & HEAVY


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """Give a folder that has gradclip as a command by that name."""
    script = tmp_path / "bin" / "gradclip"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    script.chmod(0o755)
    return script.parent


def test_bash_completes_with_the_script_that_is_shown(tmp_path: Path, command: Path) -> None:
    done = in_shell(
        """
        unset -f gradclip
        source <(gradclip --show-completion bash)
        COMP_WORDS=(gradclip inspect --so) COMP_CWORD=2
        $(complete -p gradclip | sed 's/.*-F \\([^ ]*\\) .*/\\1/') gradclip
        echo "${COMPREPLY[@]}"
        """,
        tmp_path,
        PATH=f"{command}:{os.environ['PATH']}",
        _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1",
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"--sort\n"


@pytest.mark.parametrize(
    ("shell", "path"),
    [
        ("bash", ".bash_completions/gradclip.sh"),
        ("zsh", ".zfunc/_gradclip"),
        ("fish", ".config/fish/completions/gradclip.fish"),
    ],
)
def test_completion_can_be_installed(tmp_path: Path, shell: str, path: str) -> None:
    done = gradclip(
        *("--install-completion", shell),
        HOME=str(tmp_path),
        _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1",
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"_GRADCLIP_COMPLETE=complete_{shell}" in (tmp_path / path).read_text()


@pytest.mark.parametrize(
    "command", [(), ("inspect",), ("apply",), ("trend",)], ids=["", "inspect", "apply", "trend"]
)
def test_help_fits_one_screen(command: tuple[str, ...]) -> None:
    text, _ = asked(*command, "--help")
    lines = text.splitlines()
    assert len(lines) <= (65 if command in (("apply",), ("inspect",)) else 45)
    assert [line for line in lines if len(line) > 80] == []
    cut = [line for line in lines if line.endswith("...") and not line.startswith("Usage")]
    assert cut == [], "nothing that matters is cut"


@pytest.mark.parametrize("command", ["inspect", "apply", "trend"])
def test_help_of_a_command_has_examples_whose_options_it_explains(command: str) -> None:
    text, _ = asked(command, "--help")
    explained, examples = text.split("Examples:")
    assert examples.count(f"gradclip {command} ") >= 3
    given = re.sub(r"\| jq .*", "", examples)  # whose own options are no matter of ours
    for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", given):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", explained), option


def test_version_says_name_and_number() -> None:
    text, _ = asked("--version")
    assert re.fullmatch(r"gradclip \d+\.\d+\.\d+\n", text)
