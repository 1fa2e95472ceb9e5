"""From a gradient that was put together back to the files of its parts, each clipped in its place.

What was decided of the whole is done to every part and every copy of it: the norm of the whole is
the one that counts. Only what is the same for all values of a tensor can be done so.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gradclip_cli.commands.measuring import measured
from gradclip_cli.commands.spooling import has_stream
from gradclip_cli.engine.crew import Crew
from gradclip_cli.errors import GradclipError
from gradclip_cli.formats.registry import NotWrittenError
from gradclip_cli.measure.laws import merged
from gradclip_cli.measure.moments import Moments, merge
from gradclip_cli.measure.statistics import PRINTS
from gradclip_cli.rewrite.passes import Outcome
from gradclip_cli.rules.rule import Rule
from gradclip_cli.tensors.dump import Dump
from gradclip_cli.tensors.names import quoted

_SLACK = 1e-9  # of a norm: parts are summed in other rows than the whole

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Parts:
    """The tensors that lie in the files of `own`, and of which of the `whole` each is a part.

    Where nothing was put together the two are the same.
    """

    whole: Dump
    own: Dump

    @classmethod
    def of(cls, dump: Dump) -> "Parts":
        """Give the parts of a dump."""
        return cls(dump, dump.as_stored)

    @property
    def are_all(self) -> bool:
        """Whether nothing was put together."""
        return self.own is self.whole

    def each(self, of_whole: Sequence[_T]) -> list[_T]:
        """Give for each part what there is of the whole that it belongs to."""
        return [of_whole[at] for at in self.whole.origins] if not self.are_all else [*of_whole]

    def chosen(self, chosen: Sequence[int]) -> list[int]:
        """Give the indices of the parts of chosen tensors."""
        if self.are_all:
            return [*chosen]
        some = {*chosen}
        return [part for part, at in enumerate(self.whole.origins) if at in some]

    def check(self, rule: Rule, chosen: Sequence[int]) -> None:
        """Refuse streams, copies that differ, and slices that go through files."""
        if self.are_all:
            return
        if has_stream(self.own):
            raise NotWrittenError(
                next(file.source.label for file in self.own.files if not file.source.rereadable),
                "a stream cannot be clipped beside files whose tensors are put together",
                "write one file: -o clipped.safetensors, or save the stream first",
            )
        whole, own = self.whole.tensors, self.own.tensors
        some = {*chosen}
        names = {whole[at].name for at in some}
        for differing in (one for one in self.whole.combined if one.differing):
            if differing.name in names:
                raise NotWrittenError(
                    differing.labels[0],
                    f"{quoted(differing.name)} has copies that differ from it, so that they would "
                    f"not be clipped by their own norms: {differing.differing[0]}",
                    "write one file, which has the first: -o clipped.safetensors",
                )
        if rule.by != "units":
            return
        for part, at in enumerate(self.whole.origins):
            one, other = own[part], whole[at]
            if at in some and (one.shape, one.fortran) != (other.shape, other.fortran):
                raise NotWrittenError(
                    one.source.label,
                    f"slices of {quoted(other.name)} may go through several files, of which no "
                    "copies can be clipped",
                    "write one file: -o clipped.safetensors",
                )

    def moments(
        self,
        moments: Mapping[int, Moments],
        hands: Crew,
        norm_type: float,
    ) -> Mapping[int, Moments]:
        """Measure the parts of tensors that have these moments; what is whole is not read again.

        Raises `GradclipError` where the parts are not those of which the whole was measured.
        """
        if self.are_all:
            return moments
        whole, own = self.whole.tensors, self.own.tensors
        parts = self.chosen([*moments])
        at = self.whole.origins
        new = [part for part in parts if own[part] is not whole[at[part]]]
        found = measured(self.own, new, hands, norm_type, asked=PRINTS)
        copies = {one.name for one in self.whole.combined if one.way == "copies"}
        each = [(at[part], [part]) for part in new if whole[at[part]].name in copies]
        for index, some in (*self._by_whole(new).items(), *each):
            came_to = merge([found[part] for part in some])
            if not _agree(came_to, moments[index]):
                raise GradclipError(
                    own[some[0]].source.label,
                    f"changed while gradclip was reading it: the parts of "
                    f"{quoted(whole[index].name)} are not what was measured",
                    "wait until the program that writes it has finished, then run gradclip again",
                )
        return {part: found[part] if part in found else moments[at[part]] for part in parts}

    def outcomes(self, outcomes: Mapping[int, Outcome]) -> Mapping[int, Outcome]:
        """Give what came of each whole tensor from what came of its parts."""
        if self.are_all:
            return outcomes
        return {
            index: merged(Outcome, [outcomes[part] for part in some])
            for index, some in self._by_whole(sorted(outcomes)).items()
        }

    def _by_whole(self, parts: Sequence[int]) -> dict[int, list[int]]:
        """Give the parts that count of each whole tensor: of copies and replicas one."""
        counted = {one.name: {*one.counted} for one in self.whole.combined}
        tensors = self.whole.tensors
        wanted = {*parts}
        seen: Counter[int] = Counter()
        found: dict[int, list[int]] = {}
        for part, at in enumerate(self.whole.origins):
            some = counted.get(tensors[at].name or "")
            if part in wanted and (some is None or seen[at] in some):
                found.setdefault(at, []).append(part)
            seen[at] += 1
        return found


def _agree(one: Moments, other: Moments) -> bool:
    if (one.count, one.nonfinite, one.zeros) != (other.count, other.nonfinite, other.zeros):
        return False
    return math.isclose(one.finite_norm, other.finite_norm, rel_tol=_SLACK) or (
        one.finite_norm == other.finite_norm
    )
