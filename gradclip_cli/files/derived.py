"""Sources whose bytes come from those of others: of one, or of several."""

import contextlib
from collections.abc import Iterator, Sequence

from gradclip_cli.files.source import Reader, Source
from gradclip_cli.frozen import frozen


@frozen
class DerivedSource(Source):
    """What is made of the bytes of `base`, is called as that is, and changes with it."""

    base: Source

    @property
    def path(self) -> str:  # type: ignore[override] # is never set
        """That of the base."""
        return self.base.path

    @property
    def label(self) -> str:  # type: ignore[override]
        """What the base is called."""
        return self.base.label

    @property
    def seeks(self) -> bool:  # type: ignore[override]
        """Whether the base does."""
        return self.base.seeks

    @property
    def is_here(self) -> bool:
        """Whether the base is."""
        return self.base.is_here

    @property
    def stamp(self) -> tuple[int, ...]:
        """That of the base."""
        return self.base.stamp

    @contextlib.contextmanager
    def opened(self) -> Iterator[Reader]:
        """Give a reader; raises `GradclipError` if the base is no longer the same."""
        with self.base.opened() as reader:
            yield self.made_from(reader)

    def over(self, reader: Reader) -> Reader:
        """Give a reader of a copy, from one of the file in which the base lies."""
        return self.made_from(self.base.over(reader))

    def made_from(self, reader: Reader) -> Reader:
        """Give a reader, from one of the base."""
        raise NotImplementedError

    def prove(self) -> None:
        """Raise `GradclipError` where the base has a checksum, and it is wrong."""
        self.base.prove()


class MergedSource(Source):
    """What is made of the bytes of several `bases`, and changes with each of them."""

    __slots__ = ()

    @property
    def bases(self) -> Sequence[Source]:
        """The sources; one may stand there more than once."""
        raise NotImplementedError

    @property
    def path(self) -> str:  # type: ignore[override] # is never set
        """That of the first."""
        return self.bases[0].path

    @property
    def seeks(self) -> bool:  # type: ignore[override]
        """Whether all do."""
        return all(base.seeks for base in self.bases)

    @property
    def is_here(self) -> bool:
        """Whether one of them is."""
        return any(base.is_here for base in self.bases)

    @property
    def stamp(self) -> tuple[int, ...]:
        """Those of all."""
        return tuple(number for base in self.bases for number in base.stamp)

    def check(self) -> None:
        """Raise `GradclipError` if one of them is no longer the same."""
        for base in dict.fromkeys(self.bases):
            base.check()

    def prove(self) -> None:
        """Raise `GradclipError` where one of them has a checksum, and it is wrong."""
        for base in self.bases:
            base.prove()
