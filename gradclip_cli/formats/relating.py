"""Tensors that have one name in several files of a gradient: what these are to each other.

They are pieces of one tensor, copies of it, or partial sums. What the files do not tell is never
guessed: whoever knows says it by `--combine`.
"""

import dataclasses
from collections.abc import Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.formats.pieces import in_a_row
from gradclip_cli.formats.ways import Ways
from gradclip_cli.tensors.dump import Combined, DumpFile, Tensor
from gradclip_cli.tensors.names import escape, quoted
from gradclip_cli.tensors.renaming import Renaming, renamed

_HINT = (
    "if they are parts of one gradient, say what they are to each other: --combine pieces, "
    "copies, sum or mean (shards; replicas; before an all-reduce); else make one run per file, or "
    "follow the steps of a run with gradclip trend"
)


_AS_THEY_ARE = Renaming()


class RepeatedNameError(GradclipError):
    """Two files of one gradient, the subject and `other`, have a tensor of the same name."""

    def __init__(self, subject: str, other: str, problem: str, hint: str) -> None:
        super().__init__(subject, problem, hint)
        self.args = (subject, other, problem, hint)  # with which it is made again when it travels
        self.other = other


def related(
    files: Sequence[DumpFile], ways: Ways, aligned: Renaming = _AS_THEY_ARE
) -> tuple[list[DumpFile], tuple[Combined, ...]]:
    """Give the same files, each tensor in the first that has it, and what was put together.

    Names are `aligned` first; a tensor that has several is called by that, others as they are.
    Raises `RepeatedNameError` for a name in several files where it is not known what these are, and
    `GradclipError` for tensors that cannot be what was said.
    """
    if len(files) == 1:  # each format has a name once
        return [*files], ()
    places: dict[str | None, list[tuple[int, Tensor]]] = {}
    names = [_aligned(file, aligned) for file in files]
    for number, file in enumerate(files):
        for name, tensor in zip(names[number], file.tensors, strict=True):
            places.setdefault(name, []).append((number, tensor))
    repeated = {name: some for name, some in places.items() if len(some) > 1}
    if not repeated:
        return [*files], ()
    found = _found(repeated, files, ways)
    whole = {name: tensor for name, (tensor, _) in zip(repeated, found, strict=True)}
    first = {name: some[0][0] for name, some in repeated.items()}
    kept = [
        dataclasses.replace(
            file,
            tensors=tuple(
                [
                    whole.get(name, tensor)
                    for name, tensor in zip(names[number], file.tensors, strict=True)
                    if first.get(name, number) == number
                ]
            ),
        )
        for number, file in enumerate(files)
    ]
    if aligned:
        _check_named_once(kept)
    return kept, tuple([combined for _, combined in found])


def origins(
    stored: Sequence[DumpFile],
    files: Sequence[DumpFile],
    combined: Sequence[Combined],
    aligned: Renaming = _AS_THEY_ARE,
) -> tuple[int, ...]:
    """Give for each tensor of stored files the index of what it has become in `related` files."""
    called = {one.name for one in combined if one.stored}
    tensors = [tensor for file in files for tensor in file.tensors]
    places = {
        name if name is None or name in called else aligned(name): index
        for index, name in enumerate(tensor.name for tensor in tensors)
    }
    return tuple([places[name] for file in stored for name in _aligned(file, aligned)])


def _aligned(file: DumpFile, aligned: Renaming) -> list[str | None]:
    """Give the aligned names of a file's tensors; raises `GradclipError` where two are the same."""
    if not aligned:
        return [tensor.name for tensor in file.tensors]
    return [tensor.name for tensor in renamed(file.tensors, aligned, file.source.label)]


def _check_named_once(files: Sequence[DumpFile]) -> None:
    seen: set[str | None] = set()
    for file in files:
        for tensor in file.tensors:
            if tensor.name in seen:
                raise GradclipError(
                    file.source.label,
                    f"two tensors would be called {quoted(tensor.name)}",
                    "let --strip-prefix and --rename say more exactly what they mean",
                )
            seen.add(tensor.name)


