"""From a dump and a rule to a decision: what has to be measured for it, and what refuses it."""

import dataclasses
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gradclip_cli.commands.measuring import measured
from gradclip_cli.commands.opening import opened_parameters
from gradclip_cli.engine.crew import Crew
from gradclip_cli.errors import GradclipError, RefusedError
from gradclip_cli.measure.moments import Moments, divided
from gradclip_cli.measure.units import NO_UNITS, check_units, unit_norms
from gradclip_cli.rewrite.edits import Scale
from gradclip_cli.rules.decision import Decision, Units, decide
from gradclip_cli.rules.like.following import followed
from gradclip_cli.rules.rule import Rule
from gradclip_cli.rules.terms import Terms
from gradclip_cli.tensors.codecs import Floats
from gradclip_cli.tensors.dump import Dump, DumpFile, Tensor, multi_index
from gradclip_cli.tensors.gradients import paired
from gradclip_cli.tensors.names import plural, quoted
from gradclip_cli.tensors.renaming import Renaming

_NAMED = 20  # tensors beyond these are counted in a message, not listed

Axes = Mapping[int, tuple[int, ...]]
"""The axes that the norms of a tensor's units are over, by the tensor's index."""


def decided(
    rule: Rule,
    terms: Terms,
    dump: Dump,
    moments: Mapping[int, Moments | None],
    units: Sequence[Units] = (),
) -> Decision:
    """Give a rule's decision about the tensors that have moments, None for those not measured."""
    everything = dump.tensors
    tensors = [everything[index] for index in moments]
    parts = [*moments.values()]
    try:
        if terms.like is not None:
            return followed(rule, terms, terms.like, tensors, parts)
        decision = decide(rule, terms, tensors, parts, units)
        refuse_nan_without_code(dump, moments, decision)
        return decision
    except RefusedError as error:
        raise RefusedError(called(dump.files), error.problem, error.hint) from error


def refuse_nan_without_code(
    dump: Dump, moments: Mapping[int, Moments | None], decision: Decision
) -> None:
    """Raise `RefusedError` where a value would become NaN, or stay so, whose dtype has none."""
    tensors = dump.tensors
    of_each = zip(moments.items(), decision.edits, decision.coefficients, strict=True)
    for (index, part), edit, coefficient in of_each:
        tensor = tensors[index]
        if tensor.dtype.binary.has_nan or edit is None:
            continue
        holds_nan = part is not None and part.nan > 0 and not edit.zero_nonfinite
        if holds_nan or (coefficient is not None and math.isnan(coefficient)):
            raise RefusedError(
                called(dump.files),
                f"{quoted(tensor.name)} would become NaN, and {tensor.dtype.name} has none",
                "--nonfinite zero writes 0 for what is not finite, --nonfinite skip leaves it",
            )


@dataclass(frozen=True, slots=True)
class Aim:
    """A rule, its terms, and what it asks for beside the moments of tensors.

    `axes` are those of the units of each chosen tensor, if the rule has units; `weights` the dump
    of their parameters, if it goes by these, and `partners` their indices in it.
    """

    rule: Rule
    terms: Terms
    axes: Axes | None = None
    weights: Dump | None = None
    partners: Sequence[int] = ()

    def read(self, dump: Dump) -> Sequence[Dump]:
        """Give all that is read to clip a dump, itself included."""
        return (dump, self.weights) if self.weights is not None else (dump,)

    def unscaled(self, moments: Mapping[int, Moments]) -> dict[int, Moments]:
        """Give the moments of values without the loss scale, which the rule is about."""
        scale = self.terms.loss_scale
        if scale == 1:
            return dict(moments)
        return {index: divided(part, scale) for index, part in moments.items()}

    def decided(self, dump: Dump, moments: Mapping[int, Moments], crew: Crew) -> Decision:
        """Give the decision about the chosen tensors, once their units are measured.

        Its coefficients are those of values without the loss scale, its edits those of the values
        as they are stored.
        """
        scale = self.terms.loss_scale
        found = self._decided(dump, moments, crew)
        if scale == 1:
            return found
        edits = tuple([(edit or Scale(1.0)).divided(scale) for edit in found.edits])
        return dataclasses.replace(found, edits=edits)

    def _decided(self, dump: Dump, stored: Mapping[int, Moments], crew: Crew) -> Decision:
        moments = self.unscaled(stored)
        if self.axes is None:
            return decided(self.rule, self.terms, dump, moments)
        policy, p = self.terms.nonfinite, self.terms.norm_type
        own = {
            index: axes
            for index, axes in self.axes.items()
            if not (policy == "skip" and moments[index].nonfinite)
        }
        norms = unit_norms(dump.tensors, own, stored, crew, p, policy != "propagate")
        scale = self.terms.loss_scale
        beside: Sequence[Floats | None] = [None] * len(self.axes)
        if self.weights is not None:
            beside = _parameter_norms(self.weights, self.partners, self.axes, crew)
        units = [
            Units(axes, norms.get(index, NO_UNITS) / scale, other)
            for (index, axes), other in zip(self.axes.items(), beside, strict=True)
        ]
        return decided(self.rule, self.terms, dump, moments, units)


