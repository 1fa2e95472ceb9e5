"""The pages: README.md and those of docs/, and their transcripts.

Each `console` block is run again as a person with 80 columns sees it, in a folder of its own with
the samples. `python -m tests.pages` writes what the commands print now into all pages.
"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from tests.running import SGR, shown_by

TOP = Path(__file__).parent.parent
README = TOP / "README.md"
PAGES = (README, *sorted((TOP / "docs").glob("*.md")))
_BLOCK = re.compile(r"(?<=^```console\n)(.*?)(?=^```$)", re.DOTALL | re.MULTILINE)
_TOOLS = ("jq", "awk", "cut", "paste")


def blocks(page: Path) -> list[str]:
    """Give a page's console blocks."""
    return _BLOCK.findall(page.read_text("utf-8"))


def missing(block: str) -> list[str]:
    """Give the tools beside gradclip that a block needs and this machine lacks."""
    return [
        tool for tool in _TOOLS if re.search(rf"\b{tool}\b", block) and shutil.which(tool) is None
    ]


def run_again(block: str) -> str:
    """Run a block's commands in a terminal, in a folder with the samples; give the block anew."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(TOP / "sample_grads", Path(folder, "sample_grads"))
        for line in block.splitlines():
            if line.startswith("$ "):
                lines += [line, *_printed(line[2:], folder)]
    return "".join(f"{line}\n" for line in lines)


def _printed(command: str, folder: str) -> list[str]:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    surroundings = {"PATH": path, "NO_COLOR": "1", "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    shown = shown_by(["bash", "-c", command], (60, 80), Path(folder), surroundings)
    # jq colours what it prints on a terminal, whatever NO_COLOR says.
    return [line.rstrip() for line in SGR.sub("", shown.raw).splitlines()]


def _anew(found: re.Match[str]) -> str:
    return found[0] if missing(found[0]) else run_again(found[0])


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(_BLOCK.sub(_anew, page.read_text("utf-8")), "utf-8")