def _found(
    repeated: dict[str | None, list[tuple[int, Tensor]]], files: Sequence[DumpFile], ways: Ways
) -> list[tuple[Tensor, Combined]]:
    """Give what each name stands for; a file that is a copy as a whole holds nothing new.

    It is called by the aligned name where the names of its parts differ.
    """
    kept = _once(repeated, files, ways)
    found: list[tuple[Tensor, Combined]] = []
    for name, some in repeated.items():
        own = [at for at, (number, _) in enumerate(some) if ways.way(name or "") or number in kept]
        if len(own) == 1:
            tensor, one = some[own[0]][1], Combined(name or "", "copies", (), counted=(0,))
        else:
            tensor, one = _put_together(name, [some[at] for at in own], files, ways)
        found.append(
            (tensor, dataclasses.replace(one, counted=tuple([own[at] for at in one.counted])))
        )
    _check_sure([combined for _, combined in found])
    every = []
    for (tensor, one), (name, some) in zip(found, repeated.items(), strict=True):
        parts = tuple([(files[number].source.label, part) for number, part in some])
        if one.way == "copies":
            one = dataclasses.replace(one, labels=tuple([label for label, _ in parts]))
        else:
            one = dataclasses.replace(one, each=one.each * len(some) // len(one.labels))
        stored = (*dict.fromkeys(part.name or "" for _, part in parts),)
        is_one = len(stored) == 1
        called = some[0][1].name if is_one else name
        one = dataclasses.replace(
            one, name=called or "", parts=parts, stored=() if is_one else stored
        )
        every.append((dataclasses.replace(tensor, name=called), one))
    return every


def _once(
    repeated: dict[str | None, list[tuple[int, Tensor]]], files: Sequence[DumpFile], ways: Ways
) -> set[int]:
    """Give the files that are no copies of others, of those with names of which nothing is said.

    All files of a rank are one there, as where each tensor has a file.
    """
    unsaid = [some for name, some in repeated.items() if not ways.way(name or "")]
    numbers = {number for some in unsaid for number, _ in some}
    ranks = [some for some in _by_ranks(files) if not numbers.isdisjoint(some)]
    held = [
        sorted(
            [tensor for number in some for tensor in files[number].tensors],
            key=lambda one: one.name or "",
        )
        for some in ranks
    ]
    if not all(tensor.source.rereadable for tensors in held for tensor in tensors):
        return numbers
    from gradclip_cli.formats.replicas import once  # hardly ever needed

    return {number for at in once(held)[0] for number in ranks[at]}


def _by_ranks(files: Sequence[DumpFile]) -> list[list[int]]:
    """Give the numbers of the files of each rank that paths name; a file of none by itself."""
    from gradclip_cli.formats.paths import ranks_of  # hardly ever needed

    named = [ranks_of(file.source.path or "") for file in files]
    are_several = len({*named}) > 1
    found: dict[object, list[int]] = {}
    for number, ranks in enumerate(named):
        found.setdefault(ranks if ranks and are_several else number, []).append(number)
    return [*found.values()]


def _check_sure(found: Sequence[Combined]) -> None:
    """Refuse pieces that may be copies where other tensors are surely such."""
    has_replicas = any(one.each > 1 for one in found)
    has_copies = has_replicas or any(one.way != "pieces" for one in found)
    known = {"copies": has_copies, "replicas": has_replicas}
    unsure = [one for one in found if known.get(one.may_be)]
    if not unsure:
        return
    name, (first, second, *_) = unsure[0].name, unsure[0].labels
    raise RepeatedNameError(
        second,
        first,
        f"tensor {quoted(name)} also stands in {escape(first)}: both are but one value, so that it "
        "may be a copy, as other tensors here are, or a piece",
        _which(name),
    )


def _which(name: str | None, which: str = "which") -> str:
    """Give the hint that asks whether a tensor is a copy or a piece."""
    import glob  # hardly ever needed
    import shlex

    seen = [(one, escape(one) == one) for one in name or ""]
    pattern = "".join(glob.escape(one) if is_seen else "?" for one, is_seen in seen)
    ways = (f"{pattern}={way}" for way in ("copies", "pieces"))
    quotes = (shlex.quote(way) if "'" in way else f"'{way}'" for way in ways)
    return f"say {which}: --combine {' or '.join(quotes)}"


def _put_together(
    name: str | None, some: Sequence[tuple[int, Tensor]], files: Sequence[DumpFile], ways: Ways
) -> tuple[Tensor, Combined]:
    labels = tuple([files[number].source.label for number, _ in some])
    tensors = [tensor for _, tensor in some]
    way = ways.way(name or "")
    places = tuple([at for at, tensor in enumerate(tensors) if tensor.size]) or (0,)
    held = [tensors[at] for at in places]
    are_alike = len({(tensor.dtype, len(tensor.shape)) for tensor in tensors}) == 1
    if not way and len(held) == 1 and are_alike:
        return held[0], Combined(name or "", "pieces", labels, counted=places)
    if (way or ways.else_) and not all(tensor.source.rereadable for tensor in tensors):
        raise GradclipError(
            labels[0],
            f"{quoted(name)} stands in several files, of which one is a stream",
            "save it in a file first",
        )
    may_be, each = "", 1
    if not way:
        way = _undecided(name, tensors, labels, ways.else_)
        if way == "pieces":
            from gradclip_cli.formats import replicas  # hardly ever needed

            numbers, each = replicas.once([[tensor] for tensor in held])
            may_be = replicas.may_be(held)
            held = [held[number] for number in numbers]
            places = tuple([places[number] for number in numbers])
    if way == "pieces":
        from gradclip_cli.formats.paths import by_rank  # hardly ever needed

        ordered = by_rank([labels[at] for at in places])
        whole = in_a_row(name, [held[at] for at in ordered], labels, tensors)
        is_stacked = len(whole.shape) > len(held[0].shape)
        return whole, Combined(
            name or "", way, labels, (), is_stacked, may_be=may_be, each=each, counted=places
        )
    if way in ("sum", "mean"):
        from gradclip_cli.formats.summed import fits, summed  # hardly ever needed

        if problem := fits(tensors):
            raise GradclipError(
                labels[0], f"the parts of {quoted(name)} cannot be added: they {problem}", _HINT
            )
        every = (*range(len(tensors)),)
        return summed(tensors, way == "mean"), Combined(name or "", way, labels, counted=every)
    full = [label for one, label in zip(tensors, labels, strict=True) if one.size] or labels[:1]
    differing = _differing(held, full)
    return held[0], Combined(name or "", "copies", labels, differing, counted=places[:1])


def _undecided(
    name: str | None, tensors: Sequence[Tensor], labels: Sequence[str], else_: str
) -> str:
    """Give what tensors surely are, or `else_`.

    They surely are copies where bytes are equal that are not all one value, or a number without
    axes, which has no pieces. Raises `RepeatedNameError` where neither says it. What is nearly a
    copy is named there, and is no piece unless a pattern says so: a bit of memory may have changed.
    """
    first = tensors[0]
    where = f"tensor {quoted(name)} also stands in {escape(labels[0])}"
    alike = [(one.dtype, one.shape) == (first.dtype, first.shape) for one in tensors]
    if all(alike) and all(one.source.rereadable for one in tensors):
        from gradclip_cli.formats import copies  # hardly ever needed

        is_same, is_telling = True, not copies.is_plain(first)
        for one, label in zip(tensors[1:], labels[1:], strict=True):
            found = copies.unlike(first, one, few=True)
            is_known = is_same and is_telling and else_ != "copies"
            if found is not None and is_known and copies.are_few(found, one):
                said = f"{where}, a copy but for {found.said(one)}"
                if not else_:
                    raise RepeatedNameError(
                        label, labels[0], said, f"has memory or a disk failed there? {_HINT}"
                    )
                if not copies.is_sparse(first):
                    raise RepeatedNameError(label, labels[0], said, _which(name))
            if found is not None and else_ == "pieces" and (how := copies.near(first, one)):
                drifted = "whether these are copies that have drifted, or pieces"
                said = f"{where}, nearly a copy: {how}"
                raise RepeatedNameError(label, labels[0], said, _which(name, drifted))
            is_same &= found is None
        if is_same and (is_telling or (else_ and not first.shape)):
            return "copies"
    if not else_:
        raise RepeatedNameError(labels[1], labels[0], where, _HINT)
    return else_


def _differing(tensors: Sequence[Tensor], labels: Sequence[str]) -> tuple[str, ...]:
    """Say of copies which differ from the first, and in what."""
    from gradclip_cli.formats.copies import unlike  # hardly ever needed

    first = tensors[0]
    said = []
    for one, label in zip(tensors[1:], labels[1:], strict=True):
        if (one.dtype, one.shape) != (first.dtype, first.shape):
            said.append(f"{escape(label)}: {one.dtype.name} {[*one.shape]}")
        elif (found := unlike(first, one)) is not None:
            said.append(f"{escape(label)}: {found.said(one)}")
    return (*said,)
