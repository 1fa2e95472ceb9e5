"""How a file that is to be written is laid out: a copy of another, or a new one."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

from gradclip_cli.errors import GradclipError
from gradclip_cli.frozen import frozen
from gradclip_cli.tensors.dtypes import DType
from gradclip_cli.tensors.dump import Tensor
from gradclip_cli.tensors.names import is_unicode, listed, quoted

Write = Callable[[bytes], object]

Seal = Callable[[str, Sequence[Tensor]], None]
"""Makes the checksums true of the file at a path, in which these tensors are others than before."""

Pack = Callable[[str], AbstractContextManager[Write]]
"""Gives what writes bytes, in order, into the file at a path, in another form."""


@frozen
class Layout:
    """Where the tensors `given` will lie, as which dtypes: `tensors`, in the same order.

    The other bytes are `literals`, by their offsets; where these are None, those of the source
    itself. What depends on values is written by `seal` once all else is. With `pack` nothing lies
    as it is said: bytes go through it in this order, and are compressed, or `stored` as they are,
    and more between them. What is `verbatim` is the source byte for byte, in which tensors may be
    no ranges. What is `kept` does not count, and is never to become another.
    """

    given: tuple[Tensor, ...]
    tensors: tuple[Tensor, ...]
    literals: tuple[tuple[int, bytes], ...] | None = None
    seal: Seal | None = None
    pack: Pack | None = None
    verbatim: bool = False
    kept: tuple[Tensor, ...] = ()
    stored: bool = False

    @property
    def is_in_order(self) -> bool:
        """Whether its bytes are known one after the other."""
        is_scattered = not self.is_new and any(tensor.source.apart for tensor in self.given)
        return not (self.seal or self.pack or self.verbatim or is_scattered)

    @property
    def is_new(self) -> bool:
        """Whether nothing but tensors comes from the source."""
        return self.literals is not None

    @property
    def untouched(self) -> "Layout":
        """That of a copy in which nothing is edited."""
        if self.pack is not None:
            return Layout(self.given, self.given, verbatim=True)
        return dataclasses.replace(self, seal=None)


def unchanged(tensors: tuple[Tensor, ...]) -> Layout:
    """Give the layout in which each tensor lies where it has lain."""
    return Layout(tensors, tensors)


def are_alike(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Say whether tensors have the same dtypes as others."""
    return all(one.dtype == other.dtype for one, other in zip(tensors, others, strict=True))


def laid(
    tensors: Sequence[Tensor], offsets: Iterable[int], literals: tuple[tuple[int, bytes], ...]
) -> Layout:
    """Give the layout of tensors of which each lies at an offset, as its dtype says."""
    found = [
        dataclasses.replace(tensor, offset=offset, size=tensor.dtype.size_of(tensor.count))
        for tensor, offset in zip(tensors, offsets, strict=True)
    ]
    return Layout(tuple(tensors), tuple(found), literals)


def check_held(tensors: Sequence[Tensor], held: Callable[[DType], bool], form: str) -> None:
    """Raise `GradclipError` for tensors of dtypes that a format cannot hold, by name."""
    missing = [tensor for tensor in tensors if not held(tensor.dtype)]
    if missing:
        dtypes = sorted({tensor.dtype.name for tensor in missing})
        raise GradclipError(
            missing[0].source.label,
            f"{form} has no word for {' and '.join(dtypes)}, which is the dtype of "
            f"{listed([tensor.name or 'the tensor' for tensor in missing])}",
            "write another kind of file, .safetensors, .npz or .npy, that has one",
        )


def check_names(tensors: Sequence[Tensor], problem_of: Callable[[str], str], form: str) -> None:
    """Raise `GradclipError` for a name that a format cannot hold; `problem_of` says why, if it can.

    No file that is written anew holds what is no character.
    """
    for tensor in tensors:
        name = tensor.name or ""
        problem = "it holds bytes that are no characters"
        if is_unicode(name):
            problem = problem_of(name)
        if problem:
            raise GradclipError(
                tensor.source.label,
                f"no tensor of {form} can be called {quoted(name)}: {problem}",
                "leave it out, give it another name, or write another kind of file: .safetensors "
                "or .npz",
            )
