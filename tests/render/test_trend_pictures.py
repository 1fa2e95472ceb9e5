"""A run as a person sees it: the table, the pictures in characters, and the figure in a file."""

import math
import os
import re
import struct
import time
from pathlib import Path

import pytest
from rich.cells import cell_len

import gradclip_cli
from gradclip_cli.render.picture import picture
from gradclip_cli.render.plots.file import drawn
from gradclip_cli.render.screen import Screen
from gradclip_cli.results.suggestion import suggest
from gradclip_cli.results.trend import Trend
from tests.dumps import GRADS
from tests.pages import TOP
from tests.running import (
    Run,
    Shown,
    end_on,
    feeding,
    frames,
    gradclip,
    in_shell,
    loaded_by,
    on_terminal,
    one_error,
    program,
    terminal,
)
from tests.steps import INF, NAN, write_steps
from tests.strangers import STRANGERS

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

Steps = list[dict[str, list[float]]]

ODD: dict[str, Steps] = {
    "all NaN": [{"a": [NAN], "b": [1.0]}] * 7,
    "all inf": [{"a": [INF], "b": [-INF]}] * 7,
    "all zero": [{"a": [0.0], "b": [-0.0]}] * 7,
    "one step": [{"a": [3.0, 4.0]}],
    "one step of zeros": [{"a": [0.0]}],
    "one NaN": [{"a": [NAN]}],
    "always the same": [{"a": [0.1, 0.2]}] * 9,
    "beyond float64": [{"a": [1e308] * 4, "b": [1e308]}] * 3 + [{"a": [1e308]}] * 6,
    "tiny": [{"a": [5e-324], "b": [1e-300]}] * 8,
    "far apart": [{"a": [5e-324]}, {"a": [1.7e308]}] * 4,
    "no tensors": [{}] * 3,
    "empty tensors": [{"a": []}] * 3,
    "mixed": [{"a": [1.0]}, {"b": [2.0]}, {"a": [NAN]}, {"a": [0.0]}, {}, {"d": []}, {"a": [INF]}],
    "strangers": [{name: [1.0 + step] for name in STRANGERS} for step in range(3)],
    "long": [{f"layers.{n}.w": [1.0 + (step * n) % 7] for n in range(40)} for step in range(90)],
}


@pytest.fixture(params=list(ODD))
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Trend:
    """Give a run that is odd in some way."""
    return gradclip_cli.trend(*write_steps(tmp_path / "run", *ODD[request.param]))


@pytest.mark.parametrize("width", [40, 80, 160])
def test_no_odd_run_breaks_the_pictures_in_characters(odd: Trend, width: int) -> None:
    for colour in (False, True):
        lines = [line.plain for line in picture(odd.steps, Screen(width, 30, colour))]
        assert max(map(cell_len, lines)) <= width
        assert all(line.isprintable() for line in lines)
        finite = [step for step in odd.steps if 0 < step.global_norm < math.inf]
        assert bool(re.search("[▁▂▃▄▅▆▇█]", lines[0])) == bool(finite)
        bad = any(step.mark in ("nonfinite", "overflow") for step in odd.steps)
        assert ("×" in lines[0]) == bad


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_no_odd_run_breaks_the_figure(odd: Trend, kind: str) -> None:
    data = drawn(odd, f"a.{kind}")
    assert data == drawn(odd, f"a.{kind}"), "the same run, the same bytes"
    if kind == "png":
        assert struct.unpack(">I", data[16:20]) == (9 * 150,), "the width in a PNG's head"
    else:
        assert data.startswith(b"<?xml")


def test_no_odd_run_breaks_the_suggestion(odd: Trend) -> None:
    found = suggest(odd)
    assert found.steps + found.excluded == len(odd.steps) + len(odd.unreadable)


# In characters


def lines_of(paths: list[str], *options: str, width: int = 80) -> list[str]:
    done = gradclip("trend", *paths, "--format", "table", *options, COLUMNS=str(width))
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().splitlines()


def cells(lines: list[str], name: str) -> str:
    """Give what is drawn behind a name."""
    (line,) = [
        line for line in lines if line.startswith(f"{name} ") and line[-1] in "▁▂▃▄▅▆▇█░▒▓·×"
    ]
    return line.removeprefix(name).strip()


def test_the_pictures_show_each_step_in_its_column(tmp_path: Path) -> None:
    norms = [1.0, 10.0, 0.0, NAN, 100.0, 1e8]
    paths = write_steps(tmp_path, *({"a": [norm], "dead": [0.0]} for norm in norms))
    lines = lines_of(paths)
    assert cells(lines, "global norm") == "".join(mark * 5 for mark in "▁▂·×▃█")
    assert cells(lines, "a") == "".join(mark * 5 for mark in "░░·×▒█")
    assert cells(lines, "dead") == "·" * 30
    assert any(re.fullmatch(r"step +0    1    2    3    4    5", line) for line in lines)
    assert "norm from ▁ 1.000 to █ 1.000e+08, logarithmic  × not finite" in lines


