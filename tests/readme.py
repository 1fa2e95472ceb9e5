"""The README's transcripts: each `console` block run again, as a person with 80 columns sees it.

`python -m tests.readme` writes what the commands print now into the README.
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
_BLOCK = re.compile(r"(?<=^```console\n)(.*?)(?=^```$)", re.DOTALL | re.MULTILINE)


def blocks() -> list[str]:
    """Give the README's console blocks."""
    return _BLOCK.findall(README.read_text("utf-8"))


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


if __name__ == "__main__":
    text = README.read_text("utf-8")
    README.write_text(_BLOCK.sub(lambda found: run_again(found[0]), text), "utf-8")
