"""The pictures of README, of what the samples really give: a page, and a terminal with colours.

`python -m tests.pictured` draws them anew; `test_pictured` says when that is due. The page is drawn
by Chromium, through the extra `browser`.
"""

import hashlib
import io
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.running import TOP, environment

STEPS = [f"sample_grads/step-{step}.safetensors" for step in range(10, 23)]
RUN = ["trend", *STEPS, "sample_grads/step-24-float16.safetensors"]
BEGINNING = ["trend", *STEPS[:11]]
TYPED = "gradclip trend sample_grads/step-{10..20}.safetensors"
PAGE, TERMINAL = TOP / "docs" / "page.png", TOP / "docs" / "terminal.svg"
MADE_OF = "Made of"  # by the picture of the page: the digest of its text

_COLUMNS, _LINES = 80, 100
_WIDTH, _FOOT = 1100, 16  # pixels
_COLOURS = 128
# As terminals with a dark ground have them; no picture asks the network for a font.
_THEME = TerminalTheme(
    (20, 24, 31),
    (228, 232, 238),
    [
        *((20, 24, 31), (255, 143, 133), (116, 201, 152), (240, 168, 96)),
        *((98, 179, 228), (207, 155, 240), (98, 208, 208), (228, 232, 238)),
    ],
)
_FORM = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, monospace; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def page() -> str:
    """Give the page of the samples' run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.html"
        command = [sys.executable, "-m", "gradclip_cli", *RUN, "--html", str(path)]
        subprocess.run(command, cwd=TOP, env=environment({}), check=True, capture_output=True)
        return path.read_text("utf-8").replace(str(path), "run.html")


def digest(text: str) -> str:
    """Give what tells a page from others."""
    return hashlib.sha256(text.encode()).hexdigest()


def terminal() -> Text:
    """Give what a terminal shows of the run's beginning, its colours included."""
    shown = run_on_a_terminal([sys.executable, "-m", "gradclip_cli", *BEGINNING])
    return Text("\n").join([Text(f"$ {TYPED}", "bold"), Text.from_ansi(shown.rstrip("\n"))])


def run_on_a_terminal(command: list[str]) -> str:
    """Run a command on a terminal and give all that it writes."""
    leader, follower = pty.openpty()
    size = {"COLUMNS": str(_COLUMNS), "LINES": str(_LINES)}
    with subprocess.Popen(
        command, cwd=TOP, env=environment(size), stdin=follower, stdout=follower, stderr=follower
    ):
        os.close(follower)
        written = io.BytesIO()
        while block := _read(leader):
            written.write(block)
    os.close(leader)
    return written.getvalue().decode("utf-8").replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 2**16)
    except OSError:  # Linux says so of a terminal that nobody holds any more
        return b""


def drawn(text: Text) -> str:
    """Draw what a terminal shows."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(text, soft_wrap=True)
    return console.export_svg(
        title="gradclip", theme=_THEME, code_format=_FORM, unique_id="terminal"
    )


def photographed(text: str) -> None:
    """Draw the page down to its heat map, and keep with it what it was drawn of."""
    from PIL import Image, PngImagePlugin
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.html"
        path.write_text(text, "utf-8")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        opened = browser.new_page(viewport={"width": _WIDTH, "height": 800})
        opened.goto(path.as_uri())
        box = opened.locator("figure.layers").bounding_box()
        assert box is not None
        clip: Any = {"x": 0, "y": 0, "width": _WIDTH, "height": box["y"] + box["height"] + _FOOT}
        image = Image.open(io.BytesIO(opened.screenshot(full_page=True, clip=clip)))
        browser.close()
    known = PngImagePlugin.PngInfo()
    known.add_text(MADE_OF, digest(text))
    image.convert("RGB").quantize(_COLOURS).save(PAGE, optimize=True, pnginfo=known)


if __name__ == "__main__":
    TERMINAL.write_text(drawn(terminal()), "utf-8")
    photographed(page())