def test_where_steps_share_a_column_the_worst_is_shown(tmp_path: Path) -> None:
    norms = [1.0] * 400
    norms[100], norms[300] = NAN, 1e6
    paths = write_steps(tmp_path, *({"a": [norm]} for norm in norms))
    drawing = cells(lines_of(paths), "global norm")
    assert len(drawing) == 80 - 13
    assert (drawing.count("×"), drawing.count("█"), drawing.count("▁")) == (1, 1, 65)
    assert drawing.index("×") == 100 * 67 // 400


def test_a_few_far_above_do_not_make_the_others_look_all_the_same(tmp_path: Path) -> None:
    norms = [float(norm) for norm in range(1, 9)] * 8
    norms[44] = 1e30
    steps: Steps = [{"a": [norm], "b": [10.0 if n < 30 else 1.0]} for n, norm in enumerate(norms)]
    lines = lines_of(write_steps(tmp_path, *steps), width=100)
    for name, faintest, ordinary in (("global norm", "▁", "▁▂▃▄▅▆▇"), ("a", "░", "░▒▓")):
        drawing = cells(lines, name)
        assert drawing.index("█") == 44
        assert set(drawing) == {*ordinary, "█"}
        assert drawing[0] == faintest or name != "a"
    assert cells(lines, "b") == "▓" * 30 + "░" * 34
    assert any("█ above, to 1.000e+30" in line for line in lines)
    assert any(line.endswith("█ 10.00 to 1.000e+30") for line in lines)


@pytest.mark.parametrize("columns", [80, 160])
def test_a_terminal_gets_a_table_pictures_and_answers_and_nothing_wraps(
    tmp_path: Path, columns: int
) -> None:
    steps: Steps = [{f"model.layers.{n}.mlp.gate_proj.weight": [1.0 + n] for n in range(9)}] * 7
    paths = write_steps(
        tmp_path, *steps, {"model.norm.weight": [1e5]}, {"model.norm.weight": [NAN]}
    )
    shown = on_terminal("trend", *paths, columns=columns)
    assert shown.status == 0
    assert [line for line in shown.lines if cell_len(line) > columns] == []
    beside = "not finite  " if columns == 160 else ""  # which goes before names are broken
    assert shown.lines[0] == f"step  global norm   × median  {beside}mark     share  tensor"
    rows = [line.split() for line in shown.lines[2:] if re.match(" +[0-9]  ", line)]
    assert [row[0] for row in rows] == [str(n) for n in range(9)]
    assert rows[8][1] == "nan"
    assert "\x1b[1;31m" in shown.raw
    assert "\x1b[38;5;" in shown.raw
    plain = on_terminal("trend", *paths, columns=columns, NO_COLOR="1")
    assert "\x1b" not in plain.raw
    assert plain.lines == shown.lines
    said = " ".join(line.strip() for line in shown.lines)
    assert "not finite, first at step 8, likely in model.norm.weight at [0] (1 NaN)" in said
    assert "1 spike above the range of the steps before, by few steps: step 7: norm 100,000" in said
    assert "spike?: by few steps, fewer than 20 before it" in said
    assert said.endswith("9 steps · not all steps have the same tensors")


def test_a_terminal_without_room_gets_what_is_marked_the_first_and_the_last(
    tmp_path: Path,
) -> None:
    norms = [1.0 + n % 2 for n in range(50)]
    norms[20], norms[30] = 1e6, NAN
    paths = write_steps(tmp_path, *({"a": [norm]} for norm in norms))
    shown = on_terminal("trend", *paths, NO_COLOR="1")
    end = next(n for n, line in enumerate(shown.lines) if line.startswith("…"))
    assert [line.split()[0] for line in shown.lines[2:end]] == ["0", "20", "30", "49"]
    assert shown.lines[end] == "… 46 more, --all shows them"
    everything = on_terminal("trend", *paths, "--all", NO_COLOR="1")
    assert [line.split()[0] for line in everything.lines[2:52]] == [str(n) for n in range(50)]


def test_progress_and_rows_share_a_terminal(tmp_path: Path) -> None:
    (path,) = write_steps(tmp_path, {"w": [3.0]})
    fifo, slow = tmp_path / "step-8", tmp_path / "step-9"
    os.mkfifo(fifo)
    os.mkfifo(slow)
    with terminal("trend", path, str(fifo), str(slow), cwd=tmp_path) as child:
        with feeding(fifo, lambda: not child.isalive()) as stream:
            time.sleep(1.1)
            stream.write(GRADS)
        with feeding(slow, lambda: not child.isalive()) as stream:
            child.expect("measuring")
            seen = child.before + child.after
            stream.write(GRADS)
        rest, status = end_on(child)
    assert status == 0
    assert any(frame.startswith("measuring ") for frame in frames(seen + rest))
    display = Shown(seen + rest, status, 80).screen(40).display
    assert [line.split()[:2] for line in display[2:5]] == [
        ["0", "3.000"],
        ["8", "13.00"],
        ["9", "13.00"],
    ]
    assert not any("measuring" in line for line in display), "the bar is gone"


