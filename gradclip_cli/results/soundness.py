"""What became of checking files: sound, or what is wrong and what to do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from gradclip_cli.errors import Status
from gradclip_cli.results.columns import Column, Result, Sheet
from gradclip_cli.tensors.names import escape, left_out, listed, plural


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that was looked at: what it holds, or what is wrong with it and what to do.

    `size` is in bytes. Of an unsound file only `label`, `problem` and `hint` are known; `strays`
    say what is odd in a sound one, and read all the same.
    """

    label: str
    format: str | None = None
    tensors: int | None = None
    size: int | None = None
    problem: str | None = None
    hint: str | None = None
    strays: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether the file is what its format says it must be."""
        return self.problem is None


COLUMNS = (
    Column("file", "label", "the file", words="text"),
    Column("sound", "sound", "whether it is what its format says it must be"),
    Column("format", "format", "its format"),
    Column("tensors", "tensors", "number of tensors"),
    Column("bytes", "size", "its size"),
    Column("problem", "problem", "what is wrong with it"),
    Column("hint", "hint", "what to do"),
    Column("strays", "strays", "what is odd in it, and read all the same"),
)
SHEET = Sheet("soundness", COLUMNS, "file", {"file": "files"}, last="soundness")


@dataclass(frozen=True, slots=True)
class Soundness(Result, Sequence[Checked]):
    """The files that were looked at, in order; `ignored` are paths that are surely no dumps.

    `links` are folders in folders that are links, which are not followed.
    """

    files: tuple[Checked, ...]
    ignored: tuple[str, ...] = ()
    links: tuple[str, ...] = ()

    @overload
    def __getitem__(self, place: int) -> Checked: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Checked, ...]: ...
    def __getitem__(self, place: int | slice) -> Checked | tuple[Checked, ...]:
        """Give a file, or some."""
        return self.files[place]

    def __len__(self) -> int:
        """Give the number of files."""
        return len(self.files)

    @property
    def sound(self) -> bool:
        """Whether all are what their formats say they must be."""
        return all(file.sound for file in self.files)

    @property
    def finite(self) -> None:
        """Not known: no value is read."""
        return None

    @property
    def says(self) -> str:
        """How many are sound, and the first that is not."""
        bad = [file for file in self.files if not file.sound]
        if not bad:
            odd = sum(bool(file.strays) for file in self.files)
            return f"sound: {plural(len(self.files), 'file')}" + (f", {odd:,} odd" if odd else "")
        first = f"{escape(bad[0].label)}: {bad[0].problem}"
        return f"bad: {len(bad):,} of {plural(len(self.files), 'file')}, the first {first}"

    @property
    def status(self) -> Status:
        """The status with which the command ends."""
        return Status.OK if self.sound else Status.TROUBLE

    @property
    def notes(self) -> tuple[str, ...]:
        """What else there is to say."""
        said = left_out(self.links)
        if self.ignored:
            said.append(f"{plural(len(self.ignored), 'path')} ignored: {listed(self.ignored)}")
        return tuple(said)

    @property
    def origin(self) -> str:
        """What was looked at."""
        return ", ".join([plural(len(self.files), "file"), *self.notes])

    __repr__ = Result.__repr__

    @property
    def sheet(self) -> Sheet:
        """How it is laid out."""
        return SHEET

    def told(self) -> Iterator[tuple[str, Checked]]:
        """Give each row with its kind."""
        return (("file", file) for file in self.files)

    def summary(self) -> Mapping[str, Any]:
        """Give what JSON says of the whole."""
        return {"sound": self.sound, "ignored": self.ignored, "notes": self.notes}
