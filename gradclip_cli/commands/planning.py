"""From a decision to what is to be made of a dump: an edit a tensor, and each file laid out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from gradclip_cli.formats.layouts import Layout
from gradclip_cli.formats.registry import Format, copied
from gradclip_cli.rewrite.edits import Edit, Scale
from gradclip_cli.rewrite.outputs import Edits, Output
from gradclip_cli.rewrite.overlaps import refuse_overlaps
from gradclip_cli.rules.decision import Decision
from gradclip_cli.tensors.dtypes import FLOAT64
from gradclip_cli.tensors.dump import Dump, DumpFile, Tensor
from gradclip_cli.tensors.gradients import holds_only_integers

Lay = Callable[[DumpFile, Sequence[Tensor]], Layout]


def edits_of(dump: Dump, chosen: Sequence[int], decision: Decision) -> Edits:
    """Give an edit for each tensor of the dump; integers are at least turned into float64."""
    edits: list[Edit | None] = [None] * len(dump.tensors)
    unchanged = Scale(1.0) if holds_only_integers(dump) else None
    for index, edit in zip(chosen, decision.edits, strict=True):
        edits[index] = edit or unchanged
    return edits


def laid_out(dump: Dump, edits: Edits, form: Format | None = None) -> list[Output]:
    """Lay out each result, a copy of its file; only integers that become float64 move anything.

    With a format there is one result, of that. Raises `GradclipError` where a format is read and
    not written.
    """
    if form is None:
        outputs = [*_outputs(dump, edits, copied)]
        for output in outputs:
            refuse_overlaps(output, edits)
        return outputs
    assert form.laid_out is not None, "new files of it are written"
    layout = form.laid_out(_grown(dump.tensors, edits, holds_only_integers(dump)))
    return [Output(dump.files[0].source, 0, replace(layout, given=dump.tensors))]


def unwritten(dump: Dump, edits: Edits) -> list[Output]:
    """Give results of which nothing is written, so that it does not matter where they would lie."""
    return [*_outputs(dump, edits, _as_it_is)]


def _outputs(dump: Dump, edits: Edits, lay: Lay) -> Iterator[Output]:
    first = 0
    are_integers = holds_only_integers(dump)
    for file in dump.files:
        own = edits[first : first + len(file.tensors)]
        layout = lay(file, _grown(file.tensors, own, are_integers and any(own)))
        yield Output(file.source, first, layout if any(own) else layout.untouched)
        first += len(file.tensors)


def _grown(tensors: Sequence[Tensor], edits: Edits, grow: bool) -> Sequence[Tensor]:
    """Give tensors as they are to be: those that are edited as float64, if they `grow`."""
    if not grow:
        return tensors
    pairs = zip(tensors, edits, strict=True)
    return [replace(tensor, dtype=FLOAT64) if edit else tensor for tensor, edit in pairs]


def _as_it_is(file: DumpFile, tensors: Sequence[Tensor]) -> Layout:
    return Layout(file.tensors, (*tensors,))
