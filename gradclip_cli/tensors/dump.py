"""What a dump is: tensors that say where their values lie.

No tensor's values are ever held here. A `Tensor` is a name, a dtype, a shape and a byte range of a
`Source`. All of it is frozen and, but for streams, survives pickling, so it can cross threads,
processes and machines.
"""

import contextlib
import dataclasses
import itertools
import math
import operator
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gradclip_cli.files import tree
from gradclip_cli.files.source import Source
from gradclip_cli.frozen import frozen
from gradclip_cli.tensors.dtypes import DType

if TYPE_CHECKING:
    from gradclip_cli.files.spools import Spool

Shape = tuple[int, ...]
Index = tuple[int, ...]


@frozen
class Tensor:
    """One array of a dump; `name` is None where neither file nor format gives one.

    `offset` and `size` are bytes in the source; `fortran` says that the first index runs fastest.
    """

    name: str | None
    dtype: DType
    shape: Shape
    source: Source
    offset: int
    size: int
    fortran: bool = False

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def strides(self) -> Shape:
        """Bytes from a value to the next along each axis."""
        sides = self.shape if self.fortran else self.shape[::-1]
        found = [*itertools.accumulate(sides, operator.mul, initial=self.dtype.size_of(1))][:-1]
        return (*(found if self.fortran else reversed(found)),)

    @property
    def fortran_shape(self) -> Shape | None:
        """The shape where the values do not lie in C order, else None."""
        return self.shape if self.fortran and sum(side > 1 for side in self.shape) > 1 else None


@frozen
class DumpFile:
    """One file of a dump: where its tensors lie, in the order of the file's own header.

    `relative` is the path below the operand that led here: where the clipped file goes in a folder.
    `is_named_by_file` says that its one tensor has the file's name; `package` is that of somebody
    else's which has read it. `strays` say what is odd in it, and was read all the same; `uncounted`
    are names of tensors that are none of the gradient's, by what they are. `proofs` are what has a
    checksum besides the sources of tensors, `besides` what else the file holds, in words. `begins`
    say where tensors begin that are pieces of larger ones. A `spool` keeps what came from a stream.
    """

    source: Source
    relative: str
    format: str
    tensors: tuple[Tensor, ...]
    is_named_by_file: bool = False
    package: str = ""
    strays: tuple[str, ...] = ()
    uncounted: tuple[tuple[str, tuple[str, ...]], ...] = ()
    proofs: tuple[Source, ...] = ()
    besides: tuple[str, ...] = ()
    begins: tuple[tuple[str, Index], ...] = ()
    spool: "Spool | None" = None

    def prove(self) -> None:
        """Read what has not been read of all that has a checksum; raises as `Dump.prove`."""
        for source in {id(one): one for one in (*self.sources, *self.proofs)}.values():
            source.prove()

    @property
    def sampled(self) -> Iterator[Source]:
        """Those at which readers do not each look."""
        return (source for source in (self.source, *self.proofs) if source.sampled)

    @property
    def sources(self) -> Iterator[Source]:
        """Those of all tensors, as often as there are tensors."""
        return (tensor.source for tensor in self.tensors)


@frozen
class Combined:
    """Tensors of one name in several files, and what they are to each other.

    Their names are `stored` in several forms, if they are but aligned to be one. Of copies that are
    not the same in all files `differing` says which differ from the first, and in what. Pieces of
    which nobody knows along which axis they lie are `is_stacked` on a new one; of one value each
    they `may_be` copies where they are the same in all files, replicas where in some. What one of
    the files holds stands in `each` files, of which the others are copies as a whole. `parts` are
    all tensors of the name, with the labels of their files, in order, and `counted` the places of
    those that make the whole.
    """

    name: str
    way: str
    labels: tuple[str, ...]
    differing: tuple[str, ...] = ()
    is_stacked: bool = False
    stored: tuple[str, ...] = ()
    may_be: str = ""
    each: int = 1
    parts: tuple[tuple[str, Tensor], ...] = ()
    counted: tuple[int, ...] = ()


@frozen
class Companion:
    """A file of a folder that stays true when its dumps are clipped: a shard index.

    `source` is the file as it was when it was found, None where it is none that can be read.
    """

    path: str
    relative: str
    source: Source | None = None


@frozen
class Dump:
    """All operands together: one gradient.

    `ignored` counts files of folders that are no dumps, `links` are folders that are links in them.
    `aside` are dumps of folders that do not count, because of what stands beside them, and why;
    `combined` are tensors that were put together from several files, `parts` the paths of files
    that make up the dump with those that are named as files. `unmatched` are patterns of names, and
    what was said of these, that no tensor has; `idle` says what was asked of names and met
    none. Where tensors were put together the files are `stored` as they are, and `origins` are the
    indices of what their tensors, one after the other, have become.
    """

    files: tuple[DumpFile, ...]
    companions: tuple[Companion, ...] = ()
    ignored: int = 0
    links: tuple[str, ...] = ()
    aside: tuple[tuple[str, str], ...] = ()
    combined: tuple[Combined, ...] = ()
    parts: tuple[str, ...] = ()
    unmatched: tuple[tuple[str, str], ...] = ()
    idle: tuple[str, ...] = ()
    stored: tuple[DumpFile, ...] = ()
    origins: tuple[int, ...] = ()

    def reads(self, status: os.stat_result) -> bool:
        """Say whether a file, by its status, is one of those that the dump is made of."""
        identity = status.st_dev, status.st_ino
        if any(file.source.identity == identity for file in self.files):
            return True
        for path in (*(one.path for one in self.companions), *self.parts):
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(path), status):
                    return True
        return False

    @property
    def as_stored(self) -> "Dump":
        """The same files with the tensors that lie in them, nothing put together."""
        if not self.stored:
            return self
        return dataclasses.replace(self, files=self.stored, combined=(), stored=())

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor, file by file."""
        return tuple(itertools.chain.from_iterable(file.tensors for file in self.files))

    def prove(self) -> None:
        """Read what has not been read of all that has a checksum.

        Raises `GradclipError` where one is wrong.
        """
        for file in self.files:
            file.prove()

    def check(self) -> None:
        """Look at what readers of tensors do not each look at.

        Raises `GradclipError` where it has changed.
        """
        found = [source for file in self.files for source in file.sampled]
        tree.check([*found, *(one.source for one in self.companions if one.source is not None)])


def end_of(tensors: Iterable[Tensor], data_start: int = 0) -> int:
    """Give the offset at which a file with these tensors ends."""
    return max((tensor.offset + tensor.size for tensor in tensors), default=data_start)


def multi_index(position: int, shape: Shape) -> Index:
    """Give the multi-index of a position in C order.

    >>> multi_index(5, (2, 3))
    (1, 2)
    """
    if len(shape) == 1:
        return (position,)
    if len(shape) == 2:  # so most weights: a quarter of the time
        return divmod(position, shape[1])
    index = []
    for side in reversed(shape):
        position, remainder = divmod(position, side)
        index.append(remainder)
    return tuple(reversed(index))
