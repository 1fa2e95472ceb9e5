"""In a notebook a pass that takes long shows how far it is, and leaves nothing to see."""

from pathlib import Path
from typing import Any

import pytest

from tests.notebooks import Messages, executed, needs_a_kernel, of_cells
from tests.render.test_results_in_python import BAD
from tests.running import program

pytestmark = needs_a_kernel

# Pipes take as long as whoever writes into them.
SLOW = f"""
import os, threading, time, gradclip_cli
DUMP = open({BAD!r}, "rb").read()

def pipes(folder, *contents):
    paths = [os.path.join(folder, f"step-{{n}}-<b>$x") for n in range(len(contents))]
    for path in paths:
        os.mkfifo(path)
    def feed():
        for path, content in zip(paths, contents):
            with open(path, "wb") as stream:
                time.sleep(0.6)
                stream.write(content)
    threading.Thread(target=feed, daemon=True).start()
    return paths
"""
NOTHING = {"text/html": "", "text/plain": ""}


def shown(sent: Messages) -> list[dict[str, Any]]:
    """Give what the bar's output had in it, one after the other."""
    kinds = ("display_data", "update_display_data")
    return [content["data"] for kind, content in sent if kind in kinds]


def test_a_bar_shows_how_far_a_long_pass_is_and_is_gone_when_it_is_over(tmp_path: Path) -> None:
    call = f'print("mine"); gradclip_cli.trend(*pipes({str(tmp_path)!r}, DUMP, DUMP, DUMP, DUMP))'
    notebook = of_cells([SLOW, call])
    pictures = shown(executed(notebook, tmp_path))
    assert pictures[-1] == NOTHING
    assert len(pictures) >= 3
    for picture in pictures[:-1]:
        assert picture["text/plain"].startswith("measuring ")
        assert "step-" in picture["text/plain"]
        assert "&lt;b&gt;$x" in picture["text/html"]
    outputs = notebook.cells[-1].outputs
    assert [one["output_type"] for one in outputs] == ["stream", "display_data", "execute_result"]
    assert outputs[0]["text"] == "mine\n"
    assert outputs[1]["data"] == NOTHING
    assert "<table" in outputs[2]["data"]["text/html"]


def test_a_bar_is_gone_where_a_person_stops_the_pass(tmp_path: Path) -> None:
    call = f"""
import signal
steps = pipes({str(tmp_path)!r}, DUMP, DUMP, DUMP, DUMP)
threading.Timer(1.6, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    gradclip_cli.trend(*steps)
except KeyboardInterrupt:
    print("stopped")
"""
    notebook = of_cells([SLOW, call])
    pictures = shown(executed(notebook, tmp_path))
    assert pictures[0]["text/plain"].startswith("measuring ")
    assert pictures[-1] == NOTHING
    assert notebook.cells[-1].outputs[-1]["text"] == "stopped\n"


def test_what_moves_fast_is_drawn_a_few_times_a_second(tmp_path: Path) -> None:
    cell = """
import time
from gradclip_cli.registry import cell_bar
bar = cell_bar()
bar.begin("measuring", 100_000)
time.sleep(1.1)
for _ in range(10_000):
    bar.advance(10, "a.npy")
bar.begin("writing", 1)
bar.end()
"""
    pictures = shown(executed(of_cells([cell]), tmp_path))
    assert 2 <= len(pictures) <= 20


@pytest.mark.parametrize(
    "call",
    [
        f"gradclip_cli.inspect({BAD!r})",
        f"gradclip_cli.check({BAD!r})",
        "gradclip_cli.trend(*pipes('.', DUMP, DUMP, DUMP), progress=None)",
    ],
    ids=["a short pass", "no pass", "progress=None"],
)
def test_no_bar_is_shown_of(call: str, tmp_path: Path) -> None:
    notebook = of_cells([SLOW, call])
    assert shown(executed(notebook, tmp_path)) == []
    (output,) = notebook.cells[-1].outputs
    assert output["output_type"] == "execute_result"


def test_a_script_that_has_the_kernels_package_gets_no_bar() -> None:
    text = (
        "import sys, ipykernel, gradclip_cli; from gradclip_cli import registry\n"
        "print(registry.cell_bar()); gradclip_cli.inspect(sys.argv[1])"
    )
    done = program(text, BAD)
    assert (done.status, done.out, done.err) == (0, "None\n", "")
