"""What a trainer may have counted: tensors too often, too seldom, or their norms in another way."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence

from gradclip_cli.hypotheses.account import Account, figure, root, square
from gradclip_cli.hypotheses.evidence import Counted, Evidence, joint
from gradclip_cli.tensors.names import escape, listed

_TIMES = (2, 4, 8, 16, 32, 64)
_EXPERT = re.compile(r"experts?[._/](?:[a-z_]*[._/])?(\d+)|experts?(?![a-z])", re.IGNORECASE)
_EMBEDDING = re.compile(
    r"(?<![a-z])(?:embed[a-z_]*|[a-z_]*embeddings?|wte|wpe|tok_emb|lm_head|output_layer)(?![a-z])",
    re.IGNORECASE,
)
_LIMITS = (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_MOST = 64  # files of which each alone is thought of, and embeddings


def copies(evidence: Evidence) -> Iterator[Account]:
    """Count what stands in several files as often as it stands there."""
    found = evidence.copies
    if not found:
        return
    times = {len(one.held) for one in found}
    if len(times) == 1:
        yield from _times(found, evidence, times.pop(), "copies")
    else:
        often = joint(part.norm for one in found for part in one.held)
        value, rest = joint([often, _without(found, evidence)]), _without(found, evidence)
        shown = root(f"{square(often)} + {square(rest)}")
        yield Account("copies counted as often as they stand", value, shown)


def copies_otherwise(evidence: Evidence) -> Iterator[Account]:
    """Count what is the same on all ranks as often as there are some other number of ranks.

    Where the dump does not tell which tensors these are, it is those of one axis, which no tensor
    parallelism cuts.
    """
    found, what = evidence.copies, "copies"
    if not found:
        found = tuple(one for one in evidence.tensors if one.axes <= 1)
        what = "tensors of one axis, the same on all ranks,"
    known = {len(one.held) for one in evidence.copies}
    if found and len(found) < len(evidence.tensors):
        for times in _TIMES:
            if known != {times}:
                yield from _times(found, evidence, times, what)


def tied(evidence: Evidence) -> Iterator[Account]:
    """Count weights that are one under two names once; and such as have one name twice."""
    for same in evidence.tied:
        names = listed([one.name for one in same])
        rest = _without(same[1:], evidence)
        yield Account(f"counted once: {names}", rest, root(square(rest)))
    known = {one.name for same in evidence.tied for one in same}
    found = [
        one
        for one in evidence.tensors
        if _EMBEDDING.search(one.name) and one.way != "copies" and one.name not in known
    ]
    for one in found if len(found) <= _MOST else ():  # else the word is that of a whole model
        yield from _times((one,), evidence, 2, f"the tied embedding {escape(one.name)}")


def _times(
    found: Sequence[Counted], evidence: Evidence, times: int, what: str
) -> Iterator[Account]:
    """Give the norm where some tensors count so many times."""
    own, rest = joint(one.norm for one in found), _without(found, evidence)
    shown = root(f"{times} × {square(own)} + {square(rest)}")
    said = "twice" if times == 2 and what.startswith("the ") else f"{times} times"
    yield Account(f"{what} counted {said}", joint([own * math.sqrt(times), rest]), shown)


def _without(found: Sequence[Counted], evidence: Evidence) -> float:
    left = {id(one) for one in found}
    return joint(one.norm for one in evidence.tensors if id(one) not in left)


def ranks(evidence: Evidence) -> Iterator[Account]:
    """Put the norms of files together in another way than as the root of the sum of squares."""
    if len(evidence.files) > 1:
        yield from _put_together(evidence.of_files(), "rank norms")


def tensors(evidence: Evidence) -> Iterator[Account]:
    """Put the norms of tensors together in another way."""
    if len(evidence.tensors) > 1:
        yield from _put_together([one.norm for one in evidence.tensors], "tensor norms")


def _put_together(norms: Sequence[float], what: str) -> Iterator[Account]:
    count = len(norms)
    total = math.fsum(norms) if all(map(math.isfinite, norms)) else sum(norms)
    terms = _terms(norms)
    yield Account(f"{what} averaged", total / count, f"({terms}) / {count:,}")
    yield Account(f"{what} added, not their squares", total, terms)
    yield Account(f"the largest of {what}", max(norms), f"max({_some(norms)})")
    mean = joint(norms) / math.sqrt(count)
    yield Account(f"squares of {what} averaged", mean, f"{figure(joint(norms))} / √{count:,}")


def _terms(norms: Sequence[float]) -> str:
    return " + ".join(map(figure, norms[:3])) + (" + …" if len(norms) > 3 else "")


def _some(norms: Iterable[float]) -> str:
    found = [*map(figure, norms)]
    return ", ".join(found[:3]) + (", …" if len(found) > 3 else "")


def one_rank(evidence: Evidence) -> Iterator[Account]:
    """Count what one rank holds, as where nothing is reduced."""
    if 1 < len(evidence.files) <= _MOST:
        for label, norm in zip(evidence.files, evidence.of_files(), strict=True):
            yield Account(f"one rank only: {escape(label)}", norm, figure(norm))


def parts(evidence: Evidence) -> Iterator[Account]:
    """Take what stands in several files for something else than it is."""
    words = {
        "pieces": "parts taken for pieces: their squares added, not they themselves",
        "added": "norms of parts added: a sum of norms, not the norm of sums",
        "sum": "pieces counted as partial sums",
        "mean": "pieces counted as partial sums, their mean",
        "copies": "parts taken for copies: the first one alone",
    }
    for way, norm in evidence.otherwise.items():
        yield Account(words[way], norm, figure(norm))


def experts(evidence: Evidence) -> Iterator[Account]:
    """Leave out experts, or count those of one group of ranks alone."""
    numbers = {id(one): _expert(one.name) for one in evidence.tensors}
    some = [one for one in evidence.tensors if numbers[id(one)] is not None]
    if not some:
        return
    dense = _without(some, evidence)
    yield Account("experts left out", dense, root(square(dense)))
    own = joint(one.norm for one in some)
    yield Account("experts alone", own, root(square(own)))
    count = max(numbers[id(one)] or 0 for one in some) + 1
    for groups in (many for many in _TIMES if count > 1 and not count % many):
        size = count // groups
        norms = [
            joint(one.norm for one in some if (numbers[id(one)] or 0) // size == group)
            for group in range(groups)
        ]
        for group, norm in enumerate(norms):
            which = (
                f"{group * size}" if size == 1 else f"{group * size} to {(group + 1) * size - 1}"
            )
            shown = root(f"{square(dense)} + {square(norm)}")
            says = f"of the experts one group alone: {which}"
            yield Account(says, joint([dense, norm]), shown)
        ranked = [joint([dense, norm]) for norm in norms]
        says = f"norms of {groups} groups of experts averaged"
        yield Account(says, math.fsum(ranked) / groups, f"({_terms(ranked)}) / {groups}")


def _expert(name: str) -> int | None:
    """Give the number of the expert that a tensor belongs to, 0 where it has none.

    >>> _expert("layers.0.mlp.experts.3.w1"), _expert("moe.expert_bias"), _expert("norm.weight")
    (3, 0, None)
    """
    found = _EXPERT.search(name)
    return None if found is None else int(found[1] or 0)


def embeddings(evidence: Evidence) -> Iterator[Account]:
    """Leave out embeddings."""
    found = [one for one in evidence.tensors if _EMBEDDING.search(one.name)]
    if 0 < len(found) < len(evidence.tensors):
        rest = _without(found, evidence)
        names = listed([one.name for one in found])
        yield Account(f"embeddings left out: {names}", rest, root(square(rest)))


def largest(evidence: Evidence) -> Iterator[Account]:
    """Take the inf norm, as it is and with its root taken: x ** (1 / inf) is one."""
    value = max((one.largest for one in evidence.tensors), default=0.0)
    yield Account("the inf norm, not the L2 norm", value, f"max |x| = {figure(value)}")
    if value:
        says = "the inf norm taken as x ** (1/inf)"
        yield Account(says, 1.0, f"{figure(value)} ** (1/inf)", is_constant=True)


def not_finite(evidence: Evidence) -> Iterator[Account]:
    """Leave out what is not finite."""
    bad = [one for one in evidence.tensors if not one.is_finite]
    if bad:
        rest = _without(bad, evidence)
        names = listed([one.name for one in bad])
        yield Account(f"tensors that are not finite left out: {names}", rest, root(square(rest)))
        value = joint(one.finite_norm for one in evidence.tensors)
        yield Account("values that are not finite left out", value, root(square(value)))


def roots(evidence: Evidence) -> Iterator[Account]:
    """Take no root of the sum of squares, or that of their mean."""
    norm, count = evidence.norm, sum(one.count for one in evidence.tensors)
    yield Account("the squared norm, its root not taken", norm * norm, f"{figure(norm)}²")
    if count:
        mean = norm / math.sqrt(count)
        yield Account("the root mean square, not the norm", mean, f"{figure(norm)} / √{count:,}")


def clipped(evidence: Evidence) -> Iterator[Account]:
    """Take the norm after clipping to a usual limit."""
    norm = evidence.norm
    for limit in (one for one in _LIMITS if norm > one):
        shown = f"{figure(norm)} × {figure(limit)} / {figure(norm)}"
        yield Account(f"logged after clipping to {limit:g}", limit, shown, is_constant=True)


def clipped_each(evidence: Evidence) -> Iterator[Account]:
    """Take the norm after clipping each tensor to a usual limit."""
    norm = evidence.norm
    for limit in _LIMITS if len(evidence.tensors) > 1 else ():
        each = joint(min(one.norm, limit) for one in evidence.tensors)
        if each < norm:
            says = f"logged after clipping each tensor to {limit:g}"
            yield Account(says, each, root(f"Σ min(norm, {limit:g})²"))
