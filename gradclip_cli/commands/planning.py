"""From a decision to what is to be made of a dump: an edit a tensor, and each file laid out."""

from collections.abc import Sequence

from gradclip_cli.formats.opening import promoted
from gradclip_cli.rewrite.edits import Edit, Scale
from gradclip_cli.rewrite.outputs import Edits, Output
from gradclip_cli.rules.decision import Decision
from gradclip_cli.tensors.dump import Dump
from gradclip_cli.tensors.gradients import holds_only_integers


def edits_of(dump: Dump, chosen: Sequence[int], decision: Decision) -> Edits:
    """Give an edit for each tensor of the dump; integers are at least turned into float64."""
    edits: list[Edit | None] = [None] * len(dump.tensors)
    unchanged = Scale(1.0) if holds_only_integers(dump) else None
    for index, edit in zip(chosen, decision.edits, strict=True):
        edits[index] = edit or unchanged
    return edits


def laid_out(dump: Dump, edits: Edits) -> list[Output]:
    """Lay out each result; only integers that become float64 move anything."""
    outputs = []
    first = 0
    for file in dump.files:
        own = edits[first : first + len(file.tensors)]
        names = {tensor.name for tensor, edit in zip(file.tensors, own, strict=True) if edit}
        if names and holds_only_integers(dump):
            header, tensors = promoted(file, names)
            outputs.append(Output(file, first, tensors, header))
        else:
            outputs.append(Output(file, first, file.tensors))
        first += len(file.tensors)
    return outputs