def aimed(
    rule: Rule,
    terms: Terms,
    dump: Dump,
    chosen: Sequence[int],
    void_as: str | None = None,
    aligned: Renaming | None = None,
) -> Aim:
    """Give what a rule asks for; raises `GradclipError` where a tensor has no units, or no pair.

    Parameters that are bytes without a meaning are `void_as`; their names and those of gradients
    are `aligned`.
    """
    if rule.by != "units":
        return Aim(rule, terms)
    everything = dump.tensors
    tensors = [everything[index] for index in chosen]
    stacked = {one.name: one for one in dump.combined if one.is_stacked}
    for tensor in tensors:
        if tensor.name in stacked:
            raise GradclipError(
                stacked[tensor.name].labels[0],
                f"nobody knows along which axis the pieces of {quoted(tensor.name)} lie, so that "
                "it has no slices",
                "leave it out with --exclude 'PATTERN', or clip it whole",
            )
    found = [rule.axes_of(tensor) for tensor in tensors]
    check_units(tensors, found)
    axes = dict(zip(chosen, found, strict=True))
    if rule.parameters is None:
        return Aim(rule, terms, axes)
    align = aligned or Renaming()
    weights = opened_parameters(rule.parameters, void_as, align)
    return Aim(rule, terms, axes, weights, paired(dump, chosen, weights, align))


def _parameter_norms(
    parameters: Dump, partners: Sequence[int], axes: Axes, crew: Crew
) -> list[Floats]:
    """Give the norms of the units of parameters, in the order of their gradients' axes."""
    tensors = parameters.tensors
    moments = measured(parameters, partners, crew, 2.0)
    for place, part in moments.items():
        if part.nonfinite:
            raise GradclipError(
                "--params",
                f"{quoted(tensors[place].name)} holds values that are not finite",
                "leave its gradient out with --exclude 'PATTERN'",
            )
    own = dict(zip(partners, axes.values(), strict=True))
    try:
        norms = unit_norms(tensors, own, moments, crew)
    except RefusedError as error:
        raise GradclipError("--params", error.problem, error.hint) from error
    return [norms[place] for place in partners]


def refuse_undecodable(tensors: Sequence[Tensor]) -> None:
    """Raise `GradclipError` that names tensors whose dtype is not known."""
    why = "of a dtype that gradclip cannot decode, so that the joint norm would be wrong"
    _refuse_dtypes(tensors, why, "")


def refuse_factors(dump: Dump, chosen: Sequence[int]) -> None:
    """Raise `GradclipError` that names chosen tensors that hold scale factors of others."""
    tensors = dump.tensors
    factors = [tensors[index] for index in chosen if tensors[index].dtype.kind == "scale"]
    why = (
        "of scale factors: clipped like the elements that they belong to, they would shrink the "
        "gradient twice"
    )
    _refuse_dtypes(factors, why, "; the elements are clipped as stored then")


def _refuse_dtypes(tensors: Sequence[Tensor], why: str, then: str) -> None:
    if tensors:
        raise GradclipError(
            tensors[0].source.label,
            f"{plural(len(tensors), 'tensor')} {why}",
            f"leave them out by name: --exclude 'PATTERN'{then}",
            _listed([f"{quoted(tensor.name)} is {tensor.dtype.name}" for tensor in tensors]),
        )


def refuse_nonfinite(dump: Dump, moments: Mapping[int, Moments], terms: Terms) -> None:
    """Raise `RefusedError` that names each tensor with NaN or infinities, if that is the policy."""
    bad = {index: part for index, part in moments.items() if part.nonfinite}
    if not bad or terms.nonfinite != "refuse" or terms.like is not None:
        return
    tensors = dump.tensors
    lines = []
    for index, part in bad.items():
        counts = ((part.nan, "NaN"), (part.posinf, "+inf"), (part.neginf, "-inf"))
        found = ", ".join(f"{count:,} {what}" for count, what in counts if count)
        at = multi_index(part.first_nonfinite or 0, tensors[index].shape)
        lines.append(f"{quoted(tensors[index].name)}: {found}, first at {list(at)}")
    raise RefusedError(
        called([*_holding(dump, bad)]),
        f"{len(bad):,} of {len(moments):,} tensors hold values that are not finite; nothing was "
        "written",
        "--nonfinite zero writes 0, --nonfinite skip leaves their tensors alone",
        _listed(lines),
    )


def _holding(dump: Dump, indices: Iterable[int]) -> Iterator[DumpFile]:
    """Give the files of the tensors of some indices."""
    first = 0
    wanted = sorted(indices)
    for file in dump.files:
        end = first + len(file.tensors)
        if bisect_left(wanted, first) < bisect_left(wanted, end):
            yield file
        first = end


def called(files: Sequence[DumpFile]) -> str:
    """Say of which files an error is."""
    return files[0].source.label if len(files) == 1 else f"{len(files):,} files"


def _listed(lines: Sequence[str]) -> tuple[str, ...]:
    rest = len(lines) - _NAMED
    return (*lines[:_NAMED], *([f"… and {rest:,} more"] if rest > 0 else []))
