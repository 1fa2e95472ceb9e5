"""The two files of a comparison, open at once."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from gradclip_cli.files.source import Reader, Source

Readers = tuple[Reader, Reader]


@dataclass(frozen=True, slots=True)
class Files:
    """The files of both sides, and whose name is told while they are read."""

    a: Source
    b: Source
    b_leads: bool

    @contextlib.contextmanager
    def opened(self) -> Iterator[Readers]:
        """Give a reader of each."""
        with self.a.opened() as a, self.b.opened() as b:
            yield a, b

    @property
    def label(self) -> str:
        """What the leading one is called."""
        return (self.b if self.b_leads else self.a).label