# In a file


def test_plot_writes_the_picture_and_the_report_too(run: Run, tmp_path: Path) -> None:
    paths = write_steps(tmp_path, *ODD["mixed"])
    said = run("trend", *paths, "--plot", "a.png", cwd=tmp_path)
    assert (said.status, said.err) == (0, "")
    assert len(said.out.splitlines()) == 8
    trend = gradclip_cli.trend(*paths)
    assert (tmp_path / "a.png").read_bytes() == drawn(trend, "a.png")


def test_a_picture_takes_no_ones_place_without_force(run: Run, tmp_path: Path) -> None:
    paths = write_steps(tmp_path, {"a": [1.0]})
    plot = tmp_path / "a.svg"
    plot.write_text("mine")
    said = run("trend", *paths, "--plot", str(plot))
    assert (said.status, said.out) == (2, "")
    assert "already exists" in one_error(said.err)
    assert plot.read_text() == "mine"
    assert run("trend", *paths, "--plot", str(plot), "--force", "-q").status == 0
    assert plot.read_text().startswith("<?xml")


def test_a_run_that_fails_leaves_the_old_picture(tmp_path: Path) -> None:
    paths = write_steps(tmp_path, {"a": [1.0]}, {"a": [1.0]})
    plot = tmp_path / "a.png"
    plot.write_text("mine")
    for path in paths:
        Path(path).write_bytes(b"\0junk")
    assert gradclip("trend", *paths, "--plot", str(plot), "--force").returncode == 2
    assert plot.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["a.png", "step-0.safetensors", "step-1.safetensors"]
    write_steps(tmp_path, {"a": [1.0]})
    assert gradclip("trend", *paths, "--plot", str(plot), "--force").returncode == 2
    assert plot.read_bytes().startswith(b"\x89PNG"), "of the steps that can be read"


def test_without_matplotlib_the_way_to_it_is_told_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    paths = write_steps(tmp_path, {"a": [1.0]})
    text = (
        "import sys; sys.modules['matplotlib'] = None; "
        "from gradclip_cli.cli.app import run; sys.exit(run(sys.argv[1:]))"
    )
    done = program(text, "trend", *paths, "--plot", tmp_path / "a.png")
    assert (done.status, done.out) == (2, "")
    assert one_error(done.err) == "gradclip: --plot: needs Matplotlib, which is not installed"
    assert "pip install 'gradclip-cli[plot]'" in done.err


def test_without_plot_matplotlib_is_not_imported(tmp_path: Path) -> None:
    paths = write_steps(tmp_path, {"a": [1.0]})
    assert not loaded_by("trend", *paths) & {"matplotlib", "rich"}


def test_a_figure_has_axes_units_legend_and_escaped_names(tmp_path: Path) -> None:
    steps: Steps = [{"$a_b$": [1.0], "c\x1b[31m": [0.0]}] * 6 + [
        {"$a_b$": [1e4], "c\x1b[31m": [0.0]},
        {"$a_b$": [NAN], "c\x1b[31m": [0.0]},
    ]
    import matplotlib

    trend = gradclip_cli.trend(*write_steps(tmp_path, *steps))
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        text = drawn(trend, "a.svg").decode()
    said = set(re.findall(r">([^<>]+)</(?:text|tspan)>", text))
    assert {"step", "global L2 norm", "log10 of the RMS", "tensor or layer"} <= said
    assert {"global norm", "running median", "spike: above the range of the steps before"} <= said
    assert {"not finite", "zero", "$a_b$", r"c\x1b[31m"} <= said
    assert {str(n) for n in range(8)} <= said


def test_the_command_below_the_docs_picture_makes_one_of_its_kind(tmp_path: Path) -> None:
    (command,) = re.findall(
        r"That picture is `(gradclip .*)`\.", (TOP / "docs" / "runs.md").read_text("utf-8")
    )
    (tmp_path / "docs").mkdir()
    (tmp_path / "sample_grads").symlink_to(TOP / "sample_grads")
    done = in_shell(command, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    made, shown = (top / "docs" / "trend.png" for top in (tmp_path, TOP))
    assert made.read_bytes()[:24] == shown.read_bytes()[:24], "a PNG of the same width and height"


def test_the_sample_run_explodes_where_the_docs_say() -> None:
    trend = gradclip_cli.trend(*(TOP / "sample_grads").glob("step-??.safetensors"))
    assert [spike.step.step for spike in trend.spikes] == [20, 21, 22]
    (shift,) = trend.shifts
    assert (shift.began.step, shift.first) == (16, ("rnn.weight_hh_l0",))
    assert trend.largest_jump is not None
    assert trend.largest_jump.step.step == 20
