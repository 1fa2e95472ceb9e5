"""What became of checking files: a line each, or JSON."""

from collections.abc import Sequence

from gradclip_cli.commands.check import Checked
from gradclip_cli.render.json import dumps, exact
from gradclip_cli.results.report import SCHEMA
from gradclip_cli.tensors.names import printable


def lines(files: Sequence[Checked]) -> str:
    """Write a line a file."""
    return "".join(f"{printable(_line(file))}\n" for file in files)


def _line(file: Checked) -> str:
    if not file.sound:
        return f"{file.label}: bad: {file.problem}" + (f" ({file.hint})" if file.hint else "")
    tensors = f"{file.tensors:,} tensor{'' if file.tensors == 1 else 's'}"
    return f"{file.label}: sound, {file.format}, {tensors}, {file.size:,} bytes"


def json(files: Sequence[Checked]) -> str:
    """Write one object with all files, and whether all are sound."""
    entries = [
        {
            "file": exact(file.label),
            "sound": file.sound,
            "format": file.format,
            "tensors": file.tensors,
            "bytes": file.size,
            "problem": file.problem,
            "hint": file.hint,
        }
        for file in files
    ]
    sound = all(file.sound for file in files)
    return dumps({"schema": SCHEMA, "sound": sound, "files": entries})
