"""What stands more than once among files or pieces, as replicas of a rank leave it.

A tensor that is but one value tells nothing by equal bytes. What stands beside it does: its file,
where that is a copy as a whole, or the other pieces of the same tensor.
"""

from collections.abc import Hashable, Sequence

from gradclip_cli.formats.copies import head, is_plain, is_zero, unlike
from gradclip_cli.tensors.dump import Tensor

Some = Sequence[Sequence[Tensor]]


def once(some: Some) -> tuple[list[int], int]:
    """Give the numbers of lists of tensors that are no copies, and how often each stands there.

    Where some stand there more often than others, all are given; so they are where nothing tells
    them apart but tensors of one value, which may as well be parts that happen to be equal.
    """
    found = _groups(some)
    telling = [[one for one in some[group[0]] if not is_plain(one)] for group in found]
    times = {len(group) for group, kept in zip(found, telling, strict=True) if kept}
    each = times.pop() if len(times) == 1 else 1
    if any(len(group) % each for group in found) or len(_groups([*filter(None, telling)])) < sum(
        map(bool, telling)
    ):
        each = 1
    return sorted(number for group in found for number in group[: len(group) // each]), each


def may_be(tensors: Sequence[Tensor]) -> str:
    """Say what tensors may be of which each is but one value, none of them 0: copies, replicas."""
    if not all(map(is_plain, tensors)):
        return ""
    found = _groups([[tensor] for tensor in tensors])
    if not any(len(group) > 1 and not is_zero(tensors[group[0]]) for group in found):
        return ""
    is_one = all(tensor.count == 1 for tensor in tensors)  # two of which are hardly ever equal
    return "copies" if len(found) == 1 or is_one else "replicas"


def _groups(some: Some) -> list[list[int]]:
    """Give the numbers of those that hold the same bytes."""
    found: list[list[int]] = []
    alike: dict[Hashable, list[list[int]]] = {}
    for number, tensors in enumerate(some):
        known = alike.setdefault(_face(tensors), [])
        for group in known:
            pairs = zip(some[group[0]], tensors, strict=True)
            if not any(unlike(*pair, few=True) for pair in pairs):
                group.append(number)
                break
        else:
            known.append([number])
            found.append(known[-1])
    return found


def _face(tensors: Sequence[Tensor]) -> Hashable:
    """Give what is the same of lists that are, and is read at once."""
    largest = max(tensors, key=lambda tensor: tensor.size)
    return (*((one.name, one.dtype, one.shape) for one in tensors), head(largest))
