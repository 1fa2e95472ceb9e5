"""Which tensors of a dump count as gradients, and which stand beside them."""

from collections.abc import Callable, Sequence

from gradclip_cli.errors import GradclipError
from gradclip_cli.tensors.dump import Dump, Tensor
from gradclip_cli.tensors.names import quoted
from gradclip_cli.tensors.selection import NothingSelectedError, Selection


def gradient_kinds(dump: Dump) -> set[str]:
    """Give the kinds of dtypes that count in a dump."""
    return {"integer"} if holds_only_integers(dump) else {"float", "complex", "scale"}


def holds_only_integers(dump: Dump) -> bool:
    """Say whether a dump is meant as gradients although it holds no floating values.

    So it is where it has integers and else at most booleans, as `np.arange(10)` has.
    """
    kinds = {tensor.dtype.kind for tensor in dump.tensors}
    return "integer" in kinds and kinds <= {"integer", "boolean"}


def gradients(dump: Dump, selection: Selection) -> list[int]:
    """Give the indices of the tensors to measure: the chosen ones that are gradients."""
    kinds = gradient_kinds(dump)
    tensors = dump.tensors
    chosen = selection.chosen(tensors)
    found = [index for index in chosen if tensors[index].dtype.kind in kinds]
    if (selection.include or selection.exclude) and chosen and not found:
        raise NothingSelectedError(
            "--include" if selection.include else "--exclude",
            f"none of the {len(chosen):,} selected tensors is a gradient; the first, "
            f"{quoted(tensors[chosen[0]].name)}, is {tensors[chosen[0]].dtype.name}",
            "gradients are floating or complex tensors",
        )
    return found


def paired(
    dump: Dump,
    chosen: Sequence[int],
    parameters: Dump,
    aligned: Callable[[str], str] = str,
) -> list[int]:
    """Give for each chosen tensor the index of the parameter that has its name, once `aligned`.

    Raises `GradclipError` for a gradient without a parameter, or with one of another shape.
    """
    found = matched(dump, chosen, parameters, aligned)
    missing = [index for index in chosen if index not in found]
    if missing:
        raise GradclipError(
            "--params",
            f"{len(missing):,} of {len(chosen):,} gradients have no parameter, the first is "
            f"{quoted(dump.tensors[missing[0]].name)}",
            "parameters are found by name; leave such gradients out with --exclude 'PATTERN'",
        )
    return [found[index] for index in chosen]


def matched(
    dump: Dump,
    chosen: Sequence[int],
    parameters: Dump,
    aligned: Callable[[str], str] = str,
) -> dict[int, int]:
    """Give the indices of parameters by those of the chosen tensors that have one of their name.

    Names are `aligned` first. Raises `GradclipError` for one of another shape, or without a norm.
    """
    tensors, others = dump.tensors, parameters.tensors
    places = {aligned(other.name or ""): place for place, other in enumerate(others)}
    names = {index: aligned(tensors[index].name or "") for index in chosen}
    found = {index: places[name] for index, name in names.items() if name in places}
    # Of pieces that are stacked nobody knows the shape of the whole.
    stacked = {one.name for part in (dump, parameters) for one in part.combined if one.is_stacked}
    for index, place in found.items():
        tensor, other = tensors[index], others[place]
        is_whole = not {tensor.name, other.name} & stacked
        if tensor.count != other.count or (is_whole and tensor.shape != other.shape):
            raise GradclipError(
                "--params",
                f"{quoted(tensor.name)} has shape {list(tensor.shape)}, its parameter "
                f"{list(other.shape)}",
                "name the parameters of the same model",
            )
        if other.dtype.kind not in ("float", "complex"):
            raise GradclipError(
                "--params",
                f"{quoted(other.name)} is {other.dtype.name}, and no parameter that has a norm",
                "name a file of floating tensors",
            )
    return found


def undecodable(dump: Dump, selection: Selection) -> list[Tensor]:
    """Give the chosen tensors whose dtype gradclip cannot decode."""
    tensors = dump.tensors
    return [
        tensors[index]
        for index in selection.chosen(tensors)
        if tensors[index].dtype.kind == "opaque"
    ]
