"""Weights that are one under several names, as an embedding that is the output layer, too."""

import glob
from collections.abc import Iterator, Mapping

from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.results.phrases import number
from gradclip_cli.tensors.dump import Dump, Tensor
from gradclip_cli.tensors.names import listed, typed

_LEAST = 16  # values: fewer are the same by chance


def tied(dump: Dump, moments: Mapping[int, Moments]) -> list[list[int]]:
    """Give the indices of tensors that hold the same values: by sums of squares, then by bytes."""
    tensors = dump.tensors
    alike: dict[object, list[int]] = {}
    for index, part in moments.items():
        tensor = tensors[index]
        if tensor.count >= _LEAST and part.norm:
            alike.setdefault((tensor.dtype, tensor.shape, part.squares), []).append(index)
    found = []
    for some in alike.values():
        first = tensors[some[0]]
        same = [some[0], *(index for index in some[1:] if _are_same(first, tensors[index]))]
        if len(same) > 1:
            found.append(same)
    return found


def _are_same(one: Tensor, other: Tensor) -> bool:
    if not (one.source.rereadable and other.source.rereadable):
        return False
    from gradclip_cli.formats.copies import unlike  # hardly ever needed

    return unlike(one, other, few=True) is None


def ties(dump: Dump, moments: Mapping[int, Moments]) -> Iterator[str]:
    """Say which tensors of several files hold the same values, and the norm if they are one weight.

    Within a file it says little: in some layers two gradients are always the same.
    """
    if len(dump.files) == 1 or any(file.is_named_by_file for file in dump.files):
        return
    tensors = dump.tensors
    files = [number for number, file in enumerate(dump.files) for _ in file.tensors]
    for same in tied(dump, moments):
        if len({files[index] for index in same}) < len(same):
            continue
        names = [tensors[index].name or "" for index in same]
        once = merge(part for index, part in moments.items() if index not in same[1:])
        others = " ".join(f"--exclude {typed(glob.escape(name))}" for name in names[1:])
        yield (
            f"{listed(names)} hold the same values: if they are one weight, {others} counts it "
            f"once, and the norm is {number(once.norm, 5)}"
        )
