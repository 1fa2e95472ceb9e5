"""What became of checking files: a line each, and for a person the bad ones first and the sum."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from gradclip_cli.render.page import Page
from gradclip_cli.render.words import message
from gradclip_cli.results.columns import Result
from gradclip_cli.results.soundness import Checked, Soundness
from gradclip_cli.tensors.names import plural, printable


class SoundnessPage(Page):
    """A line a file, in the order of the files in a pipe.

    On a terminal the bad ones come first, lines are broken at spaces, and the last says how many
    are bad.
    """

    def row(self, kind: str, row: Checked) -> str:
        """Give a file's line, unless a person has to wait for the bad ones."""
        return "" if self._for_a_person else f"{printable(_line(row))}\n"

    def end(self, result: Result) -> Iterable[str]:
        """Give what else there is to say; for a person all of it."""
        assert isinstance(result, Soundness)
        if not self._for_a_person:
            return [f"{printable(note)}\n" for note in result.notes]
        said = [[*message(each, self.screen.width)] for each in _said(result)]
        return [f"{line}\n" for line in self._fitting(result, said)]

    def _fitting(self, found: Soundness, said: Sequence[Sequence[str]]) -> Iterator[str]:
        """Leave out sound files that the screen has no room for: what is bad would scroll away."""
        files = len(found.files)
        bad = sum(not file.sound for file in found.files)
        room = math.inf if self.screen.height is None else self.screen.height - 2
        room -= sum(map(len, [*said[:bad], *said[files:]]))
        shown = 0
        for lines in said[bad:files]:
            room -= len(lines)
            if room < 0:
                break
            shown += 1
        yield from itertools.chain.from_iterable(said[: bad + shown])
        if rest := files - bad - shown:
            yield f"… {rest:,} more, all sound"
        yield from itertools.chain.from_iterable(said[files:])

    @property
    def _for_a_person(self) -> bool:
        return self.stream is not None and self.stream.isatty()


def _said(found: Soundness) -> Iterator[str]:
    for file in sorted(found.files, key=lambda file: (file.sound, not file.strays)):
        yield printable(_line(file))
    yield from map(printable, found.notes)
    if len(found.files) > 1:
        bad = sum(not file.sound for file in found.files)
        count = plural(len(found.files), "file")
        yield f"bad: {bad:,} of {count}" if bad else f"sound: {count}"


def _line(file: Checked) -> str:
    if not file.sound:
        return f"{file.label}: bad: {file.problem}" + (f" ({file.hint})" if file.hint else "")
    tensors = plural(file.tensors or 0, "tensor")
    said = f"{file.label}: sound, {file.format}, {tensors}, {file.size:,} bytes"
    return "; ".join([said, *file.strays])
