"""What `gradclip explain` does: reconcile the number that a trainer logged with a dump."""

from collections.abc import Callable, Mapping, Sequence

from gradclip_cli.commands.measuring import few, listed, measured, notes
from gradclip_cli.commands.opening import gradient
from gradclip_cli.commands.spooling import has_stream
from gradclip_cli.commands.tying import tied
from gradclip_cli.engine.crew import Crew, Progress
from gradclip_cli.engine.hiring import crew
from gradclip_cli.hypotheses.evidence import Counted, Evidence, Held, joint
from gradclip_cli.hypotheses.logged import Logged
from gradclip_cli.hypotheses.search import search
from gradclip_cli.measure.meter import measure_tensors
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.options import Count, Path
from gradclip_cli.results.explanation import Explanation
from gradclip_cli.tensors.dtypes import VoidAs
from gradclip_cli.tensors.dump import Combined, Dump, Tensor
from gradclip_cli.tensors.gradients import gradients, undecodable
from gradclip_cli.tensors.renaming import renaming
from gradclip_cli.tensors.selection import Selection


def explain(
    *paths: Path | Sequence[Path],
    logged: str | float,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    one_gradient: bool = False,
    combine: Sequence[str] = (),
    strip_prefix: Sequence[str] = (),
    rename: Sequence[str] = (),
    void_as: VoidAs | None = None,
    workers: Count | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Find which way of counting a dump's L2 norm gives the number that a trainer `logged`.

    It is best given as the text that stands in the log, for that says how many of its digits are
    known. At most two hypotheses are put together. What the files are to each other, how their
    names are aligned, and which tensors count, is said as to `inspect`. Raises `GradclipError` for
    a path that is no sound dump, where nothing is selected, and for a number that is no norm.
    """
    number = Logged.of(logged if isinstance(logged, str) else repr(logged))
    dump = gradient(listed(paths), one_gradient, void_as, combine, renaming(strip_prefix, rename))
    selection = Selection(include, exclude)
    chosen = gradients(dump, selection)
    with crew(workers, progress) as hands:
        moments = measured(dump, chosen, hands, 2.0)
        said = notes(dump, chosen, selection)
        tensors = dump.tensors
        parts = _Parts(dump, {tensors[index].name or "" for index in chosen}, hands)
        counted = [
            parts.counted(tensors[index], file, moments[index])
            for index, file in _with_files(dump)
            if index in moments
        ]
        of = dict(zip(chosen, counted, strict=True))
        evidence = Evidence(
            tuple(counted),
            tuple([file.source.label for file in dump.files]),
            tuple([tuple([of[index] for index in same]) for same in tied(dump, moments)]),
            parts.otherwise(counted),
            None
            if has_stream(dump)
            else _singly([tensors[index] for index in chosen], counted, hands),
            merge(moments.values()).norm,
        )
        return Explanation(
            number,
            evidence.norm,
            search(number, evidence),
            len(chosen),
            len(tensors),
            sum(one.count for one in counted),
            evidence.files,
            tuple(said),
            tuple([tensor.name for tensor in undecodable(dump, selection)]),
        )


def _with_files(dump: Dump) -> list[tuple[int, int]]:
    """Give the index of each tensor with that of its file."""
    files = [number for number, file in enumerate(dump.files) for _ in file.tensors]
    return [*enumerate(files)]


class _Parts:
    """The parts of tensors that several files hold, and what they measure."""

    def __init__(self, dump: Dump, names: set[str], hands: Crew) -> None:
        self._numbers = {file.source.label: number for number, file in enumerate(dump.files)}
        self._combined = {one.name: one for one in dump.combined if one.name in names}
        self._hands = hands
        self._norms: dict[int, float] = {}
        some = [part for one in self._combined.values() for part in self._to_measure(one)]
        for part, moments in zip(some, self._measured(some), strict=True):
            self._norms[id(part)] = moments.norm

    @staticmethod
    def _to_measure(one: Combined) -> Sequence[Tensor]:
        """Give those parts whose norms are not that of the whole."""
        return [] if one.way == "copies" and not one.differing else [part for _, part in one.parts]

    def _measured(self, tensors: Sequence[Tensor]) -> list[Moments]:
        if not tensors:
            return []
        is_little = few(sum(tensor.size for tensor in tensors), len(tensors))
        hands = self._hands.alone if is_little else self._hands
        found = measure_tensors(tensors, range(len(tensors)), hands)
        return [found[index] for index in range(len(tensors))]

    def counted(self, tensor: Tensor, file: int, moments: Moments) -> Counted:
        """Give what counts once: a tensor of one file, or of several."""
        name, norm = tensor.name or "", moments.norm
        held: tuple[Held, ...] = (Held(file, norm),)
        combined = self._combined.get(name)
        if combined is not None:
            held = tuple(
                [
                    Held(self._numbers[label], self._norms.get(id(part), norm))
                    for label, part in combined.parts
                ]
            )
        return Counted(
            name,
            norm,
            moments.finite_norm,
            moments.max_abs or 0.0,
            moments.count,
            len(tensor.shape),
            held,
            "" if combined is None else combined.way,
        )

    def otherwise(self, counted: Sequence[Counted]) -> dict[str, float]:
        """Give norms of the dump by what else the parts of its tensors could be."""
        some = [one for one in counted if one.way in ("pieces", "sum", "mean")]
        if not some:
            return {}
        rest = joint(one.norm for one in counted if one.way not in ("pieces", "sum", "mean"))
        found = {}
        if any(one.way != "pieces" for one in some):
            found["pieces"] = joint([rest, *(part.norm for one in some for part in one.held)])
        found["copies"] = joint([rest, *(one.held[0].norm for one in some)])
        sums = self._sums([self._combined[one.name] for one in some])
        if sums and all(one.way == "pieces" for one in some):
            found["sum"] = joint([rest, *sums])
            means = (norm / len(one.held) for norm, one in zip(sums, some, strict=True))
            found["mean"] = joint([rest, *means])
        return found

    def _sums(self, combined: Sequence[Combined]) -> list[float]:
        """Give the norms of sums of parts; nothing where some cannot be added."""
        from gradclip_cli.formats.summed import fits, summed  # hardly ever needed

        parts = [[part for _, part in one.parts] for one in combined]
        if any(map(fits, parts)):
            return []
        return [one.norm for one in self._measured([summed(some, False) for some in parts])]


def _singly(
    tensors: Sequence[Tensor], counted: Sequence[Counted], hands: Crew
) -> Callable[[], Mapping[int, Sequence[float]]]:
    """Give what reads tensors once more, to sum their squares in float32."""

    def norms() -> Mapping[int, Sequence[float]]:
        from gradclip_cli.measure.single import can_lose, norms_of, summed_singly

        some = [index for index, tensor in enumerate(tensors) if can_lose(tensor)]
        found = hands.in_order(lambda index: summed_singly(tensors[index]), some)
        return norms_of([one.norm for one in counted], found) if some else {}

    return norms
