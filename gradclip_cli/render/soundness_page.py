"""What became of checking files: a line each."""

from collections.abc import Iterable

from gradclip_cli.render.page import Page
from gradclip_cli.results.columns import Result
from gradclip_cli.results.soundness import Checked, Soundness
from gradclip_cli.tensors.names import plural, printable


class SoundnessPage(Page):
    """A line a file, in a pipe as on a terminal."""

    def row(self, kind: str, row: Checked) -> str:
        """Give a file's line."""
        return f"{printable(_line(row))}\n"

    def end(self, result: Result) -> Iterable[str]:
        """Give what else there is to say."""
        assert isinstance(result, Soundness)
        return [f"{printable(note)}\n" for note in result.notes]


def _line(file: Checked) -> str:
    if not file.sound:
        return f"{file.label}: bad: {file.problem}" + (f" ({file.hint})" if file.hint else "")
    tensors = plural(file.tensors or 0, "tensor")
    return f"{file.label}: sound, {file.format}, {tensors}, {file.size:,} bytes"
